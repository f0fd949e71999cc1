"""What doctor says of the pool of workers on other machines. It does not import Ray: a child process looks."""

from __future__ import annotations

import fcntl
import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from povwatch.bridge import token
from povwatch.bridge.head import address_of
from povwatch.bridge.supervise import LOCK
from povwatch.cli.finding import Finding
from povwatch.cli.pool import INSTALL
from povwatch.core.command import command
from povwatch.core.errors import ConfigError
from povwatch.process.start import child_environment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from povwatch.config.settings import Config

LOOK_SECONDS = 180.0
"""Seconds for the child: each node answers within 90 s, or is refused."""

OPEN = (
    "Whoever reaches Ray's ports runs programs on every machine of the pool. End its head and start it with a token: "
    "docs/several-machines.md#who-may-join"
)


def pool(config: Config) -> Iterator[Finding]:
    """Ray, the bridge, the token, the cluster, and each node of it; nothing if there is no pool."""
    if config.pool.kind == "local":
        return
    alone = config.engine.workers == 0  # then nothing is done without the pool
    try:
        yield Finding("ray", importlib.metadata.version("ray"))
    except importlib.metadata.PackageNotFoundError:
        yield Finding("ray", '[pool] kind = "ray" needs Ray, and it is not installed', INSTALL, fatal=alone)
        return
    yield _bridge(config)
    named = token.MODE in os.environ
    try:
        file = token.use(config.paths.state)
    except ConfigError as error:
        yield Finding("token", error.what, error.todo, fatal=True)
        return
    if file is not None and not os.access(file, os.R_OK):
        yield Finding(
            "token", f"this user may not read {file}", f"Run as povwatch's: sudo -u povwatch {command('doctor')}"
        )
        return
    address = address_of(config)
    found = list(_asked(config)) if address else []
    unreachable = next((one for one in found if one.fatal), None)
    if address and unreachable is None and _open(config):
        yield Finding("token", f"the cluster at {address} takes everybody, without a token", OPEN, fatal=True)
    elif file is not None:
        yield Finding("token", f"{file}, for this user alone")
    elif named and os.environ[token.MODE] == "token":
        yield Finding("token", f"{os.environ.get(token.PATH) or 'as RAY_AUTH_TOKEN or ~/.ray/auth_token has it'}")
    elif address:
        yield Finding("token", "none is here", f"Copy {token.NAME} of the head to {config.paths.state / token.NAME}.")
    else:
        yield Finding("token", f"{config.paths.state / token.NAME} is made with the cluster's head")
    if not address:
        todo = f"{command('pool')} starts its head; script/run runs both."
        yield Finding("cluster", "pool.address is empty, and no Ray runs on this machine", todo)
    yield from found


def _bridge(config: Config) -> Finding:
    """Whether `povwatch pool` runs: it holds a lock."""
    try:
        fd = os.open(config.paths.state / LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        fd = -1
    if fd >= 0:
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.pread(fd, 32, 0).decode(errors="replace").strip()
            return Finding("pool", f"{command('pool')} runs (pid {pid})")
        finally:
            os.close(fd)
    return Finding("pool", "the bridge does not run", f"Start it beside the daemon: {command('pool')}, or script/run.")


def _asked(config: Config) -> Iterator[Finding]:
    try:
        lines = _look(config)
    except (subprocess.SubprocessError, ValueError) as error:
        why = f"within {LOOK_SECONDS:.0f} s" if isinstance(error, subprocess.TimeoutExpired) else "at all"
        todo = f"Look at the cluster's head, and at `ray status` there ({type(error).__name__})."
        yield Finding("cluster", f"it gives no answer {why}", todo, fatal=True)
        return
    yield from (Finding(**line) for line in lines)


def _open(config: Config) -> bool:
    """Whether the cluster takes somebody without a token; not so if that is unknown."""
    try:
        return any(line.get("open") for line in _look(config, "--anonymous"))
    except (subprocess.SubprocessError, ValueError):
        return False


def _look(config: Config, *options: str) -> list[dict[str, Any]]:
    file = ["--config", config.origin] if Path(config.origin).exists() else []
    done = subprocess.run(  # noqa: S603 - our own module
        [sys.executable, "-m", "povwatch.bridge.check", *file, *options],
        capture_output=True,
        text=True,
        timeout=LOOK_SECONDS,
        check=True,
        stdin=subprocess.DEVNULL,
        env=child_environment(),
    )
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
