"""The part of the daemon that keeps outputs/index.html up to date.

It never delays a clip: in the loop it reads a few jobs of the journal in a turn, and everything else, the writing and
the small pictures, is done by one thread of its own, from data.
"""

from __future__ import annotations

import heapq
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from povwatch.core.background import Background
from povwatch.core.errors import PovwatchError
from povwatch.core.events import say
from povwatch.core.job import Job, JobState
from povwatch.core.layout import shown
from povwatch.core.stage import JobListener
from povwatch.core.unforeseen import translate_unforeseen
from povwatch.media.errors import MediaStopped
from povwatch.page.cards import address, as_text, describe, describe_earlier, output_of
from povwatch.page.files import INDEX, Contents, Row, write_page
from povwatch.page.results import Folders, PublishedResult, read_results

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from povwatch.config.settings import Config
    from povwatch.core.changes import Change
    from povwatch.journal.store import JobStore
    from povwatch.publish.outputs_watch import OutputsWatch

WRITE_EVERY = 3.0
"""Seconds between two writings, at least; and ten times as long as the last one took."""

AGAIN = 30.0
"""Seconds until it is tried again to write a page that could not be written."""

READ_AT_ONCE = 8
"""Jobs that are read in one turn of the loop: each takes about a millisecond."""

LAST_READ = 2.0
"""Seconds of reading at the end."""

PICTURES_AT_ONCE = 5
"""Pictures that are made in one go, at most."""

RESULTS_AT_ONCE = 50
"""Results that are read in one go, at most."""

JOBS_MAX = 5000
"""The most jobs on the page: the newest."""

OVERDUE = 10.0
"""Seconds after which the page is written although jobs are left to be read."""

TEXTS_MAX = 20_000
"""Long texts that are kept until those of jobs that have gone are dropped."""

QUEUE_MAX = 500
"""The most jobs of the queue whose places are told."""

WRITE, READ_RESULTS = "the page is written", "results are read for the page"


@dataclass(slots=True)
class Card:
    """What the page says about a job."""

    path: bytes
    """The clip."""
    look: str
    said: dict[str, Any]
    """From the journal."""
    output: bytes | None
    """The result of this job, or of an earlier one."""
    seen: dict[str, Any] | None = None
    """From that result, once it was read."""
    earlier: dict[str, Any] = field(default_factory=dict)
    """What the page says about the earlier job; empty if the result is of this one, or there is none."""
    text: str = field(default="", repr=False)
    """In JSON."""

    @property
    def gone(self) -> bool:
        """Whether the result is an earlier one that is not there any more."""
        return bool(self.earlier) and self.seen == {}


