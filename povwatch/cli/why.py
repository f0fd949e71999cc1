"""povwatch why: every gate of one clip, its last value, and what comes next."""

from __future__ import annotations

import os
import stat
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import typer

from povwatch.arrival.writers import Writers, writer_open
from povwatch.attempt.judging import real_plan
from povwatch.cli.app import Clip, console, job_of, plain, shared, verbs
from povwatch.cli.status import UNDER_WAY, describe_grace, forecast
from povwatch.container import examine
from povwatch.core import layout, looks
from povwatch.core.command import command
from povwatch.core.errors import EnvironmentFault, PovwatchError, SpecInvalid
from povwatch.core.job import CLAIMED, Job, JobState, Waiting
from povwatch.core.layout import shown
from povwatch.core.local_time import local
from povwatch.core.lookup import find, instead, meant
from povwatch.core.quality import Tries, verdict
from povwatch.core.sentences import joined
from povwatch.core.units import spell_duration, spell_size
from povwatch.files import names
from povwatch.files.fs import open_beneath
from povwatch.journal import members
from povwatch.journal.lock import holder
from povwatch.media.damage import describe_damage, describe_sizes
from povwatch.spec import holding
from povwatch.spec.inputs_folder import InputsFolder
from povwatch.spec.model import Own
from povwatch.spec.parse import parse

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from povwatch.config.settings import Config
    from povwatch.journal import JournalReader
    from povwatch.journal.reader import Known


Gate = tuple[str, str, str]
"""A gate: its name, its verdict, and what was seen there."""

OK, WAITS, STOPS = "ok", "waits", "stops here"

NEW_MAX = 3
"""Looks without a job that one line names."""

COLOUR = {OK: "green", WAITS: "yellow", STOPS: "red"}


@verbs.command()
def why(context: typer.Context, clip: Clip) -> None:
    """Say why a clip is where it is: every gate, what was seen there, what comes next."""
    config = shared(context).config()
    with shared(context).reader() as reader:
        gates = _look_gates(config, reader, clip)
        if gates is None:
            path, job = _clip(config, reader, clip)
            gates = list(_gates(config, reader, path, job))
        for name, verdict, seen in gates:
            # No table: it would break commands, which are to be copied.
            console.print(f"{name:<8}  [{COLOUR[verdict]}]{verdict:<10}[/]  {plain(seen)}", soft_wrap=True)


def _look_gates(config: Config, reader: JournalReader, word: str) -> list[Gate] | None:
    """The gates of a look's JSON: its own name was given, or that of a look that has no job yet. None for others."""
    word = word.removeprefix(f"{config.paths.inputs}/").removeprefix("./").removeprefix("inputs/")
    known = reader.known()
    if word.endswith(".json") and not find(known, word):
        spec = os.fsencode(word)
        owner = looks.owner(spec, reader.holder, suffixes=config.arrival.suffixes)
        if not os.path.lexists(config.paths.inputs / word):
            return None
        if owner is None:
            return [("name", STOPS, _of_nobody(spec))]
        what = (
            f"the look {owner.look} of {shown(owner.clip)}" if owner.look else f"the JSON of {shown(owner.clip)} itself"
        )
        name = ("name", OK, f"{shown(spec)} is {what}")
        if job := reader.latest(owner.clip, owner.look):
            return [name, *_gates(config, reader, owner.clip, job)]
        return [name, *_without_job(config, reader, owner, known[owner.clip])]
    paths, look = meant(known, word)
    if len(paths) != 1 or not look or reader.latest(paths[0], look):
        return None
    spec = layout.spec_beside(paths[0], looks.stem(known[paths[0]].base, look))
    there = os.path.lexists(config.paths.inputs / os.fsdecode(spec))
    return list(_without_job(config, reader, looks.Owner(paths[0], look), known[paths[0]])) if there else None


def _of_nobody(spec: bytes) -> str:
    """Whose a JSON could be that no clip owns."""
    whole = layout.split(spec)[1].removesuffix(looks.JSON)
    base = whole.rpartition(b".")[0]
    names = f"{shown(whole)} or {shown(base)}" if base else shown(whole)
    return f"{shown(spec)} is the JSON of no clip that was seen: none beside it is called {names}"


