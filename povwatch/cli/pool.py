"""povwatch pool: lets the machines of a Ray cluster work for the daemon."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import sys
from typing import TYPE_CHECKING

import typer

from povwatch.bridge.bridge import Bridge
from povwatch.bridge.head import head_if_needed
from povwatch.bridge.supervise import VARIABLE, held, supervise
from povwatch.cli.app import shared, verbs
from povwatch.core.errors import ConfigError, PovwatchError
from povwatch.core.events import say
from povwatch.process.lifeline import die_with_parent
from povwatch.service import log

if TYPE_CHECKING:
    from povwatch.config.settings import Config

INSTALL = "Install it: script/bootstrap --pool (as a service: sudo /opt/povwatch/script/bootstrap --pool)"


@verbs.command()
def pool(context: typer.Context) -> None:
    """Have other machines work for the daemon, as [pool] says, until it is stopped."""
    config = shared(context).config()
    log.configure()
    if config.pool.kind == "local":
        say("bridge-idle", origin=config.origin)
        return
    if importlib.util.find_spec("ray") is None:
        raise ConfigError('[pool] kind = "ray" needs Ray, and it is not installed.', INSTALL)
    parent = os.environ.pop(VARIABLE, "")
    if parent:
        die_with_parent(int(parent))
        _run(config)
        return
    try:
        with held(config.paths.state), head_if_needed(config) as address:
            os.environ["POVWATCH_POOL__ADDRESS"] = address
            raise typer.Exit(supervise([sys.executable, "-m", "povwatch", *_options(context), "pool"]))
    except OSError as error:
        raise PovwatchError(
            f"The bridge to the pool cannot work in {config.paths.state}: {error.strerror}.",
            "Run it as the user of the daemon; under systemd: systemctl start povwatch-pool",
        ) from error


def _options(context: typer.Context) -> list[str]:
    file = shared(context).config_file
    return ["--config", str(file)] if file is not None else []


def _run(config: Config) -> None:
    from povwatch.bridge.cluster import Cluster  # noqa: PLC0415 - it imports Ray, and no other command may

    cluster = Cluster(config.pool.address)
    try:
        asyncio.run(Bridge(config, cluster).run())
    finally:
        cluster.close()
