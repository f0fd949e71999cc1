"""The Ray cluster: the only file that imports Ray.

Ray places actors, carries calls, and says what has died. All that follows from it is decided elsewhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import ray
from ray import exceptions

from povwatch.bridge.head import reach
from povwatch.bridge.host import Host
from povwatch.bridge.losses import Broken, Lost, Unreachable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection

NAMESPACE = "povwatch"

SUPPORTED = ((2, 57), (3, 0))
"""The versions of Ray: from the first on, before the second."""

HEAD_SECONDS = 10.0
"""Seconds for the head to say which nodes there are."""

LACKS_SECONDS = 60.0
"""Seconds for a node to try an import."""

CALLS = 8
"""Calls that an actor handles at once: what the worker says is one, for as long as it lives."""

NODE_ID = "ray.io/node-id"
"""The label that every node has."""

TOKEN = "Whoever reaches Ray's ports runs programs on every node: set RAY_AUTH_MODE=token for all of them, and here."  # noqa: S105 - words


@dataclass(frozen=True, slots=True)
class NodeSeen:
    """A living node."""

    id: str
    name: str
    """Its host's name, with the address if several have it."""
    gpus: int


class Cluster:
    """A connection to a Ray cluster. A process has one at most, and Ray ends it if the head is gone for a minute."""

    def __init__(self, address: str) -> None:
        """`address`: the head's, as host:port; empty for the cluster that this machine belongs to."""
        self.address = address

    @property
    def version(self) -> str:
        """Ray's."""
        return str(ray.__version__)

    def connect(self) -> str:
        """Connect. Blocks, for some seconds at most.

        Returns:
            What is not as it should be, as a sentence; empty if nothing is.

        Raises:
            Unreachable: that is impossible.
        """
        if problem := unsupported(self.version):
            raise Unreachable(problem)
        if self.address:
            _require_reachable(self.address)
            _ask_head(self.address)
        try:
            ray.init(
                self.address or "auto",
                namespace=NAMESPACE,
                log_to_driver=False,
                logging_level=logging.CRITICAL,
                configure_logging=True,
            )
        except Exception as error:
            with contextlib.suppress(Exception):
                ray.shutdown()
            raise Unreachable(_unreachable(error, self.address)) from error
        return "" if os.environ.get("RAY_AUTH_MODE") == "token" else TOKEN

    def close(self) -> None:
        """Disconnect. Every actor ends."""
        with contextlib.suppress(Exception):
            ray.shutdown()

    def nodes(self) -> list[NodeSeen]:
        """The living nodes. Blocks; while the head is away, for ever."""
        living = [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
        names = [str(node["NodeManagerHostname"]) for node in living]
        return [
            NodeSeen(
                str(node["NodeID"]),
                name if names.count(name) == 1 else f"{name} ({node['NodeManagerAddress']})",
                int(node["Resources"].get("GPU", 0)),
            )
            for node, name in zip(living, names, strict=True)
        ]

    def ask(self, gpus: int, avoid: Collection[str], *, on: str = "") -> Actor:
        """Ask for an actor. It is placed when a node has that many GPUs free.

        Args:
            gpus: that it occupies, as Ray counts them.
            avoid: ids of nodes where it may not be.
            on: the id of the only node where it may be; empty if it may be elsewhere too.
        """
        kept_off = {NODE_ID: f"!in({','.join(sorted(avoid))})"} if avoid else None
        made = ray.remote(Host).options(
            num_gpus=gpus,
            num_cpus=0,
            max_restarts=0,
            max_task_retries=0,
            max_concurrency=CALLS,
            label_selector={NODE_ID: on} if on else kept_off,
        )
        return Actor(made.remote())

    async def lacks(self, node_id: str) -> str:
        """What a node's Python lacks to run a Host, as a sentence; empty if nothing, or if nobody knows."""
        task = ray.remote(_importer()).options(num_cpus=0, max_retries=0, label_selector={NODE_ID: node_id})
        try:
            return str(await asyncio.wait_for(task.remote(), LACKS_SECONDS))
        except (TimeoutError, exceptions.RayError):
            return ""


class Actor:
    """A Host on a node, or one that is asked for."""

    def __init__(self, handle: Any) -> None:  # noqa: ANN401 - Ray's
        self._handle = handle
        self.where: str | None = None
        """The id of its node; None while it is not placed."""

    async def about(self) -> dict[str, Any]:
        """Wait until it is placed; return `node`, `name`, `pid`, `povwatch`, `protocol` and `python` of it.

        Raises:
            Lost: as `call`.
            Broken: as `call`.
        """
        found: dict[str, Any] = await self._answered(self._handle.__ray_call__.remote(_teller()))
        self.where = found["node"]
        return found

    async def call(self, method: str, *arguments: Any) -> Any:  # noqa: ANN401 - as the method has it
        """Call a method of Host.

        Raises:
            Lost: the actor is gone.
            Broken: the method has raised something, or the connection broke; it may have run.
        """
        return await self._answered(getattr(self._handle, method).remote(*arguments))

    async def says(self) -> AsyncIterator[list[list[Any]]]:
        """Yield what Host.says yields.

        Raises:
            Lost, Broken: as `call`.
        """
        with _translated(self):
            stream = self._handle.says.options(num_returns="streaming").remote()
            async for reference in stream:
                yield await reference

    def kill(self) -> None:
        """End it, or ask for it no more. Its reaper ends what it has started."""
        with contextlib.suppress(Exception):
            ray.kill(self._handle, no_restart=True)

    async def _answered(self, reference: Any) -> Any:  # noqa: ANN401 - Ray's
        with _translated(self):
            return await reference


LOSSES = (
    exceptions.RayActorError,  # ActorDiedError and ActorUnavailableError are below it
    exceptions.NodeDiedError,
    exceptions.WorkerCrashedError,
    exceptions.OutOfMemoryError,
    exceptions.OwnerDiedError,
    exceptions.ObjectLostError,
)


@contextlib.contextmanager
def _translated(actor: Actor) -> Any:  # noqa: ANN401 - a context manager's
    """Turn Ray's exceptions into those of losses.py.

    What a method raises is a RayTaskError, which is also of the type of the cause. So it comes first.
    """
    try:
        yield
    except exceptions.RayTaskError as error:
        raise Broken(str(getattr(error, "cause", error)), passing=False) from error
    except exceptions.ActorUnavailableError as error:
        raise Broken("The connection to its actor broke.", passing=True) from error
    except LOSSES as error:
        raise _loss(error, actor) from error
    except exceptions.RayError as error:
        raise Broken(f"Ray: {_first_line(error)}", passing=False) from error


def _loss(error: Exception, actor: Actor) -> Lost:
    text = str(error)
    if isinstance(error, exceptions.OutOfMemoryError) or "OOM" in text.partition("Some common causes")[0]:
        return Lost("actor", "Ray has ended the actor, because its node was short of memory.")
    if isinstance(error, exceptions.NodeDiedError) or "node died" in text or "node has died" in text:
        return Lost("node", "Its node is gone.")
    if "creation task" in text:
        return Lost("actor", f"Its actor could not begin: {_last_line(text)}")
    del actor
    return Lost("actor", "Its actor died.")


def _importer() -> Callable[[], str]:
    """A function that Ray carries whole, so that it also runs where there is no povwatch."""

    def lacks() -> str:
        import sys as python  # noqa: PLC0415 - on the node

        try:
            import povwatch.bridge.host  # noqa: F401, PLC0415
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told
            return f"{python.executable} says: {error}."
        return ""

    return lacks


def _teller() -> Callable[[Any], dict[str, Any]]:
    """A function that Ray carries whole, so that it also runs where povwatch is another one."""

    def tell(_: object) -> dict[str, Any]:
        import os as system  # noqa: PLC0415 - on the node
        import socket as network  # noqa: PLC0415
        import sys as python  # noqa: PLC0415

        import ray as cluster  # noqa: PLC0415

        import povwatch  # noqa: PLC0415
        from povwatch.process import protocol  # noqa: PLC0415

        return {
            "node": cluster.get_runtime_context().get_node_id(),
            "name": network.gethostname(),
            "pid": system.getpid(),
            "povwatch": povwatch.__version__,
            "protocol": protocol.VERSION,
            "python": python.executable,
            "file": povwatch.__file__,
        }

    return tell


def unsupported(version: str) -> str:
    """Why this version of Ray cannot be used, as sentences; empty if it can."""
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if SUPPORTED[0] <= numbers < SUPPORTED[1]:
        return ""
    return f"Ray is {version} here, and 2.57 or later is needed, before 3. Install it: script/bootstrap --pool"


def _require_reachable(address: str) -> None:
    """Say early and clearly that nobody listens."""
    try:
        reach(address)
    except OSError as error:
        port, why = address.rpartition(":")[2], error.strerror or str(error)
        raise Unreachable(
            f"Nobody listens at {address} ({why}). Start the cluster's head there: ray start --head --port={port}"
        ) from error


def _ask_head(address: str) -> None:
    """Find out whether the head takes us, and whether a node runs here: ray.init may end the process, or not say it."""
    client = getattr(ray._raylet, "GcsClient", None)  # noqa: SLF001 - Ray's own commands use it, and it may move
    if client is None:
        return
    try:
        nodes = client(address=address).get_all_node_info(timeout=HEAD_SECONDS)
    except exceptions.AuthenticationError as error:
        raise Unreachable(_unreachable(error, address)) from error
    except Exception as error:
        raise Unreachable(f"What listens at {address} does not answer as a Ray head: {_first_line(error)}") from error
    if not any(os.path.exists(node.raylet_socket_name) for node in nodes.values()):  # noqa: PTH110 - Ray's
        raise Unreachable(_foreign(address))


def _unreachable(error: Exception, address: str) -> str:
    """Why there is no connection, and what to do."""
    text = str(error)
    where = address or "this machine"
    if isinstance(error, exceptions.AuthenticationError) or "uthenticat" in text or "token" in text.lower():
        have = "one that the cluster refuses" if _has_token() else "none"
        return (
            f"The cluster at {where} asks for a token, and here is {have}. Copy pool.token from the state folder of "
            "the head's povwatch to the one here (mode 600); or set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN_PATH to "
            "that of the head."
        )
    if "ersion mismatch" in text:
        return (
            f"The cluster at {where} runs another Ray or Python: {_last_line(text)} Install the same on all machines."
        )
    if not address:
        return "No Ray runs on this machine. Start its cluster: ray start --head --port=6379, or set pool.address."
    if isinstance(error, ConnectionError) or "node_ip_address" in text or "No node" in text:
        return f"{_foreign(address)} ({_first_line(error)})"
    return f"The cluster at {where} cannot be reached: {_first_line(error)}"


def _foreign(address: str) -> str:
    return (
        f"This machine does not belong to the cluster at {address}. Let it: ray start --address={address} --num-gpus=0"
    )


def _has_token() -> bool:
    named = os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH")
    return bool(named) or os.path.exists(os.path.expanduser("~/.ray/auth_token"))  # noqa: PTH110, PTH111


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _last_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")


async def in_thread(function: Callable[..., Any], *arguments: Any) -> Any:  # noqa: ANN401 - as the function has it
    """Run what blocks in a thread."""
    return await asyncio.get_running_loop().run_in_executor(None, function, *arguments)