def _without_job(config: Config, reader: JournalReader, owner: looks.Owner, own: Known) -> Iterator[Gate]:
    """Why a look whose JSON is there has no job yet."""
    yield "clip", WAITS, shown(looks.called(*owner))
    jobs = reader.looks(owner.clip)
    stems = [layout.spec_beside(owner.clip, looks.stem(own.base, job.look)) for job in jobs if job.look != looks.OWN]
    others = [spec for spec in stems if os.path.lexists(config.paths.inputs / os.fsdecode(spec))]
    arrived = any(job.look == looks.OWN and job.source_hash is not None for job in jobs)
    most = config.spec.variants_max
    if why := looks.refusal(owner.look, own.base):
        yield "name", STOPS, why
    elif len(others) >= most:
        yield "looks", WAITS, f"the clip has {len(others)} looks already, and spec.variants_max is {most}"
    elif own.state is JobState.ARRIVING or not arrived:
        why_clip = command("why", clip=owner.clip)
        yield "arrival", WAITS, f"it is taken in when its clip has arrived ({own.state} now): {why_clip}"
    else:
        yield "journal", WAITS, "not seen yet; the next rescan is within arrival.rescan"


def _clip(config: Config, reader: JournalReader, word: str) -> tuple[bytes, Job | None]:
    """The named clip: one in the journal, or else a file in inputs/."""
    word = word.removeprefix(f"{config.paths.inputs}/")
    if job := job_of(reader, word, "why"):
        return job.path, job
    path = os.path.normpath(os.fsencode(word).removeprefix(b"./").removeprefix(b"inputs/"))
    outside = path.startswith((b"/", b"..")) or path == b"."
    if outside or not os.path.lexists(config.paths.inputs / os.fsdecode(path)):
        todo = f"Look into {config.paths.inputs}. {instead(reader.known().keys(), word)}"
        raise PovwatchError(f"No clip here is called {word}.", todo)
    return path, None


def _gates(config: Config, reader: JournalReader, path: bytes, job: Job | None) -> Iterator[Gate]:
    yield "clip", OK if job else WAITS, shown(job.called if job else path)
    if job is not None and job.look == looks.OWN:
        yield from _looks(config, reader, job)
    yield _daemon(config, reader)
    unlike = unlike_a_clip(config.paths.inputs, path)
    if unlike:
        yield "file", STOPS, unlike
    if job is None and unlike:
        return
    yield from _name(config, path)
    if job is None:
        yield "journal", WAITS, "not seen yet; the next rescan is within arrival.rescan"
        return
    if job.state.ended:
        done = job.state is JobState.DONE
        yield "state", OK if done else STOPS, f"{job.state}. {job.output or job.error or job.detail}"
        yield from _seeds(config, job)
        yield from _damage(job)
        yield "next", OK, _next(config, job, unlike=unlike)
        return
    yield "state", OK, f"{job.state}; last change at {local(job.updated_at):%H:%M:%S}"
    if job.waiting_on:
        told_below = job.waiting_on in {Waiting.HELD, Waiting.INVALID_SPEC}
        yield "waits on", WAITS, f"{job.waiting_on}{f': {job.detail}' if job.detail and not told_below else ''}"
    yield from _damage(job)
    yield from _file(config, path, job)
    yield from _spec(config, reader, job)
    yield from _queue(config, reader, job)
    yield from _seeds(config, job)


def _seeds(config: Config, job: Job) -> Iterator[Gate]:
    """The seeds whose results are over, how many there may be, and which one is published."""
    tries = Tries.from_json(job.tries)
    if not tries.over:
        return
    try:
        plan = real_plan(config.quality, Own.model_validate(members(job.spec_json).get("povwatch") or {}))
    except ValueError:  # another version's
        return
    said = [f"seed {one.seed}: {verdict(plan, one)}" for one in tries.over]
    if job.state is JobState.DONE:
        does = {True: " and passes", False: " and does not pass", None: ""}[tries.passed]
        said += [f"seed {one.seed} is published{does}" for one in tries.over if one.run_id == job.run_id]
    yield "seeds", OK, f"{len(tries.over)} of {max(plan.most, len(tries.over))} tried; {'; '.join(said)}"


def _looks(config: Config, reader: JournalReader, own: Job) -> Iterator[Gate]:
    """The further looks of a clip: those with a job, and the first JSONs that wait for one."""
    known = {job.look: f"{job.look} {job.state}" for job in reader.looks(own.path)}
    beside: list[str] = []
    with suppress(EnvironmentFault):
        beside = InputsFolder(config.paths.inputs).looks_beside(own.path, own.base)
    folder = layout.split(own.path)[0]
    new = [
        look for look in sorted(beside) if look not in known and not reader.holder(folder, looks.stem(own.base, look))
    ]
    words = [text for look, text in known.items() if look != looks.OWN]
    words += [f"{look} waits: {command('why', clip=looks.called(own.path, look))}" for look in new[:NEW_MAX]]
    words += [f"and {len(new) - NEW_MAX} more"] * (len(new) > NEW_MAX)
    if words:
        yield "looks", WAITS if new else OK, ", ".join(words)


