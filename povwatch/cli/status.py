"""povwatch status, jobs, show: what the journal says."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Column

from povwatch.cli.app import Clip, console, job_of, plain, shared, verbs
from povwatch.cli.rows import Row, as_lines
from povwatch.core import layout
from povwatch.core.command import command
from povwatch.core.errors import PovwatchError
from povwatch.core.job import BAD_ENDS, CLAIMED, Job, JobState, Waiting, grouped
from povwatch.core.layout import shown
from povwatch.core.local_time import local, spell_moment, utc
from povwatch.core.looks import OWN
from povwatch.core.lookup import instead
from povwatch.core.quality import Tries
from povwatch.core.units import spell_duration, spell_size
from povwatch.engines import eta
from povwatch.grace import clock as clockwork
from povwatch.journal import members
from povwatch.journal.lock import holder
from povwatch.media.damage import describe_damage, describe_sizes
from povwatch.ops.report.gather import seeds_of, spec_of
from povwatch.queue.schedule import PAUSE, describe_pause
from povwatch.service.log import one_line
from povwatch.spec.inputs_folder import InputsFolder
from povwatch.spec.parse import parse

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rich.console import RenderableType

    from povwatch.config.settings import Config
    from povwatch.core.speed import Speed
    from povwatch.journal import JournalReader


WATCH_EVERY = 1.0
ROWS_MAX = 30

NAME_MIN, BAR_ROOM = 20, 75
"""The least columns of a clip's name before its bar, and those of the bar with its text."""

UNDER_WAY = "was under way when povwatch ended; it goes on at the next start"
"""Shown for a claimed job when no daemon runs: the journal's progress is stale then."""

FORECAST_MAX = 200
"""The most queued jobs that a forecast considers: each one's JSON is read."""

Json = Annotated[bool, typer.Option("--json", help="As JSON, for programs.")]


@verbs.command()
def status(
    context: typer.Context,
    watch: Annotated[bool, typer.Option("--watch", help="Keep it on the screen, until Ctrl-C.")] = False,  # noqa: FBT002
) -> None:
    """Show the queue, what runs, the engine and the GPUs."""
    config = shared(context).config()
    with shared(context).reader() as reader:
        if not watch:
            for part in _status(reader, config, _width()):
                console.print(part, soft_wrap=isinstance(part, str))  # unbroken, so that commands in it can be pasted
            return
        with Live(console=console, auto_refresh=False, screen=False) as live:
            try:
                while True:
                    live.update(Group(*_status(reader, config, console.width)), refresh=True)
                    time.sleep(WATCH_EVERY)
            except KeyboardInterrupt:
                return


@verbs.command()
def jobs(
    context: typer.Context,
    as_json: Json = False,  # noqa: FBT002
    state: Annotated[
        JobState | None, typer.Option(metavar="STATE", help=f"Only jobs in this state: {', '.join(JobState)}.")
    ] = None,
) -> None:
    """List the jobs, oldest first."""
    config = shared(context).config()
    with shared(context).reader() as reader:
        found = reader.jobs(state)
        if as_json:
            typer.echo(json.dumps([as_object(job, reader) for job in found], indent=2))
            return
        waits = _waits(found, config, running=holder(config.paths.state) is not None)
        for line in _table(grouped(found), reader, waits, _width()):
            console.print(line, soft_wrap=True)  # what is in it can be pasted


@verbs.command()
def show(context: typer.Context, clip: Clip, as_json: Json = False) -> None:  # noqa: FBT002
    """Show everything about one clip, its history too."""
    with shared(context).reader() as reader:
        job = job_of(reader, clip, "show")
        if job is None:
            raise PovwatchError(f"No clip here is called {clip}.", instead(reader.known().keys(), clip))
        events = reader.events(job.id)
        others = [one for one in reader.looks(job.path) if one.id != job.id] if job.look == OWN else []
        if as_json:
            history = [
                {"at": _iso(e.at), "event": e.event, "was": e.was, "state": e.state, "run_id": e.run_id, "data": e.data}
                for e in events
            ]
            looks = {"looks": [as_object(one, reader) for one in others]} if others else {}
            typer.echo(json.dumps(as_object(job, reader, whole=True) | looks | {"events": history}, indent=2))
            return
        for key, value in as_object(job, reader, whole=True).items():
            if value not in {None, ""} if not isinstance(value, dict) else value:
                text = json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else str(value)
                console.print(f"{key:<11}  {plain(text)}", soft_wrap=True)  # what is in it can be pasted
        console.print()
        for event in events:
            change = f"{event.was} -> {event.state}" if event.was and event.was != event.state else event.state
            data = ", ".join(f"{k}={v}" for k, v in event.data.items() if not isinstance(v, dict))
            console.print(plain(f"{_local(event.at)}  {event.event:<14} {change:<24} {data}"), soft_wrap=True)
        if others:
            console.print(f"\nIts other looks. All about one: {plain(command('show', clip=others[0].called))}")
            for line in _table(others, reader, {}, _width()):
                console.print(line, soft_wrap=True)


