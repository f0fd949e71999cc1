"""Makes a report from the journal."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

from povwatch import __version__
from povwatch.core import layout
from povwatch.core.job import Job, JobState
from povwatch.journal import members
from povwatch.media import resized
from povwatch.media.damage import in_words
from povwatch.ops.report.advice import advice
from povwatch.ops.report.data import Line, Picture, Report, total
from povwatch.ops.report.timing import timing
from povwatch.results.manifest import peak_memory
from povwatch.service.log import one_line

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from povwatch.journal import JournalReader
    from povwatch.journal.reader import Event


def gather(
    reader: JournalReader,
    now: float,
    *,
    since: float | None = None,
    only: Collection[int] | None = None,
    before: int = 0,
    left: Sequence[str] = (),
    notes: Sequence[str] = (),
) -> Report:
    """Read the journal and make the report.

    Args:
        now: seconds since the epoch.
        since: leaves out jobs that ended earlier.
        only: the job numbers to include; None for all.
        before: the number of clips that were done before.
        left: clips that were left alone.
        notes: what kept all clips from running.
    """
    newest = {path: known.job for path, known in reader.known().items()}
    lines = []
    for job in _wanted(reader, since, only):
        again = newest[job.path] if newest[job.path] != job.id else None
        line = line_of(job, reader.events(job.id), now, again=again)
        if since is None or line.ended_at is None or line.ended_at >= since:
            lines.append(line)
    return Report(
        lines=lines,
        made_at=now,
        version=__version__,
        since=since,
        before=before,
        left=[one_line(name) for name in left],
        notes=[one_line(note) for note in notes],
    )


def _wanted(reader: JournalReader, since: float | None, only: Collection[int] | None) -> Iterable[Job]:
    """The jobs that may be in the report, oldest first. Others are not read: there may be a hundred thousand."""
    if only is not None:
        return filter(None, map(reader.job, sorted(only)))
    return reader.jobs() if since is None else reader.jobs_since(since)


def line_of(job: Job, events: Sequence[Event], now: float, *, again: int | None = None) -> Line:
    """One job's line.

    Args:
        events: its history, oldest first.
        now: seconds since the epoch.
        again: the number of a newer job of the same clip.
    """
    times = timing(events, now)
    kept = members(job.artifact)
    source = members(job.source_info)
    told = in_words(source.get("damage")), resized.in_words(source.get("resized"))
    damage = one_line(" ".join(filter(None, told)))
    uses = [event.data for event in events if event.event == "gpu-use"]
    gpu = {key: value for use in (*uses, kept.get("gpu") or {}) for key, value in use.items()}
    seconds = {stage: float(took) for stage, took in (kept.get("seconds") or {}).items() if took is not None}
    seconds |= _hooks(events)
    if (published := _publishing(events)) is not None:
        seconds["publish"] = published
    if times.lost is not None:
        seconds["lost"] = times.lost
    return Line(
        job=job.id,
        clip=layout.shown(job.path),
        state=job.state,
        attempts=job.attempts,
        crashes=job.crashes,
        engine=one_line(job.engine) if job.engine else None,
        seen_at=job.created_at,
        queued_at=times.queued_at,
        runs=tuple(times.runs),
        ended_at=times.ended_at,
        arriving=times.seconds.get(JobState.ARRIVING),
        grace=times.seconds.get(JobState.GRACE),
        queued=_waited(times.seconds.get(JobState.QUEUED), events),
        seconds=seconds,
        gpu=one_line(str(gpu["name"])) if gpu.get("name") else None,
        gpu_seconds=_gpu_seconds(kept, uses),
        energy=total([_number(use.get("energy")) for use in (*uses, kept.get("gpu") or {})]),
        peak_memory=_peak(kept, uses),
        source=_source(source),
        result=_result(events),
        output=one_line(job.output) if job.output else None,
        damage=damage,
        problem=_problem(job, damage),
        todo=one_line(advice(job)) if again is None else "",
        flawed=job.state is JobState.DONE and bool(job.error or damage),
        again=again,
    )


def _hooks(events: Sequence[Event], *states: JobState) -> dict[str, float]:
    """The seconds of successful hooks, in some states or in all."""
    found = [
        float(event.data["seconds"])
        for event in events
        if event.event == "hook-done"
        and event.data.get("seconds") is not None
        and (not states or event.state in states)
    ]
    return {"hooks": round(sum(found), 3)} if found else {}


def _waited(queued: float | None, events: Sequence[Event]) -> float | None:
    """The seconds in the queue without a running hook."""
    if queued is None:
        return None
    return round(max(0.0, queued - _hooks(events, JobState.QUEUED).get("hooks", 0.0)), 3)


def _publishing(events: Sequence[Event]) -> float | None:
    """Seconds from the promise to the visible result, without hooks that follow."""
    checked = [number for number, event in enumerate(events) if event.event == "checked"]
    after = events[checked[-1] + 1 :] if checked else ()
    return round(max(0.0, after[0].at - events[checked[-1]].at), 3) if after else None


def _gpu_seconds(kept: dict[str, Any], uses: Sequence[dict[str, Any]]) -> float | None:
    """GPU seconds: seconds of generating times the number of GPUs; None for an engine without GPUs."""
    used = kept.get("gpu") or {}
    good = (kept.get("seconds") or {}).get("generate") if used else None
    parts = [good * _gpus(used) if good is not None else None]
    parts += [use["seconds"] * _gpus(use) if use.get("seconds") is not None else None for use in uses]
    return total(parts)


def _gpus(use: dict[str, Any]) -> int:
    return len(str(use.get("uuid") or "-").split(", "))


def _peak(kept: dict[str, Any], uses: Sequence[dict[str, Any]]) -> int | None:
    found = [peak_memory({}, use) for use in uses]
    found.append(peak_memory(kept.get("artifact") or {}, kept.get("gpu") or {}))
    return max((memory for memory in found if memory), default=None)


def _source(info: dict[str, Any]) -> Picture:
    if not info:
        return Picture()
    return Picture(
        info.get("frames"),
        _rate(info.get("rate")),
        info.get("display_width"),
        info.get("display_height"),
        info.get("duration"),
    )


def _result(events: Sequence[Event]) -> Picture:
    found = [event.data.get("numbers") or {} for event in events if event.event == "checked"]
    if not found:
        return Picture()
    (last,) = found[-1:]
    return Picture(
        last.get("frames"), _rate(last.get("rate")), last.get("width"), last.get("height"), last.get("duration")
    )


def _problem(job: Job, damage: str) -> str:
    if job.state is JobState.DONE and damage:
        return " ".join(filter(None, (damage, one_line(job.error or ""))))
    if job.ended:
        return one_line(job.error or job.detail)
    if job.waiting_on is None:
        return one_line(job.detail)
    return one_line(f"waits on {job.waiting_on}" + (f": {job.detail}" if job.detail else ""))


def _rate(text: object) -> float | None:
    try:
        rate = float(Fraction(str(text)))
    except (ValueError, ZeroDivisionError):
        return None
    return rate or None


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None
