"""What the page says about a job. Pure."""

from __future__ import annotations

import json
from urllib.parse import unquote_to_bytes, urljoin, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from povwatch.core import command
from povwatch.core.job import Job, JobState, Waiting
from povwatch.core.layout import output, shown
from povwatch.core.quality import Tries, Try
from povwatch.page.cards import address, as_text, describe, output_of, scores
from povwatch.publish import Entry, Sealed

LAYOUT = "{folder}/{stem}/{stem}_{kind}.mp4"

HOSTILE = [b"a \"b\" 'c'.mp4", b"50%20#1?x=y&z.mp4", b"a:b.mp4", b"new\nline.mp4", b"\xff\xfe.mp4", "ع🧤.mp4".encode()]


def job(**fields):
    return Job(**{"id": 7, "path": b"kitchen/a.mp4", "base": b"a", "state": JobState.DONE, "created_at": 1e9} | fields)


@pytest.fixture(autouse=True)
def plain_command():
    command.use("povwatch")


@pytest.mark.parametrize("name", HOSTILE)
def test_address_leads_to_the_file(name) -> None:
    """A browser that resolves the address gets the file's bytes, whatever is in its name."""
    found = urlsplit(urljoin("file:///srv/outputs/index.html", address(b"kitchen/" + name, b"../inputs")))
    assert (found.scheme, found.query, found.fragment) == ("file", "", "")
    assert unquote_to_bytes(found.path) == b"/srv/inputs/kitchen/" + name


@given(st.binary(min_size=1).filter(lambda name: b"/" not in name and b"\0" not in name and name not in {b".", b".."}))
def test_address_of_any_name(name) -> None:
    found = urlsplit(urljoin("file:///srv/outputs/index.html", address(name)))
    assert unquote_to_bytes(found.path) == b"/srv/outputs/" + name


@pytest.mark.parametrize("name", HOSTILE)
def test_output_of_the_promise(name) -> None:
    """The result's bytes are known although the journal's `output` escapes them."""
    target = b"a/" + name
    promise = Sealed(7, "r", 1, (Entry(b"final.mp4", target, 1, "0" * 64),)).to_json()
    assert output_of(job(state=JobState.DONE, output=shown(target), promise=promise), LAYOUT) == target


@pytest.mark.parametrize("version", [1, 3])
def test_output_without_a_promise(version) -> None:
    """A journal that was made again has no promise: the name is found by the layout."""
    base = b"\xff line\n"
    target = output(LAYOUT, b"kitchen/\xff line\n.mp4", base, "night_aug", version)
    done = job(state=JobState.DONE, path=b"kitchen/\xff line\n.mp4", base=base, look="night", output=shown(target))
    assert output_of(done, LAYOUT) == target
    assert output_of(job(state=JobState.DONE, output="a/a_aug.mp4"), LAYOUT) == b"a/a_aug.mp4"


def test_no_output_before_the_end() -> None:
    assert output_of(job(state=JobState.RUNNING, output="a/a_aug.mp4"), LAYOUT) is None


@pytest.mark.parametrize(("run", "seeds"), [("r2", {"seed": 5, "json_seed": 4}), ("r1", {"seed": 4})])
def test_seed_of_the_published_try(run, seeds) -> None:
    """The seed is that of the result; the JSON's stands beside it where a further one was published."""
    tries = Tries(tuple(Try(seed, name, "s", "h") for seed, name in ((4, "r1"), (5, "r2"))))
    found = describe(job(run_id=run, spec_json='{"seed": 5}', tries=tries.to_json()), [], 0.0)
    assert {key: found.get(key) for key in ("seed", "json_seed")} == {"json_seed": None} | seeds
    assert found["spec"]["seed"] == seeds["seed"]
    assert "seed" not in describe(job(state=JobState.RUNNING, spec_json='{"seed": 4}'), [], 0.0)


def test_scores_are_the_numbers() -> None:
    """Whatever is a number is a score; texts, flags and deeper objects are none."""
    found = {
        "edge_f1": 0.83,
        "hands": None,
        "ok": True,
        "why": "text",
        "inside": {"edge_f1": 1, "deep": {"a": 1}},
        "inf": 1e309,
    }
    assert scores(found) == {"edge_f1": 0.83, "inside.edge_f1": 1.0}
    assert scores("none") == {}


def test_card_closes_no_script() -> None:
    """No text of a JSON or a name ends the script that it is in, and lone half characters are kept."""
    hostile = job(
        state=JobState.FAILED, path=b"</script><b>.mp4", error="</script>", spec_json='{"prompt": "</script>\\ud800"}'
    )
    text = as_text(describe(hostile, [], 1e9), {})
    assert "<" not in text
    assert text.isascii()
    card = json.loads(text)
    assert (card["name"], card["problem"], card["spec"]["prompt"]) == ("script><b>.mp4", "</script>", "</script>\ud800")


def test_long_texts_are_kept_once() -> None:
    """A prompt that many clips have is there once."""
    texts: dict[str, int] = {}
    prompt = "a hand " * 20
    cards = [as_text(describe(job(spec_json=json.dumps({"prompt": prompt, "n": n})), [], 0.0), texts) for n in range(3)]
    assert list(texts) == [prompt]
    assert [json.loads(card)["spec"] for card in cards] == [{"prompt": {"$": 0}, "n": n} for n in range(3)]


@pytest.mark.parametrize(
    ("fields", "verbs"),
    [
        ({"state": JobState.FAILED}, ["retry", "show"]),
        ({"state": JobState.DONE}, ["retry --force"]),
        ({"state": JobState.RUNNING}, ["cancel"]),
        ({"state": JobState.GRACE, "waiting_on": Waiting.GRACE}, ["go", "hold", "why"]),
        ({"state": JobState.GRACE, "waiting_on": Waiting.HELD}, ["go", "why"]),
        ({"state": JobState.QUEUED, "waiting_on": Waiting.TURN}, ["hold", "why"]),
    ],
)
def test_commands_by_state(fields, verbs) -> None:
    """Each state has the commands that do something in it, for the look alone."""
    said = describe(job(look="night", **fields), [], 1e9)["commands"]
    assert [text for _, text in said] == [f"povwatch {verb} kitchen/a.mp4@night" for verb in verbs]


def test_grace_says_when_it_ends() -> None:
    waits = job(state=JobState.GRACE, waiting_on=Waiting.GRACE, grace_left=90.0, grace_saved_at=2e9)
    assert describe(waits, [], 2e9 + 5)["starts"] == 2e9 + 90
    held = job(state=JobState.GRACE, waiting_on=Waiting.HELD, grace_left=90.0, grace_saved_at=2e9)
    assert "starts" not in describe(held, [], 2e9 + 5)
