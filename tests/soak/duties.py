"""The reckoning of what ran: hooks and generates against the journal, and nothing while it was paused.

What is promised of hooks is in docs/hooks.md: one that is over does not run again, one that is interrupted does.
So a hook is good once for each good end that the journal has, and at most once more for each run that was killed,
called off or cut short with povwatch: it may have done its work by then.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from datetime import datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import ran

from povwatch.core.errors import SpecInvalid
from povwatch.core.hook_record import HookState
from povwatch.core.job import JobState
from povwatch.publish import Sealed
from povwatch.spec.parse import parse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ran import Ran
    from world import World

    from povwatch.core.job import Job
    from povwatch.journal.reader import Event, JournalReader

S = JobState

BACK = frozenset({"retry", "released", "orphaned"})
"""What gives a job to a worker once more."""

BAD = re.compile(r"exited with status 1|\.json is not there|clip is gone|not the one that arrived|cannot be opened")
"""How a hook ended that has not done its work."""

FORESEEN = re.compile(
    r"exited with status 1|killed by SIGKILL|took longer than|\.json is not there|watches over it was killed"
    r"|clip is gone|not the one that arrived|cannot be opened: No such file|went down \d times"
)
"""Problems of hooks that the soak brought about."""

TRIES = 3
"""Attempts of a hook, and crashes."""

AGAIN = frozenset({str(S.ARRIVING), str(S.GRACE)})
"""Where a clip or a JSON that is another one takes a job: then its hooks run anew."""


def violations(world: World, journal: JournalReader) -> Iterator[str]:
    """Whatever ran too often, too early, too late, or not at all."""
    place = world.daemon.folder
    before, after, generates = (ran.read(place, name) for name in (ran.BEFORE, ran.AFTER, ran.GENERATES))
    jobs = {job.id: job for job in journal.jobs()}
    for job in jobs.values():
        events = journal.events(job.id)
        made = generates.get(job.id, [])
        found = [
            *_generates(job, events, made),
            *_hook(ran.BEFORE, events, before.get(job.id, [])),
            *_hook(ran.AFTER, events, after.get(job.id, [])),
            *_before(job, events, before.get(job.id, []), made),
            *_after(world, job, journal, after.get(job.id, []), made),
        ]
        yield from (f"job {job.id}: {said}" for said in found)
    for name, runs in ((ran.BEFORE, before), (ran.AFTER, after), (ran.GENERATES, generates)):
        yield from (f"{name}: ran for job {number}, which there is not" for number in runs.keys() - jobs.keys())
    yield from _paused(world)


def summary(world: World) -> str:
    """How much ran, and how often more than once."""
    said = []
    for name in (ran.BEFORE, ran.AFTER, ran.GENERATES):
        runs = ran.read(world.daemon.folder, name)
        good = Counter(len([run for run in of if run.made is not None]) for of in runs.values())
        often = ", ".join(f"{n} times for {jobs}" for n, jobs in sorted(good.items()))
        said.append(f"{name}: {sum(map(len, runs.values()))} runs for {len(runs)} jobs, good {often or 'never'}")
    spans = sorted((run.begun, run.made) for of in runs.values() for run in of if run.made is not None)
    both = sum(later[0] < (earlier[1] or 0) for earlier, later in pairwise(spans))
    waited = sum(line["event"] == "closed" for line in world.daemon.events("closed"))
    return (
        f"{'; '.join(said)}; {both} generates began while another ran; "
        f"paused {len(world.pauses)} times (closed {waited}), {sum(b - a for a, b in world.pauses):.0f} s"
    )


# -- the engine


def _generates(job: Job, events: list[Event], runs: list[Ran]) -> Iterator[str]:
    """One for each claim, one at a time, and none after the one that was published."""
    started = Counter(event.run_id for event in events if event.event == "started")
    for run, count in Counter(run.run for run in runs).items():
        if count > started[run]:
            yield f"a worker had its run {run} {count} times, and it was claimed {started[run]} times"
    if not all(run.alone for run in runs):
        yield "two workers had it at once"
    given_back = sum(event.event in BACK for event in events)
    if len(runs) > 1 + given_back:
        yield f"it was generated {len(runs)} times, and given back {given_back} times"
    published = job.run_id if job.state is S.DONE and job.promise else None
    if published and [(run.run, run.made is not None) for run in runs[-1:]] != [(published, True)]:
        yield f"its last generate is not the one that was published: {published}"


# -- hooks


def _hook(name: str, events: list[Event], runs: list[Ran]) -> Iterator[str]:
    """It ran when the journal says so, and was good as often."""
    if not all(run.alone for run in runs):
        yield f"{name} ran for two clips at once"
    starts, good, bad, over = 0, 0, 0, False
    for event in events:
        over = over and event.state not in AGAIN
        if event.data.get("hook") != name:
            continue
        if event.event == "hook-started":
            starts += 1
            if over:
                yield f"{name} ran again, and was over"
        if event.event == "hook-done":
            good += 1
            over = True
        problem = str(event.data.get("problem", ""))
        bad += bool(BAD.search(problem))
        if problem and not FORESEEN.search(problem):
            yield f"nobody brought that about, {name}: {problem}"
    made = sum(run.made is not None for run in runs)
    if len(runs) > starts:
        yield f"{name} ran {len(runs)} times; the journal has {starts} starts"
    if not good <= made <= starts - bad:
        yield f"{name} was good {made} times; the journal has {good} good and {bad} bad ends of {starts} starts"


def _before(job: Job, events: list[Event], runs: list[Ran], generates: list[Ran]) -> Iterator[str]:
    """It was good, for the very JSON, before a worker had the clip; and for the very clip that was published."""
    good = [run for run in runs if run.made is not None]
    for generate in generates:
        if not any(run.made < generate.begun and run.asked == generate.asked for run in good):  # type: ignore[operator]
            yield f"a worker had it before {ran.BEFORE} was good for what it was asked for: {generate.asked}"
    over = False
    for event in events:
        if event.event == "started" and not over:
            yield f"it was claimed before the journal has a good end of {ran.BEFORE}"
        over = over or (event.event == "hook-done" and event.data["hook"] == ran.BEFORE)
    if job.state is S.DONE and job.promise:
        begun = generates[-1].begun if generates else 0.0
        last = [run for run in good if run.made is not None and run.made < begun][-1:]
        if [run.more["video"] for run in last] != [job.source_hash] or _meant(job, last[0]) != job.spec_hash:
            yield f"{ran.BEFORE} was last good for another clip or JSON than was published"


def _after(world: World, job: Job, journal: JournalReader, runs: list[Ran], generates: list[Ran]) -> Iterator[str]:
    """It ran for what was published, when it was; and was good or given up before the job was done."""
    if not job.promise:
        if runs:
            yield f"{ran.AFTER} ran, and nothing was published"
        return
    promised = Sealed.from_json(job.promise).entries[0]
    made = generates[-1].made if generates else None
    for run in runs:
        gone = run.more["output"] == "gone" and job.output in world.taken
        if run.more["output"] != promised.sha256 and not gone:
            yield f"{ran.AFTER} ran for what was not published: {run.more['output']}"
        if made is None or run.begun < made:
            yield f"{ran.AFTER} ran before its result was made"
        if (run.more["video"], _meant(job, run)) != (job.source_hash, job.spec_hash):
            yield f"{ran.AFTER} was given another clip or JSON than was published"
    if job.state is S.DONE:
        yield from _after_all(job, journal, runs)


def _after_all(job: Job, journal: JournalReader, runs: list[Ran]) -> Iterator[str]:
    """The same of a job that is done."""
    record = journal.hooks(job.id).get(ran.AFTER)
    good = any(run.made is not None for run in runs)
    given_up = record is not None and record.state is HookState.FAILED
    if given_up != (f"The hook {ran.AFTER} failed" in (job.error or "")):
        yield f"of {ran.AFTER} the journal has {record and record.state}, and the job says: {job.error}"
    if given_up and record is not None and max(record.attempts, record.crashes) < TRIES:
        yield f"{ran.AFTER} was given up after {record.attempts} attempts and {record.crashes} crashes"
    if not given_up and (record is None or record.state is not HookState.DONE or not good):
        yield f"{ran.AFTER} never was good, and it is done: {record and record.state}"


def _meant(job: Job, run: Ran) -> str:
    """The hash of the JSON that a hook was given."""
    try:
        return parse(json.dumps(run.more["spec"]).encode(), clip_name=job.path.rpartition(b"/")[2], file="").digest()
    except SpecInvalid as error:
        return str(error)


# -- pauses


def _paused(world: World) -> Iterator[str]:
    """From the answer to `pause` to the word `resume` nothing was started; nor while the log says that it is closed."""
    lines = world.daemon.events()
    for line in filter(_is_start, lines):
        at = datetime.fromisoformat(line["timestamp"]).timestamp()
        if any(since <= at <= until for since, until in world.pauses):
            yield f"{line['event']} while it was paused: job {line.get('job')}"
    closed = False
    for line in lines:
        if line["event"] in {"daemon-started", "open"}:
            closed = False
        closed = closed or line["event"] == "closed"
        if closed and _is_start(line):
            yield f"{line['event']} while it was closed: job {line.get('job')}"


def _is_start(line: dict[str, Any]) -> bool:
    """Whether this starts something that a pause keeps back."""
    return line["event"] == "started" or (line["event"] == "hook-started" and line["when"] == "before")
