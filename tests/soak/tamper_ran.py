"""What is spoilt for duties.py: the ledgers of what ran, what the journal has of hooks, and when it was paused."""

from __future__ import annotations

import json
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

import duties
import ran
from tamper import changed, journal_of

from povwatch.core.job import JobState
from povwatch.journal import open_reader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from world import World

    from povwatch.journal.reader import Event

    Line = dict[str, Any]
    Spoilt = Callable[[World], AbstractContextManager[None]]


def unseen(world: World) -> list[str]:
    """What was spoilt and is not told; ideally nothing. All is as it was afterwards."""
    found = []
    for spoil, told in TAMPERINGS.items():
        with spoil(world), open_reader(world.daemon.state) as journal:
            if not any(told in line for line in duties.violations(world, journal)):
                found.append(f"the ledger of what ran does not see it: {spoil.__name__}")
    return found


@contextmanager
def a_job_is_generated_twice(world: World) -> Iterator[None]:
    with _lines(world, ran.GENERATES, lambda lines: [*lines, *lines]):
        yield


@contextmanager
def a_run_is_made_up(world: World) -> Iterator[None]:
    with _lines(world, ran.GENERATES, lambda lines: [line | {"run": "0" * 32} for line in lines]):
        yield


@contextmanager
def two_workers_have_one_job(world: World) -> Iterator[None]:
    with _lines(world, ran.GENERATES, lambda lines: [line | {"alone": False} for line in lines]):
        yield


@contextmanager
def a_hook_before_never_was_good(world: World) -> Iterator[None]:
    with _lines(world, ran.BEFORE, lambda lines: [line for line in lines if line["what"] != "made"]):
        yield


@contextmanager
def a_hook_before_is_late(world: World) -> Iterator[None]:
    with _lines(world, ran.BEFORE, lambda lines: [line | {"at": line["at"] + 9e9} for line in lines]):
        yield


@contextmanager
def a_hook_before_had_another_clip(world: World) -> Iterator[None]:
    with _lines(world, ran.BEFORE, lambda lines: [line | {"video": "0" * 64} for line in lines]):
        yield


@contextmanager
def a_hook_after_ran_for_another_result(world: World) -> Iterator[None]:
    with _lines(world, ran.AFTER, lambda lines: [line | {"output": "0" * 64} for line in lines]):
        yield


@contextmanager
def a_hook_after_is_early(world: World) -> Iterator[None]:
    with _lines(world, ran.AFTER, lambda lines: [line | {"at": 0.0} for line in lines]):
        yield


@contextmanager
def a_hook_after_never_ran(world: World) -> Iterator[None]:
    with _lines(world, ran.AFTER, lambda _: []):
        yield


@contextmanager
def a_hook_after_ran_twice(world: World) -> Iterator[None]:
    with _lines(world, ran.AFTER, lambda lines: [*lines, *(line | {"run": f"{line['run']}-again"} for line in lines)]):
        yield


@contextmanager
def two_hooks_at_once(world: World) -> Iterator[None]:
    with _lines(world, ran.AFTER, lambda lines: [line | {"alone": False} for line in lines]):
        yield


@contextmanager
def a_hook_that_was_over_ran_again(world: World) -> Iterator[None]:
    """One that the ledger has as well."""
    again = f"""
        INSERT INTO job_events (job, at, event, was, state, data)
        SELECT job, at, 'hook-started', state, state, data FROM job_events
        WHERE event = 'hook-done' AND data LIKE '%"{ran.AFTER}"%' LIMIT 1
    """  # noqa: S608 - a name of ours
    with journal_of(world) as db:
        db.execute(again)
        db.commit()
        yield


@contextmanager
def a_clip_was_started_while_paused(world: World) -> Iterator[None]:
    with _paused_at(world, "started"):
        yield


@contextmanager
def a_hook_was_started_while_paused(world: World) -> Iterator[None]:
    with _paused_at(world, "hook-started"):
        yield


TAMPERINGS: dict[Spoilt, str] = {
    a_job_is_generated_twice: "times, and given back",
    a_run_is_made_up: "and it was claimed 0 times",
    two_workers_have_one_job: "two workers had it at once",
    a_hook_before_never_was_good: f"a worker had it before {ran.BEFORE} was good",
    a_hook_before_is_late: f"a worker had it before {ran.BEFORE} was good",
    a_hook_before_had_another_clip: f"{ran.BEFORE} was last good for another clip",
    a_hook_after_ran_for_another_result: f"{ran.AFTER} ran for what was not published",
    a_hook_after_is_early: f"{ran.AFTER} ran before its result was made",
    a_hook_after_never_ran: f"{ran.AFTER} never was good, and it is done",
    a_hook_after_ran_twice: f"{ran.AFTER} was good 2 times; the journal has 1 good",
    two_hooks_at_once: f"{ran.AFTER} ran for two clips at once",
    a_hook_that_was_over_ran_again: f"{ran.AFTER} ran again, and was over",
    a_clip_was_started_while_paused: "started while it was paused",
    a_hook_was_started_while_paused: "hook-started while it was paused",
}
"""What is spoilt, and what is to be told of it."""


@contextmanager
def _lines(world: World, name: str, spoil: Callable[[list[Line]], list[Line]]) -> Iterator[None]:
    """Spoil what a ledger has of one job that is done, and to which nothing happened on its way."""
    with open_reader(world.daemon.state) as journal:
        done = [job.id for job in journal.jobs(JobState.DONE) if job.promise and _is_smooth(journal.events(job.id))]
    file: Path = ran.folder_of(world.daemon.folder) / f"{name}.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    others = [line for line in lines if line["job"] != done[0]]
    spoilt = [*others, *spoil([line for line in lines if line["job"] == done[0]])]
    with changed(file, "".join(f"{json.dumps(line)}\n" for line in spoilt).encode()):
        yield


def _is_smooth(events: list[Event]) -> bool:
    """Whether each thing was begun once, and ended well."""
    begun = [event.data.get("hook") for event in events if event.event in {"started", "hook-started"}]
    ended = [event.data.get("hook") for event in events if event.event in {"generated", "hook-done"}]
    return begun == ended == [ran.BEFORE, None, ran.AFTER] and not any(event.event in duties.BACK for event in events)


@contextmanager
def _paused_at(world: World, event: str) -> Iterator[None]:
    """As if it had been paused when a clip, or a hook before one, was started."""
    line = next(line for line in world.daemon.events(event) if line.get("when") in {None, "before"})
    at = datetime.fromisoformat(line["timestamp"]).timestamp()
    world.pauses.append((at - 0.001, at + 0.001))
    yield
    world.pauses.pop()
