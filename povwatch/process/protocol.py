"""The messages between a worker and whoever has started it: the daemon, or rank 0. Python 3.10, standard library alone.

A message is one line of JSON in ASCII, at most 1 MiB. It travels over a socket pair of its own, because a worker's
standard output belongs to the libraries that print there.
A worker on another machine speaks through `povwatch pool`, the bridge. For each of them the bridge has a connection
to the daemon's socket (remote/address.py), on which the messages of a local worker follow after an Offer. One more
connection, the control connection, is about the pool as a whole; it begins with BridgeHello.
Each line has the message's `type` and `seq`, which counts the sender's lines from 1.
A message about a job has the job's id and its attempt (`run_id`).
A line that is not exactly one of the messages below is refused as a fault, since both ends are ours.
"""

from __future__ import annotations

import json
from dataclasses import MISSING, dataclass, fields
from math import isfinite
from types import UnionType
from typing import Any, ClassVar, Union, get_args, get_origin, get_type_hints

VERSION = 3
"""Incremented whenever a message changes."""

LINE_MAX = 1024 * 1024
"""Bytes in a line, its newline included."""


class ProtocolError(ValueError):
    """A line that is no message, or a message that cannot be a line."""


@dataclass(frozen=True)
class _OfJob:
    """A message about an attempt at a job."""

    job_id: int
    run_id: str


# -- from the daemon ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Load:
    """Load the engine. Sent once, first."""

    type: ClassVar[str] = "load"
    config: dict[str, Any]


@dataclass(frozen=True)
class Generate:
    """Do this job. Sent only while no other is under way."""

    type: ClassVar[str] = "generate"
    job: dict[str, Any]
    """See port.Engine.generate."""
    run_id: str
    workdir: str
    checkpoint_dir: str

    def __post_init__(self) -> None:
        if type(self.job.get("id")) is not int:
            raise ProtocolError(f"generate.job.id is {self.job.get('id')!r}, not an int.")

    @property
    def job_id(self) -> int:
        """The job's id in the journal."""
        return int(self.job["id"])


@dataclass(frozen=True)
class Cancel(_OfJob):
    """This attempt is no longer wanted. The answer is the attempt's end, whatever that is."""

    type: ClassVar[str] = "cancel"
    why: str


@dataclass(frozen=True)
class CheckPrompts:
    """Let the text filters of the guardrail check these texts. Sent only while no job and no other check is under way.

    A job may be sent before the answer: the worker begins it afterwards.
    """

    type: ClassVar[str] = "check-prompts"
    number: int
    """Names the check in its answer."""
    texts: list[Any]


@dataclass(frozen=True)
class Shutdown:
    """Leave the job under way and exit."""

    type: ClassVar[str] = "shutdown"


# -- from the worker ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Hello:
    """The worker runs. Sent once, first."""

    type: ClassVar[str] = "hello"
    pid: int
    python: str
    protocol: int = VERSION


@dataclass(frozen=True)
class LoadProgress:
    """The load's progress: the fraction is 0 to 1, or null if unknown."""

    type: ClassVar[str] = "load-progress"
    stage: str
    fraction: float | None


@dataclass(frozen=True)
class Loaded:
    """The engine is ready for jobs."""

    type: ClassVar[str] = "loaded"
    capabilities: dict[str, Any]
    """See port.Engine.load."""


@dataclass(frozen=True)
class LoadFailed:
    """The engine cannot be loaded; the worker exits after it."""

    type: ClassVar[str] = "load-failed"
    kind: str
    message: str
    todo: str


@dataclass(frozen=True)
class Heartbeat:
    """The process still runs. Sent every second, whatever else it does."""

    type: ClassVar[str] = "heartbeat"


@dataclass(frozen=True)
class Started(_OfJob):
    """The engine has the job. If a worker dies before this, the job is not the cause."""

    type: ClassVar[str] = "started"


@dataclass(frozen=True)
class Progress(_OfJob):
    """The job's progress: `chunk` of `chunks` are finished, and `step` of `steps` of the current chunk."""

    type: ClassVar[str] = "progress"
    stage: str
    chunk: int
    chunks: int
    step: int
    steps: int

    @property
    def fraction(self) -> float:
        """Progress from 0 to 1 over chunks and steps; stages do not count."""
        within = min(1.0, self.step / self.steps) if self.steps > 0 else 0.0
        return min(1.0, (self.chunk + within) / self.chunks) if self.chunks > 0 else 0.0


