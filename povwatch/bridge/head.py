"""The head of the cluster on this machine, where pool.address is empty and no Ray runs here yet.

`povwatch pool` keeps it for as long as it runs itself: other bridges come and go below it. If it dies it is started
anew; the nodes then join again (join.py).
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from povwatch.bridge import token
from povwatch.bridge.ray_here import HEAD_PORT, RayHere, folder_of_ray
from povwatch.core.events import say
from povwatch.core.retry import backoff

if TYPE_CHECKING:
    from collections.abc import Iterator

    from povwatch.config.settings import Config

NAME = "pool.head"
"""The file below the state folder with the address of a head that `povwatch pool` has started."""

CURRENT = Path("/tmp/ray/ray_current_cluster")  # noqa: S108 - Ray's own
"""Where `ray start` leaves the address of this machine's cluster."""

CONNECT_SECONDS = 5.0
"""Seconds for a head's port to answer."""

START_SECONDS = 60.0
"""Seconds for a head to start, on a machine that is busy."""

TURN = 0.5


def address_of(config: Config) -> str:
    """The cluster's address: pool.address, else that of the head that runs here; empty if none runs."""
    if config.pool.address:
        return config.pool.address
    known = [os.environ.get("RAY_ADDRESS", "")]
    for file in (config.paths.state / NAME, CURRENT):
        with contextlib.suppress(OSError):
            known.append(file.read_text().strip())
    return next((address for address in known if answers(address)), "")


def answers(address: str) -> bool:
    """Whether somebody listens at an address."""
    try:
        reach(address)
    except (OSError, ValueError):
        return False
    return True


def reach(address: str) -> None:
    """Open a connection to an address and close it.

    Raises:
        OSError: nobody listens there.
        ValueError: it is not of the form host:port.
    """
    host, _, port = address.rpartition(":")
    if not host:
        raise ValueError(address)
    socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()


@contextlib.contextmanager
def head_if_needed(config: Config) -> Iterator[str]:
    """Have a head run here for as long as the context lasts, unless there is a cluster. Yields the cluster's address.

    Raises:
        ConfigError: its token may be read by others.
        OSError: its files cannot be made.
    """
    if address := address_of(config):
        token.use(config.paths.state)
        yield address
        return
    if token.MODE not in os.environ:
        token.make(config.paths.state)
    file = token.use(config.paths.state)
    address = f"{own_address()}:{HEAD_PORT}"
    with folder_of_ray() as folder, _kept(address, folder):
        place = config.paths.state / NAME
        place.write_text(f"{address}\n")
        say("pool-head", address=address, token=file or "Ray's token")
        try:
            yield address
        finally:
            place.unlink(missing_ok=True)


def own_address() -> str:
    """This machine's address in its network. No packet is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        try:
            asking.connect(("192.0.2.1", 9))  # an address for documents: only the route counts
        except OSError:
            return "127.0.0.1"
        return str(asking.getsockname()[0])


@contextlib.contextmanager
def _kept(address: str, folder: Path) -> Iterator[None]:
    """Keep a head running, in a thread, and wait until it runs."""
    over, runs = threading.Event(), threading.Event()
    thread = threading.Thread(target=_keep, args=(address, folder, over, runs), name="head", daemon=True)
    thread.start()
    try:
        runs.wait(START_SECONDS)
        yield
    finally:
        over.set()
        thread.join()


def _keep(address: str, folder: Path, over: threading.Event, runs: threading.Event) -> None:
    host, port = address.rsplit(":", 1)
    options = ["--head", f"--node-ip-address={host}", f"--port={port}", "--num-gpus=0", "--include-dashboard=false"]
    failures = 0
    while not over.is_set():
        begun = time.monotonic()
        try:
            head = RayHere([*options, "--no-monitor"], folder)
        except OSError as error:
            why = f"It cannot be started: {error.strerror}."
        else:
            while head.listen(TURN) and not over.is_set():
                if head.begun:
                    runs.set()
            head.end()
            why = head.why
        if over.is_set():
            return
        failures = 1 if time.monotonic() - begun > START_SECONDS else failures + 1
        say("pool-head-died", address=address, problem=why, seconds=round(backoff(failures)))
        runs.set()
        over.wait(backoff(failures))
