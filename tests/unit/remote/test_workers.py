"""Workers on other machines come, are lost in every state of a job, and come again; no job is charged wrongly."""

from __future__ import annotations

import threading
from contextlib import suppress

import pytest
from structlog.testing import capture_logs
from support import hand_bridge
from support.built import Built
from support.hand_bridge import until
from support.put import put

from povwatch.attempt.attempt import Attempt
from povwatch.core.job import JobState, Waiting
from povwatch.core.retry import ENVIRONMENT_PAUSE
from povwatch.media.info import Prepared
from povwatch.process import protocol
from povwatch.remote.connections import Connection
from povwatch.run import preparing
from povwatch.spec.parse import parse
from povwatch.workers.places import DEATHS_MAX, REST
from povwatch.workers.states import SupervisorState

ENGINE = "/toy.py:Engine"
SPEC = b'{"name": "a", "video_path": "a.mp4", "prompt": "hands", "edge": {}}'
INFO = '{"frames": 3, "display_width": 4, "display_height": 2}'
COPY = Prepared(
    path="working.mp4",
    frames=3,
    width=4,
    height=2,
    pad=(0, 0, 0, 0),
    fps_num=10,
    fps_den=1,
    copied=True,
    times="times",
    time_base="1/10",
    rate="10/1",
    constant=True,
).to_json()


class Bench:
    """The daemon that production builds, without a worker of its own; copies and bridge are the test's."""

    def __init__(self, folder, monkeypatch):
        self.built = Built(folder, engine={"kind": ENGINE, "workers": 0}, pool={"kind": "ray", "max": 4})
        self.app, self.clock = self.built.app, self.built.clock
        self.path = self.app.config.paths.state / "pool.sock"
        self.may = threading.Event()
        spec = parse(SPEC, clip_name=b"a.mp4", file="a.json")
        monkeypatch.setattr(self.app.grace, "enter", lambda _: None)
        monkeypatch.setattr(self.app.results, "enter", lambda _: None)
        monkeypatch.setattr(self.app.grace, "spec_of", lambda _: spec)

        def prepare(attempt, *_):
            self.may.wait(hand_bridge.PATIENCE)
            attempt.prepared = COPY

        monkeypatch.setattr(Attempt, "prepare", prepare)
        monkeypatch.setattr(preparing, "complete", lambda *_, **__: None)
        self.app.pool.start()
        self.app.remote.start()
        self.control = self.worker = None

    def close(self):
        self.may.set()
        self.app.remote.hang_up("The test is over.")
        hand_bridge.close_all()
        self.app.remote.close()
        self.built.close()

    def turn(self):
        self.app.background.handle_results()
        for name in ("remote workers", "demand for them", "run"):
            self.app.parts[name].tick(self.clock.now)
        self.built.no_bug()

    def until(self, true):
        return until(true, self.turn)

    def meet(self):
        """A bridge comes."""
        self.control = hand_bridge.hello(self.path)
        self.until(lambda: self.control.got(protocol.Wanted))
        return self

    def offer(self, **about):
        self.worker = hand_bridge.offer(self.path, about.pop("engine", ENGINE), **about)
        return self.worker

    def load(self):
        """A worker comes and loads its engine."""
        self.offer()
        self.until(lambda: self.worker.got(protocol.Load))
        self.worker.say(protocol.Hello(4711, "3.10.0"), protocol.Loaded({"name": "toy"}))
        self.until(lambda: self.app.pool.loaded)
        return self

    def queue(self, name=b"a.mp4"):
        (job,) = self.app.store.add([(name, b"sig")])
        job = put(self.app.store, job, "arrived", state=JobState.GRACE, source_hash="h1", source_info=INFO)
        put(self.app.store, job, "queued", state=JobState.QUEUED)
        return self

    @property
    def job(self):
        return self.built.newest()

    @property
    def states(self):
        return [worker.supervisor.state for worker in self.app.pool.workers]

    @property
    def deaths(self):
        return self.app.pool.places.of("id-gpu-01", "gpu-01").deaths

    # -- each state of a job

    def be(self, state):
        """Bring the worker, and a job if it can have one, into a state."""
        self.meet()
        if state == "loading":
            self.offer()
            self.until(lambda: self.worker.got(protocol.Load))
            return
        self.load()
        if state == "ready":
            return
        self.queue()
        self.until(lambda: self.job.state is JobState.RUNNING)
        if state == "copying":
            return
        self.may.set()
        (given,) = self.until(lambda: self.worker.got(protocol.Generate))
        ids = (given.job_id, given.run_id)
        if state == "given":
            return
        self.worker.say(protocol.Started(*ids), protocol.Progress(*ids, "denoise", 0, 1, 1, 4))
        self.until(lambda: self.app.pool.workers[0].active.progress)
        if state == "cancelling":
            self.app.store.cancel(self.job, "It was deleted.")
            self.until(lambda: self.worker.got(protocol.Cancel))
        if state == "sent":
            self.worker.say(protocol.Generated(*ids, {"path": "x"}))

    def lose(self, end):
        """Lose the worker; what comes behind that must not matter."""
        if end == "closed":
            self.worker.close()
        elif end == "bridge":
            self.control.close()
        else:
            self.worker.say(protocol.Ended(end, -9 if end == "exited" else None, ""))
            self.worker.say(protocol.Loaded({"name": "late"}))
        self.until(lambda: self.app.pool.workers == [] or self.app.pool.workers[0].active)
        self.until(lambda: SupervisorState.STOPPED in self.states or self.states == [])
        self.may.set()
        self.until(lambda: self.states == [])


