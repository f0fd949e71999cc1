"""Looks at the cluster for `povwatch doctor`, in a process of its own: doctor itself does not import Ray.

    python -m povwatch.bridge.check [--config FILE] [--anonymous]

It prints findings as lines of JSON, each with `about`, `seen`, `todo` and `fatal` (povwatch/cli/finding.py). Nodes are
looked at as before they get their first worker, by an actor that occupies no GPU.
With --anonymous it only tries whether the cluster takes somebody without a token: {"open": true}.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from povwatch import __version__
from povwatch.bridge import token
from povwatch.bridge.bridge import needs
from povwatch.bridge.head import address_of
from povwatch.bridge.losses import Broken, Lost, Unreachable
from povwatch.bridge.nodes import Nodes, Refused
from povwatch.config.load import load_config
from povwatch.core.errors import PovwatchError
from povwatch.service import log

if TYPE_CHECKING:
    from collections.abc import Sequence

    from povwatch.bridge.cluster import Cluster
    from povwatch.bridge.nodes import Node
    from povwatch.config.settings import Config

PLACE_SECONDS = 30.0
"""Seconds for a process to start on a node."""


def main(words: Sequence[str]) -> None:
    """Look, and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", type=Path)
    parser.add_argument("--anonymous", action="store_true")
    asked = parser.parse_args(words)
    log.configure()
    config = load_config(asked.config)
    if asked.anonymous:
        os.environ[token.MODE] = "disabled"
    else:
        token.use(config.paths.state)
    address = address_of(config)
    if not address:
        _print_line(
            "cluster", "no Ray runs on this machine", "The bridge to the pool starts its head: script/run does so."
        )
        return
    from povwatch.bridge.cluster import Cluster  # noqa: PLC0415 - Ray reads the variables as it is imported

    cluster = Cluster(address)
    try:
        cluster.connect()
    except Unreachable as error:
        if asked.anonymous:
            _print({"open": False})
        else:
            _print_line("cluster", address, str(error), fatal=True)
        return
    if asked.anonymous:
        _print({"open": True})
        return
    try:
        asyncio.run(_look(cluster, config, address))
    finally:
        cluster.close()


async def _look(cluster: Cluster, config: Config, address: str) -> None:
    nodes = Nodes(cluster, needs(config))
    nodes.update(cluster.nodes())
    each = config.pool.gpus_per_worker
    able = [node for node in nodes if node.gpus >= each]
    problems = await asyncio.gather(*(_node(cluster, nodes, node, config) for node in able))
    places = sum(node.gpus // each for node in able)
    todo = "" if able else f"No node has {each} GPU(s) for a worker. Join one: script/pool-node {address}"
    _print_line("cluster", f"{address}, with Ray {cluster.version}: room for {places} worker(s)", todo)
    for node in nodes:
        if node not in able:
            _print_line("node", f"{node.name}: {node.gpus} GPU(s), no place for a worker")
    streams = config.pool.files == "stream"
    files = "files are sent there" if streams else f"{config.paths.outputs} is the same folder there"
    for node, problem in zip(able, problems, strict=True):
        seen = f"{node.name}: {node.gpus} GPU(s)"
        _print_line("node", seen if problem else f"{seen}, povwatch {__version__}, {files}", problem)


async def _node(cluster: Cluster, nodes: Nodes, node: Node, config: Config) -> str:
    """What is wrong with a node, as sentences; empty if nothing is."""
    actor = cluster.ask(0, (), on=node.id)
    try:
        about = await asyncio.wait_for(actor.about(), PLACE_SECONDS)
        await nodes.admit(node, actor, about, config.engine.kind)
    except Refused as refusal:
        return str(refusal)
    except TimeoutError:
        return f"It starts no process within {PLACE_SECONDS:g} s: look at its load, and at the free space of its /tmp."
    except (Lost, Broken) as error:
        detail = error.detail if isinstance(error, Lost) else str(error)
        lack = await cluster.lacks(node.id)
        return f"povwatch cannot be used there: {lack} Set it up there: script/pool-node" if lack else detail
    finally:
        actor.kill()
    return node.problem


def _print_line(about: str, seen: str, todo: str = "", *, fatal: bool = False) -> None:
    _print({"about": about, "seen": seen, "todo": todo, "fatal": fatal})


def _print(line: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (PovwatchError, OSError) as problem:
        _print_line("cluster", "it could not be looked at", str(problem), fatal=True)