def as_object(job: Job, reader: JournalReader, *, whole: bool = False) -> dict[str, Any]:
    """A job as JSON; `whole` adds the spec and the result of the probe."""
    found: dict[str, Any] = {
        "id": job.id,
        "clip": shown(job.path),
        "clip_hex": job.path.hex(),  # the path's bytes: `clip` escapes what cannot be printed
        "look": job.look or None,
        "state": str(job.state),
        "waiting_on": str(job.waiting_on) if job.waiting_on else None,
        "detail": job.detail,
        "attempts": job.attempts,
        "crashes": job.crashes,
        "priority": job.priority,
        "hold": job.hold,
        "go": job.go,
        "spec_hash": job.spec_hash,
        "source_hash": job.source_hash,
        "engine": job.engine,
        "output": job.output,
        "error": job.error,
        "created_at": _iso(job.created_at),
        "updated_at": _iso(job.updated_at),
        "progress": reader.progress(job.id),
    }
    if whole:
        found["run_id"] = job.run_id
        scored = members(job.artifact).get("scored") or {}
        found["source"] = source = members(job.source_info) if job.source_info else None
        found["damaged"] = describe_damage((source or {}).get("damage")) or None
        found["resized"] = describe_sizes((source or {}).get("resized")) or None
        found["spec"] = spec_of(job)
        found |= seeds_of(job)
        found["scores"] = dict(scored.get("scores") or {}) or None
        found["missing"] = dict(scored.get("missing") or {}) or None
        found["quality"] = _quality(job)
    return found


def _quality(job: Job) -> dict[str, Any] | None:
    """The seeds of a job whose results are over, and what is said of the published one; None if none was judged."""
    tries = Tries.from_json(job.tries)
    if not tries.over:
        return None
    over = [{"seed": one.seed, "scores": one.scores, "missing": one.missing} for one in tries.over]
    return {"passed": tries.passed, "verdict": tries.verdict, "ended": tries.ended, "tries": over}


def describe_grace(job: Job, config: Config, *, running: bool) -> str:
    """The rest of a clip's grace, and whether it runs; empty if it has none."""
    if job.state is not JobState.GRACE or job.grace_left is None or job.grace_saved_at is None:
        return ""
    since = max(0.0, time.time() - job.grace_saved_at)
    if not running:
        # What a daemon would do at its start.
        stood = job.waiting_on not in clockwork.CLOCK_RUNS
        resumed = clockwork.resume(
            *("", config.grace.period, 0.0), left=job.grace_left, away=since, invalid_for=None, stood=stood
        )
        return f"stands still, as no daemon runs; about {spell_duration(resumed.left)} left if it is started now"
    if job.waiting_on in clockwork.CLOCK_RUNS:
        return f"runs, about {spell_duration(max(0.0, job.grace_left - since))} left"
    return f"stands still, about {spell_duration(job.grace_left)} left"


def _width() -> int | None:
    """Columns of the terminal; None if the output is a file or another program."""
    return console.width if console.file.isatty() else None


def _status(reader: JournalReader, config: Config, width: int | None) -> list[RenderableType]:
    pid = holder(config.paths.state)
    facts = reader.fact("daemon") or {}
    lines: list[RenderableType] = []
    if pid is None:
        lines.append("No daemon is running.")
        if paused := reader.fact(PAUSE):
            lines.append(plain(describe_pause(paused)))
    else:
        lines.append(plain(f"povwatch {facts.get('version', '')} runs, pid {pid}. Engine: {facts.get('engine', '?')}"))
        off = "guardrails are off: nothing is checked" if facts.get("guardrails") is False else None
        problems = filter(None, (facts.get("problem"), facts.get("blocked"), off))
        lines.extend(f"[red]{plain(problem)}[/red]" for problem in problems)
        lines.extend(f"[yellow]{plain(limited)}[/yellow]" for limited in filter(None, [facts.get("limited")]))
        lines.extend(map(plain, worker_lines(facts, reader)))
        lines.extend(_pool_lines(facts))
    counts = reader.counts()
    lines.append(", ".join(f"{count} {name}" for name, count in counts.items()) or "No clips yet.")
    active = reader.active()
    if lost := sum(counts.get(state, 0) for state in BAD_ENDS):
        lines.append(plain(f"{lost} did not come out. Why: {command('report')}"))
    if active:
        turns = forecast(config, reader, active) if pid is not None else {}
        rows = grouped(active)[:ROWS_MAX]
        lines.extend(_table(rows, reader, turns | _waits(rows, config, running=pid is not None), width))
    if len(active) > ROWS_MAX:
        lines.append(plain(f"... and {len(active) - ROWS_MAX} more: {command('jobs')}"))
    if pid is not None:
        lines.extend(_bars([job for job in active if job.state is JobState.RUNNING], reader, width))
    return lines


