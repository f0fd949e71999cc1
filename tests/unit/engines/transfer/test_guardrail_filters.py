"""The guardrail's filters: cosmos_guardrail's own classes on tiny files, and what is kept of what they say."""

from __future__ import annotations

import hashlib
import resource
from types import SimpleNamespace

import pytest
from support import tiny_needs

tiny_needs.skip_without()

from support import tiny_guardrail, tiny_jobs

from povwatch.engines import guardrail_filters, text_filters
from povwatch.engines.guardrail_filters import Filters, clear
from povwatch.engines.port import EngineBlocked, EngineFailure
from povwatch.engines.transfer import guardrail

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning:diffusers")


@pytest.fixture
def cache(guardrail_hub, monkeypatch, tmp_path):
    tiny_guardrail.use(monkeypatch, guardrail_hub, home=tmp_path)
    return guardrail_hub


@pytest.fixture
def loaded(cache, monkeypatch):
    """Loads the text filters as a worker of its own does; this process keeps its limits."""
    limits = []
    monkeypatch.setattr(text_filters.os, "nice", limits.append)
    monkeypatch.setattr(resource, "setrlimit", lambda *limit: limits.append(limit))

    def load(*, language_model=False):
        engine = text_filters.TextFilters()
        told = engine.load({"language_model": language_model}, lambda *_: None)
        assert limits[0] == text_filters.NICE
        assert limits[1][0] == resource.RLIMIT_DATA
        return engine, told["filters"]

    return load


@pytest.mark.parametrize(
    ("text", "verdict", "message"),
    [
        ("a kitchen in Scunthorpe", "passed", ""),
        ("hands, and much gore", "blocked", "its list has what is starred here: hands, and much ****"),
        ("two weapons on a table", "blocked", 'its list has "weapon"'),
        ("a Forbidden   Brand", "blocked", 'its list has "forbidden brand"'),
    ],
)
def test_blocklist_names_the_word(loaded, text, verdict, message):
    engine, _ = loaded()
    assert engine.check_prompts([text]) == [[{"filter": "Blocklist", "verdict": verdict, "message": message}]]


def test_language_model_after_the_words(loaded):
    """The language model is asked what the words let pass, and names the category."""
    engine, about = loaded(language_model=True)
    assert [one["name"] for one in about] == ["Blocklist", "Qwen3Guard"]
    passed, refused, words = engine.check_prompts(["a kitchen", "a kitchen!", "a weapon!"])
    assert [(one["filter"], one["verdict"]) for one in passed] == [("Blocklist", "passed"), ("Qwen3Guard", "passed")]
    assert refused[1] == {"filter": "Qwen3Guard", "verdict": "blocked", "message": "unsafe, Violent Crimes."}
    assert [one["filter"] for one in words] == ["Blocklist"]


def test_filters_are_described_with_digests(loaded, cache):
    """Each has its package, repository, commit and a digest that sha256sum can be asked for."""
    _, about = loaded(language_model=True)
    words, model = about
    assert words["repository"] == "nvidia/Cosmos-1.0-Guardrail"
    assert words["revision"] == tiny_guardrail.COMMIT
    assert words["package"].startswith("cosmos_guardrail 0")
    folder = cache / "models--nvidia--Cosmos-1.0-Guardrail/snapshots" / tiny_guardrail.COMMIT / "blocklist"
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    lines = [f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in names]
    assert words["sha256"] == hashlib.sha256("".join(lines).encode()).hexdigest()
    assert words["files"] == len(names)
    assert (model["repository"], model["revision"]) == ("Qwen/Qwen3Guard-Gen-0.6B", tiny_guardrail.WORDS_COMMIT)


def test_filter_that_fails_is_told(loaded, monkeypatch):
    """The language model lets pass what it fails on; that is told as a failure, not as passed."""
    engine, _ = loaded(language_model=True)
    model = engine._filters._text[1]
    monkeypatch.setattr(model, "extract_label_and_categories", lambda _: 1 / 0)
    [[_, said]] = engine.check_prompts(["a kitchen"])
    assert (said["filter"], said["verdict"]) == ("Qwen3Guard", "failed")
    assert "Unexpected error" in said["message"]


def test_missing_words_are_told(monkeypatch, tmp_path, loaded):
    tiny_guardrail.use(monkeypatch, tmp_path / "hub", home=tmp_path)
    with pytest.raises(EngineFailure, match="cannot be loaded") as caught:
        loaded()
    assert caught.value.kind == "invalid"


@pytest.fixture
def whole(cache, monkeypatch):
    """The whole checker with tiny models, as the engine loads it."""
    import cosmos_guardrail.cosmos_guardrail as inner  # noqa: PLC0415
    from retinaface.data import cfg_mnet  # noqa: PLC0415

    monkeypatch.setattr(inner, "cfg_re50", cfg_mnet)
    return guardrail.load("cpu", on=True)


def test_manifest_names_what_ran(tiny, tmp_path, whole):
    """An artifact names the filters that ran: the words, the language model and the faces, with verdicts."""
    engine, _ = tiny_jobs.loaded(tiny)
    engine._loaded.guardrail = whole
    job = tiny_jobs.job(tiny_jobs.clip_of(tmp_path, 11), 11)
    artifact = engine.generate(job, tiny_jobs.context(tmp_path))
    ran = {one["name"]: one for one in artifact["guardrail_filters"]}
    assert list(ran) == ["Blocklist", "Qwen3Guard", "RetinaFaceFilter"]
    assert {one["how"] for one in ran.values()} == {"ran"}
    assert [(one["looks_at"], one["verdict"], one["times"]) for one in ran.values()] == [
        ("text", "passed", 2),
        ("text", "passed", 2),
        ("video", "applied", 2),
    ]
    assert all(len(one["sha256"]) == 64 for one in ran.values())
    refused = tiny_jobs.job(tiny_jobs.clip_of(tmp_path, 11), 11, prompt="hands hold a weapon")
    with pytest.raises(EngineBlocked, match='Blocklist: its list has "weapon"'):
        engine.generate(refused, tiny_jobs.context(tmp_path))
    assert [one["verdict"] for one in engine.check_prompts(["a kitchen!"])[0]] == ["passed", "blocked"]


def test_unknown_checker_was_asked_for():
    """Of a checker that is not built as expected, it is only known that it was asked for."""
    [one] = guardrail.Guardrail(tiny_jobs.Approves()).ran()
    assert (one["name"], one["how"]) == ("guardrail", "asked for")
    assert guardrail.Guardrail(None).ran() == []


def test_loaded_filter_that_did_not_run():
    class Blocklist:
        def is_safe(self, _text):
            raise KeyError("wordnet")

    filters = Filters("diffusers", "package 1")
    model = Blocklist()
    filters.listen(SimpleNamespace(safety_models=[model]), "text")
    filters.begin()
    [one] = filters.ran()
    assert (one["how"], "verdict" in one) == ("asked for", False)
    with pytest.raises(KeyError):
        model.is_safe("x")
    [one] = filters.ran()
    assert (one["how"], one["verdict"], one["message"]) == ("ran", "failed", "KeyError: 'wordnet'")


def test_colours_are_no_part_of_a_message():
    """Upstream censors with a red star."""
    assert (
        clear("Censored Prompt: much \x1b[31m*\x1b[0m\x1b[31m*\x1b[0m") == "its list has what is starred here: much **"
    )
    assert clear("x" * 1000) == "x" * guardrail_filters.MESSAGE_MAX
