"""Answers people's requests: go, hold, retry, cancel, pause, resume, clean.

Each answer is one sentence that says what happens next.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from povwatch.core import layout
from povwatch.core.changes import Go, Hasten, Hold
from povwatch.core.command import command
from povwatch.core.errors import EnvironmentFault, JournalFailed
from povwatch.core.events import say
from povwatch.core.job import Job, JobState, Waiting
from povwatch.core.lookup import find, number_of, unanswerable
from povwatch.core.unforeseen import in_words
from povwatch.ops import clean
from povwatch.service.requests import Answer, Request

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from povwatch.config.settings import Config
    from povwatch.daemon.app import App
    from povwatch.ops.clean import Leftover

EARLY = frozenset({JobState.ARRIVING, JobState.GRACE, JobState.QUEUED})
"""The states in which a job can still be held or started."""


OF_ALL = frozenset({"pause", "resume", "clean"})
"""Requests that concern no single clip."""


class Requests:
    """Answers requests."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._store = app.store
        self._spool = app.spool

    def tick(self, now: float) -> None:
        """Answer the requests in the spool."""
        for request in self._spool.take():
            if request.verb == "clean":
                self._clean(request)
                continue
            found: list[Job] = []
            try:
                found = self._find(request.clip) if request.clip else []
                if self._runs_damaged(request, found):
                    continue
                answer = self._perform(request, found, now)
            except EnvironmentFault as error:
                answer = Answer(done=False, text=str(error))
            except JournalFailed:
                raise
            except Exception as error:  # noqa: BLE001 - a request that cannot be met must not end the daemon, twice over
                answer = Answer(done=False, text=str(in_words(error, "while it answered a request")))
            # Log the clip's own name and number, whatever was typed; after a retry, its new number.
            job = self._store.of_path(found[0].path) if len(found) == 1 else None
            self._answer(request, job, answer)

    def _answer(self, request: Request, job: Job | None, answer: Answer) -> None:
        if request.verb in OF_ALL:
            say("request-all", verb=request.verb, answer=answer.text)
        else:
            named = {} if job else {"clip": request.clip or "--previews"}
            say("request", job, verb=request.verb, answer=answer.text, **named)
        try:
            self._spool.answer(request, answer)
        except OSError as error:
            say("unanswered", verb=request.verb, clip=request.clip, problem=error.strerror)

    def _perform(self, request: Request, found: list[Job], now: float) -> Answer:
        if (answer := self._of_all(request, now)) is not None:
            return answer
        options = [f"--{name}" for name in ("force", "damaged") if request.options.get(name)]
        paths = [job.path for job in found]
        if why := unanswerable(request.verb, options, request.clip, paths, self._store.known.keys()):
            return Answer(done=False, text=why)
        (job,) = found
        if job.path not in self._store.scope:
            text = "this povwatch runs other clips alone (run --once with their names): ask again when it has ended."
            return Answer(done=False, text=text)
        if request.verb == "go" and request.options.get("damaged"):
            return self._not_incomplete(job)
        perform: dict[str, Callable[[Job], Answer]] = {"go": self._go, "hold": self._hold, "cancel": self._cancel}
        if request.verb in perform:
            return perform[request.verb](job)
        return self._retry(job, now, force=bool(request.options.get("force")))

    def _of_all(self, request: Request, now: float) -> Answer | None:
        """Answer a request that concerns no single clip; None for any other request."""
        match request.verb:
            case "pause":
                return Answer(done=True, text=self._app.schedule.pause(request.by))
            case "resume":
                return Answer(*self._app.schedule.resume())
            case "retry" if request.options.get("previews"):
                return self._retry_previews(now)
        return None

    def _find(self, clip: str) -> list[Job]:
        """The newest jobs of the clips that a word may mean; see lookup.py."""
        if paths := find(self._store.known.keys(), self._relative(clip)):
            return [job for path in paths if (job := self._store.of_path(path))]
        number = number_of(clip)
        job = self._store.journal.job(number) if number is not None else None
        newest = self._store.of_path(job.path) if job else None
        return [newest] if newest else []

    def _relative(self, clip: str) -> str:
        """A path relative to inputs/. Paths that a shell completes are often absolute."""
        return clip.removeprefix(f"{self._app.folder.root}/")

    def _go(self, job: Job) -> Answer:
        if job.state not in EARLY:
            return self._too_late(job)
        job = self._store.apply(job, Go())
        self._app.grace.check_soon(job.id)
        beside = layout.beside(job.path, job.base)
        try:
            held = self._app.folder.markers(beside).hold
        except EnvironmentFault as error:
            when = f"it is noted, and the clip starts when inputs/ can be read again: {error.what}"
            return Answer(done=True, text=when)
        if held:
            text = f"the file {layout.shown(beside.hold)} still holds it: remove that, and it starts."
            return Answer(done=False, text=text)
        match job.waiting_on:
            case Waiting.INVALID_SPEC:
                text = f"it starts as soon as its JSON is right: {job.detail}"
            case _ if job.state is JobState.ARRIVING:
                text = "it starts as soon as it has arrived."
            case _:
                text = "it starts as soon as a worker is free."
        return Answer(done=True, text=text)

    def _runs_damaged(self, request: Request, found: list[Job]) -> bool:
        """Whether this is `go --damaged` of an incomplete clip. It is answered once some of the clip is decoded."""
        if request.verb != "go" or not request.options.get("damaged") or len(found) != 1:
            return False
        (job,) = found
        if (
            job.state is not JobState.ARRIVING
            or job.waiting_on is not Waiting.INCOMPLETE
            or job.path not in self._store.scope
        ):
            return False
        self._app.arrival.run_damaged(job, partial(self._answer_damaged, request, job))
        return True

    def _answer_damaged(self, request: Request, job: Job, answer: Answer) -> None:
        """Answer `go --damaged`. A user's marker still holds the clip once it has arrived."""
        beside = layout.beside(job.path, job.base)
        with suppress(EnvironmentFault):  # inputs/ is away; `why` names the marker later
            if answer.done and self._app.folder.markers(beside).hold:
                text = f"{answer.text} The file {layout.shown(beside.hold)} still holds it: remove that, and it starts."
                answer = Answer(done=False, text=text)
        self._answer(request, job, answer)

    def _not_incomplete(self, job: Job) -> Answer:
        """The answer to `go --damaged` for a clip that is complete, or not yet known to be incomplete."""
        if job.ended or job.state not in EARLY:
            return self._too_late(job)
        if job.state is not JobState.ARRIVING:
            return Answer(done=False, text=f"nothing of it is missing: {command('go', clip=job.path)} starts it.")
        if job.damaged is not None:
            return Answer(done=True, text="what can be decoded of it is run: it is being decoded.")
        return Answer(done=False, text="it still arrives: ask again if it waits (incomplete).")

    def _hold(self, job: Job) -> Answer:
        if job.state not in EARLY:
            return self._too_late(job)
        job = self._store.apply(job, Hold())
        self._app.grace.check_soon(job.id)
        return Answer(done=True, text=f"it is held until {command('go', clip=job.path)}")

    def _cancel(self, job: Job) -> Answer:
        if job.ended:
            return Answer(done=False, text=f"it is {job.state} already.")
        if job.state is JobState.PUBLISHING and job.waiting_on in {Waiting.HOOK, Waiting.RETRY_AT}:
            return Answer(done=False, text="it is published already; only its hooks still run.")
        if job.state is JobState.PUBLISHING:
            return Answer(done=False, text="it is being published this moment: too late.")
        self._app.arrival.withdraw(job, "somebody said povwatch cancel")
        return Answer(done=True, text=f"it is cancelled. To take it in again: {command('retry', clip=job.path)}")

    def _retry(self, job: Job, now: float, *, force: bool) -> Answer:
        if not job.ended:
            if job.not_before and job.state is JobState.QUEUED:
                self._store.apply(job, Hasten())
                return Answer(done=True, text="its next attempt starts now, not after the pause.")
            if self._app.results.hasten(job):
                what = "finished" if job.state is JobState.CHECKING else "published"
                return Answer(done=True, text=f"it is {what} now, not after the pause; nothing is generated anew.")
            return Answer(done=False, text=f"it is {job.state} already: there is nothing to retry.")
        if job.state is JobState.DONE and not force:
            same = command("retry", "--force", clip=job.path)
            return Answer(done=False, text=f"it is done ({job.output}). To run the same again: {same}")
        return self._run_again(job, now, force=force)

    def _run_again(self, job: Job, now: float, *, force: bool) -> Answer:
        if not force and self._app.results.again(job):
            text = f"what was generated is finished again, as job {job.id}; nothing is generated anew."
            return Answer(done=True, text=text)
        again = self._app.arrival.again(job.path, now, force=force or job.force)
        if again is None and job.state is JobState.REJECTED:
            return Answer(done=False, text="there is no plain file of that name: put the video itself there.")
        if again is None:
            return Answer(done=False, text="the clip is not there any more: copy it into inputs/ again.")
        return Answer(done=True, text=f"it is taken in again as job {again.id}.")

    def _retry_previews(self, now: float) -> Answer:
        if self._app.choice.kind == "preview":
            text = f"the engine here is the preview. What a real one lacks on this machine: {command('doctor')}"
            return Answer(done=False, text=text)
        jobs = [job for job in self._store.journal.previews() if job.path in self._store.scope]
        taken = [job for job in jobs if self._app.arrival.again(job.path, now)]
        left = f"; {len(jobs) - len(taken)} are not there any more" if len(taken) < len(jobs) else ""
        return Answer(done=True, text=f"{len(taken)} previewed clip(s) are taken in again{left}.")

    def _clean(self, request: Request) -> None:
        """Begin to clean, one request at a time. Threads list and remove the files; the loop asks the journal."""
        background, config, dry = self._app.background, self._app.config, bool(request.options.get("dry_run"))
        if background.busy("clean"):
            return

        def judge(outcome: list[Leftover] | Exception) -> None:
            if isinstance(outcome, Exception):
                end([], outcome)
                return
            found = clean.judge(outcome, self._store.journal)
            if dry:
                end(found, [])
            else:
                background.submit("clean", lambda kept: end(found, kept), _remove_leftovers, config, found)

        def end(found: list[Leftover], kept: list[Leftover] | Exception) -> None:
            if isinstance(kept, Exception):
                self._answer(request, None, Answer(done=False, text=str(in_words(kept, "while it cleaned"))))
            else:
                self._answer(request, None, clean.answer(found, kept, dry=dry))

        background.submit("clean", judge, _find_leftovers, config, self._store.clock.wall())

    @staticmethod
    def _too_late(job: Job) -> Answer:
        if job.state is JobState.REJECTED:
            return Answer(done=False, text=f"it is {job.state} already: {job.error}")
        if job.ended:
            again = command("retry", *(["--force"] if job.state is JobState.DONE else []), clip=job.path)
            return Answer(done=False, text=f"it is {job.state} already. To run it again: {again}")
        return Answer(done=False, text=f"it is {job.state} already.")


def _find_leftovers(_: threading.Event, config: Config, now: float) -> list[Leftover]:
    return clean.find(config, now)


def _remove_leftovers(_: threading.Event, config: Config, found: list[Leftover]) -> list[Leftover]:
    return clean.remove(config, found)