def _bars(running: list[Job], reader: JournalReader, width: int | None) -> Iterator[RenderableType]:
    """The progress of each clip: bars on a terminal, otherwise a line each."""
    # A long name must not take the bar's space; the table shows it whole.
    name = Column(no_wrap=True, overflow="ellipsis", max_width=max(NAME_MIN, (width or 0) - BAR_ROOM))
    percent = TextColumn("{task.percentage:>3.0f} % {task.fields[what]}")
    bars = Progress(TextColumn("{task.description}", table_column=name), BarColumn(), percent)
    for job in running:
        if progress := reader.progress(job.id):
            left = f", {spell_duration(progress['eta'])} left" if progress.get("eta") else ""
            if width is None:
                yield plain(f"{shown(job.called)}: {progress['fraction'] * 100:.0f} % ({progress['stage']}){left}")
            else:
                what = plain(progress["stage"] + left)
                bars.add_task(plain(shown(job.called)), total=1.0, completed=progress["fraction"], what=what)
    if bars.tasks:
        yield bars


def _waits(found: list[Job], config: Config, *, running: bool) -> dict[int, str]:
    """What each clip in its grace waits on, and the rest of it; without a daemon, for started clips too."""
    words = {job.id: describe_grace(job, config, running=running) for job in found}
    ticking = {job.id for job in found if job.waiting_on is Waiting.GRACE}
    # The reason without the way out after its semicolon: there is no space, and why shows it.
    held = {job.id: job.detail.partition(";")[0] for job in found if job.waiting_on is Waiting.HELD}
    details = {job.id: f"{held.get(job.id, job.detail.rstrip('.'))}; " for job in found if job.detail}
    begun = {} if running else {job.id: UNDER_WAY for job in found if job.state in CLAIMED}
    return begun | {n: f"{'' if n in ticking else details.get(n, '')}grace {left}" for n, left in words.items() if left}


def _table(found: list[Job], reader: JournalReader, words: Mapping[int, str], width: int | None) -> Iterator[str]:
    """The lines of some jobs; `words` adds details that are not in the journal."""
    rows = [_row(job, reader, words) for job in found]
    head, *others = map(plain, as_lines(rows, width))
    yield f"[bold]{head}[/bold]"
    yield from others


def _row(job: Job, reader: JournalReader, words: Mapping[int, str]) -> Row:
    what = job.output or job.error or job.detail or ""
    if job.id in words:
        what = words[job.id]
    elif job.state is JobState.RUNNING and (progress := reader.progress(job.id)):
        what = f"{progress['fraction'] * 100:.0f} % ({progress['stage']})"
        if over := Tries.from_json(job.tries).over:
            what += f", try {len(over) + 1}"
    about = (
        str(job.id),
        one_line(shown(job.called)),
        str(job.state),
        str(job.waiting_on or ""),
        str(job.attempts or ""),
    )
    return Row(*about, one_line(what), is_path=what == job.output)


def _iso(at: float) -> str:
    return utc(at).isoformat(timespec="milliseconds")


def _local(at: float) -> str:
    return local(at).strftime("%Y-%m-%d %H:%M:%S")


def forecast(config: Config, reader: JournalReader, active: Sequence[Job]) -> dict[int, str]:
    """Start and end of each queued job in words, if they can be foretold.

    Args:
        active: the jobs that have not ended, in the queue's order.
    """
    facts = reader.fact("daemon") or {}
    workers = facts.get("workers", [])
    if not workers or facts.get("problem") or facts.get("blocked"):
        return {}  # nobody knows when the queue goes on
    history = list(filter(None, (eta.Done.of(event.data) for event in reader.latest_events("generated", eta.KEPT))))
    busy = [_seconds_left(reader, worker) for worker in workers]
    queue = [job for job in active if job.state is JobState.QUEUED and job.waiting_on is Waiting.TURN][:FORECAST_MAX]
    folder = InputsFolder(config.paths.inputs)
    takes = []
    for job in queue:
        size, tries = _job_size(folder, job, facts["engine"], config.engine.speed)
        one = eta.estimate(history, engine=facts["engine"], gpu=workers[0].get("gpu", ""), **size)
        takes.append(None if one is None else one * tries)
    return {
        job.id: words
        for job, (start, end) in zip(queue, eta.forecast(busy, takes), strict=True)
        if (words := _spell_start(start, end))
    }


