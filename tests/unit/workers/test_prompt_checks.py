"""Who checks which prompts, and when: with workers that say what the test says, and the test's time."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs
from support.hand_clock import HandClock
from support.supervising import FakeProcess

from povwatch.config.settings import Config, Engine
from povwatch.process import protocol
from povwatch.workers.launch import text_filters
from povwatch.workers.prompt_checks import (
    CPU,
    ENDS_AFTER,
    FORGOTTEN_AFTER,
    IDLE_FIRST,
    KEPT,
    LENGTH_MAX,
    TEXTS_MAX,
    TRIED_AGAIN,
    WORKER,
    PromptChecks,
    merged,
)
from povwatch.workers.states import SupervisorState, Timeouts
from povwatch.workers.supervisor import Supervisor

WORDS = {"name": "Blocklist", "looks_at": "text", "sha256": "1" * 64}
MODEL = {"name": "Qwen3Guard", "looks_at": "text", "sha256": "2" * 64}


class World:
    """The checks, with workers that have the engine loaded."""

    def __init__(self, kind="diffusers", *, resident=(), **engine):
        self.clock = HandClock()
        self.processes = []
        config = Config(engine=Engine(kind=kind, **engine))
        workers = [SimpleNamespace(active=None, supervisor=self.loaded(about)) for about in resident]
        self.pool, self.schedule = SimpleNamespace(workers=workers), SimpleNamespace(blocker=None)
        self.checks = PromptChecks(
            config,
            kind,
            pool=self.pool,
            schedule=self.schedule,
            clock=self.clock,
            new_process=self.new_process,
        )

    def new_process(self, launch):
        self.processes.append(FakeProcess(self.clock))
        self.processes[-1].launch = launch
        return self.processes[-1]

    def loaded(self, filters):
        timeouts = Timeouts(load=60, stall=60)
        supervisor = Supervisor(
            SimpleNamespace(config={}, engine="e"), timeouts, clock=self.clock, new_process=self.new_process
        )
        supervisor.start()
        supervisor.spawn(self.clock.now)
        self.processes[-1].says(protocol.Loaded({"filters": filters}))
        supervisor.poll(self.clock.now)
        return supervisor

    def turn(self, seconds=0.0):
        self.clock.now += seconds
        for worker in self.pool.workers:
            worker.supervisor.poll(self.clock.now)
        self.checks.tick(self.clock.now)

    def load(self, filters=(WORDS,)):
        """Have the worker on the CPU load its filters."""
        self.turn()
        self.turn(IDLE_FIRST)
        self.cpu.says(protocol.Loaded({"filters": list(filters)}))
        self.turn()

    def said(self, text, job=1):
        return [(one["name"], one["verdict"]) for one in self.checks.said(job, text, self.clock.now)]

    def answer(self, process, verdicts):
        """Answer a check: a filter's name to its verdict, for all of its texts."""
        asked = process.sent[-1]
        said = [{"filter": name, "verdict": verdict, "message": "why"} for name, verdict in verdicts.items()]
        process.says(protocol.PromptsChecked(asked.number, [said] * len(asked.texts), "", ""))
        self.turn()

    @property
    def cpu(self):
        return self.processes[-1]


def asked_of(process):
    return [message.texts for message in process.sent if isinstance(message, protocol.CheckPrompts)]


def test_words_on_the_cpu_where_no_worker_is():
    """Without a worker, a worker of its own checks with the word lists; a text is checked once, whoever asks."""
    world = World()
    assert world.said("a kitchen", 1) == world.said("a kitchen", 2) == []
    assert world.said("a street", 3) == []
    world.load()
    assert world.cpu.launch.engine == "povwatch.engines.text_filters:TextFilters"
    assert world.cpu.launch.env["CUDA_VISIBLE_DEVICES"] == ""
    assert world.cpu.launch.env["PYTORCH_NVML_BASED_CUDA_CHECK"] == "1", "the driver may hang"
    assert asked_of(world.cpu) == [["a kitchen", "a street"]]
    world.answer(world.cpu, {"Blocklist": "passed"})
    assert world.checks.answered == {1, 2, 3}
    assert world.said("a kitchen", 4) == [("Blocklist", "passed")]
    world.turn(1)
    assert len(asked_of(world.cpu)) == 1
    assert world.checks.said(1, "a kitchen", 0)[0] == WORDS | {
        "when": "grace",
        "how": "ran",
        "on": "CPU",
        "verdict": "passed",
        "message": "why",
    }