@pytest.fixture
def bench(tmp_path, monkeypatch):
    bench = Bench(tmp_path, monkeypatch)
    yield bench
    bench.close()


DEATHS = ("exited", "actor", "node", "network")
ENDS = (*DEATHS, "stopped", "files", "closed", "bridge")


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("state", ["loading", "ready", "copying", "given", "generating", "cancelling", "sent"])
def test_loss_in_every_state(bench, state, end):
    """Only a death while the engine had the job counts against it, and no attempt does; its place counts deaths."""
    bench.be(state)
    bench.lose(end)
    if state not in {"loading", "ready"}:
        expected = {"cancelling": JobState.CANCELLED, "sent": JobState.CHECKING}.get(state, JobState.QUEUED)
        assert bench.job.state is expected
        assert bench.job.crashes == (state == "generating" and end in DEATHS)
        assert bench.job.attempts == (state in {"sent", "cancelling"})
    # a clip that was generated right before shows that the place works; the death behind it is the first one again
    assert bench.deaths == (end in {*DEATHS, "files"})
    assert bench.app.pool.free == []
    assert bench.worker.closed or bench.until(lambda: bench.worker.read() or bench.worker.closed)


def test_worker_otherwise_loaded_ends(bench):
    """A worker is taken over with the same engine and configuration alone; another one is told to end."""
    bench.meet()
    (wanted,) = bench.control.got(protocol.Wanted)
    assert (wanted.engine, wanted.config) == (ENGINE, {})
    for other in ({"config": {"model": "x"}}, {"engine": "other:Engine", "config": {}}):
        line = bench.offer(**other, capabilities={"name": "toy"})
        bench.until(lambda line=line: line.got(protocol.Shutdown))
        line.say(protocol.Ended("stopped", 0, ""))
        bench.until(lambda line=line: line.read() or line.closed)
    assert bench.app.pool.workers == []
    bench.offer(config={}, capabilities={"name": "toy"})
    bench.until(lambda: bench.states == [SupervisorState.READY])
    assert bench.worker.got(protocol.Load) == []
    assert bench.app.pool.workers[0].supervisor.capabilities == {"name": "toy"}
    assert bench.app.pool.gpu_name(bench.app.pool.workers[0]) == "NVIDIA X"


@pytest.mark.parametrize(
    ("about", "says"),
    [({"version": "0.0.1"}, "It is povwatch 0.0.1 with protocol"), ({"spoken": 99}, "with protocol 99")],
)
def test_other_povwatch_is_refused(bench, about, says):
    line = hand_bridge.hello(bench.path, **about)
    (refused,) = bench.until(lambda: line.got(protocol.Refused))
    assert says in refused.why
    assert "restart both" in refused.why
    bench.until(lambda: line.read() or line.closed)
    bench.meet()


def test_second_bridge_changes_nothing(bench):
    bench.meet().load()
    second = hand_bridge.hello(bench.path)
    (refused,) = bench.until(lambda: second.got(protocol.Refused))
    assert "Another bridge (pid 42)" in refused.why
    assert bench.states == [SupervisorState.READY]


def test_worker_without_a_bridge_is_refused(bench):
    line = bench.offer()
    assert bench.until(lambda: line.got(protocol.Refused))
    assert bench.app.pool.workers == []


@pytest.mark.parametrize(
    "first", [[], [protocol.Heartbeat()], [protocol.Generated(1, "r", {"path": "x"})], [protocol.Shutdown()]]
)
def test_nonsense_at_first_is_hung_up_on(bench, first):
    """Whoever says nothing, or anything else than what it is, is hung up on."""
    line = hand_bridge.Line(bench.path, *first)

    def later():
        bench.clock.now += 1
        bench.turn()
        line.read()

    until(lambda: line.closed, later)
    bench.meet()