class PageUpdater(JobListener):
    """Keeps the page up to date."""

    def __init__(
        self, config: Config, *, store: JobStore, outputs_watch: OutputsWatch, wake: Callable[[], None]
    ) -> None:
        paths, publish = config.paths, config.publish
        self._config = config
        self._store = store
        self._outputs_watch = outputs_watch
        self._folders = Folders(paths.inputs, paths.outputs, publish.source_to if publish.source == "move" else "")
        self._background = Background(wake, threads=1, broken=store.mishaps.work_failed)
        self._cards: dict[int, Card] = {}
        self._newest: dict[tuple[bytes, str], int] = {}
        """The newest job of each look of each clip."""
        self._texts: dict[str, int] = {}
        """The long texts of the cards."""
        looks = (known for of_clip in store.looks.values() for known in of_clip.values())
        known = (known.job for known in (*store.known.values(), *looks))
        self._unread = set(heapq.nlargest(JOBS_MAX, known))
        """The jobs that are to be read."""
        self._unseen: set[int] = set()
        """The jobs whose results are to be read."""
        self._undrawn: set[int] = set()
        """The jobs of which a picture is to be made."""
        self._stale = True
        """Whether the page says less than is known."""
        self._progress: dict[str, Any] = {}
        """The progress that was written last."""
        self._revision = ""
        self._next = store.clock.boot()
        """No writing before this time of the boot clock."""
        self._results_next = 0.0
        """No result is read before this time."""
        self._problems: dict[str, str] = {}
        """What could not be done, WRITE or READ_RESULTS, and why."""

    # -- the daemon's side

    def tick(self, now: float) -> None:
        """See JobListener. Read what has changed, read new results, and write."""
        self._background.handle_results()
        if now < self._next or self._background.busy(WRITE):
            return
        if self._outputs_watch.blocker is not None:  # its disk may be away: nothing is written below its mount point
            self._next = now + WRITE_EVERY
            return
        self._read(READ_AT_ONCE)
        if self._unread and now < self._next + OVERDUE:
            return
        self._read_results(now)
        if self._reading_results and now < self._next + OVERDUE:  # an open page would lose its videos for a moment
            return
        progress = self._progress_now()
        if self._stale or progress != self._progress:
            self._write(progress, now)
        self._next = now + WRITE_EVERY

    def added(self, job: Job) -> None:
        """See JobListener."""
        self._unread.add(job.id)

    def changed(self, old: Job, new: Job, change: Change) -> None:  # noqa: ARG002 - see JobListener
        """See JobListener."""
        self._unread.add(new.id)

    def next_deadline(self) -> float | None:
        """See JobListener."""
        if self._background.busy(WRITE):
            return None  # its end wakes the loop
        if self._reading_results:
            return self._next + OVERDUE  # so does this one's
        waiting = self._unread or self._stale or any(True for _ in self._store.claimed)
        return self._next if waiting or self._unseen or self._undrawn else None

    @property
    def _reading_results(self) -> bool:
        """Whether results are being read that the page says nothing of so far."""
        return bool(self._unseen) and self._background.busy(READ_RESULTS)

    @property
    def idle(self) -> bool:
        """Whether all that happened since the start is known, or cannot be shown now: `close` writes it.

        Pictures of earlier results may still be made, unless their frames are uneven: the page plays those by the
        times that are read with the picture.
        """
        unfinished = self._unseen | self._undrawn
        waited_for = unfinished & self._store.ended.keys() or any(map(self._is_uneven, unfinished))
        return bool(self._problems) or not (self._unread or waited_for)

    def _is_uneven(self, job_id: int) -> bool:
        return self._cards[job_id].said.get("constant") is False

    def close(self) -> None:
        """Wait for the thread, and write the page once more: it says that povwatch has stopped."""
        self._background.close()
        if WRITE in self._problems or self._outputs_watch.blocker is not None:
            return
        until = self._store.clock.boot() + LAST_READ
        while self._unread and self._store.clock.boot() < until:
            self._read(READ_AT_ONCE)
        with suppress(PovwatchError):
            self._take(
                read_results(threading.Event(), self._folders, self._results_of(self._unseen, JOBS_MAX), draw=False)
            )
        contents = self._contents()
        progress = self._progress_now() | {"at": contents.at, "stopped": True}
        with suppress(PovwatchError):
            write_page(None, self._folders.outputs, contents, progress)

    # -- from the journal

    def _read(self, most: int) -> None:
        """Read some of the jobs that have changed, the newest first."""
        if len(self._unread) > 2 * JOBS_MAX:  # a hundred thousand clips may arrive at once
            self._unread.intersection_update(heapq.nlargest(JOBS_MAX, self._unread))
        for job_id in heapq.nlargest(most, self._unread):
            self._unread.discard(job_id)
            job = self._store.job(job_id)
            if len(self._cards) < JOBS_MAX or job_id in self._cards or self._make_room(job_id):
                self._describe(job)

    def _describe(self, job: Job) -> None:
        newest = self._newest.get((job.path, job.look), 0)
        if newest > job.id:
            return
        before = self._cards.get(newest)
        if newest != job.id:
            self._forget(newest)
        now = self._store.clock.wall()
        said = describe(job, self._store.journal.events(job.id), now)
        output, earlier = output_of(job, self._config.publish.layout), {}
        if job.state is not JobState.DONE and (done := self._store.journal.done_before(job)) is not None:
            output = output_of(done, self._config.publish.layout)
            earlier = describe_earlier(done)
        seen = before.seen if before is not None and before.output == output else None
        self._cards[job.id] = card = Card(job.path, job.look, said, output, seen, earlier)
        self._newest[job.path, job.look] = job.id
        if output is not None and seen is None:
            self._unseen.add(job.id)
        self._put(card)

    def _put(self, card: Card) -> None:
        """Put a card's present text onto the page."""
        link = {"at": address(card.path, self._folders.to_inputs)}
        seen = card.seen or {}
        if card.earlier:
            seen = {"earlier": card.earlier | seen} if seen else {}
        card.text = as_text(card.said | link | seen, self._texts)
        self._stale = True

    def _forget(self, job_id: int) -> None:
        self._unseen.discard(job_id)
        self._undrawn.discard(job_id)
        card = self._cards.pop(job_id, None)
        if card is not None:
            self._newest.pop((card.path, card.look), None)
            self._stale = True

    def _make_room(self, job_id: int) -> bool:
        """Leave out the oldest job; False if this one would be that."""
        oldest = min(self._cards)
        if job_id < oldest:
            return False
        self._forget(oldest)
        return True

    def _progress_now(self) -> dict[str, Any]:
        """What changes by the second: how far jobs are, and their places in the queue."""
        journal = self._store.journal
        running = {job.id: found for job in self._store.claimed if (found := journal.progress(job.id))}
        queue = [job.id for job in self._store.in_state(JobState.QUEUED)[:QUEUE_MAX]]
        return {"revision": self._revision, "running": running, "queue": queue}

    # -- results

    def _read_results(self, now: float) -> None:
        """Have results read, then pictures of them made, the newest first."""
        if now < self._results_next or self._background.busy(READ_RESULTS):
            return
        if self._unseen:
            wanted = self._results_of(self._unseen, RESULTS_AT_ONCE)
            self._background.submit(READ_RESULTS, self._results_read, read_results, self._folders, wanted, draw=False)
        elif self._undrawn:
            wanted = self._results_of(self._undrawn, PICTURES_AT_ONCE)
            self._background.submit(READ_RESULTS, self._drawn, read_results, self._folders, wanted, draw=True)

    def _results_of(self, jobs: Iterable[int], most: int) -> list[PublishedResult]:
        return [
            PublishedResult(job_id, card.path, card.output, earlier=bool(card.earlier))
            for job_id in heapq.nlargest(most, jobs)
            if (card := self._cards[job_id]).output is not None
        ]

    def _results_read(self, outcome: dict[int, dict[str, Any]] | Exception) -> None:
        now = self._store.clock.boot()
        if isinstance(outcome, Exception):
            self._results_next = now + AGAIN
            if not isinstance(outcome, MediaStopped):
                self._failed(READ_RESULTS, outcome)
            return
        self._problems.pop(READ_RESULTS, None)
        self._take(outcome)
        self._read_results(now)

    def _drawn(self, outcome: dict[int, dict[str, Any]] | Exception) -> None:
        if not isinstance(outcome, Exception):
            self._undrawn.difference_update(outcome)  # one that could not be made is not tried again
        self._results_read(outcome)

    def _take(self, found: dict[int, dict[str, Any]]) -> None:
        """Put what was found of results onto their cards."""
        for job_id, seen in found.items():
            if (card := self._cards.get(job_id)) is None:
                continue
            if job_id in self._unseen and "picture" not in seen:
                self._undrawn.add(job_id)
            self._unseen.discard(job_id)
            card.seen = seen
            self._put(card)

    # -- writing

    def _contents(self) -> Contents:
        wall = self._store.clock.wall()
        self._revision = f"{int(wall * 1000):x}"
        if len(self._texts) > TEXTS_MAX:
            self._texts.clear()
            for card in self._cards.values():
                self._put(card)
        cards = [self._cards[job_id] for job_id in sorted(self._cards, reverse=True)]
        rows = [
            Row(
                shown(card.path) + (f" ({card.look})" if card.look else ""),
                card.said["state"],
                card.said.get("problem", ""),
                "" if card.output is None or card.gone else address(card.output),
                earlier=bool(card.earlier),
            )
            for card in cards
        ]
        total = len(self._store.known) + sum(map(len, self._store.looks.values()))
        return Contents(
            title=self._config.page.title,
            cards=[card.text for card in cards],
            texts=list(self._texts),
            rows=rows,
            hidden=max(0, total - len(cards)),
            revision=self._revision,
            at=round(wall, 1),
        )

    def _write(self, progress: dict[str, Any], now: float) -> None:
        contents = self._contents() if self._stale else None
        self._stale = False  # what changes from now on is written next time
        self._progress = progress | {"revision": self._revision}
        progress = self._progress | {"at": round(self._store.clock.wall(), 1)}
        self._next = now + WRITE_EVERY
        self._background.submit(WRITE, self._written, write_page, self._folders.outputs, contents, progress)

    def _written(self, outcome: float | Exception) -> None:
        now = self._store.clock.boot()
        if isinstance(outcome, Exception):
            self._stale = True
            self._next = now + AGAIN
            self._failed(WRITE, outcome)
            return
        self._next = max(self._next, now + 10 * outcome)
        if self._problems.pop(WRITE, None):
            say("page-written", page=self._folders.outputs / INDEX.decode())

    def _failed(self, what: str, outcome: Exception) -> None:
        """Log why the page is not up to date; the same reason once."""
        problem = str(translate_unforeseen(outcome, f"while {what}"))
        if problem not in self._problems.values():
            at = self._store.clock.spell(self._store.clock.boot() + AGAIN)
            say("page-unwritten", problem=problem, at=at)
        self._problems[what] = problem
