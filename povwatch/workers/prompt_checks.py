"""Has the guardrail's text filters check prompts while their JSON may still be edited. It disturbs no job.

The rules:

1. A text is checked once, whoever asks: the verdicts are kept by its digest.
2. A worker that has the engine loaded and no job checks with all of its text filters. The jobs that are due come first,
   and while no clip may start (`povwatch pause`, `engine.hours`) the GPU is left alone. Nothing is loaded for it.
3. Where no worker is idle, a worker of its own checks on the CPU: with the word lists, or with the language model too
   (`engine.check_prompts`). It starts when there is something to check, and ends when there was nothing for a while.
   What only has passed the word lists is checked by an idle worker later, if its job still waits then.
4. Nothing waits for a check. If one fails, the log says so once, and the engine's own guardrail decides as before.

All times are on the boot clock.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from povwatch.core.events import say
from povwatch.core.sentences import joined
from povwatch.engines.guardrail_filters import BLOCKED, FAILED, PASSED
from povwatch.process import protocol
from povwatch.workers import events
from povwatch.workers.launch import text_filters
from povwatch.workers.states import SupervisorState, Timeouts
from povwatch.workers.supervisor import Supervisor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from povwatch.config.settings import Config
    from povwatch.core.blockers import Source
    from povwatch.core.clock import Clock
    from povwatch.workers.launch import Launch
    from povwatch.workers.pool import WorkerPool
    from povwatch.workers.process import WorkerProcess

IDLE_FIRST = 0.2
"""Seconds that a text waits for an idle worker before it is checked on the CPU."""

LOAD_TIMEOUT = 300.0
"""Seconds in which the filters are loaded on the CPU: they import torch, perhaps from a cold disk."""

CHECK_TIMEOUT = {False: 120.0, True: 1200.0}
"""Seconds for a check on the CPU; the language model takes tens of seconds of processor time for a text."""

ENDS_AFTER = 300.0
"""Seconds without a text after which the worker on the CPU ends."""

TRIED_AGAIN = 600.0
"""Seconds after which the filters are loaded again on the CPU when they could not be."""

KEPT = 4096
"""Texts whose verdicts are kept. Beyond that, those are forgotten that nobody asked for lately."""

FORGOTTEN_AFTER = 3600.0
"""Seconds that count as lately."""

CPU = "CPU"
WORKER = "worker"

TEXTS_MAX = {CPU: 4, WORKER: 2}
"""Texts in one check: a job that becomes due meanwhile waits for it. Long word lists take a second for a text."""

LENGTH_MAX = {CPU: 50_000, WORKER: 5_000}
"""Characters of a text that is checked. A longer one would hold the worker up; the model itself reads 512 tokens."""


@dataclass(slots=True)
class _Text:
    """A text, and what is known of it."""

    text: str
    since: float
    asked_at: float
    asking: set[int] = field(default_factory=set)
    """The jobs that it is a prompt of."""
    under_way: bool = False
    tried: set[str] = field(default_factory=set)
    """Where it was checked, or could not be: CPU, WORKER."""
    found: dict[str, dict[str, Any]] = field(default_factory=dict)
    """A filter's name to what it said; see `Verdicts`."""

    @property
    def blocked(self) -> bool:
        return any(said["verdict"] == BLOCKED for said in self.found.values())

    def wanted(self, where: str) -> bool:
        """Whether it is to be checked there."""
        done = self.under_way or self.blocked or where in self.tried or WORKER in self.tried
        return bool(self.asking) and not done and len(self.text) <= LENGTH_MAX[where]


@dataclass(slots=True)
class _Asked:
    """A check under way."""

    number: int
    texts: list[str]
    """Digests."""


