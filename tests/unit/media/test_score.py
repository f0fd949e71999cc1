"""Scores and contact sheets of whole videos."""

from __future__ import annotations

import json
from itertools import pairwise

import av
import numpy as np
import pytest
from PIL import Image

from povwatch.core.errors import CheckFailed, NotAVideo
from povwatch.core.scores import COMPARED
from povwatch.media.info import Scoring
from povwatch.media.run import call
from povwatch.media.score import RUN, compared, score

WIDTH, HEIGHT = 96, 64


def picture(number, size=(WIDTH, HEIGHT)):
    """A square that moves over a slope, a little faster each time."""
    width, height = size
    slope = np.tile(np.linspace(40, 120, width, dtype=np.uint8), (height, 1))
    made = np.stack([slope, slope[::-1], slope // 2], axis=2)
    left = (4 + 3 * number + number**2 // 6) % (width - 20)
    made[height // 3 : height // 3 + 16, left : left + 16] = 235
    return made


def write(path, pictures):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "4", "preset": "ultrafast"})
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for one in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(one, format="rgb24")))
        container.mux(stream.encode(None))


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def scored(results, clips=None, *, frames=None, **fields):
    """Scores of a result that has these pictures. Without `clips`, it is the clip's very file."""
    write("result.mp4", results)
    clip = "result.mp4"
    if clips is not None:
        clip = "clip.mp4"
        write(clip, clips)
    asked = {"result": "result.mp4", "frames": frames or len(results), "panels": 1, "clip": clip, "pad": (0, 0, 0, 0)}
    return score(Scoring(**asked | {"edge_preset": "medium"} | fields).to_json())


PERFECT = {
    "edge_f1": 1.0,
    "blur_ssim": 1.0,
    "invented_motion": 0.0,
    "lost_motion": 0.0,
    "temporal_residual": 0.0,
    "colour_drift": 0.0,
}


def test_clip_itself(here):
    found = scored([picture(k) for k in range(8)])
    assert (found.scores, found.missing, found.frames) == (PERFECT, {}, 8)


def test_frozen_and_shuffled_are_found(here):
    """Each of them, by numbers that a result in order is far from."""
    clips = [picture(k) for k in range(12)]
    fine = scored([np.clip(one * 0.9 + 10, 0, 255).astype(np.uint8) for one in clips], clips).scores
    frozen = scored(clips[:1] * 12, clips).scores
    shuffled = scored([clips[k] for k in (6, 1, 10, 3, 8, 0, 11, 2, 9, 4, 7, 5)], clips).scores

    assert fine["edge_f1"] > 0.7
    assert max(frozen["edge_f1"], shuffled["edge_f1"]) < 0.3
    assert max(fine["lost_motion"], fine["invented_motion"]) < 0.05
    assert frozen["lost_motion"] == 1.0
    assert shuffled["invented_motion"] > 0.2
    assert min(frozen["temporal_residual"], shuffled["temporal_residual"]) > 3 * fine["temporal_residual"]


def test_blurred_loses_edges(here):
    import cv2  # noqa: PLC0415 - as in the product

    clips = [picture(k) for k in range(3)]
    found = scored([cv2.GaussianBlur(one, (0, 0), 4) for one in clips], clips).scores
    assert found["edge_f1"] < 0.4
    assert found["blur_ssim"] > 0.9


