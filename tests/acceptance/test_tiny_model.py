"""The diffusers engine itself, on a tiny model on the CPU, through the whole daemon: clip in, `_aug.mp4` out."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from support import tiny_needs
from support.clips import make_clip, painted, read_times, upright_frames
from support.tiny_daemon import FRAMES, HELD, LONG, SIZE, STEPS, Tiny
from support.waiting import sound

from povwatch.engines import control

tiny_needs.skip_without()

pytestmark = pytest.mark.timeout(300)

DATA = Path(__file__).parents[1] / "data"

STAND_IN = Path(__file__).parents[2] / "examples/mano/stand_in.py"


@pytest.fixture(scope="module")
def here(tiny, tmp_path_factory):
    """One daemon for all: loading is what takes the time. `whole.mp4` has come out."""
    with Tiny(tmp_path_factory.mktemp("tiny") / "pov", tiny, controls=["edge", "vis"], guardrails=True) as daemon:
        daemon.ask_for("whole.mp4")
        daemon.start("--verbose")
        daemon.done("whole.mp4")
        yield daemon


def test_generated_in_several_chunks(here) -> None:
    """A long clip is generated in chunks, and its manifest has model, settings and libraries."""
    manifest = here.done("whole.mp4")
    assert (manifest["kind"], manifest["engine"]["name"], manifest["engine"]["real"]) == ("aug", "diffusers", True)
    assert {"torch", "diffusers", "transformers"} <= manifest["libraries"].keys()
    assert len(manifest["model"]["files"]["transformer/diffusion_pytorch_model.safetensors"]["sha256"]) == 64
    asked = {"seed": 3, "num_steps": STEPS, "guidance": 3, "controls": {"edge": 0.7}, "chunks": 3, "chunks_resumed": 0}
    assert {key: manifest[key] for key in asked} == asked
    assert manifest["guardrails"] is True
    assert {"prompt", "encode", "denoise", "decode"} <= manifest["seconds_of_generate"].keys()
    assert (manifest["output"]["frames"], manifest["output"]["rate"]) == (FRAMES, "30/1")
    pictures = here.pictures("whole.mp4")
    assert pictures.shape == (FRAMES, SIZE[1], SIZE[0], 3)
    clip = np.stack(list(upright_frames(here.inputs / "whole.mp4")))
    assert abs(pictures.astype(int) - clip).mean() > 20, "it is the clip itself"


def test_times_and_odd_size_are_kept(here) -> None:
    """Every frame keeps its time, and an odd size is kept."""
    times = [0, 40, 70, 130, 150, 200, 290]
    made = make_clip(
        here.folder / "made.mp4", frames=7, size=(75, 45), times=times, time_base=Fraction(1, 1000), pix_fmt="yuv444p"
    )
    here.ask_for("odd.mp4", made=made)
    manifest = here.done("odd.mp4")
    assert manifest["chunks"] == 1
    assert here.pictures("odd.mp4").shape == (7, 45, 75, 3)
    assert read_times(here.outputs / "odd/odd_aug.mp4") == [Fraction(time, 1000) for time in times]


def test_controls_change_between_jobs(here) -> None:
    """Each job has its own controls, and the model stays loaded."""
    worker = here.worker
    here.ask_for("blurred.mp4", vis={"preset_blur_strength": "high", "control_weight": 0.7})
    assert here.done("blurred.mp4")["generated"]["control"] == "vis"
    here.ask_for("edged.mp4")
    assert here.done("edged.mp4")["generated"]["control"] == "edge"
    assert here.worker == worker
    assert not np.array_equal(here.pictures("blurred.mp4"), here.pictures("whole.mp4"))
    np.testing.assert_array_equal(here.pictures("edged.mp4"), here.pictures("whole.mp4"))


def test_several_controls_and_masks(here) -> None:
    """An uneven clip of odd size, masked by its own bright parts: frames keep their times, the manifest has all."""
    times = [0, 40, 70, 130, 150]
    made = make_clip(
        here.folder / "uneven.mp4", frames=5, size=(75, 45), times=times, time_base=Fraction(1, 1000), pix_fmt="yuv444p"
    )
    (here.inputs / ".masks").mkdir()
    (here.inputs / ".masks/bright.mp4").write_bytes(made.read_bytes())
    np.savez(here.inputs / ".masks/kept.npz", np.indices((5, 45, 75), np.uint8)[2] // 25)
    kept = {"guided_generation_mask": ".masks/kept.npz", "guided_generation_foreground_labels": [2]}
    fields = {"edge": {"mask_path": ".masks/bright.mp4"}, "vis": {"control_weight": 0.2}, **kept}
    here.ask_for("uneven.mp4", made=made, **fields)
    manifest = here.done("uneven.mp4")
    assert manifest["controls"] == {"edge": 1.0, "vis": 0.2}
    branches = manifest["generated"]["branches"]
    assert [(one["key"], one["given"]) for one in branches] == [("edge", ["mask"]), ("vis", [])]
    assert all(
        list(one["files"]) == [f"controlnet/{name}/diffusion_pytorch_model.safetensors"]
        for one, name in zip(branches, ("edge", "blur"), strict=True)
    )
    assert manifest["generated"]["notes"] == []
    assert here.pictures("uneven.mp4").shape == (5, 45, 75, 3)
    assert read_times(here.outputs / "uneven/uneven_aug.mp4") == [Fraction(time, 1000) for time in times]


def test_looks_compute_one_control(here) -> None:
    """Of two looks of a clip one computes the controls, and the other reads them, which shows in no picture."""
    controls = {"edge": {"control_weight": 0.7}, "vis": {"preset_blur_strength": "high", "control_weight": 0.2}}
    (here.inputs / "pair.hold").touch()
    here.ask_for("pair.mp4", frames=12, **controls)
    (here.inputs / "pair.night.json").write_text((here.inputs / "pair.json").read_text())
    here.wait_for("joined", clip="pair.mp4@night")
    (here.inputs / "pair.hold").unlink()
    here.ask_for("single.mp4", frames=12, **controls)
    looks = [here.done("pair.mp4"), here.done("pair.mp4@night", stem="pair", kind="night_aug")]
    files = [manifest["control_files"] for manifest in looks]
    assert sorted(one["vis"]["computed_by"] for one in files) == ["another look", "this look"]
    assert [{key: one[key]["sha256"] for key in controls} for one in files[:1]] == [
        {key: one[key]["sha256"] for key in controls} for one in files[1:]
    ]
    assert "control_files" not in here.done("single.mp4"), "a clip with its own look alone keeps none"
    pictures = [np.stack(list(upright_frames(here.outputs / f"pair/pair{look}_aug.mp4"))) for look in ("", "_night")]
    np.testing.assert_array_equal(pictures[0], here.pictures("single.mp4"))
    np.testing.assert_array_equal(pictures[1], here.pictures("single.mp4"))
    here.until(lambda: not list((here.outputs / ".povwatch").glob("clip.*")), "nothing is shared any more")


def test_what_a_hook_has_drawn_is_kept(here) -> None:
    """An uneven clip of odd size is kept where the stand-in's hands are, and is another result than without them."""
    times = [0, 40, 70, 130, 150]
    made = make_clip(
        here.folder / "hands.mp4", frames=5, size=(75, 45), times=times, time_base=Fraction(1, 1000), pix_fmt="yuv444p"
    )
    draw = [sys.executable, str(STAND_IN), str(made), "--out", str(here.outputs / "kept")]
    subprocess.run(draw, check=True, capture_output=True)
    here.ask_for("kept.mp4", made=made, povwatch={"keep": "3_mano_no_overlay.mp4", "dilate": 2})
    here.ask_for("free.mp4", made=made)
    manifest = here.done("kept.mp4")
    kept = {name: manifest["keep"][name] for name in ("file", "frames", "drawn", "dilate", "as")}
    assert kept == {
        "file": "kept/3_mano_no_overlay.mp4",
        "frames": 5,
        "drawn": 5,
        "dilate": 2,
        "as": "guided_generation_mask",
    }
    assert manifest["generated"]["notes"] == []
    assert read_times(here.outputs / "kept/kept_aug.mp4") == [Fraction(time, 1000) for time in times]
    assert "keep" not in here.done("free.mp4")
    assert not np.array_equal(here.pictures("kept.mp4"), here.pictures("free.mp4"))