def _next(config: Config, job: Job, *, unlike: str) -> str:
    """What would start another run of an ended clip."""
    if unlike:
        return "once the video itself is here under this name, it is taken in by itself"
    if not os.path.lexists(config.paths.inputs / os.fsdecode(job.path)):
        return "the clip is not in inputs/ any more: copied there again, it is taken in by itself"
    if looks.refusal(job.look or "own", job.base):
        return "its JSON under another name is another look, and is taken in by itself"
    if job.state is JobState.REJECTED:  # the same file would be rejected again
        return "the video itself under this name, or an edit of its JSON, is taken in by itself"
    force = ["--force"] if job.state is JobState.DONE else []
    edit = "an edit of its JSON, " if job.spec_digest or job.spec_hash else ""
    return f"{edit}another video of this name, or this starts another run: {command('retry', *force, clip=job.called)}"


def _daemon(config: Config, reader: JournalReader) -> Gate:
    pid = holder(config.paths.state)
    if pid is None:
        return "daemon", STOPS, "not running: script/run, or systemctl start povwatch"
    facts = reader.fact("daemon") or {}
    if problem := facts.get("blocked") or facts.get("problem"):
        return "daemon", WAITS, f"pid {pid}, engine {facts.get('engine')}. {problem}"
    return "daemon", OK, f"pid {pid}, engine {facts.get('engine')}"


def _name(config: Config, path: bytes) -> Iterator[Gate]:
    folder, name = layout.split(path)
    ignored = [part for part in folder.split(b"/") if part and names.is_ignored_folder(part)]
    if ignored:
        yield "name", STOPS, f"the folder {shown(ignored[0])} is not looked into"
    elif names.is_ignored(name):
        yield "name", STOPS, "names that begin with a dot or ~, and partial copies, are left alone"
    elif not names.is_clip_name(name, config.arrival.suffixes):
        yield "name", STOPS, f"it ends in none of arrival.extensions ({', '.join(config.arrival.extensions)})"
    else:
        yield "name", OK, "a clip's"


def _damage(job: Job) -> Iterator[Gate]:
    """Which frames do not decode, and where the pictures change size, as far as known."""
    if words := describe_damage(members(job.source_info).get("damage")):
        yield "damage", WAITS if not job.ended else OK, joined(words, "What decodes is run")
    if words := describe_sizes(members(job.source_info).get("resized")):
        yield "pictures", OK, words.rstrip(".")