@dataclass(frozen=True)
class Generated(_OfJob):
    """The job is done."""

    type: ClassVar[str] = "generated"
    artifact: dict[str, Any]
    """See port.Engine.generate."""


@dataclass(frozen=True)
class Blocked(_OfJob):
    """The guardrail refused the job."""

    type: ClassVar[str] = "blocked"
    message: str


@dataclass(frozen=True)
class Failed(_OfJob):
    """The job failed."""

    type: ClassVar[str] = "failed"
    kind: str
    """See port.FailureKind."""
    message: str
    todo: str


@dataclass(frozen=True)
class Cancelled(_OfJob):
    """The job was cancelled as asked."""

    type: ClassVar[str] = "cancelled"


@dataclass(frozen=True)
class PromptsChecked:
    """The text filters have checked the texts, or could not."""

    type: ClassVar[str] = "prompts-checked"
    number: int
    verdicts: list[Any]
    """See port.PromptChecker.check_prompts; empty if they could not."""
    kind: str
    """How they failed, see port.FailureKind; empty if they did not."""
    problem: str
    """Why they could not, as sentences; else empty."""


# -- from the daemon to the bridge -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Refused:
    """The bridge or the worker is not taken, and the connection is closed after this."""

    type: ClassVar[str] = "refused"
    why: str
    """For people, as sentences."""


@dataclass(frozen=True)
class Wanted:
    """What the pool is asked for: sent on the control connection at first, and whenever it changes."""

    type: ClassVar[str] = "wanted"
    workers: int
    """How many workers are to be asked of the cluster, those that exist included."""
    engine: str
    """See Launch.engine."""
    config: dict[str, Any]
    """The configuration that the engine is loaded with; see Load.

    Paths in it are below this machine's state folder: the bridge puts a folder of the node in its place, and for
    `{worker}` what no other worker of that node has. An Offer has it as it is here.
    """
    rests: dict[str, float]
    """Ids of nodes that get no worker for now, to the seconds that this lasts yet."""


@dataclass(frozen=True)
class Signal:
    """Send a remote worker a signal. SIGKILL ends it and its actor; then Ended follows, even if its node is silent."""

    type: ClassVar[str] = "signal"
    number: int


# -- from the bridge ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class BridgeHello:
    """The bridge runs: the first message of the control connection. The answer is Wanted or Refused."""

    type: ClassVar[str] = "bridge-hello"
    povwatch: str
    """Its version."""
    pid: int
    ray: str
    """The version of Ray."""
    address: str
    """The cluster's, for people."""
    protocol: int = VERSION


@dataclass(frozen=True)
class PoolReport:
    """The state of the cluster: sent on the control connection at changes, and every 5 s as a sign of life."""

    type: ClassVar[str] = "pool-report"
    nodes: list[dict[str, Any]]
    """The nodes, each with the fields of NODE."""
    asked: int
    """Actors that the cluster is asked for, those that run included."""
    placed: int
    """Actors that run."""
    problems: list[str]
    """Why there are no workers, or fewer than asked for; sentences for people."""

    def __post_init__(self) -> None:
        for node in self.nodes:
            if node.keys() != NODE.keys() or any(type(node[name]) is not kind for name, kind in NODE.items()):
                raise ProtocolError(f"pool-report.nodes has {str(node)[:80]}, not {', '.join(NODE)}.")


NODE = {"id": str, "name": str, "gpus": int, "workers": int, "problem": str}
"""A node in a PoolReport: how many GPUs and workers it has, and why it gets no worker, a sentence or empty."""


@dataclass(frozen=True)
class Offer:
    """A worker on another machine: the first message of its connection."""

    type: ClassVar[str] = "offer"
    worker: str
    """Its name, which no other worker ever has."""
    node: str
    """Its node's id."""
    node_name: str
    """Its node's name, for people."""
    gpus: list[str]
    """Its GPUs' names, for people."""
    pid: int
    """The worker's process id on its node."""
    engine: str
    """See Launch.engine."""
    config: dict[str, Any] | None
    """The configuration that the engine was loaded with; None if the worker waits for Load."""
    capabilities: dict[str, Any] | None
    """What the engine said when it was loaded; None if the worker waits for Load."""


@dataclass(frozen=True)
class Output:
    """Lines that a remote worker, or a library in it, printed."""

    type: ClassVar[str] = "output"
    lines: list[str]