def test_idle_worker_checks_with_all():
    """A worker without a job checks at once with all its filters, and nothing is loaded for it."""
    world = World(resident=[[WORDS, MODEL]])
    world.said("a kitchen")
    world.turn()
    [worker] = world.processes
    assert asked_of(worker) == [["a kitchen"]]
    world.answer(worker, {"Blocklist": "passed", "Qwen3Guard": "blocked"})
    world.turn(IDLE_FIRST)
    assert world.said("a kitchen") == [("Blocklist", "passed"), ("Qwen3Guard", "blocked")]
    assert len(world.processes) == 1


def test_busy_worker_is_asked_later():
    """What has only passed the words is checked by a worker that has no job any more, if its job still waits."""
    world = World(resident=[[WORDS, MODEL]])
    [worker] = world.pool.workers
    worker.active = object()
    for job, text in enumerate(("a kitchen", "a weapon", "left"), 1):
        world.said(text, job)
    world.load()
    cpu, resident = world.cpu, world.processes[0]
    said = [[{"filter": "Blocklist", "verdict": verdict, "message": ""}] for verdict in ("passed", "blocked", "passed")]
    cpu.says(protocol.PromptsChecked(cpu.sent[-1].number, said, "", ""))
    world.turn()
    assert asked_of(resident) == []
    world.checks.leave(3)
    worker.active = None
    world.turn()
    assert asked_of(resident) == [["a kitchen"]]
    world.answer(resident, {"Blocklist": "passed", "Qwen3Guard": "passed"})
    assert world.said("a kitchen") == [("Blocklist", "passed"), ("Qwen3Guard", "passed")]


@pytest.mark.parametrize("engine", [{"guardrails": False}, {"check_prompts": "off"}, {"kind": "preview"}])
def test_nothing_is_checked_if_it_is_off(engine):
    world = World(**engine)
    world.said("a kitchen")
    world.turn(IDLE_FIRST)
    assert world.processes == []
    assert world.checks.next_deadline() is None


def test_language_model_on_the_cpu():
    """With "all" the CPU checks with the language model too, and no worker is asked again."""
    world = World("cosmos", check_prompts="all", resident=[[WORDS, MODEL]])
    world.pool.workers[0].active = object()
    world.said("a kitchen")
    world.load([WORDS, MODEL])
    assert world.cpu.launch.config == {"language_model": True}
    assert world.cpu.launch.engine.endswith("UpstreamTextFilters")
    world.answer(world.cpu, {"Blocklist": "passed", "Qwen3Guard": "passed"})
    world.pool.workers[0].active = None
    world.turn()
    assert asked_of(world.processes[0]) == []


def test_missing_filters_are_told_once():
    """Filters that cannot be loaded are told once, and tried again after a while; nothing else comes of it."""
    world = World()
    with capture_logs() as logs:
        for _ in range(2):
            world.said("a kitchen")
            world.turn()
            world.turn(IDLE_FIRST)
            world.cpu.says(protocol.LoadFailed("invalid", "The files are not here", "Fetch them"))
            world.turn()
            world.cpu.exits(3)
            world.turn()
            assert world.said("a kitchen") == []
            assert world.checks.next_deadline() > world.clock.now + TRIED_AGAIN / 2
            world.turn(TRIED_AGAIN)
    [line] = [line for line in logs if line["event"] == "prompts-unchecked"]
    assert line["problem"] == "The files are not here. Fetch them"
    assert len(world.processes) == 3  # the last has just been started


@pytest.mark.parametrize("end", ["fails", "dies"])
def test_failed_check_is_told_once(end):
    world = World()
    world.said("a kitchen")
    world.load()
    process = world.cpu
    with capture_logs() as logs:
        if end == "fails":
            process.says(protocol.PromptsChecked(process.sent[-1].number, [], "error", "No wordnet."))
        else:
            process.exits(-11)
        world.turn()
        world.turn()
    assert [line["event"] for line in logs if line["event"] == "prompts-unchecked"]
    assert world.checks.answered == {1}
    assert world.said("a kitchen") == []
    world.turn(TRIED_AGAIN + 1)
    assert asked_of(process) == [["a kitchen"]]