def test_job_has_its_own_speed(here) -> None:
    """A JSON's speed decides what is computed; log and manifest say what was not, and that pictures were not judged."""
    here.ask_for("fast.mp4", frames=5, num_steps=16, povwatch={"speed": "fastest"})
    manifest = here.done("fast.mp4")
    assert manifest["generated"]["speed"] == "fastest"
    told = manifest["generated"]["approximated"]
    assert (told["steps"], told["steps_computed"], told["steps_with_prompt_alone"]) == (16, 10, 3)
    (line,) = here.events("approximated", clip="fast.mp4")
    assert line["what"] == told["what"]
    assert "was not seen yet" in line["what"]
    assert told["what"] in here.call("show", "fast.mp4").stdout
    assert here.done("whole.mp4")["generated"]["speed"] == "exact"


def test_given_control_replaces_the_computed(here) -> None:
    """A control video that is given takes the place of the computed one, bit by bit."""
    given = here.inputs / ".controls"
    given.mkdir()
    clip = list(upright_frames(here.inputs / "whole.mp4"))
    lossless(given / "edges.mkv", [control.edge(frame) for frame in clip])
    lossless(given / "others.mkv", [painted(number, SIZE) for number in range(FRAMES)])
    for name in ("edges", "others"):
        path = {"control_path": f".controls/{name}.mkv", "control_weight": 0.7}
        here.ask_for(f"with_{name}.mp4", edge=path)
        assert here.done(f"with_{name}.mp4")["generated"]["preset"] is None
    np.testing.assert_array_equal(here.pictures("with_edges.mp4"), here.pictures("whole.mp4"))
    assert not np.array_equal(here.pictures("with_others.mp4"), here.pictures("whole.mp4"))