@dataclass(frozen=True)
class Ended:
    """A remote worker is gone: the last message of its connection."""

    type: ClassVar[str] = "ended"
    reason: str
    """One of ENDS."""
    returncode: int | None
    """The exit status of the worker's process, negative for a signal; None if nobody knows it."""
    detail: str
    """For people, a sentence or empty."""

    def __post_init__(self) -> None:
        if self.reason not in ENDS:
            raise ProtocolError(f"ended.reason is {self.reason[:80]!r}, not one of {', '.join(ENDS)}.")


ENDS = ("exited", "actor", "node", "network", "stopped", "files")
"""Why a remote worker is gone: its process ended, its actor died, its node is gone, nothing is heard of it, the daemon
asked for it, or its files could not be carried."""

FromDaemon = Union[Load, Generate, Cancel, CheckPrompts, Shutdown]  # noqa: UP007 - get_args takes it apart below
FromWorker = Union[  # noqa: UP007
    Hello,
    LoadProgress,
    Loaded,
    LoadFailed,
    Heartbeat,
    Started,
    Progress,
    Generated,
    Blocked,
    Failed,
    Cancelled,
    PromptsChecked,
]
ToBridge = Union[Refused, Wanted, Signal]  # noqa: UP007
FromBridge = Union[BridgeHello, PoolReport, Offer, Output, Ended]  # noqa: UP007
Message = Union[FromDaemon, FromWorker, ToBridge, FromBridge]  # noqa: UP007

_BY_TYPE: dict[str, type[Message]] = {kind.type: kind for kind in get_args(Message)}
_HINTS: dict[str, dict[str, Any]] = {
    name: {field: hint for field, hint in get_type_hints(kind).items() if field != "type"}
    for name, kind in _BY_TYPE.items()
}


def encode(message: Message, seq: int) -> bytes:
    """The message as a line, its newline included.

    Raises:
        ProtocolError: The message has a value that JSON does not have, or the line would be too long.
    """
    values = {field.name: getattr(message, field.name) for field in fields(message)}
    try:
        text = json.dumps({"type": message.type, "seq": seq, **values}, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        raise ProtocolError(f"{message.type}: {error}.") from error
    line = text.encode("ascii") + b"\n"
    if len(line) > LINE_MAX:
        raise ProtocolError(f"{message.type}: the line would be {len(line)} bytes, at most {LINE_MAX} are sent.")
    return line


def decode(line: bytes) -> tuple[Message, int]:
    """A line's message, and its `seq`.

    Raises:
        ProtocolError: The line is not exactly one of the messages above.
    """
    if len(line) > LINE_MAX:
        raise ProtocolError(f"A line of {len(line)} bytes came, at most {LINE_MAX} are taken.")
    try:
        values = json.loads(line, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"Not JSON: {error}: {line[:80]!r}.") from error
    if not isinstance(values, dict):
        raise ProtocolError(f"Not an object: {line[:80]!r}.")
    name, seq = values.pop("type", None), values.pop("seq", None)
    kind = _BY_TYPE.get(name) if isinstance(name, str) else None
    if kind is None:
        raise ProtocolError(f"Unknown type {name!r}.")
    if type(seq) is not int or seq < 1:
        raise ProtocolError(f"{name}.seq is {seq!r}, not a count.")
    _check(kind, values)
    return kind(**values), seq


def _check(kind: type[Message], values: dict[str, Any]) -> None:
    hints = _HINTS[kind.type]
    required = {field.name for field in fields(kind) if field.default is MISSING}
    if missing := required - values.keys():
        raise ProtocolError(f"{kind.type} lacks {', '.join(sorted(missing))}.")
    if unknown := values.keys() - hints.keys():
        raise ProtocolError(f"{kind.type} has unknown {', '.join(sorted(unknown))}.")
    for name, value in values.items():
        if not _fits(value, hints[name]):
            raise ProtocolError(f"{kind.type}.{name} is {str(value)[:80]!r}, not {hints[name]}.")


def _fits(value: object, hint: Any) -> bool:  # noqa: ANN401 - a type, or what typing makes of one
    if isinstance(hint, UnionType):
        return any(_fits(value, one) for one in get_args(hint))
    if hint is float:
        return type(value) is int or (type(value) is float and isfinite(value))
    if hint is Any:
        return True
    if type(value) is not (get_origin(hint) or hint):  # a bool is no int here
        return False
    within = list(value) if isinstance(value, list) else list(value.values()) if isinstance(value, dict) else []
    return all(_fits(one, get_args(hint)[-1]) for one in within)


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")
