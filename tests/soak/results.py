"""What is in outputs/, and what people took out of it: every result is the right one, once."""

from __future__ import annotations

import json
import os
from collections import Counter
from functools import cache
from typing import TYPE_CHECKING, Any

from support.clips import read_numbers
from world import digest

from povwatch.core.job import Job, JobState

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from witness import Witness
    from world import World


def violations(world: World, witness: Witness, jobs: list[Job]) -> Iterator[str]:
    """Whatever is published wrongly, twice, or not at all."""
    yield from witness.wrong
    by_id = {job.id: job for job in jobs}
    found: Counter[int] = Counter()
    films: set[Path] = set()
    digests: set[str] = set()
    for file in [*_files(world.outputs, world.shown), *_files(world.aside, {})]:
        if file.suffix != ".json":
            continue
        about = json.loads(file.read_bytes())
        film = file.with_name(about["output"]["file"])
        films.add(film)
        digests |= {digest(file.read_bytes()), about["output"]["sha256"]}
        if "sheet" in about:
            films.add(file.with_name(about["sheet"]["file"]))
            digests.add(about["sheet"]["sha256"])
        found[about["job"]] += 1
        yield from (f"{_name(world, file)}: {said}" for said in _result(world, film, about, by_id.get(about["job"])))
    for file in [*_files(world.outputs, world.shown), *_files(world.aside, {})]:
        if file.suffix != ".json" and file not in films:
            yield f"no manifest speaks of {_name(world, file)}"
    for (path, _), sha in witness.seen.items():
        if sha not in digests:
            yield f"what was seen in outputs/ is gone, or was changed: {path}"
    for job in jobs:
        ran = job.state is JobState.DONE and job.promise is not None
        if found[job.id] != ran:
            yield f"job {job.id}, {os.fsdecode(job.path)}: {job.state}, and {found[job.id]} results of it are there"


def _result(world: World, film: Path, about: dict[str, Any], job: Job | None) -> Iterator[str]:
    """One result against its manifest, its job, and the clip and the JSON that it is made from."""
    if job is None or about["run_id"] != job.run_id:
        yield f"its run {about['run_id']} is not the one that its job came to: {job and job.run_id}"
        return
    source = world.contents.get(about["source"]["sha256"])
    if source is None or source.sha not in world.was[os.fsdecode(job.path)]:
        yield f"it was made from bytes that never lay there whole: {about['source']['sha256']}"
        return
    if not film.exists() or digest(film.read_bytes()) != about["output"]["sha256"]:
        yield f"it describes what is not there: {film.name}"
        return
    sheet = film.with_name(about["sheet"]["file"]) if "sheet" in about else None
    if sheet and not (sheet.exists() and digest(sheet.read_bytes()) == about["sheet"]["sha256"]):
        yield f"it describes a contact sheet that is not there: {sheet.name}"
    if (numbers := _numbers(film, about["output"]["sha256"])) != source.numbers:
        yield f"its frames are {numbers}, not {source.numbers}"
    if (about["output"]["audio"] is not None) != source.sound:
        yield f"its sound is {about['output']['audio']}"
    asked = {key: about["spec"][key] for key in ("seed", "prompt")}
    if about["generated"]["asked"] != asked or about["spec_hash"] != job.spec_hash:
        yield f"the engine was asked for {about['generated']['asked']}, the JSON says {asked}"


@cache
def _numbers(film: Path, _: str) -> tuple[int, ...]:
    """The numbers of a film's frames; for the same bytes only once, as `--prove` looks at all of it again and again."""
    return tuple(read_numbers(film))


def _files(folder: Path, apart: dict[str, bytes]) -> list[Path]:
    return [
        file
        for file in sorted(folder.rglob("*"))
        if file.is_file() and ".povwatch" not in file.parts and os.fspath(file.relative_to(folder)) not in apart
    ]


def _name(world: World, file: Path) -> str:
    return os.fspath(file.relative_to(world.daemon.folder))
