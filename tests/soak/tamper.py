"""Spoils what a soak left in order, one thing at a time: the ledger has to see each. What it does not see is told."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from povwatch.core.job import JobState
from povwatch.journal import open_reader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from ledger import JobStore
    from witness import Witness
    from world import World

    Spoilt = Callable[[World, Witness], AbstractContextManager[None]]


def unseen(world: World, witness: Witness, ledger: JobStore) -> list[str]:
    """What was spoilt and the ledger did not tell; ideally nothing. All is as it was afterwards."""
    found = []
    for spoil, told in TAMPERINGS.items():
        with spoil(world, witness):
            if not any(told in line for line in ledger.violations()):
                found.append(f"the ledger does not see it: {spoil.__name__}")
    return found


@contextmanager
def a_result_is_cut_short(world: World, _: Witness) -> Iterator[None]:
    film = _manifest(world).with_suffix(".mp4")
    with changed(film, film.read_bytes()[:-100]):
        yield


@contextmanager
def a_result_is_lost(world: World, _: Witness) -> Iterator[None]:
    film = _manifest(world).with_suffix(".mp4")
    with _gone(film), _gone(film.with_suffix(".json")):
        yield


@contextmanager
def a_result_is_there_twice(world: World, _: Witness) -> Iterator[None]:
    manifest = _manifest(world)
    again = shutil.copyfile(manifest, manifest.with_name("again.json"))
    yield
    again.unlink()


@contextmanager
def somebodys_json_is_changed(world: World, _: Witness) -> Iterator[None]:
    with changed(world.inputs / next(iter(world.texts)), b"{}"):
        yield


@contextmanager
def a_clip_is_changed(world: World, _: Witness) -> Iterator[None]:
    with changed(world.inputs / next(iter(world.clips)), b"x"):
        yield


@contextmanager
def staging_is_left(world: World, _: Witness) -> Iterator[None]:
    room = world.outputs / ".povwatch" / "99999.abc"
    room.mkdir()
    yield
    room.rmdir()


@contextmanager
def a_file_was_other_when_it_was_first_seen(_: World, witness: Witness) -> Iterator[None]:
    key, sha = witness.seen.popitem()
    witness.seen[key] = "0" * 64
    yield
    witness.seen[key] = sha


@contextmanager
def a_job_is_forgotten(world: World, _: Witness) -> Iterator[None]:
    path = os.fsencode(next(iter(world.clips)))
    with journal_of(world) as db:
        db.execute("DELETE FROM progress WHERE job IN (SELECT id FROM jobs WHERE path = ?)", (path,))
        db.execute("DELETE FROM job_events WHERE job IN (SELECT id FROM jobs WHERE path = ?)", (path,))
        db.execute("DELETE FROM jobs WHERE path = ?", (path,))
        db.commit()
        yield


@contextmanager
def an_event_is_missing(world: World, _: Witness) -> Iterator[None]:
    with journal_of(world) as db:
        db.execute("DELETE FROM job_events WHERE id = (SELECT min(id) FROM job_events WHERE state = 'checking')")
        db.commit()
        yield


TAMPERINGS: dict[Spoilt, str] = {
    a_result_is_cut_short: "describes what is not there",
    a_result_is_lost: "0 results of it are there",
    a_result_is_there_twice: "2 results of it are there",
    somebodys_json_is_changed: "somebody's file was changed",
    a_clip_is_changed: "a clip was changed",
    staging_is_left: "left over in outputs/.povwatch",
    a_file_was_other_when_it_was_first_seen: "what was seen in outputs/ is gone, or was changed",
    a_job_is_forgotten: "it is lost: there is no job for it",
    an_event_is_missing: "the history has a gap",
}
"""What is spoilt, and what is to be told of it."""


def _manifest(world: World) -> Path:
    """The manifest of a result that is still in outputs/."""
    with open_reader(world.daemon.state) as journal:
        outputs = [world.outputs / job.output for job in journal.jobs(JobState.DONE) if job.output]
    return next(film.with_suffix(".json") for film in outputs if film.exists() and film.with_suffix(".json").exists())


@contextmanager
def changed(file: Path, data: bytes) -> Iterator[None]:
    was = file.read_bytes()
    file.write_bytes(data)
    yield
    file.write_bytes(was)


@contextmanager
def _gone(file: Path) -> Iterator[None]:
    was = file.read_bytes()
    file.unlink()
    yield
    file.write_bytes(was)


@contextmanager
def journal_of(world: World) -> Iterator[sqlite3.Connection]:
    """The journal to write to, as it was afterwards."""
    file = world.daemon.state / "journal.sqlite3"
    kept = file.read_bytes()
    with closing(sqlite3.connect(file)) as db:
        yield db
    for beside in file.parent.glob("journal.sqlite3-*"):
        beside.unlink()
    file.write_bytes(kept)