def test_cancelled_between_two_steps(here) -> None:
    """A job is cancelled between two steps, and the worker goes on with the next one."""
    worker = here.worker
    here.hold()
    here.ask_for("unwanted.mp4")
    job = here.held("unwanted.mp4")
    assert here.ask("cancel", "unwanted.mp4").done
    here.wait_state("unwanted.mp4", "cancelled")
    here.let_go()
    assert here.steps(job)[-1] == HELD
    here.ask_for("wanted.mp4", frames=5)
    here.done("wanted.mp4")
    assert here.worker == worker
    assert not (here.outputs / "unwanted").exists()


@pytest.mark.parametrize(("name", "prompt"), [("said", "a forbidden word"), ("shown", "a forbidden scene")])
def test_guardrail_refusal_is_blocked(here, name, prompt) -> None:
    """A prompt or a video that the guardrail refuses is blocked, with the reason, and never published."""
    here.ask_for(f"{name}.mp4", frames=5, prompt=prompt)
    blocked = here.wait_for("blocked", clip=f"{name}.mp4", patience=LONG)
    what = {"said": f"the prompt: {prompt!r}", "shown": "the generated video, frames 0 to 4"}[name]
    assert what in blocked["message"]
    job = here.peek(f"{name}.mp4")
    assert (job["state"], job["attempts"]) == ("blocked", 1)
    assert what in (here.inputs / f"{name}.error.txt").read_text()
    assert not (here.outputs / name).exists()


def test_job_outlives_a_killed_worker(here) -> None:
    """A job goes on with its second chunk after its worker is killed, as another attempt."""
    here.hold()
    here.ask_for("worker.mp4")
    job = here.held("worker.mp4")
    os.kill(here.worker, signal.SIGKILL)
    here.wait_for("worker-lost")
    here.let_go()
    goes_on(here, "worker.mp4", job)
    assert (here.peek("worker.mp4")["attempts"], here.peek("worker.mp4")["crashes"]) == (2, 0)


def test_job_outlives_a_killed_daemon(here) -> None:
    """A job goes on with its second chunk after the daemon is killed, as a crash."""
    here.hold()
    here.ask_for("daemon.mp4")
    job = here.held("daemon.mp4")
    here.kill()
    here.let_go()
    here.start("--verbose")
    goes_on(here, "daemon.mp4", job)
    assert (here.peek("daemon.mp4")["attempts"], here.peek("daemon.mp4")["crashes"]) == (1, 1)


def goes_on(here: Tiny, name: str, job: int) -> None:
    """See that a job went on with its second chunk, and came out as if nothing had been."""
    manifest = here.done(name)
    assert manifest["chunks_resumed"] == 1
    whole = [[(chunk, step) for step in range(STEPS + 1)] for chunk in range(3)]
    assert here.steps(job) == [*whole[0], *whole[1][: HELD[1] + 1], *whole[1], *whole[2]]
    np.testing.assert_array_equal(here.pictures(name), here.pictures("whole.mp4"))
    here.until(lambda: not list((here.outputs / ".povwatch").glob(f"{job}*")), "its chunks go with the job's end")


def test_once_with_a_real_clip(tiny, tmp_path) -> None:
    """--once, in a worker that starts from nothing, generates a real clip, all its frames and times, unguarded."""
    with Tiny(tmp_path / "pov", tiny, forks=False, chunk_frames=45) as here:
        here.ask_for("bunny.mp4", made=DATA / "bigbuckbunny.mp4")
        here.start("--once", watching=False)
        assert here.ended(LONG) == 0, here.text()
        manifest = here.done("bunny.mp4")
        assert here.published() == ["bunny/bunny_aug.json", "bunny/bunny_aug.mp4"]
        assert (manifest["chunks"], manifest["guardrails"]) == (2, False)
        assert here.pictures("bunny.mp4").shape == (50, 360, 640, 3)
        assert read_times(here.outputs / "bunny/bunny_aug.mp4") == read_times(DATA / "bigbuckbunny.mp4")
        sound(here)


def lossless(path: Path, pictures: list[np.ndarray]) -> None:
    """Write a video that keeps RGB to the bit."""
    with av.open(str(path), "w", format="matroska") as container:
        stream = container.add_stream("libx264rgb", rate=30, options={"qp": "0"})
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "rgb24"
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
