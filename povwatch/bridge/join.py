"""Has this machine work for a pool: script/pool-node, once it has set everything up.

    python -m povwatch.bridge.join HEAD[:PORT] [--gpus N] [--token FILE] [--config FILE]

It runs until Ctrl-C. While the head is away it waits for it, and joins again. At the end nothing of Ray is left here,
nor anything that ran for the pool.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import socket
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from povwatch import __version__
from povwatch.bridge import token
from povwatch.bridge.head import answers
from povwatch.bridge.host import state_folder
from povwatch.bridge.ray_here import HEAD_PORT, RayHere, folder_of_ray
from povwatch.config.load import load_config
from povwatch.core.errors import ConfigError, MachineError, PovwatchError
from povwatch.core.events import say
from povwatch.core.retry import backoff
from povwatch.core.waker import Waker
from povwatch.gpu.nvml import read_gpus
from povwatch.service import log

if TYPE_CHECKING:
    from collections.abc import Sequence

PROVEN = 120.0
"""Seconds after which a connection counts as good: the pauses after failures start anew."""

TURN = 0.5

MISMATCH = re.compile(
    r"cluster was started with:\s*Ray: (\S+)\s*Python: (\S+).*?started with:\s*Ray: (\S+)\s*Python: (\S+)", re.DOTALL
)
"""What `ray start` says of a head with another Ray or Python."""


def main(words: Sequence[str]) -> int:
    """Join until a signal; the exit status."""
    asked = _parsed(words)
    log.configure()
    try:
        Joined(asked).run()
    except PovwatchError as error:
        sys.stderr.write(f"{error}\n")
        return 2 if isinstance(error, ConfigError) else 3
    except OSError as error:
        sys.stderr.write(f"This machine cannot join: {error}.\n")
        return 3
    return 0


def _parsed(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="script/pool-node", add_help=False)
    parser.add_argument("head")
    parser.add_argument("--gpus", type=int)
    parser.add_argument("--token", type=Path)
    parser.add_argument("--config", type=Path)
    return parser.parse_args(words)


class Joined:
    """This machine's part in the cluster."""

    def __init__(self, asked: argparse.Namespace) -> None:
        """Look whether it can join.

        Args:
            asked: the options.

        Raises:
            ConfigError: an option or the token is wrong.
            MachineError: there is no GPU.
            OSError: the token cannot be read.
        """
        self._address = with_port(asked.head)
        self._gpus = gpus(asked.gpus)
        find_token(asked.token, load_config(asked.config).paths.state, self._address)
        self._waker = Waker()
        self._stopped = False

    def run(self) -> None:
        """Join, and join again, until a signal.

        Raises:
            MachineError: the head does not take this machine.
            OSError: Ray cannot be started.
        """
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._stop)
        failures, said = 0, False
        with folder_of_ray() as folder:
            while not self._ended():
                if not answers(self._address):
                    if not said:
                        say("node-waits", address=self._address)
                    said = True
                    self._waker.sleep(2.0)
                    continue
                said = False
                begun = time.monotonic()
                why = self._once(folder)
                if self._ended():
                    break
                failures = 1 if time.monotonic() - begun > PROVEN else failures + 1
                say("node-left", address=self._address, problem=why, seconds=round(backoff(failures)))
                self._waker.sleep(backoff(failures))
        say("node-stopped", address=self._address)

    def _once(self, folder: Path) -> str:
        """Belong to the cluster until it is over; why it is, as a sentence."""
        ray = RayHere([f"--address={self._address}", f"--num-gpus={self._gpus}"], folder)
        told = False
        try:
            while ray.listen(TURN) and not self._ended():
                if ray.begun and not told:
                    say(
                        "node-works",
                        address=self._address,
                        node=socket.gethostname(),
                        gpus=self._gpus,
                        version=__version__,
                        state=state_folder(),
                    )
                    told = True
        finally:
            ray.end()
        if not ray.begun and not self._ended():
            refuse(ray.last_words, self._address)
        return ray.why

    def _ended(self) -> bool:
        """Whether it was stopped, by a signal that may come at any moment."""
        return self._stopped

    def _stop(self, *_: object) -> None:
        self._stopped = True
        self._waker.wake()


def refuse(said: str, address: str) -> None:
    """Tell apart what no other try can mend.

    Args:
        said: the last words of `ray start`.

    Raises:
        MachineError: that.
    """
    if found := MISMATCH.search(said):
        ray, python, our_ray, our_python = found.groups()
        if ray != our_ray:
            raise MachineError(
                f"The head at {address} has Ray {ray}, and here it is {our_ray}.",
                "Take the same povwatch on all machines, and run this again: its lock has one Ray.",
            )
        minor = ".".join(python.split(".")[:2])
        raise MachineError(
            f"The head at {address} has Python {python}, and here it is {our_python}: Ray needs the same one.",
            f"Remove .venv here, then: POVWATCH_PYTHON=python{minor} script/pool-node {address}",
        )
    if re.search(r"[Aa]uthenticat|[Tt]oken|UNAUTHENTICATED", said):
        file = os.environ.get(token.PATH, "Ray's token")
        raise MachineError(
            f"The head at {address} refuses the token in {file}.",
            f"Copy that of the first machine again: its {token.NAME}, from its state folder, with mode 600.",
        )


def with_port(head: str) -> str:
    """The head's address, with its port.

    Raises:
        ConfigError: it is none.
    """
    host, colon, port = head.rpartition(":")
    if not colon:
        host, port = head, str(HEAD_PORT)
    if not host or not port.isdigit():
        raise ConfigError(f"{head!r} is no address.", f"Name the first machine: script/pool-node gpu-01:{HEAD_PORT}")
    try:
        socket.getaddrinfo(host.strip("[]"), int(port))
    except (OSError, UnicodeError) as error:
        raise ConfigError(
            f"No machine is called {host}: {getattr(error, 'strerror', None) or error}.",
            "Correct its name, or write its address.",
        ) from error
    return f"{host}:{port}"


def gpus(asked: int | None) -> int:
    """How many GPUs Ray counts here.

    Raises:
        MachineError: none.
    """
    if asked is not None:
        return asked
    seen = read_gpus()
    if not seen.found:
        raise MachineError(
            f"This machine has no GPU for the pool: {seen.problem or 'the driver shows none'}.",
            "Install NVIDIA's driver; or, for an engine without a GPU, say how many workers it may have: --gpus 2",
        )
    return len(seen.found)


def find_token(asked: Path | None, state: Path, address: str) -> None:
    """Have Ray use the token.

    Raises:
        ConfigError: there is none, or others may read it.
    """
    if asked is not None:
        if not asked.is_file():
            raise ConfigError(f"There is no token in {asked}.", _copied(asked, address))
        token.refuse_open(asked)
        os.environ.update({token.MODE: "token", token.PATH: str(asked.resolve())})
    if token.use(state) is None and token.MODE not in os.environ:
        raise ConfigError(f"There is no token in {state / token.NAME}.", _copied(state / token.NAME, address))


def _copied(file: Path, address: str) -> str:
    host = address.rpartition(":")[0]
    return (
        f"Copy it from the state folder of the first machine: mkdir -p {file.parent} && "
        f"scp {host}:povwatch/.povwatch/{token.NAME} {file} && chmod 600 {file}"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
