"""Answers people's requests: go, hold, retry, cancel, pause, resume, clean.

Each answer is one sentence that says what happens next.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from povwatch.core import layout
from povwatch.core.changes import Go, Hasten, Hold
from povwatch.core.command import choice, command
from povwatch.core.errors import EnvironmentFault, JournalFailed
from povwatch.core.events import say
from povwatch.core.job import EDITABLE, Job, JobState, Waiting
from povwatch.core.looks import OWN
from povwatch.core.lookup import meant, no_such_look, number_of, unanswerable
from povwatch.core.unforeseen import translate_unforeseen
from povwatch.ops import clean
from povwatch.service.requests import Answer, Request

if TYPE_CHECKING:
    import threading

    from povwatch.config.settings import Config
    from povwatch.daemon.app import App
    from povwatch.ops.clean import Leftover

OF_ALL = frozenset({"pause", "resume", "clean"})
"""Requests that concern no single clip."""


class Refused(Exception):  # noqa: N818 - an answer, not a failure
    """The request cannot be met; the text is the answer."""


class Requests:
    """Answers requests. What performs one returns the answer, or raises Refused with it."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._store = app.store
        self._spool = app.spool

    def tick(self, now: float) -> None:
        """Answer the requests in the spool."""
        for request in self._spool.take():
            self._app.waker.wake()  # the stages act on it in the next turn
            if request.verb == "clean":
                self._clean(request)
                continue
            paths: list[bytes] = []
            look = None
            try:
                paths, look = self._find(request.clip) if request.clip else ([], None)
                if self._begin_damaged(request, paths):
                    continue
                answer = self._perform(request, paths, look, now)
            except (Refused, EnvironmentFault) as error:
                answer = Answer(done=False, text=str(error))
            except JournalFailed:
                raise
            except Exception as error:  # noqa: BLE001 - a request that cannot be met must not end the daemon, now or when it is read again
                answer = Answer(done=False, text=str(translate_unforeseen(error, "while it answered a request")))
            # Log the clip's own name and number, whatever was typed; after a retry, its new number.
            job = self._store.of_path(paths[0], look or OWN) if len(paths) == 1 else None
            self._answer(request, job, answer)

    def _answer(self, request: Request, job: Job | None, answer: Answer) -> None:
        if request.verb in OF_ALL:
            say("request-all", verb=request.verb, answer=answer.text)
        else:
            named = {} if job else {"clip": request.clip or "--previews"}
            text = " ".join([answer.text, "; ".join(answer.lines)]).rstrip()
            say("request", job, verb=request.verb, answer=text, **named)
        try:
            self._spool.answer(request, answer)
        except OSError as error:
            say("unanswered", verb=request.verb, clip=request.clip, problem=error.strerror)

    def _perform(self, request: Request, paths: list[bytes], look: str | None, now: float) -> Answer:
        if request.verb == "pause":
            return Answer(done=True, text=self._app.schedule.pause(request.by))
        if request.verb == "resume":
            return Answer(done=True, text=self._resume())
        if request.verb == "retry" and request.options.get("previews"):
            return Answer(done=True, text=self._retry_previews(now))
        options = [f"--{name}" for name in ("force", "damaged") if request.options.get(name)]
        if why := unanswerable(request.verb, options, request.clip, paths, self._store.known.keys()):
            raise Refused(why)
        (path,) = paths
        if path not in self._store.scope:
            raise Refused(
                "this povwatch runs other clips alone (run --once with their names): ask again when it has ended."
            )
        jobs = self._jobs(path, look)
        if request.verb == "go" and request.options.get("damaged"):
            return Answer(done=True, text=self._go_damaged(jobs[0]))
        if len(jobs) == 1:
            return Answer(done=True, text=self._of_one(request, jobs[0], now))
        if request.options.get("force"):  # what is done would be generated once more, for every look
            looks = [OWN, *sorted(self._store.looks[path])]
            which = choice("retry", "--force", clips=[path + b"@" + look.encode() for look in looks])
            raise Refused(f"it has {len(jobs)} looks. Say which one is to run again: {which}")
        answers = [self._of_each(request, self._store.job(job.id), now) for job in jobs]  # one may have ended another
        done = sum(answer.done for answer in answers)
        text = f"{done} of its {len(answers)} looks:" if done else "nothing changes:"
        lines = (f"{layout.shown(job.called)}: {a.text}" for job, a in zip(jobs, answers, strict=True))
        return Answer(bool(done), text, tuple(lines))

    def _of_one(self, request: Request, job: Job, now: float) -> str:
        if request.verb == "retry":
            return self._retry(job, now, force=bool(request.options.get("force")))
        return {"go": self._go, "hold": self._hold, "cancel": self._cancel}[request.verb](job)

    def _of_each(self, request: Request, job: Job, now: float) -> Answer:
        try:
            return Answer(done=True, text=self._of_one(request, job, now))
        except (Refused, EnvironmentFault) as error:
            return Answer(done=False, text=str(error))

    def _jobs(self, path: bytes, look: str | None) -> list[Job]:
        """The newest jobs of a clip that a request is for: those of all looks, or of one.

        Raises:
            Refused: the clip has no such look.
        """
        jobs = self._store.all_looks(path)
        found = jobs if look is None else [job for job in jobs if job.look == look]
        if not found:
            raise Refused(no_such_look(path, look or "", self._store.looks.get(path, {})))
        return found

    def _resume(self) -> str:
        done, text = self._app.schedule.resume()
        if not done:
            raise Refused(text)
        return text

    def _find(self, clip: str) -> tuple[list[bytes], str | None]:
        """The clips that a word may mean, and the look that it names; see lookup.py. A number names a job's look."""
        paths, look = meant(self._store.known.keys(), self._relative(clip))
        number = None if paths else number_of(clip)
        job = self._store.journal.job(number) if number is not None else None
        if job is not None and job.path in self._store.known:
            alone = job.look == OWN and job.path not in self._store.looks
            return [job.path], None if alone else job.look
        return paths, look

    def _relative(self, clip: str) -> str:
        """A path relative to inputs/. Paths that a shell completes are often absolute."""
        return clip.removeprefix(f"{self._app.folder.root}/")

    def _go(self, job: Job) -> str:
        _refuse_late(job)
        job = self._store.apply(job, Go())
        self._app.grace.check_soon(job.id)
        beside = layout.beside(job.path, job.stem)
        try:
            held = self._app.folder.markers(beside).hold
        except EnvironmentFault as error:
            return f"it is noted, and the clip starts when inputs/ can be read again: {error.what}"
        if held:
            raise Refused(f"the file {layout.shown(beside.hold)} still holds it: remove that, and it starts.")
        if job.waiting_on is Waiting.INVALID_SPEC:
            return f"it starts as soon as its JSON is right: {job.detail}"
        if job.state is JobState.ARRIVING:
            return "it starts as soon as it has arrived."
        return "it starts as soon as a worker is free."

    def _begin_damaged(self, request: Request, paths: list[bytes]) -> bool:
        """Begin to run a damaged clip, if that is the request and the clip is incomplete; False if not.

        The answer follows once some of the clip is decoded.
        """
        if request.verb != "go" or not request.options.get("damaged") or len(paths) != 1:
            return False
        job = self._store.of_path(paths[0])
        if (
            job is None
            or job.state is not JobState.ARRIVING
            or job.waiting_on is not Waiting.INCOMPLETE
            or job.path not in self._store.scope
        ):
            return False
        self._app.arrival.damaged.run(job, partial(self._answer_damaged, request, job))
        return True

    def _answer_damaged(self, request: Request, job: Job, answer: Answer) -> None:
        """Answer `go --damaged`. A user's marker still holds the clip once it has arrived."""
        beside = layout.beside(job.path, job.stem)
        with suppress(EnvironmentFault):  # inputs/ is away; `why` names the marker later
            if answer.done and self._app.folder.markers(beside).hold:
                text = f"{answer.text} The file {layout.shown(beside.hold)} still holds it: remove that, and it starts."
                answer = Answer(done=False, text=text)
        self._answer(request, job, answer)

    def _go_damaged(self, job: Job) -> str:
        """The answer to `go --damaged` for a clip that is complete, or not yet known to be incomplete."""
        _refuse_late(job)
        if job.state is not JobState.ARRIVING:
            raise Refused(f"nothing of it is missing: {command('go', clip=job.called)} starts it.")
        if job.damaged is None:
            raise Refused("it still arrives: ask again if it waits (incomplete).")
        return "what can be decoded of it is run: it is being decoded."

    def _hold(self, job: Job) -> str:
        _refuse_late(job)
        job = self._store.apply(job, Hold())
        self._app.grace.check_soon(job.id)
        return f"it is held until {command('go', clip=job.called)}"

    def _cancel(self, job: Job) -> str:
        if job.ended:
            raise Refused(f"it is {job.state} already.")
        if job.state is JobState.PUBLISHING and job.waiting_on in {Waiting.HOOK, Waiting.RETRY_AT}:
            raise Refused("it is published already; only its hooks still run.")
        if job.state is JobState.PUBLISHING:
            raise Refused("it is being published this moment: too late.")
        self._store.cancel(job, "`povwatch cancel` asked for it")
        return f"it is cancelled. To take it in again: {command('retry', clip=job.called)}"

    def _retry(self, job: Job, now: float, *, force: bool) -> str:
        if not job.ended:
            if job.not_before and job.state is JobState.QUEUED:
                self._store.apply(job, Hasten())
                return "its next attempt starts now, not after the pause."
            if self._app.results.hasten(job):
                what = "finished" if job.state is JobState.CHECKING else "published"
                return f"it is {what} now, not after the pause; nothing is generated anew."
            raise Refused(f"it is {job.state} already: there is nothing to retry.")
        if job.state is JobState.DONE and not force:
            same = command("retry", "--force", clip=job.called)
            raise Refused(f"it is done ({job.output}). To run the same again: {same}")
        if job.name_refused:
            raise Refused(f"it is {job.state} already: {job.error}")
        if not force and self._app.results.finish_kept(job):
            return f"what was generated is finished again, as job {job.id}; nothing is generated anew."
        again = self._app.arrival.joining.rerun(job, now, force=force or job.force)
        if again is not None:
            return f"it is taken in again as job {again.id}."
        if job.state is JobState.REJECTED:
            raise Refused("there is no plain file of that name: put the video itself there.")
        raise Refused("the clip is not there any more: copy it into inputs/ again.")

    def _retry_previews(self, now: float) -> str:
        if self._app.choice.kind == "preview":
            doctor = command("doctor")
            raise Refused(f"the engine here is the preview. What a real one lacks on this machine: {doctor}")
        jobs = [job for job in self._store.journal.previews() if job.path in self._store.scope]
        taken = [job for job in jobs if self._app.arrival.joining.rerun(job, now)]
        left = f"; {len(jobs) - len(taken)} are not there any more" if len(taken) < len(jobs) else ""
        return f"{len(taken)} previewed clip(s) are taken in again{left}."

    def _clean(self, request: Request) -> None:
        """Begin to clean, one request at a time. Threads list and remove the files; the loop asks the journal."""
        if not self._app.background.busy("clean"):
            then = partial(self._judge_leftovers, request)
            self._app.background.submit("clean", then, _find_leftovers, self._app.config, self._store.clock.wall())

    def _judge_leftovers(self, request: Request, outcome: list[Leftover] | Exception) -> None:
        if isinstance(outcome, Exception):
            self._answer_clean(request, [], outcome)
            return
        found = clean.judge(outcome, self._store.journal)
        if request.options.get("dry_run"):
            self._answer_clean(request, found, [])
        else:
            then = partial(self._answer_clean, request, found)
            self._app.background.submit("clean", then, _remove_leftovers, self._app.config, found)

    def _answer_clean(self, request: Request, found: list[Leftover], kept: list[Leftover] | Exception) -> None:
        """Answer a request to clean. `kept` are those of the `found` that could not be removed, or what went wrong."""
        if isinstance(kept, Exception):
            answer = Answer(done=False, text=str(translate_unforeseen(kept, "while it cleaned")))
        else:
            answer = clean.answer(found, kept, dry=bool(request.options.get("dry_run")))
        self._answer(request, None, answer)


def _refuse_late(job: Job) -> None:
    """Refuse to hold or start a job that has started or ended."""
    if job.state in EDITABLE:
        return
    if job.state is JobState.REJECTED:
        raise Refused(f"it is {job.state} already: {job.error}")
    if job.ended:
        again = command("retry", *(["--force"] if job.state is JobState.DONE else []), clip=job.called)
        raise Refused(f"it is {job.state} already. To run it again: {again}")
    raise Refused(f"it is {job.state} already.")


def _find_leftovers(_: threading.Event, config: Config, now: float) -> list[Leftover]:
    return clean.find(config, now)


def _remove_leftovers(_: threading.Event, config: Config, found: list[Leftover]) -> list[Leftover]:
    return clean.remove(config, found)