def _seconds_left(reader: JournalReader, worker: dict[str, Any]) -> float | None:
    """Seconds until a worker is free; None if unknown."""
    if worker["job"] is None:
        return 0.0 if worker["state"] == "ready" else None
    left = (reader.progress(worker["job"]) or {}).get("eta")
    return None if left is None else float(left)


def _job_size(folder: InputsFolder, job: Job, engine: str, speed: Speed) -> tuple[dict[str, Any], int]:
    """What a job's time depends on, and how many seeds of it are certain to be generated still."""
    spec: dict[str, Any] = {}
    tries = 1
    try:
        file = folder.read_spec(layout.beside(job.path, job.stem).spec)
        if file is not None:
            asked = parse(file.data, clip_name=layout.split(job.path)[1], file="")
            spec, speed = asked.upstream(), asked.povwatch.speed or speed
            over = Tries.from_json(job.tries).of(asked.digest(), job.source_hash).over
            tries = max(1, (asked.povwatch.best_of or 1) - len(over))
    except (PovwatchError, OSError):  # invalid, or not readable for this user: assume the usual number of steps
        spec = {}
    return eta.size(members(job.source_info), spec, engine, speed), tries


def _spell_start(start: float | None, end: float | None) -> str:
    if start is None:
        return ""
    begins = f"starts in about {spell_duration(start)}" if start >= 1 else "starts now"
    return begins if end is None else f"{begins}, generated in about {spell_duration(end)}"


def worker_lines(facts: Mapping[str, Any], reader: JournalReader) -> Iterator[str]:
    """What each worker does and since when, and its GPUs' memory; then the GPUs without a worker.

    Args:
        facts: the daemon's facts about itself; see daemon/status.py.
    """
    gpus = {gpu["uuid"]: gpu for gpu in facts.get("gpus", [])}
    for worker in facts.get("workers", []):
        mine = [_memory(gpus.pop(uuid)) for uuid in worker["gpus"] if uuid in gpus]
        about = ", ".join(filter(None, [worker["gpu"], "; ".join(mine)]))
        yield f"{worker['label']}{f' ({about})' if about else ''}: {_doing(worker, reader)}"
    for gpu in gpus.values():
        yield f"GPU {gpu['index']} {gpu['name']}: no worker, {_memory(gpu)}"


def _pool_lines(facts: Mapping[str, Any]) -> Iterator[str]:
    """The pool of workers on other machines, if there is one: the cluster, its nodes, and what is wrong with it."""
    pool = facts.get("pool")
    if not pool:
        return
    if pool["bridge"] is not None:
        at_work = [node for node in pool["nodes"] if node["workers"]]
        workers = sum(node["workers"] for node in at_work)
        counts = f"{workers} of {pool['wanted']} wanted workers, on {len(at_work)} of {len(pool['nodes'])} nodes"
        yield plain(f"Pool at {pool['address']} (its bridge has pid {pool['bridge']}): {counts}")
    told = facts.get("problem") or ""
    for problem in pool["problems"]:
        if problem not in told:
            yield f"[yellow]{plain(problem)}[/yellow]"
    for node in pool["nodes"]:
        if why := node["problem"] or (node["rests"] and "it rests, as its workers died one after the other"):
            what = f"node {node['name']} gets no worker: {why}"
            yield f"[yellow]{plain(what)}[/yellow]"


def _doing(worker: Mapping[str, Any], reader: JournalReader) -> str:
    since = f"since {spell_moment(worker['since'], time.time())}"
    job = reader.job(worker["job"]) if worker["job"] is not None else None
    if job is not None:
        begun = [event.at for event in reader.events(job.id) if event.event == "started"]
        verb = "generates" if worker["state"] == "busy" else "waits for the working copy of"
        return f"{verb} {shown(job.called)} since {spell_moment(begun[-1] if begun else job.updated_at, time.time())}"
    match worker["state"]:
        case "loading":
            return f"loads the engine{' (' + worker['loading'] + ')' if worker['loading'] else ''} {since}"
        case "ready":
            return f"ready, nothing to do {since}"
        case state:
            return f"{worker['waits'] or worker['problem'] or state} ({since})"


def _memory(gpu: Mapping[str, Any]) -> str:
    if not gpu["memory"]:
        return "its memory is unknown"
    return f"{spell_size(gpu['memory'] - gpu['free'])} of {spell_size(gpu['memory'])} in use"