def _file(config: Config, path: bytes, job: Job) -> Iterator[Gate]:
    """The four conditions of "arrived", as they are now."""
    root = os.open(config.paths.inputs, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fd = open_beneath(root, path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError as error:
        yield "file", STOPS, f"cannot be opened: {error.strerror}"
        return
    finally:
        os.close(root)
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            yield "file", STOPS, "no plain file"
            return
        age = spell_duration(max(0.0, time.time() - status.st_ctime))
        yield (
            "file",
            OK,
            f"{spell_size(status.st_size)}, last changed {age} ago (arrival.settle counts what is observed)",
        )
        writers = writer_open(fd)
        yield (
            "writers",
            WAITS if writers is Writers.OPEN else OK,
            {
                Writers.OPEN: "a program has it open for writing",
                Writers.NONE: "nobody here writes to it",
                Writers.UNKNOWN: "it cannot be seen who writes to it; settling and content decide",
            }[writers],
        )
        report = examine(fd, status.st_size)
        yield "content", OK if report.complete else STOPS if report.not_video else WAITS, report.why
        if job.waiting_on is Waiting.INCOMPLETE and report.video:
            go = command("go", "--damaged", clip=path)
            yield "damaged", WAITS, f"if this is all that there is of it, have what can be decoded run: {go}"
    finally:
        os.close(fd)


def _spec(config: Config, reader: JournalReader, job: Job) -> Iterator[Gate]:
    beside = layout.beside(job.path, job.stem)
    folder = InputsFolder(config.paths.inputs)
    try:
        file = folder.read_spec(beside.spec)
        if file is None:
            follows = "it is written when the clip has arrived" if job.look == looks.OWN else "without it the look ends"
            yield "JSON", WAITS, f"{shown(beside.spec)} is not there; {follows}"
            return
        spec = parse(file.data, clip_name=layout.split(job.path)[1], file=shown(beside.spec))
        folder.check_references(spec, beside.spec, file.data)
    except SpecInvalid as error:
        yield "JSON", STOPS, joined(error.what, _see(config, beside))
        yield from _clock(config, job)
        return
    yield _verdict(config, job, beside, file.digest)
    markers = folder.markers(beside)
    start = spec.povwatch.start
    go = job.go or markers.go
    by_whom = holding.holder(reader.events(job.id)) if job.hold else ""
    by = holding.held_by(job, beside, marker=markers.hold, go=go, start=start, holder=by_whom)
    if by:
        yield "hold", STOPS, by
    if folder.editor_open(beside.spec, time.time()):
        yield "editor", WAITS, "an editor has the JSON open"
    if go or start == "now":
        yield "go", OK, "it starts without the rest of its grace" + (", once nobody holds it" if by else "")
    else:
        yield from _clock(config, job)


def _verdict(config: Config, job: Job, beside: layout.Beside, digest: str) -> Gate:
    """For a valid JSON: whether the engine and the named files fit it, as the daemon found."""
    name = shown(beside.spec)
    if job.waiting_on is not Waiting.INVALID_SPEC:
        return "JSON", OK, f"{name} can be run"
    if job.spec_digest != digest:
        return "JSON", WAITS, f"{name} was edited; the daemon has not judged it yet"
    return "JSON", STOPS, joined(job.detail, _see(config, beside))


def _see(config: Config, beside: layout.Beside) -> str:
    """Where the whole text is, if it could be written."""
    there = os.path.lexists(config.paths.inputs / os.fsdecode(beside.error))
    return f"See {shown(beside.error)}" if there else ""


def _clock(config: Config, job: Job) -> Iterator[Gate]:
    if words := describe_grace(job, config, running=holder(config.paths.state) is not None):
        yield "grace", WAITS, f"{words} (grace.period is {spell_duration(config.grace.period)})"


def _queue(config: Config, reader: JournalReader, job: Job) -> Iterator[Gate]:
    running = holder(config.paths.state) is not None
    if job.state is JobState.QUEUED:
        active = reader.active()
        queue = [other.id for other in active if other.state is JobState.QUEUED]
        yield "queue", WAITS, f"number {queue.index(job.id) + 1} of {len(queue)}, priority {job.priority}"
        if running and (words := forecast(config, reader, active).get(job.id)):
            yield "turn", WAITS, words
        if job.not_before > time.time():
            yield "attempt", WAITS, f"the next one in {spell_duration(job.not_before - time.time())}"
    elif job.state in CLAIMED and not running:
        yield "attempt", WAITS, UNDER_WAY
        return
    if job.state is JobState.RUNNING and (worker := _remote_worker(reader, job)):
        yield "worker", OK, worker
    if job.state is JobState.RUNNING and (progress := reader.progress(job.id)):
        left = f", {spell_duration(progress['eta'])} left" if progress.get("eta") is not None else ""
        yield "progress", OK, f"{progress['fraction'] * 100:.0f} % ({progress['stage']}){left}"


def _remote_worker(reader: JournalReader, job: Job) -> str:
    """The worker that has a job, if it is on another machine; else empty."""
    workers = (reader.fact("daemon") or {}).get("workers", [])
    return next((str(one["label"]) for one in workers if one["job"] == job.id and one.get("node")), "")


SPECIAL = {
    stat.S_IFIFO: "a FIFO (a named pipe)",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
COPY = "Links are not followed: put the {what} itself here."


def unlike_a_clip(root: Path, path: bytes) -> str:
    """What the path is and why povwatch ignores it; empty for a plain file, or if nothing is there."""
    at = os.fsencode(root)
    *folders, name = [part for part in path.split(b"/") if part] or [b""]
    for folder in folders:
        at = os.path.join(at, folder)  # noqa: PTH118 - bytes
        if os.path.islink(at):  # noqa: PTH114 - bytes
            return f"the folder {shown(folder)} is a symbolic link. {COPY.format(what='folder')}"
    at = os.path.join(at, name)  # noqa: PTH118 - bytes
    try:
        mode = os.lstat(at).st_mode
    except OSError:
        return ""
    if stat.S_ISLNK(mode):
        return _link(at)
    if stat.S_ISDIR(mode):
        return "a folder, not a clip. Ask for a clip in it."
    if what := SPECIAL.get(stat.S_IFMT(mode)):
        return f"{what}, not a plain file: it is left alone. Copy the video itself here."
    return ""


def _link(at: bytes) -> str:
    to = shown(os.readlink(at))  # noqa: PTH115 - bytes
    if not os.path.exists(at):  # noqa: PTH110 - bytes
        return f"a symbolic link to {to}, which is not there. {COPY.format(what='video')}"
    if os.path.isdir(at):  # noqa: PTH112 - bytes
        return f"a symbolic link to the folder {to}. {COPY.format(what='folder')}"
    return f"a symbolic link to {to}. {COPY.format(what='video')}"