class PromptChecks:
    """The checks. For one thread: the loop's."""

    def __init__(
        self,
        config: Config,
        engine_kind: str,
        *,
        pool: WorkerPool,
        schedule: Source,
        clock: Clock,
        new_process: Callable[[Launch], WorkerProcess],
    ) -> None:
        """Nothing is started yet."""
        self._pool = pool
        self._schedule = schedule
        self._clock = clock
        self._on = config.engine.guardrails and config.engine.check_prompts != "off"
        self._whole = config.engine.check_prompts == "all"
        launch = text_filters(config, engine_kind)
        timeouts = Timeouts(load=LOAD_TIMEOUT, stall=LOAD_TIMEOUT, check=CHECK_TIMEOUT[self._whole])
        self._cpu = Supervisor(launch, timeouts, clock=clock, new_process=new_process) if launch else None
        self._texts: dict[str, _Text] = {}
        self._asked: dict[Supervisor, _Asked] = {}
        self._numbers = 0
        self._used_at = 0.0
        self._retry_at = 0.0
        """When the filters may be loaded on the CPU."""
        self._told: set[str] = set()
        """Problems that the log has."""
        self.answered: set[int] = set()
        """Jobs one of whose texts was checked. The grace stage takes them out."""

    # -- what the grace stage asks

    def said(self, job: int, text: str, now: float) -> list[dict[str, Any]]:
        """What the filters have said of a job's text so far; a job that asks is `answered` later.

        Each has the fields of Filters.about, and `when`, `how`, `on`, `verdict` and `message` as a manifest has them.
        """
        if not self._on or not text.strip() or len(text) > LENGTH_MAX[CPU]:
            return []
        key = _key(text)
        known = self._texts.get(key)
        if known is None:
            self._forget(now)
            known = self._texts[key] = _Text(text, now, now)
        known.asked_at = now
        known.asking.add(job)
        return list(known.found.values())

    def leave(self, job: int) -> None:
        """A job waits no more for what is still to be checked of its texts."""
        for known in self._texts.values():
            known.asking.discard(job)
        self.answered.discard(job)

    # -- its turns

    def next_deadline(self) -> float | None:
        """When `tick` has something to do."""
        if self._cpu is None:
            return None
        found = [self._cpu.next_deadline()]
        if self._cpu.state in {SupervisorState.STOPPED, SupervisorState.READY} and self._cpu not in self._asked:
            waiting = [text.since for text in self._texts.values() if text.wanted(CPU)]
            found += [max(min(waiting) + IDLE_FIRST, self._retry_at)] if waiting else []
            found += [self._used_at + ENDS_AFTER] if self._cpu.state is SupervisorState.READY else []
        return min((at for at in found if at is not None), default=None)

    def tick(self, now: float) -> None:
        """Take the answers, and ask what is to be asked."""
        if not self._on:
            return
        self._poll(now)
        for supervisor in list(self._asked):
            self._take(supervisor, now)
        for worker in self._pool.workers if self._schedule.blocker is None else ():
            idle = worker.active is None and worker.supervisor.state is SupervisorState.READY
            if idle and worker.supervisor not in self._asked and _filters(worker.supervisor):
                self._ask(worker.supervisor, WORKER)
        if self._cpu is not None:
            self._use_cpu(self._cpu, now)

    def stop(self, why: str) -> None:
        """Tell the worker on the CPU to end. `close` kills it if it does not."""
        if self._cpu is not None and self._cpu.state not in {SupervisorState.STOPPED, SupervisorState.STOPPING}:
            self._cpu.stop(why)

    def close(self) -> None:
        """End the worker on the CPU now."""
        if self._cpu is not None:
            self._cpu.close()

    # -- the worker on the CPU

    def _poll(self, now: float) -> None:
        if self._cpu is None:
            return
        for event in self._cpu.poll(now):
            match event:
                case events.EngineOutput():
                    say("engine-output", line=event.line)
                case events.EngineUnavailable():
                    self._put_off(now, joined(event.message, event.todo))
                case events.WorkerLost():
                    self._put_off(now, str(event.error))
        if self._cpu.due(now) and now >= self._retry_at:
            self._cpu.spawn(now)

    def _use_cpu(self, cpu: Supervisor, now: float) -> None:
        wanted = any(text.wanted(CPU) and now >= text.since + IDLE_FIRST for text in self._texts.values())
        match cpu.state:
            case SupervisorState.STOPPED if wanted and now >= self._retry_at:
                self._used_at = now
                cpu.start()
                cpu.spawn(self._clock.boot())
            case SupervisorState.READY if wanted and cpu not in self._asked:
                self._used_at = now
                self._ask(cpu, CPU)
            case SupervisorState.READY if now >= self._used_at + ENDS_AFTER and cpu not in self._asked:
                cpu.stop("No prompt is to be checked.")

    def _put_off(self, now: float, problem: str) -> None:
        """The filters cannot be loaded on the CPU, or their worker is gone."""
        self._retry_at = now + TRIED_AGAIN
        self._tell(problem)
        if self._cpu is not None and self._cpu.state is SupervisorState.BACKOFF:
            self._cpu.stop("Its filters cannot be loaded.")

    def _tell(self, problem: str) -> None:
        if problem not in self._told:
            self._told.add(problem)
            say("prompts-unchecked", problem=events.storable(problem))

    # -- a check

    def _ask(self, supervisor: Supervisor, where: str) -> None:
        keys: list[str] = []
        length = 0
        for key, text in self._texts.items():
            if text.wanted(where) and len(keys) < TEXTS_MAX[where] and length + len(text.text) <= LENGTH_MAX[where]:
                keys.append(key)
                length += len(text.text)
        if not keys:
            return
        self._numbers += 1
        asked = _Asked(self._numbers, keys)
        supervisor.check_prompts(protocol.CheckPrompts(asked.number, [self._texts[key].text for key in keys]))
        for key in keys:
            self._texts[key].under_way = True
        self._asked[supervisor] = asked

    def _take(self, supervisor: Supervisor, now: float) -> None:
        """Take a worker's answer if it is there, or give it up if the worker is lost."""
        asked = self._asked[supervisor]
        answers = [answer for answer in supervisor.take_checked() if answer.number == asked.number]
        if not answers and supervisor.checking == asked.number:
            return
        del self._asked[supervisor]
        on = CPU if supervisor is self._cpu else WORKER
        problem = "The worker that checked them is gone."
        said: list[Any] = []
        if answers:
            problem, said = answers[0].problem, answers[0].verdicts
            if not problem and not _well_formed(said, len(asked.texts)):
                problem, said = f"The filters answered with {str(said)[:200]}.", []
        if problem:
            self._tell(problem)
        about = _filters(supervisor)
        for key, found in zip(asked.texts, said or [[]] * len(asked.texts), strict=True):
            text = self._texts[key]
            text.under_way = False
            text.tried |= {CPU, WORKER} if on == WORKER or self._whole else {CPU}
            for one in found:
                name = one["filter"]
                fields = {"when": "grace", "how": "ran", "on": on, "verdict": one["verdict"]}
                message = {"message": one["message"]} if one["message"] else {}
                text.found[name] = {**about.get(name, {"name": name}), **fields, **message}
                if one["verdict"] == FAILED:
                    self._tell(f"{name}: {one['message']}")
            if WORKER in text.tried:
                text.text = ""  # nobody needs it any more
            self.answered |= text.asking
        if on == CPU:
            self._used_at = now

    def _forget(self, now: float) -> None:
        if len(self._texts) >= KEPT:
            self._texts = {
                key: text
                for key, text in self._texts.items()
                if text.under_way or now - text.asked_at < FORGOTTEN_AFTER
            }