def test_broken_line_gives_the_job_back(bench):
    """A bridge that breaks the protocol costs the clip nothing."""
    bench.be("generating")
    bench.worker.channel._socket.sendall(b"nonsense\n")
    bench.until(lambda: bench.app.pool.workers == [])
    assert (bench.job.state, bench.job.attempts, bench.job.crashes) == (JobState.QUEUED, 0, 0)


def test_late_answer_of_another_run(bench):
    """What a worker says of a run that is over changes nothing."""
    bench.be("generating")
    (given,) = bench.worker.got(protocol.Generate)
    bench.worker.say(protocol.Generated(given.job_id, "another", {"path": "x"}))
    bench.worker.say(protocol.Progress(given.job_id, given.run_id, "denoise", 0, 1, 3, 4))
    bench.until(lambda: bench.app.pool.workers[0].active.progress.step == 3)
    assert bench.job.state is JobState.RUNNING


@pytest.mark.parametrize("kind", ["disk-full", "gpu-lost", "shortage"])
def test_fault_of_a_node_pauses_no_queue(bench, kind):
    """What a node lacks is the node's fault: the clip waits a while, others go on, and nothing is charged."""
    bench.be("generating")
    (given,) = bench.worker.got(protocol.Generate)
    bench.worker.say(protocol.Failed(given.job_id, given.run_id, kind, "It is full.", "Make room."))
    bench.until(lambda: bench.job.state is JobState.QUEUED)
    assert (bench.job.attempts, bench.job.crashes, bench.deaths) == (0, 0, 1)
    assert bench.job.not_before == bench.clock.wall() + ENVIRONMENT_PAUSE
    assert bench.app.pauses.blocker is None
    assert bench.job.detail == "worker 1 on node gpu-01: It is full. Make room."


def test_counting_problem_is_logged_once(bench):
    """A problem of which only a number changes is one line of the log, and its end another."""
    bench.meet()
    with capture_logs() as lines:
        for many in (3, 2, 1):
            bench.control.say(hand_bridge.report(f"{many} more are asked for."))
        bench.control.say(hand_bridge.report(node_problem="Its clock is an hour off."))
        bench.control.say(hand_bridge.report())
        bench.until(lambda: [line for line in lines if line["event"] == "pool-well"])
    told = [(line["event"], line.get("problem")) for line in lines if line["event"] != "pool-well"]
    assert told == [("pool-problem", "3 more are asked for."), ("node-problem", "Its clock is an hour off.")]


def pass_time(bench, seconds, *alive):
    """Let time pass in steps, in each of which these lines say something."""
    for _ in range(int(seconds / 5)):
        bench.clock.now += 5
        for line in alive:
            with suppress(OSError):  # it was hung up on
                line.say(hand_bridge.report() if line is bench.control else protocol.Heartbeat())
        heard = bench.app.remote._bridge.connection if bench.control in alive else None
        if heard is not None:
            until(lambda heard=heard: heard.heard_at == bench.clock.now)
        bench.turn()


def test_silent_worker_dies(bench):
    """A worker that says nothing for 30 s, while the bridge does, is lost; it is told to be killed."""
    bench.be("generating")
    pass_time(bench, 25, bench.control)
    assert bench.job.state is JobState.RUNNING
    pass_time(bench, 10, bench.control)
    assert (bench.job.state, bench.job.attempts, bench.job.crashes) == (JobState.QUEUED, 0, 1)
    (died,) = [event for event in bench.app.journal.events(bench.job.id) if event.event == "worker-died"]
    assert died.data["problem"].startswith("Worker 1 on node gpu-01 said nothing for 30 s: ")
    assert bench.until(lambda: bench.worker.got(protocol.Signal)) == [protocol.Signal(9)]


def test_silent_bridge_charges_nothing(bench):
    """A bridge that hangs is silent for all its workers: nothing is charged."""
    bench.be("generating")
    with capture_logs() as lines:
        for _ in range(8):
            pass_time(bench, 5, bench.worker)
    assert [line["event"] for line in lines if line["event"] in {"bridge-gone", "released", "worker-died"}] == [
        "bridge-gone",
        "released",
    ]
    assert (bench.job.state, bench.job.attempts, bench.job.crashes) == (JobState.QUEUED, 0, 0)


def test_killed_worker_without_an_answer(bench):
    """A worker that hangs is killed, and gone after some seconds although no node answers."""
    bench.be("generating")
    stall = bench.app.config.engine.stall_timeout
    bench.app.pool.workers[0].supervisor._worker.job.progressed_at -= stall + 1
    bench.turn()
    pass_time(bench, 5, bench.control, bench.worker)
    assert bench.until(lambda: bench.worker.got(protocol.Signal))[-1] == protocol.Signal(9)
    pass_time(bench, 10, bench.control, bench.worker)
    assert bench.app.pool.workers == []
    assert (bench.job.attempts, bench.job.crashes) == (1, 0), "a stall is charged as on this machine"


