"""A double of `povwatch pool`: `PYTHON pool_bridge.py SOCKET NODE...`, with real workers, and without Ray.

It does what the daemon can see of the bridge: it connects, offers as many workers as are wanted, relays the lines of
each, keeps them while no daemon is there, and offers them anew. Its cluster obeys the test, which gives it one line of
JSON after the other on stdin:

    {"do": "end", "pid": 12, "reason": "node"}   the worker is killed, and its Ended has that reason
    {"do": "mute", "pid": 12}                    nothing that it says is passed on any more, as in a lost network
    {"do": "deaf"}                               Signals are not answered, as if no node did
    {"do": "say", "pid": 12, "line": {...}}      the message is sent as if the worker had
    {"do": "report", "problems": ["..."]}        a PoolReport with these problems

A line of JSON on stdout tells of each worker and of each refusal.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from povwatch import __version__
from povwatch.process import protocol
from povwatch.process.channel import Channel
from povwatch.process.start import child_environment, kill_group, start, worker_command
from povwatch.remote import address

BEAT = 0.2
"""Seconds between two reports, and between two tries to connect."""

END = (protocol.Generated, protocol.Failed, protocol.Blocked, protocol.Cancelled)


class Worker:
    """A real worker process, and its connection to the daemon if there is one."""

    count = 0

    def __init__(self, engine, node):
        Worker.count += 1
        self.name, self.node, self.engine = f"w{os.getpid()}-{Worker.count}", node, engine
        ours, theirs = socket.socketpair()
        output, stdout = os.pipe()
        command = worker_command(sys.executable, engine, theirs.fileno())
        env = child_environment(dict(os.environ))
        self.process = start(command, env=env, stdout=stdout, stderr=stdout, keeps=(theirs.fileno(),))
        theirs.close()
        os.close(stdout)
        self.channel, self.output = Channel(ours), output
        self.daemon = None
        self.config = self.capabilities = self.job = None
        self.hello = self.dropped = False
        self.muted = False


class Bridge:
    def __init__(self, path, nodes):
        self.path, self.nodes = Path(path), nodes
        self.selector = selectors.DefaultSelector()
        self.selector.register(sys.stdin, selectors.EVENT_READ, self.obey)
        self.control = self.wanted = None
        self.workers, self.deaf, self.problems = [], False, []

    def run(self):
        beat = 0.0
        while True:
            if time.monotonic() >= beat:
                beat = time.monotonic() + BEAT
                self.beat()
            for key, _ in self.selector.select(BEAT):
                if any(one is key for one in self.selector.get_map().values()):  # still open
                    key.data()

    def tell(self, **said):
        print(json.dumps(said), flush=True)  # noqa: T201 - the test reads it

    # -- the control connection

    def beat(self):
        if self.control is None:
            try:
                self.control = Channel(address.connect(self.path))
            except OSError:
                return
            self.selector.register(self.control, selectors.EVENT_READ, self.hear_control)
            self.send(self.control, protocol.BridgeHello(__version__, os.getpid(), "2.57.0", "head:6379"))
        elif self.wanted is not None:
            nodes = [
                {
                    "id": f"id-{n}",
                    "name": n,
                    "gpus": 1,
                    "workers": sum(w.node == n for w in self.workers),
                    "problem": "",
                }
                for n in self.nodes
            ]
            self.send(self.control, protocol.PoolReport(nodes, self.wanted.workers, len(self.workers), self.problems))

    def hear_control(self):
        messages = self.control.receive(wait=False)
        for message in messages or []:
            if isinstance(message, protocol.Wanted):
                self.wanted = message
                self.place()
            elif isinstance(message, protocol.Refused):
                self.tell(event="refused", why=message.why)
        if messages is None:
            self.selector.unregister(self.control)
            self.control.close()
            self.control = self.wanted = None
            for worker in self.workers:
                self.hang_up(worker)
                if worker.job is not None and not worker.dropped:
                    worker.channel.send(protocol.Cancel(*worker.job, "The daemon is gone."))
                    worker.dropped = True

    def place(self):
        """Start the workers that are wanted, each on the node with the fewest, and offer those that are loaded."""
        resting = {node for node in self.nodes if f"id-{node}" in self.wanted.rests}
        usable = [node for node in self.nodes if node not in resting]
        while usable and len(self.workers) < self.wanted.workers:
            node = min(usable, key=lambda node: sum(worker.node == node for worker in self.workers))
            worker = Worker(self.wanted.engine, node)
            self.workers.append(worker)
            self.selector.register(worker.channel, selectors.EVENT_READ, lambda w=worker: self.hear_worker(w))
            self.selector.register(worker.output, selectors.EVENT_READ, lambda w=worker: self.hear_output(w))
            self.tell(event="started", pid=worker.process.pid, node=node)
        for worker in self.workers:
            if worker.daemon is None and worker.hello and worker.job is None:
                self.offer(worker)

    # -- a worker and its connection

    def offer(self, worker):
        worker.daemon = Channel(address.connect(self.path))
        self.selector.register(worker.daemon, selectors.EVENT_READ, lambda: self.hear_daemon(worker))
        known = (worker.engine, worker.config if worker.capabilities else None, worker.capabilities)
        about = (worker.name, f"id-{worker.node}", worker.node, ["NVIDIA X"], worker.process.pid)
        self.send(worker.daemon, protocol.Offer(*about, *known))

    def hear_worker(self, worker):
        for message in worker.channel.receive(wait=False) or []:
            match message:
                case protocol.Hello():
                    worker.hello = True
                    if self.wanted is not None:
                        self.offer(worker)
                case protocol.Loaded():
                    worker.capabilities = message.capabilities
                case _ if isinstance(message, END):
                    late, worker.job, worker.dropped = worker.dropped, None, False
                    if late:  # no daemon waits for it
                        if self.wanted is not None and worker.daemon is None:
                            self.offer(worker)
                        continue
            if worker.daemon is not None and not worker.muted:
                self.send(worker.daemon, message)
        if worker.process.poll() is not None:
            self.end(worker, "exited", worker.process.returncode)

    def hear_output(self, worker):
        data = os.read(worker.output, 65536)
        if not data:
            self.selector.unregister(worker.output)
        elif worker.daemon is not None:
            self.send(worker.daemon, protocol.Output(data.decode().splitlines()))

    def hear_daemon(self, worker):
        messages = worker.daemon.receive(wait=False)
        for message in messages or []:
            if isinstance(message, protocol.Signal):
                if self.deaf:
                    continue
                if message.number == signal.SIGKILL:
                    self.end(worker, "stopped")
                    return
                os.killpg(worker.process.pid, message.number)
                continue
            if isinstance(message, protocol.Load):
                worker.config = message.config
            elif isinstance(message, protocol.Generate):
                worker.job = (message.job_id, message.run_id)
            elif isinstance(message, protocol.Shutdown):
                self.end(worker, "stopped")
                return
            try:
                worker.channel.send(message)
            except OSError:
                continue
        if messages is None:
            self.hang_up(worker)

    def end(self, worker, reason, returncode=None):
        """The worker is gone, for this reason."""
        kill_group(worker.process.pid)
        worker.process.wait()
        while (data := os.read(worker.output, 65536)) and worker.daemon is not None:
            self.send(worker.daemon, protocol.Output(data.decode().splitlines()))
        if worker.daemon is not None:
            self.send(worker.daemon, protocol.Ended(reason, returncode, ""))
        self.hang_up(worker)
        self.selector.unregister(worker.channel)
        if worker.output in self.selector.get_map():
            self.selector.unregister(worker.output)
        os.close(worker.output)
        worker.channel.close()
        self.workers.remove(worker)
        self.tell(event="ended", pid=worker.process.pid, reason=reason)
        if self.wanted is not None:
            self.place()

    def hang_up(self, worker):
        if worker.daemon is not None:
            self.selector.unregister(worker.daemon)
            worker.daemon.close()
            worker.daemon = None

    def send(self, channel, message):
        try:
            channel.send(message)
        except OSError:
            return

    # -- what the test wants

    def obey(self):
        line = sys.stdin.readline()
        if not line:
            sys.exit()
        order = json.loads(line)
        worker = next((one for one in self.workers if one.process.pid == order.get("pid")), None)
        match order["do"]:
            case "end":
                self.end(worker, order["reason"])
            case "mute":
                worker.muted = True
            case "deaf":
                self.deaf = True
            case "say":
                message, _ = protocol.decode(json.dumps({**order["line"], "seq": 1}).encode())
                self.send(worker.daemon, message)
            case "report":
                self.problems = order["problems"]


if __name__ == "__main__":
    Bridge(sys.argv[1], sys.argv[2:]).run()
