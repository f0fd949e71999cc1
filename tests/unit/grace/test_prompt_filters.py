"""What the guardrail's text filters say while a JSON can still be edited. The worker says what the test says."""

from __future__ import annotations

import json

import pytest
from structlog.testing import capture_logs
from support.clip_in_grace import GRACE, INVALID, QUEUED, ClipInGrace, inspected
from support.supervising import FakeProcess

from povwatch.process import protocol
from povwatch.workers.prompt_checks import IDLE_FIRST

PERIOD = 120.0
ABOUT = {"name": "Blocklist", "looks_at": "text", "sha256": "1" * 64}


@pytest.fixture(scope="module")
def info(tmp_path_factory):
    return inspected(tmp_path_factory.mktemp("clip"))


class Checked(ClipInGrace):
    """A clip in its grace, and a blocklist that refuses what has the word weapon in it."""

    def __init__(self, folder, info, **settings):
        self.processes = []
        super().__init__(folder, info, kind="diffusers", worker=self.process, **settings)

    def process(self, _launch, **_):
        self.processes.append(FakeProcess(self.clock))
        self.processes[-1].says(protocol.Loaded({"filters": [ABOUT]}))
        return self.processes[-1]

    def turns(self, seconds=0.0):
        """Let time pass, with a few turns of the loop at its end."""
        self.until(self.clock.now + seconds)
        for _ in range(3):
            self.app.prompt_checks.tick(self.clock.now)
            self.clock.now += IDLE_FIRST
            self.until(self.clock.now)
        self.answer()
        self.app.prompt_checks.tick(self.clock.now)
        self.until(self.clock.now + 0.1)

    def answer(self):
        for process in self.processes:
            if process.sent and isinstance(asked := process.sent[-1], protocol.CheckPrompts):
                process.says(
                    protocol.PromptsChecked(asked.number, [self.verdict(text) for text in asked.texts], "", "")
                )

    def verdict(self, text):
        wrong = "weapon" in text
        message = 'its list has "weapon"' if wrong else ""
        return [{"filter": "Blocklist", "verdict": "blocked" if wrong else "passed", "message": message}]

    def asked(self):
        """The texts that were checked."""
        sent = [message for process in self.processes for message in process.sent]
        return [text for message in sent if isinstance(message, protocol.CheckPrompts) for text in message.texts]


@pytest.fixture
def make(tmp_path, info):
    made = []

    def make(**settings):
        made.append(Checked(tmp_path, info, **settings))
        return made[-1]

    yield make
    for clip in made:
        clip.close()
        clip.no_bug()


@pytest.mark.parametrize("field", ["prompt", "negative_prompt"])
def test_refused_text_is_told_with_its_line(make, field):
    """A refused text is told in the error file with its line, and the grace stands until it is edited."""
    clip = make()
    clip.admit()
    clip.spec.write_text(json.dumps(json.loads(clip.spec.read_text()) | {field: "hands and a weapon"}, indent=1))
    clip.turns(1)
    assert clip.at() == INVALID
    told = clip.error.read_text()
    [line] = [n for n, text in enumerate(clip.spec.read_text().splitlines(), 1) if '"hands and a weapon"' in text]
    assert f'{field} is refused by the guardrail\'s Blocklist: its list has "weapon".' in told
    assert "Change the text: the engine has the same filter." in told
    assert f"line {line}, column" in told
    clip.until(clip.clock.now + PERIOD * 2)
    assert clip.at() == INVALID
    clip.edit(**{field: "hands and a cup"})
    clip.turns(1)
    assert clip.at() == GRACE
    assert not clip.error.exists()
    clip.until(clip.clock.now + PERIOD)
    assert clip.at() == QUEUED


def test_prompt_in_a_file(make):
    """A prompt in a file is told by the field that names the file."""
    clip = make()
    clip.admit()
    (clip.inputs / "words.txt").write_text("a weapon")
    spec = json.loads(clip.spec.read_text())
    del spec["prompt"]
    clip.spec.write_text(json.dumps(spec | {"prompt_path": "words.txt"}))
    clip.turns(1)
    assert clip.at() == INVALID
    assert "prompt_path is refused by the guardrail's Blocklist" in clip.error.read_text()


def test_same_text_is_checked_once(make):
    """Neither a touch nor another seed has a text checked again, nor does the same text of another field."""
    clip = make()
    clip.admit()
    clip.edit(prompt="hands", negative_prompt="blur")
    clip.turns(1)
    clip.edit(seed=8)
    clip.turns(1)
    clip.edit(prompt="blur", negative_prompt="hands")
    clip.turns(1)
    assert sorted(set(clip.asked()) & {"hands", "blur"}) == ["blur", "hands"]
    assert clip.asked().count("hands") == clip.asked().count("blur") == 1


def test_nothing_waits_for_a_check(make):
    """A grace ends while a check is under way; a queued job that is refused then goes back to its grace."""
    clip = make()
    clip.admit()
    clip.edit(prompt="a weapon")
    clip.until(clip.clock.now + 1)
    clip.until(clip.clock.now + PERIOD + 1)
    assert clip.at() == QUEUED
    clip.turns()
    assert clip.at() == INVALID
    assert "weapon" in clip.error.read_text()
    assert clip.grace.spec_of(clip.job) is None


def test_claim_tells_who_has_checked(make):
    """The filters that have checked a job's texts are known at its claim, with digests and verdicts."""
    clip = make()
    clip.admit()
    clip.turns(1)
    clip.until(clip.clock.now + PERIOD)
    assert clip.at() == QUEUED
    clip.turns()
    [ran] = clip.grace.prompt_filters(clip.job)
    assert ran == ABOUT | {"when": "grace", "how": "ran", "on": "CPU", "verdict": "passed", "times": 2}


def test_check_that_fails_costs_nothing(make):
    """A worker that dies in a check leaves one line, and the clip goes on."""
    clip = make()
    clip.answer = lambda: [process.exits(-9) for process in clip.processes]
    with capture_logs() as logs:
        clip.admit()
        clip.turns(1)
        clip.until(clip.clock.now + PERIOD)
    assert clip.at() == QUEUED
    assert not clip.error.exists()
    assert [line["event"] for line in logs].count("prompts-unchecked") >= 1
    assert clip.grace.prompt_filters(clip.job) == []


def test_off_checks_nothing(make):
    clip = make(guardrails=False)
    clip.admit()
    clip.edit(prompt="a weapon")
    clip.turns(1)
    assert clip.at() == GRACE
    assert clip.processes == []