def test_inside_what_is_kept(here):
    """The result is changed on the right alone, and the left is kept."""
    clips = [picture(k) for k in range(4)]
    results = [one.copy() for one in clips]
    for k, one in enumerate(results):
        one[40:, 60:] = 40 * k**2 % 256
    mask = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    mask[:, : WIDTH // 2] = 255
    write("kept.mp4", [mask] * 4)
    found = scored(results, clips, kept="kept.mp4").scores
    assert found["temporal_residual_kept"] < 0.5 < found["temporal_residual"]
    assert found["invented_motion_kept"] == 0.0 < found["invented_motion"]
    assert found["blur_ssim_kept"] > 0.99 > found["blur_ssim"]
    assert {f"{name}_kept" for name in PERFECT} < set(found)


def test_given_control(here):
    """The control that was given counts, not the clip's own edges, and only where it holds."""
    control = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    control[30, 10:80] = 255
    result = np.full((HEIGHT, WIDTH, 3), 20, np.uint8)
    result[31:] = 220
    write("control.mp4", [control] * 2)
    half = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    half[:, 10:80] = 255
    write("holds.mp4", [half] * 2)
    whole = scored([result] * 2, edge_preset=None, edge_control="control.mp4")
    held = scored([result] * 2, edge_preset=None, edge_control="control.mp4", edge_mask="holds.mp4")
    assert whole.details["edge_f1"]["recall"] == 1.0
    assert whole.scores["edge_f1"] == pytest.approx(2 * 70 / (70 + 96), abs=0.03)
    assert held.scores["edge_f1"] > 0.95


def test_sizes(here):
    """A working copy with added pixels, the clip beside the result in each frame, and a result of half the size."""
    clips = [picture(k) for k in range(3)]
    padded = [np.pad(one, ((0, 2), (0, 4), (0, 0)), mode="edge") for one in clips]
    assert scored(clips, padded, pad=(0, 0, 4, 2)).scores["edge_f1"] > 0.9
    both = [np.hstack([np.zeros_like(one), one]) for one in clips]
    assert scored(both, clips, panels=2).scores["edge_f1"] > 0.8
    small = scored([one[::2, ::2] for one in clips], clips)
    assert small.details["scaled"] == "48x32"
    assert small.scores["blur_ssim"] > 0.9


@pytest.mark.parametrize(
    ("control", "word"),
    [
        (None, "no-control"),
        ([picture(0, (64, 48))] * 3, "other-size"),
        ([picture(0)] * 2, "other-length"),
        (b"no video", "failed"),
    ],
)
def test_word_in_place_of_edge_f1(here, control, word):
    """The other scores have their numbers all the same."""
    if isinstance(control, bytes):
        (here / "control.mp4").write_bytes(control)
    elif control:
        write("control.mp4", control)
    found = scored([picture(k) for k in range(3)], edge_preset=None, edge_control=control and "control.mp4")
    assert found.missing == {"edge_f1": word}
    assert found.scores == {name: value for name, value in PERFECT.items() if name != "edge_f1"}


def test_mask_that_ends_too_soon(here):
    write("kept.mp4", [np.full((HEIGHT, WIDTH, 3), 255, np.uint8)] * 2)
    found = scored([picture(k) for k in range(4)], kept="kept.mp4")
    assert found.scores == PERFECT
    assert found.missing == {f"{name}_kept": "other-length" for name in PERFECT}


def test_one_frame(here):
    found = scored([picture(0)])
    assert found.scores == {"edge_f1": 1.0, "blur_ssim": 1.0}
    assert set(found.missing.values()) == {"too-short"}


def test_two_frames(here):
    found = scored([picture(0), picture(1)])
    assert found.missing == {"temporal_residual": "too-short"}


def test_clip_that_ends_too_soon(here):
    with pytest.raises(CheckFailed, match="The working copy ends after 2 frames"):
        scored([picture(k) for k in range(3)], [picture(0)] * 2)


def test_result_that_is_no_video(here):
    (here / "result.mp4").write_bytes(b"nothing")
    asked = Scoring(result="result.mp4", frames=1, panels=1, clip="result.mp4", pad=(0, 0, 0, 0))
    with pytest.raises(NotAVideo, match=r"result\.mp4 is no MP4"):
        score(asked.to_json())


def test_metric_that_fails(here, monkeypatch, capfd):
    """It costs its own scores alone, and the child's output says why."""
    monkeypatch.setattr("povwatch.media.metrics.moving", lambda *_: 1 / 0)
    found = scored([picture(k) for k in range(3)])
    assert found.missing == {"invented_motion": "failed", "lost_motion": "failed"}
    assert found.scores["temporal_residual"] == 0.0
    assert "ZeroDivisionError" in capfd.readouterr().err


@pytest.mark.parametrize(("frames", "many"), [(1, 1), (COMPARED, COMPARED), (601, COMPARED), (20_000, COMPARED)])
def test_frames_that_are_compared(frames, many):
    found = compared(frames)
    assert len(found) == many
    assert found[0] == 0
    assert found[-1] == frames - 1
    assert set(found) <= set(range(frames))


def test_runs_of_a_long_clip():
    """Frames that do not follow each other are not taken for motion."""
    found = compared(20_000)
    gaps = sum(after - before > 1 for before, after in pairwise(found))
    assert gaps == COMPARED // RUN - 1


def test_hands_without_mediapipe(here, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "mediapipe", None)
    found = scored([picture(k) for k in range(3)], hands_model="")
    assert set(found.missing.values()) == {"not-installed"}
    assert set(found.missing) == {"hands_changed", "hands_pck", "hands_swapped"}


# -- the contact sheet


@pytest.mark.parametrize(
    ("frames", "shown"), [(1, [0]), (3, [0, 1, 2]), (8, list(range(8))), (93, [5, 17, 29, 40, 52, 63, 75, 87])]
)
def test_moments_of_the_sheet(frames, shown):
    from povwatch.media.sheet import Sheet  # noqa: PLC0415 - beside its only use

    assert Sheet(frames).moments == shown


def test_sheet_has_input_over_result(here):
    """Each moment is the clip's frame, and the result's below it."""
    clips = [np.full((HEIGHT, WIDTH, 3), 20 * k, np.uint8) for k in range(8)]
    results = [np.full((HEIGHT, WIDTH, 3), 255 - 20 * k, np.uint8) for k in range(8)]
    assert scored(results, clips, sheet="sheet.jpg", measured=False).scores == {}
    with Image.open("sheet.jpg") as image:
        assert image.format == "JPEG"
        assert image.size == (6 + 4 * (WIDTH + 6), 6 + 2 * (20 + 2 * HEIGHT + 2 + 6))
        sheet = np.asarray(image.convert("L")).astype(int)
    for k in range(8):
        left, top = 6 + k % 4 * (WIDTH + 6) + WIDTH // 2, 26 + k // 4 * (20 + 2 * HEIGHT + 2 + 6)
        assert sheet[top + 32, left] == pytest.approx(20 * k, abs=6)
        assert sheet[top + HEIGHT + 32, left] == pytest.approx(255 - 20 * k, abs=6)


def test_in_a_child(here):
    """As the daemon has it done: all of it crosses as JSON."""
    write("result.mp4", [picture(k) for k in range(3)])
    asked = Scoring(
        result="result.mp4",
        frames=3,
        panels=1,
        clip="result.mp4",
        pad=(0, 0, 0, 0),
        edge_preset="low",
        sheet="sheet.jpg",
    )
    here.chmod(0o700)
    found = call("score", {"about": json.loads(json.dumps(asked.to_json()))}, timeout=60, folder=str(here))
    assert (found["scores"], found["sheet"]) == (PERFECT, True)
    assert (here / "sheet.jpg").is_file()