def _filters(supervisor: Supervisor) -> dict[str, dict[str, Any]]:
    """The text filters that a worker has loaded, by their names. Anybody's engine may say anything of itself."""
    found = (supervisor.capabilities or {}).get("filters")
    known = [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
    return {one["name"]: one for one in known if isinstance(one.get("name"), str)}


def _well_formed(verdicts: list[Any], many: int) -> bool:
    """Whether an answer is as port.PromptChecker has it, for so many texts."""

    def fits(one: Any) -> bool:  # noqa: ANN401 - whatever it is
        texts = [one.get(key) for key in ("filter", "verdict", "message")] if isinstance(one, dict) else [None]
        return all(isinstance(text, str) for text in texts) and one["verdict"] in {PASSED, BLOCKED, FAILED}

    return len(verdicts) == many and all(isinstance(said, list) and all(map(fits, said)) for said in verdicts)


def merged(said: Iterable[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """What each filter said of several texts: its gravest verdict, and how many it checked."""
    found: dict[str, dict[str, Any]] = {}
    gravity = {BLOCKED: 2, FAILED: 1}
    for one in _flat(said):
        before = found.get(one["name"])
        times = (before or {}).get("times", 0) + 1
        if before is None or gravity.get(one["verdict"], 0) > gravity.get(before["verdict"], 0):
            found[one["name"]] = dict(one)
        found[one["name"]]["times"] = times
    return list(found.values())


def _flat(said: Iterable[list[dict[str, Any]]]) -> Iterator[dict[str, Any]]:
    for one in said:
        yield from one


def _key(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