def test_node_with_four_deaths_rests(bench):
    """After four deaths in a row a node is left out for ten minutes, and what comes from it is told to end."""
    bench.meet().queue()
    for death in range(DEATHS_MAX):
        assert bench.control.got(protocol.Wanted)[-1].rests == {}
        bench.offer(name=f"w{death}")
        bench.until(lambda: bench.worker.got(protocol.Load))
        bench.worker.say(protocol.Ended("exited", 1, ""))
        bench.until(lambda: bench.app.pool.workers == [])
    bench.clock.now += 1
    bench.until(lambda: bench.control.got(protocol.Wanted)[-1].rests)
    assert bench.control.got(protocol.Wanted)[-1].rests == pytest.approx({"id-gpu-01": REST}, abs=2)
    line = bench.offer(name="late")
    assert bench.until(lambda: line.got(protocol.Shutdown))
    assert bench.app.remote.facts()["nodes"] == []
    bench.control.say(hand_bridge.report())
    bench.until(lambda: bench.app.remote.facts()["nodes"])
    assert bench.app.remote.facts()["nodes"][0]["rests"]
    bench.clock.now += REST
    bench.turn()
    bench.until(lambda: bench.control.got(protocol.Wanted)[-1].rests == {})


def test_clips_wait_with_the_reason(bench):
    """Clips wait on workers-away, with what the bridge says; no clip, no complaint."""
    bench.turn()
    assert bench.app.blockers.engine() is None
    bench.queue()
    bench.clock.now += 1
    bench.until(lambda: bench.job.waiting_on is Waiting.WORKERS_AWAY)
    assert "Start it: povwatch pool" in bench.job.detail
    bench.meet()
    assert bench.control.got(protocol.Wanted)[-1].workers == 1
    bench.control.say(hand_bridge.report("No node has a GPU."))
    bench.until(lambda: bench.app.remote.facts()["problems"] == ["No node has a GPU."])
    bench.clock.now += 20
    bench.until(lambda: bench.job.detail == "No node has a GPU.")
    bench.load()
    bench.until(lambda: bench.job.state is JobState.RUNNING)
    assert bench.app.blockers.engine() is None


def test_pause_wants_no_worker(bench):
    """While no clip may start, no worker is asked for."""
    bench.meet().queue()
    bench.clock.now += 1
    bench.until(lambda: bench.control.got(protocol.Wanted)[-1].workers == 1)
    bench.app.schedule.pause("alice")
    bench.clock.now += 1
    bench.until(lambda: bench.control.got(protocol.Wanted)[-1].workers == 0)
    bench.app.schedule.resume()


def test_wants_no_more_than_max(bench):
    bench.meet()
    for number in range(6):
        bench.queue(b"%d.mp4" % number)
    bench.clock.now += 1
    bench.until(lambda: bench.control.got(protocol.Wanted)[-1].workers == 4)


def test_once_gives_an_absent_bridge_up(bench):
    """--once waits some time for a bridge, and longer where a machine may be on its way."""
    bench.queue()
    bench.clock.now += 1
    bench.until(lambda: bench.app.remote.blocker)
    assert not bench.app.blockers.given_up(3)
    bench.clock.now += 61
    assert bench.app.blockers.given_up(3)
    bench.meet()
    assert not bench.app.blockers.given_up(3)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_dead_reader_is_replaced(bench, monkeypatch):
    """A bug that ends the reading thread costs what runs elsewhere no attempt, and the bridge may come again."""
    bench.be("generating")
    with monkeypatch.context() as broken:
        broken.setattr(Connection, "read", lambda _: 1 / 0)
        bench.worker.say(protocol.Heartbeat())
        until(lambda: not bench.app.remote._connections.alive)
    bench.until(lambda: bench.app.pool.workers == [])
    assert (bench.job.attempts, bench.job.crashes) == (0, 0)
    bench.meet().load()


def test_foreign_file_at_the_socket(tmp_path, monkeypatch):
    """Without a socket the daemon goes on, says why, and tries again."""
    (tmp_path / "state").mkdir()
    (tmp_path / "state/pool.sock").write_text("mine")
    with capture_logs() as lines:
        bench = Bench(tmp_path, monkeypatch)
    try:
        (unheard,) = [line for line in lines if line["event"] == "pool-unheard"]
        assert "pool.sock cannot be made: Address already in use." in unheard["problem"]
        (tmp_path / "state/pool.sock").unlink()
        bench.clock.now += 31
        bench.turn()
        bench.meet()
    finally:
        bench.close()
