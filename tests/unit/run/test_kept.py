"""What a hook has drawn and a JSON keeps: the stand-in's file, a real clip, and what the engines read of it."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from support.clips import make_clip
from support.looks import FRAMES, HANDS, Keeping

from povwatch.core.errors import JobFailed
from povwatch.engines.transfer import frames
from povwatch.engines.transfer.request import read
from povwatch.engines.transfer.settings import Settings
from povwatch.engines.upstream.arguments import paths
from povwatch.media.run import call

pytestmark = pytest.mark.usefixtures("forked_media_children")

OWN = {"keep": HANDS, "dilate": 3}


@pytest.fixture
def here(tmp_path):
    made = Keeping(tmp_path)
    yield made
    made.close()
    made.no_bug()


def test_engines_get_the_mask(here):
    """The engines read the mask like one that the JSON names: white where the hand is, frame by frame."""
    here.draw()
    here.queue(clip=OWN)
    active = here.prepare()
    assert active.prepared, active.failure
    attempt = active.attempt
    kept = Path(attempt.folder, "kept.mp4")
    assert attempt.references == {"guided_generation_mask": str(kept)}
    request = attempt.request(1)
    assert paths(request["spec"])["guided_generation_mask"] == str(kept)
    asked = read(request, Settings(controls=("edge", "vis"), chunk_frames=9, pixels=96 * 64))
    assert frames.check_files(asked) == []
    [piece] = frames.pieces(asked)
    height, width = piece.kept.shape[1:]
    for number in range(FRAMES):
        hand = int(0.65 * height), int(width * (0.5 + 0.25 * math.sin(number / 10)))
        assert piece.kept[number][hand] > 250, number
        assert piece.kept[number, 0].max() < 5, number  # the stand-in's band would be here
    assert piece.kept.mean() / 255 == pytest.approx(attempt.kept["covered"], abs=0.02)
    about = {key: attempt.kept[key] for key in ("file", "frames", "width", "height", "dilate", "as")}
    assert about == {
        "file": f"a/{HANDS}",
        "frames": FRAMES,
        "width": 96,
        "height": 64,
        "dilate": 3,
        "as": "guided_generation_mask",
    }
    assert attempt.scaled_mask == ""


def test_as_the_mask_of_a_control(here):
    """`keep_as` gives the mask to a control."""
    here.draw()
    here.queue(clip=OWN | {"keep_as": "vis"})
    attempt = here.prepare().attempt
    request = attempt.request(1)
    assert request["spec"]["vis"]["mask_path"] == str(Path(attempt.folder, "kept.mp4"))
    assert "guided_generation_mask" not in request["spec"]
    assert attempt.kept["as"] == "vis.mask_path"


def test_made_once_for_all_looks(here, monkeypatch):
    """Looks that keep the same share one mask; one that keeps more has its own."""
    here.draw()
    here.queue(clip=OWN, night=OWN, rain=OWN | {"keep_as": "vis"}, wide=OWN | {"dilate": 9})
    asked = []
    monkeypatch.setattr(
        "povwatch.attempt.attempt.call", lambda what, *a, **n: asked.append(what) or call(what, *a, **n)
    )
    found = {look: here.prepare(look) for look in ("", "night", "rain", "wide")}
    assert all(active.prepared for active in found.values())
    assert asked.count("prepare") == 1
    assert asked.count("mask") == 2
    masks = {look: Path(active.attempt.folder, "kept.mp4").stat().st_ino for look, active in found.items()}
    assert masks[""] == masks["night"] == masks["rain"] != masks["wide"]
    assert found["rain"].attempt.kept["as"] == "vis.mask_path"
    assert found["wide"].attempt.kept["covered"] > found[""].attempt.kept["covered"]
    here.draw(make_clip(here.inputs.parent / "other.mp4", frames=FRAMES, size=(48, 32)))
    active = here.prepare("night")
    assert active.attempt.scaled_mask == ", scaled from 48x32 to the clip's 96x64"
    assert asked.count("mask") == 3


def test_a_changed_file_is_read_again(here):
    """Copies that were made ahead of the claim are used with the very file that they were made from."""
    here.draw()
    here.queue(clip=OWN)
    [job] = here.jobs().values()
    for changes, used in ((False, True), (True, False)):
        here.clock.now += 10
        here.app.preparing.tick(here.clock.now, wanted=1)
        here.settle()
        if changes:
            here.draw()
        active = here.app.preparing.take(job, here.app.grace.spec_of(job))
        assert (active is not None and active.prepared) == used


def test_missing_costs_no_copy(here):
    """A file that is missing at the claim fails the look before a copy is made."""
    here.queue(clip=OWN)
    failure = here.prepare().failure
    assert str(failure).startswith(f"povwatch.keep (outputs/a/{HANDS}) is not there. Have a hook with")
    assert list(here.outputs.rglob("*.mp4")) == []


WRONG = {
    "background": (
        lambda file: make_clip(file, frames=FRAMES, size=(96, 64), blank=True),
        "shows nothing but its background",
    ),
    "frames": (lambda file: make_clip(file, frames=4), "has 4 frames; the clip has 5"),
}


@pytest.mark.parametrize(("put", "words"), WRONG.values(), ids=WRONG)
def test_fails_before_it_is_generated(here, put, words):
    here.hands.parent.mkdir(parents=True)
    put(here.hands)
    here.queue(clip=OWN)
    active = here.prepare()
    assert not active.prepared
    assert isinstance(active.failure, JobFailed)
    assert str(active.failure).startswith(f"povwatch.keep (outputs/a/{HANDS}) {words}")