def test_worker_on_the_cpu_ends_unused():
    world = World()
    world.said("a kitchen")
    world.load()
    world.answer(world.cpu, {"Blocklist": "passed"})
    world.turn(ENDS_AFTER - 1)
    assert world.cpu.sent[-1] != protocol.Shutdown()
    assert world.checks.next_deadline() <= world.clock.now + 1
    world.cpu.says(protocol.Heartbeat())
    world.turn(1)
    assert world.cpu.sent[-1] == protocol.Shutdown()
    world.cpu.exits(0)
    world.turn()
    assert world.checks._cpu.state is SupervisorState.STOPPED
    assert world.checks.next_deadline() is None
    world.checks.stop("why")  # there is nothing to stop


def test_worker_on_the_cpu_ends_with_us():
    """At the daemon's end the worker is told to end, and killed if it does not."""
    world = World()
    world.said("a kitchen")
    world.load()
    world.checks.stop("povwatch stops")
    assert world.cpu.sent[-1] == protocol.Shutdown()
    world.checks.close()
    assert 9 in world.cpu.signals


def test_many_and_long_texts():
    """A check has a few texts; one that is too long for a message is not checked; old verdicts are forgotten."""
    world, most = World(), TEXTS_MAX[CPU]
    texts = [f"text {number}" for number in range(most + 1)]
    for text in [*texts, "x" * (LENGTH_MAX[CPU] + 1), " "]:
        world.said(text)
    world.load()
    assert asked_of(world.cpu) == [texts[:most]]
    world.answer(world.cpu, {"Blocklist": "passed"})
    assert asked_of(world.cpu)[1:] == [texts[most:]]
    world.answer(world.cpu, {"Blocklist": "passed"})
    for number in range(KEPT):
        world.said(f"more {number}")
    world.clock.now += FORGOTTEN_AFTER
    world.said("new")
    assert len(world.checks._texts) == 1


def test_long_text_is_no_matter_of_a_worker():
    """A text that would hold up the worker of the engine is checked on the CPU alone."""
    world = World(resident=[[WORDS, MODEL]])
    world.said("x" * (LENGTH_MAX[WORKER] + 1))
    world.load()
    assert asked_of(world.processes[0]) == []
    assert [len(text) for [text] in asked_of(world.cpu)] == [LENGTH_MAX[WORKER] + 1]


def test_paused_engine_is_left_alone():
    """While no clip may start, the GPU is left alone, and the word lists check on the CPU."""
    world = World(resident=[[WORDS, MODEL]])
    world.schedule.blocker = object()
    world.said("a kitchen")
    world.load()
    world.answer(world.cpu, {"Blocklist": "passed"})
    assert asked_of(world.processes[0]) == []
    world.schedule.blocker = None
    world.turn()
    assert asked_of(world.processes[0]) == [["a kitchen"]]


@pytest.mark.parametrize(
    "said", [[], [None], [[3]], [[{"filter": "x"}]], [[{"filter": "x", "verdict": "?", "message": ""}]]]
)
def test_answer_that_is_none(said):
    """An engine of somebody's that answers with anything else is told, and nothing comes of it."""
    world = World("mine.py:Engine", resident=["no list", [WORDS, 7, {"name": 7}]])
    world.said("a kitchen")
    world.turn()
    process = world.processes[1]
    assert asked_of(world.processes[0]) == []
    process.says(protocol.PromptsChecked(process.sent[-1].number, said, "", ""))
    with capture_logs() as logs:
        world.turn()
    assert [line["event"] for line in logs] == ["prompts-unchecked"]
    assert world.said("a kitchen") == []


def test_several_texts_in_a_manifest():
    """A filter is named once, with its gravest verdict and how many texts it saw."""
    passed, failed, blocked = ([WORDS | {"verdict": verdict}] for verdict in ("passed", "failed", "blocked"))
    assert merged([passed, failed, passed]) == [WORDS | {"verdict": "failed", "times": 3}]
    assert merged([blocked, failed]) == [WORDS | {"verdict": "blocked", "times": 2}]


def test_no_launch_for_other_engines():
    assert text_filters(Config(), "preview") is None
