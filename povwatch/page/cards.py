"""What the page says about a job, from the journal. Pure.

All texts are printable, on one line, but for the JSON as it was run. Times are seconds since the epoch.
"""

from __future__ import annotations

import json
import posixpath
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from povwatch.core import layout, looks
from povwatch.core.command import command
from povwatch.core.errors import JournalError
from povwatch.core.job import BAD_ENDS, CLAIMED, Job, JobState, Waiting
from povwatch.core.layout import shown
from povwatch.grace.clock import CLOCK_RUNS
from povwatch.journal import members
from povwatch.ops.report.gather import line_of, seeds_of, spec_of
from povwatch.publish import Sealed
from povwatch.service.log import one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from povwatch.journal.reader import Event

VERSIONS_MAX = 99
"""The most versions of a result's name that are tried."""


def describe(job: Job, events: Sequence[Event], now: float) -> dict[str, Any]:
    """What the page says about a job.

    Args:
        events: its history, oldest first.
        now: seconds since the epoch; what is under way counts until then.
    """
    line = line_of(job, events, now)
    source = members(job.source_info)
    folder, name = layout.split(job.path)
    found: dict[str, Any] = {
        "job": job.id,
        "path": job.path.hex(),
        "clip": shown(job.path),
        "name": shown(name),
        "folder": shown(folder),
        "look": job.look,
        "state": str(job.state),
        "waits": str(job.waiting_on) if job.waiting_on and not job.ended else None,
        "created": round(job.created_at, 1),
        "updated": round(job.updated_at, 1),
        "problem": line.problem if job.ended else one_line(job.detail),
        "todo": line.todo,
        "commands": _commands(job),
        "started": line.started_at,
        "ended": line.ended_at,
        "times": {stage: round(seconds, 2) for stage, seconds in line.seconds.items()},
        "waited": line.queued,
        "took": line.took,
        "attempts": job.attempts,
        "crashes": job.crashes,
        "engine": line.engine,
        "gpu": line.gpu,
        "gpu_seconds": line.gpu_seconds,
        "memory": line.peak_memory,
        "frames": line.source.frames,
        "size": [line.source.width, line.source.height] if line.source.width else None,
        "rate": source.get("rate"),
        "constant": source.get("constant"),
        "duration": line.source.duration,
        "codec": source.get("codec"),
        "spec": _given(spec_of(job)),
        "scores": scores(dict(line.scores)),
    } | seeds_of(job)
    if job.state is JobState.GRACE and job.waiting_on in CLOCK_RUNS and job.grace_left is not None:
        found["starts"] = (job.grace_saved_at or now) + job.grace_left
    # Lone surrogates, a JSON may hold some, would not be encoded; and the page needs no more than it shows.
    return {key: value for key, value in found.items() if value not in (None, "", {}, [])}


def describe_earlier(job: Job) -> dict[str, Any]:
    """What the page says about an earlier job, whose result is there while its clip runs again, or has failed.

    Args:
        job: it is done.
    """
    return {"job": job.id, "ended": round(job.updated_at, 1), "engine": job.engine} | seeds_of(job)


def _given(spec: Any) -> Any:  # noqa: ANN401 - any part of a JSON
    """A frozen spec without the fields that nobody gave."""
    if isinstance(spec, dict):
        return {key: _given(value) for key, value in spec.items() if value is not None}
    return spec


def _commands(job: Job) -> list[list[str]]:
    """Each command that fits the job's state: what it does, and what to type."""

    def one(what: str, verb: str, *options: str) -> list[str]:
        return [what, one_line(command(verb, *options, clip=job.called))]

    if job.state in CLAIMED:
        return [one("Withdraw it", "cancel")]
    if job.state in BAD_ENDS:
        return [one("When that is fixed, run it once more", "retry"), one("See its history", "show")]
    if job.state is JobState.CANCELLED:
        return [one("Run it after all", "retry")]
    if job.state is JobState.DONE:
        return [one("Run it again", "retry", "--force")]
    go = [] if job.state is JobState.QUEUED else [one("Start it now", "go")]
    hold = [] if job.waiting_on is Waiting.HELD else [one("Keep it back", "hold")]
    return [*go, *hold, one("See what it waits on", "why")]


def output_of(job: Job, pattern: str) -> bytes | None:
    """The published file, relative to outputs/, as the file system spells it.

    The journal's `output` is for people: its bytes are those of the promise, or of a name that is shown like it.

    Args:
        pattern: publish.layout.
    """
    if job.state is not JobState.DONE or not job.output:
        return None
    if job.promise:
        try:
            return Sealed.from_json(job.promise).output
        except JournalError:
            pass  # a damaged record: the name tells it as well
    if "\\" not in job.output:
        return job.output.encode()
    kinds = [looks.kind_of(kind, job.look) for kind in ("aug", "preview")]
    names = (
        layout.output(pattern, job.path, job.base, kind, version)
        for kind in kinds
        for version in range(1, VERSIONS_MAX + 1)
    )
    return next((name for name in names if shown(name) == job.output), None)


def scores(found: object, prefix: str = "") -> dict[str, float]:
    """The numbers among a manifest's scores; those of an object in it are called `object.name`."""
    known: dict[str, float] = {}
    for name, value in found.items() if isinstance(found, dict) else ():
        label = one_line(f"{prefix}{name}")[:80]
        if isinstance(value, dict) and not prefix:
            known |= scores(value, f"{name}.")
        elif isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e300:  # noqa: PLR2004
            known[label] = round(float(value), 6)
    return known


def address(path: bytes, beyond: bytes = b"") -> str:
    """A relative address of a file: each byte that is not plain is percent-encoded.

    Args:
        path: relative to `beyond`.
        beyond: a folder, relative to that of the page.
    """
    # A first component with a colon would be taken for a scheme.
    return quote(posixpath.join(beyond or b".", path), safe="/")


def as_text(found: dict[str, Any], texts: dict[str, int]) -> str:
    """A card as JSON in ASCII, for a script. A long text in it is `{"$": n}`, the n-th of `texts`, which grows."""
    if "earlier" in found:
        found = found | {"earlier": _with_short_spec(found["earlier"], texts)}
    return as_json(_with_short_spec(found, texts))


def _with_short_spec(found: dict[str, Any], texts: dict[str, int]) -> dict[str, Any]:
    return found | ({"spec": _shortened(found["spec"], texts)} if "spec" in found else {})


LONG = 60
"""Characters of a text that is kept once."""


def _shortened(value: Any, texts: dict[str, int]) -> Any:  # noqa: ANN401 - any part of a JSON
    if isinstance(value, str) and len(value) >= LONG:
        return {"$": texts.setdefault(value, len(texts))}
    if isinstance(value, dict):
        return {key: _shortened(item, texts) for key, item in value.items()}
    if isinstance(value, list):
        return [_shortened(item, texts) for item in value]
    return value


def as_json(value: object) -> str:
    """JSON in ASCII that no HTML parser takes for a tag."""
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")
