"""Makes a report from the journal: a line for each job, with its times, its use of the GPU, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from povwatch import __version__
from povwatch.core import layout
from povwatch.core.command import command
from povwatch.core.job import Job, JobState, Waiting, grouped
from povwatch.core.looks import OWN
from povwatch.core.quality import Tries
from povwatch.journal import members
from povwatch.media.damage import describe_damage, describe_sizes
from povwatch.ops.report.data import Line, Picture, Report, Run, total
from povwatch.results.manifest import peak_memory
from povwatch.service.log import one_line

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from povwatch.journal import JournalReader
    from povwatch.journal.reader import Event

UNDER_WAY = frozenset({JobState.RUNNING, JobState.CHECKING})
"""The states of an attempt until its result is promised."""

GOOD = UNDER_WAY | {JobState.PUBLISHING}
"""The states of an attempt that has not failed."""

WAITS = {
    Waiting.HELD: "Let it go: {go}",
    Waiting.INVALID_SPEC: "Put {spec} right; {why} says what is wrong in it.",
    Waiting.INCOMPLETE: "Copy it again: part of the file is missing. If this is all that there is: {damaged}",
    Waiting.WRITER_OPEN: "A program has it open for writing: let that finish, or end it.",
    Waiting.INPUTS_REFUSED: "Let povwatch write in that folder: chmod g+w.",
    Waiting.INPUTS_AWAY: "Mount the folder again; it goes on by itself.",
    Waiting.DISK_FULL: "Make room; it goes on by itself.",
    Waiting.ENGINE_UNAVAILABLE: "{doctor} says what this machine lacks.",
    Waiting.GPU_LOST: "{doctor} says what is wrong with the GPU.",
}
"""Reasons to wait that need a person."""


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
    own, others = reader.known_and_looks()
    newest = {(path, OWN): known.job for path, known in own.items()}
    newest |= {(path, look): known.job for path, of_clip in others.items() for look, known in of_clip.items()}
    lines = []
    for job in grouped(list(_wanted(reader, since, only))):
        again = found if (found := newest[job.path, job.look]) != job.id else None
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
    findings = describe_damage(source.get("damage")), describe_sizes(source.get("resized"))
    damage = one_line(" ".join(filter(None, findings)))
    # What the published attempt used is in the row; an earlier seed's may be the best, and was journalled before.
    its_own = {job.run_id} - {None}
    uses = [event.data for event in events if event.event == "gpu-use" and event.run_id not in its_own]
    tries = Tries.from_json(job.tries)
    failing = f"It does not pass: {tries.verdict}." if tries.passed is False else ""
    gpu = {key: value for use in (*uses, kept.get("gpu") or {}) for key, value in use.items()}
    seconds = {stage: float(took) for stage, took in (kept.get("seconds") or {}).items() if took is not None}
    seconds |= _hooks(events)
    if (published := _publishing(events)) is not None:
        seconds["publish"] = published
    if times.lost is not None:
        seconds["lost"] = times.lost
    return Line(
        job=job.id,
        clip=layout.shown(job.called),
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
        scores=(scored := kept.get("scored") or {}).get("scores") or {},
        missing=scored.get("missing") or {},
        tries=len(tries.over),
        passed=tries.passed,
        output=one_line(job.output) if job.output else None,
        damage=damage,
        problem=_problem(job, " ".join(filter(None, (damage, failing)))),
        todo=one_line(advice(job)) if again is None else "",
        flawed=job.state is JobState.DONE and bool(job.error or damage or failing),
        again=again,
    )


@dataclass(slots=True)
class Timing:
    """The times of a job."""

    seconds: dict[JobState, float] = field(default_factory=dict)
    """Total seconds in each state."""
    runs: list[Run] = field(default_factory=list)
    """Its attempts, in order; the last one may be running."""
    queued_at: float | None = None
    """When it was first in the queue."""
    ended_at: float | None = None

    @property
    def lost(self) -> float | None:
        """Seconds of failed attempts; None if there were none."""
        found = [run.ended - run.begun for run in self.runs if run.lost]
        return round(sum(found), 3) if found else None


def timing(events: Sequence[Event], now: float) -> Timing:
    """Add up a job's history.

    Args:
        events: oldest first.
        now: the end of the last state, unless the job has ended.
    """
    found = Timing()
    begun: float | None = None
    seen = sorted(events, key=lambda event: event.at)  # a clock that was set back makes no time negative
    for event, after in zip_longest(seen, seen[1:]):
        state = JobState(event.state)
        if state.ended:
            found.ended_at = event.at if found.ended_at is None else found.ended_at
            continue
        if state is JobState.QUEUED and found.queued_at is None:
            found.queued_at = event.at
        until = max(now, event.at) if after is None else after.at
        found.seconds[state] = round(found.seconds.get(state, 0.0) + until - event.at, 3)
        if state in UNDER_WAY:
            begun = event.at if begun is None else begun
            onward = state if after is None else JobState(after.state)
            if after is None or onward not in UNDER_WAY:
                found.runs.append(Run(begun, until, lost=onward not in GOOD))
                begun = None
    return found


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


def _problem(job: Job, flaws: str) -> str:
    if job.state is JobState.DONE and flaws:
        return " ".join(filter(None, (flaws, one_line(job.error or ""))))
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


def seeds_of(job: Job) -> dict[str, Any]:
    """The seed of a published result, and that of the JSON (`json_seed`) where a further one was published."""
    over = Tries.from_json(job.tries).over
    last = members(job.spec_json).get("seed")
    made = next((one.seed for one in over if one.run_id == job.run_id), last)
    given = over[0].seed if over else last
    if job.state is not JobState.DONE or not isinstance(made, int):
        return {}
    return {"seed": made} if made == given else {"seed": made, "json_seed": given}


def spec_of(job: Job) -> dict[str, Any] | None:
    """A job's spec; with the seed of the result, if there is one: the journal has that of the last try."""
    return members(job.spec_json) | {key: seed for key, seed in seeds_of(job).items() if key == "seed"} or None


def advice(job: Job) -> str:
    """A sentence with the command to type; empty if the job goes on by itself, or its error says what to do."""
    words = {
        "spec": layout.shown(layout.beside(job.path, job.stem).spec),
        "doctor": command("doctor"),
        "damaged": command("go", "--damaged", clip=job.called),
        **{verb: command(verb, clip=job.called) for verb in ("go", "why", "retry")},
    }
    if job.state is JobState.BLOCKED:
        return "Change the prompt in {spec}, and it runs again; or take another video.".format(**words)
    if job.state is JobState.FAILED:
        return "When that is fixed: {retry}".format(**words)
    if not job.ended and job.waiting_on is not None:
        return WAITS.get(job.waiting_on, "").format(**words)
    return ""
