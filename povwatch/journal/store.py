"""The jobs under way. Every change of a job goes through `JobStore`: journalled first, then logged.

Two changes have no event, and `apply` does not make them: `touch`, and `Journal.save_grace`. The latter leaves the job
in memory as it was; the grace stage has the time that is left.

Arriving jobs stay in the journal alone, since there may be a hundred thousand of them.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from povwatch.core.changes import StillWaits, Waits
from povwatch.core.events import say
from povwatch.core.job import CLAIMED, Job, JobState, Waiting
from povwatch.core.looks import OWN
from povwatch.core.scope import ALL
from povwatch.core.stage import Raise, Stage
from povwatch.journal.present import PresentJobs
from povwatch.journal.reader import Known

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from povwatch.core.changes import Change
    from povwatch.core.clock import Clock
    from povwatch.core.scope import Scope
    from povwatch.core.stage import JobListener, Mishaps
    from povwatch.journal import Journal


class JobStore:
    """The journal with the present jobs in memory."""

    def __init__(self, journal: Journal, clock: Clock, scope: Scope = ALL) -> None:
        self.journal = journal
        self.clock = clock
        self.scope = scope
        """The clips that this povwatch handles."""
        self.mishaps: Mishaps = Raise()
        """Handles unforeseen errors of the stages."""
        self.known: dict[bytes, Known]
        """The newest own job of every clip ever seen."""
        self.looks: dict[bytes, dict[str, Known]]
        """The newest jobs of the other looks, by clip and look. Most clips have none."""
        self.known, self.looks = journal.known_and_looks()
        self.present = PresentJobs(job for job in journal.active() if job.state is not JobState.ARRIVING)
        """The jobs that have not ended, but for those that arrive."""
        self.counts = Counter(journal.counts())
        """Number of jobs in each state."""
        self.missing: dict[tuple[int, int], int] = {}
        """Device and inode of each clip that went missing, to its job: the same file may appear under another name."""
        self.ended: dict[int, Job] = {}
        """The jobs that ended since the start, oldest end first."""
        self._unlogged: list[tuple[str, Job, Mapping[str, Any]]] | None = None
        """Log lines that wait for the commit of `together`; None outside of it."""
        self._touched: set[int] = set()
        """The jobs changed within `together`."""
        self.crashed = journal.fact("daemon") is not None  # a clean stop removes the fact
        """Whether the last daemon ended without a clean stop."""
        self.suspect: int | None = None
        """The job that this crash counts against; None if it counts against each that was under way."""
        self.listeners: Sequence[JobListener] = ()
        """Who is told of every job. `apply` routes jobs to the stages among them."""
        self._news: list[tuple[str, tuple[Any, ...]]] = []
        """What the listeners are told of after the commit of `together`: the method, and its arguments."""
        self._routed: list[tuple[JobListener, str, Job]] = []
        """The calls that are still to be made, in order: whose, the method, the job."""
        self._routing = False

    def job(self, job_id: int) -> Job:
        """The present job.

        Raises:
            KeyError: the journal has no job of this number.
        """
        if found := self.present.by_id.get(job_id):
            return found
        job = self.journal.job(job_id)
        if job is None:
            raise KeyError(job_id)
        return job

    def reread(self, job_id: int) -> Job:
        """The job as the journal has it. The one in memory may be out of date after a failure."""
        self.present.drop(job_id)
        job = self.job(job_id)
        self._remember(job)
        return job

    def of_path(self, path: bytes, look: str = OWN) -> Job | None:
        """The newest job of a look of a clip, ended or not."""
        known = self._known_of(path, look)
        return self.job(known.job) if known else None

    def all_looks(self, path: bytes) -> list[Job]:
        """The newest job of each look of a clip, its own first, then by name."""
        return [self.job(known.job) for known in self._known_looks(path)]

    def open_looks(self, path: bytes) -> list[Job]:
        """The jobs of a clip that have not ended, its own first."""
        return [self.job(known.job) for known in self._known_looks(path) if not known.state.ended]

    def _known_looks(self, path: bytes) -> list[Known]:
        own = [self.known[path]] if path in self.known else []
        return own + [known for _, known in sorted(self.looks.get(path, {}).items())]

    def in_state(self, *states: JobState) -> list[Job]:
        """The jobs in these states: higher priority first, then older first. It does not know `arriving`."""
        return self.present.in_state(*states)

    @property
    def claimed(self) -> Iterator[Job]:
        """The jobs with an attempt under way."""
        return iter(self.present.in_state(*CLAIMED))

    def add(self, clips: Iterable[tuple[bytes, bytes]], *, look: str = OWN, force: bool = False) -> list[Job]:
        """Add jobs for a look of clips (path and stat signature) that were seen, in one transaction."""
        with self.together():  # a journalled job missing in memory could not be added again
            jobs = self.journal.add(clips, self.clock.wall(), look=look, force=force)
            for job in jobs:
                self._remember(job)
                self._news.append(("added", (job,)))
        return jobs

    def apply(self, job: Job, change: Change) -> Job:
        """Change a job: journalled by compare-and-set on its state and run, then logged, then routed to its stages.

        Within `together` the log line and the calls of the stages follow the commit.

        Raises:
            StaleJobError: the job is no longer what the caller knows; nothing was changed.
            JournalError: core/job.py does not allow the change.
        """
        fields = change.log_fields()
        new = self.journal.advance(job, change.applied_to(job), change.name(), self.clock.wall(), fields)
        self._remember(new)
        if change.logged:
            self.log(change.name(), new, fields)
        self._news.append(("changed", (job, new, change)))
        if self._unlogged is None:
            self._tell_news()
        self._route(job, new)
        return new

    def stage_of(self, job: Job) -> Stage:
        """The stage that owns this job, which has not ended."""
        return next(stage for stage in self._stages if job.state in stage.states)

    def cancel(self, job: Job, why: str) -> None:
        """Let the owning stage end a job, now or as soon as its work can be stopped."""
        self.stage_of(job).cancel(job, why)

    @property
    def _stages(self) -> Iterator[Stage]:
        return (listener for listener in self.listeners if isinstance(listener, Stage))

    def _route(self, old: Job, new: Job) -> None:
        """Note which stages a change concerns, and call them now unless it is part of `together`."""
        if old.state is new.state:
            return
        for stage in self._stages:
            had, has = old.state in stage.states, new.state in stage.states
            if had and not has:
                self._routed.append((stage, "leave", old))
            if has and not had:
                self._routed.append((stage, "enter", new))
        if new.ended:
            self._routed += [(listener, "ended", new) for listener in self.listeners]
        if self._unlogged is None:
            self._call_listeners()

    def _tell_news(self) -> None:
        """Tell the listeners of new and changed jobs. What they fail at costs no job, and is not repeated."""
        news, self._news = self._news, []
        for listener in self.listeners:
            for method, given in news:
                try:
                    getattr(listener, method)(*given)
                except Exception as error:  # noqa: BLE001 - whatever it is
                    self.mishaps.work_failed((method, type(listener).__name__), error)

    def _call_listeners(self) -> None:
        """Make the calls in the order of the changes. Those of changes that the listeners make come last."""
        if self._routing:
            return
        self._routing = True
        try:
            while self._routed:
                listener, what, job = self._routed.pop(0)
                if isinstance(listener, Stage) and what != "ended":
                    self._hand_over(listener, what, job)
                else:
                    self._report_end(listener, job)
        finally:
            self._routing = False

    def _report_end(self, listener: JobListener, job: Job) -> None:
        """Report a job's end. A failure costs no other listener, and is repeated later."""
        key = ("end", job.id, type(listener).__name__)
        self.mishaps.repeat(key, f"cleared up after job {job.id}", partial(listener.ended, job))

    def _hand_over(self, stage: Stage, what: str, job: Job) -> None:
        try:
            if what == "leave":
                stage.leave(job)
            elif (now := self.job(job.id)).state in stage.states:
                stage.enter(now)
        except Exception as error:  # noqa: BLE001 - whatever it is, it costs this job and no other
            self.mishaps.charge(job.id, "passed on" if what == "leave" else "took on", error)

    def note(self, job: Job, event: str, fields: Mapping[str, Any]) -> None:
        """Journal and log an event of a job that changes nothing."""
        self.journal.note(job, event, self.clock.wall(), fields)
        self.log(event, job, fields)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Journal all changes of the block as one transaction, and log them after it.

        A crash or an exception undoes all of them, in memory too. A nested block is undone alone, and is logged with
        the outer one.
        """
        outer, touched_before, routed_before = self._unlogged, self._touched, len(self._routed)
        news_before = len(self._news)
        unlogged = self._unlogged = []
        touched = self._touched = set()
        try:
            with self.journal.batch():
                yield
        except BaseException:
            del self._routed[routed_before:]
            del self._news[news_before:]
            for job_id in list(touched):
                self.ended.pop(job_id, None)
                if job := self.journal.job(job_id):
                    self._remember(job)
                else:
                    self._forget(job_id)
            raise
        finally:
            self._unlogged, self._touched = outer, touched_before
        self._touched |= touched
        for event, job, fields in unlogged:
            self.log(event, job, fields)
        if outer is None:
            self._tell_news()
            self._call_listeners()

    def wait(self, job: Job, waiting: Waiting, detail: str, *, quiet: bool = False) -> Job:
        """Journal a new reason to wait. It is logged if the job waits on something else than before."""
        if (job.waiting_on, job.detail) == (waiting, detail):
            return job
        change = StillWaits if quiet or job.waiting_on == waiting else Waits
        return self.apply(job, change(waiting=waiting, detail=detail))

    def touch(self, job: Job, *, source_stat: bytes | None = None, spec_stat: bytes | None = None) -> None:
        """Keep the new signature of a clip or its JSON whose contents mean nothing new."""
        self.journal.save_signatures(job.id, source_stat=source_stat, spec_stat=spec_stat)
        changes = {k: v for k, v in (("source_stat", source_stat), ("spec_stat", spec_stat)) if v is not None}
        self._remember(dataclasses.replace(self.job(job.id), **changes))  # type: ignore[arg-type]

    def _known_of(self, path: bytes, look: str) -> Known | None:
        return self.known.get(path) if look == OWN else self.looks.get(path, {}).get(look)

    def _know(self, job: Job) -> None:
        if job.look == OWN:
            self.known[job.path] = _known(job)
        else:
            self.looks.setdefault(job.path, {})[job.look] = _known(job)

    def _forget(self, job_id: int) -> None:
        """Forget a job whose transaction was undone; the newest job of its look is the one before."""
        found = [(path, OWN) for path, known in self.known.items() if known.job == job_id]
        found += [(path, look) for path, of in self.looks.items() for look, known in of.items() if known.job == job_id]
        for path, look in found:
            known = self.known.pop(path) if look == OWN else self.looks[path].pop(look)
            self.counts[known.state] -= 1
            if before := self.journal.latest(path, look):
                self._know(before)
            elif not self.looks.get(path, True):
                del self.looks[path]

    def log(self, event: str, job: Job, fields: Mapping[str, Any]) -> None:
        """Log an event at once, or with the commit of `together`."""
        if self._unlogged is None:
            say(event, job, **fields)
        else:
            self._unlogged.append((event, job, fields))

    def _remember(self, job: Job) -> None:
        self._touched.add(job.id)
        was = self._known_of(job.path, job.look)
        if was is not None and was.job == job.id:
            self.counts[was.state] -= 1
        self.counts[job.state] += 1
        self._know(job)
        if job.ended or job.state is JobState.ARRIVING:
            self.present.drop(job.id)
        else:
            self.present.put(job)
        if job.ended:
            self.ended[job.id] = job
        else:
            self.ended.pop(job.id, None)  # a failed job may be finished again


def _known(job: Job) -> Known:
    return Known(job.id, job.base, job.state, job.source_stat, job.spec_stat)
