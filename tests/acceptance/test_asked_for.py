"""What cannot be had is refused while the JSON can be edited: no attempt, no GPU time, and a way out."""

from __future__ import annotations

import json

import pytest
from support.clips import make_clip
from support.daemons import Daemon

from povwatch.engines.libraries import LOCKED


@pytest.fixture
def here(tmp_path):
    with Daemon(tmp_path / "pov") as daemon:
        yield daemon


def control(here, name="edge.mp4", **shape):
    """A control video, in a folder that is not looked into for clips."""
    place = here.inputs / ".controls"
    place.mkdir(exist_ok=True)
    return make_clip(here.folder / "made.control.mp4", **shape).rename(place / name)


def spec(here, name="a", **fields):
    asked = {"name": name, "video_path": f"{name}.mp4", "prompt": "Hands.", "edge": {}} | fields
    (here.inputs / f"{name}.json").write_text(json.dumps(asked, indent=1))


def test_misfit_control_costs_no_attempt(here):
    """A control video with the wrong number of frames is refused in the grace; the right one starts the clip."""
    control(here, frames=5)
    spec(here, edge={"control_path": ".controls/edge.mp4"})
    here.clip("a.mp4", frames=12)
    here.start()
    said = here.wait_for("invalid-spec", clip="a.mp4")
    assert "edge.control_path has 5 frames at 30 a second, the clip has 12 frames at 30 a second" in said["problem"]
    assert here.peek("a.mp4")["waiting_on"] == "invalid-spec"
    assert "has 5 frames" in (here.inputs / "a.error.txt").read_text()
    control(here, frames=12)
    here.wait_for("done", clip="a.mp4")
    assert not (here.inputs / "a.error.txt").exists()
    assert len(here.events("started")) == 1


def test_once_names_the_misfit_control(here):
    """--once waits for control videos to be looked at; the clip whose control fits comes out."""
    control(here, "good.mp4", frames=12)
    control(here, "bad.mp4", frames=12, size=(64, 64))
    for name in ("good", "bad"):
        spec(here, name, edge={"control_path": f".controls/{name}.mp4"})
        here.clip(f"{name}.mp4", frames=12)
    done = here.once()
    assert done.returncode == 1, done.stderr
    assert here.published() == ["good/good_preview.json", "good/good_preview.mp4"]
    (fate,) = [line for line in done.stderr.splitlines() if '"summary"' in line and "bad.mp4: " in line]
    assert "edge.control_path is 64x64, the clip is 96x64" in fate


def test_absent_engine_still_judges_the_spec(here):
    """What the diffusers engine cannot do is refused in the grace, also where that engine cannot run yet."""
    here.env = {"POVWATCH_ENGINE__EXACT": "pipeline"}
    spec(here, edge=None, depth={}, povwatch={"speed": "fast"})
    here.clip("a.mp4")
    here.start("--engine", "diffusers")
    said = here.wait_for("invalid-spec", clip="a.mp4")
    assert "a.json, line 6, column" in said["problem"]
    text = (here.inputs / "a.error.txt").read_text()
    assert "depth is asked for, and engine.controls has edge only." in text
    missing = "depth-anything/Depth-Anything-V2-Small-hf, which computes depth, is not here."
    assert f"depth.control_path is missing, and {missing}" in text
    assert 'povwatch.speed is "fast", and engine.exact = "pipeline" wants the same numbers as the pipeline.' in text
    spec(here)
    here.wait_state("a.mp4", "queued", waiting_on="engine-unavailable")
    assert not (here.inputs / "a.error.txt").exists()


def test_check_judges_for_the_engine(here):
    """povwatch check judges for the configured engine, or for the one that is named."""
    given = control(here, frames=7)
    here.clip("a.mp4", frames=12)
    spec(here, edge={"control_path": ".controls/edge.mp4"})
    here.clip("b.mp4", frames=12)
    spec(here, "b", seg={"control_prompt": "cups"}, povwatch={"speed": "fast"})
    found = here.call("check")
    assert found.returncode == 1
    assert "edge.control_path has 7 frames" in found.stdout
    assert "2 looked at, 1 to be put right" in found.stdout
    found = here.call("check", "--engine", "cosmos", "inputs/b.json")
    assert found.returncode == 1
    assert "seg is asked for, but the model that is loaded takes edge only" in found.stdout
    assert 'povwatch.speed is "fast", and the cosmos engine approximates nothing' in found.stdout
    given.write_text("no video at all\n")
    found = here.call("check", "inputs/a.json")
    assert "edge.control_path is a text file, where a video is needed" in found.stdout


def test_clip_named_like_an_option(here):
    """A clip whose name looks like an option is told how to write it, and runs."""
    refused = here.call("show", "-rf.mp4")
    assert refused.returncode == 2
    assert "If -rf.mp4 is a clip: put -- before it, or write ./-rf.mp4" in refused.stderr
    assert "is a clip" not in here.call("jobs", "--zebra").stderr
    here.clip("-rf.mp4", frames=1)
    done = here.once()
    assert done.returncode == 0
    assert "arrived, 1 frame, " in done.stderr
    assert "checked: 1 frame, " in done.stderr
    assert here.call("show", "--", "-rf.mp4").returncode == here.call("show", "./-rf.mp4").returncode == 0


MACHINE = """
import pynvml, types
pynvml.nvmlInit = pynvml.nvmlShutdown = lambda: None
pynvml.nvmlSystemGetDriverVersion = lambda: "580.65.06"
pynvml.nvmlSystemGetCudaDriverVersion_v2 = lambda: 13000
pynvml.nvmlDeviceGetCount = lambda: 1
pynvml.nvmlDeviceGetHandleByIndex = lambda index: index
pynvml.nvmlDeviceGetMemoryInfo = lambda handle: types.SimpleNamespace(total=140 * 10**9, free=139 * 10**9)
pynvml.nvmlDeviceGetPowerUsage = lambda handle: 90_000
pynvml.nvmlDeviceGetComputeRunningProcesses = lambda handle: []
pynvml.nvmlDeviceGetUUID = lambda handle: "GPU-0"
pynvml.nvmlDeviceGetName = lambda handle: "NVIDIA H200"
"""
"""As sitecustomize.py: NVML of a machine with a GPU."""


WITHOUT_GUARDRAILS = """
import importlib.util
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, *more: None if name == "cosmos_guardrail" else found(name, *more)
"""


@pytest.fixture
def able(here):
    """A machine with a GPU, and with the names of the libraries: whatever imports one of them fails."""
    place = here.folder / "machine"
    place.mkdir()
    (place / "sitecustomize.py").write_text(MACHINE)
    for name in ("torch", "diffusers", "transformers", "cosmos_guardrail"):
        (place / f"{name}.py").write_text("raise ImportError('the model was loaded')\n")
    here.env["PYTHONPATH"] = str(place)
    return here


def model(folder):
    """A folder with a model's files; only their names are looked at."""
    for part in ("text_encoder", "transformer", "vae", "controlnet/edge"):
        (folder / part).mkdir(parents=True)
        (folder / part / "config.json").write_text("{}")
        (folder / part / "model.safetensors").write_bytes(b"weights")
    for part, name in (("tokenizer", "tokenizer_config.json"), ("scheduler", "scheduler_config.json")):
        (folder / part).mkdir()
        (folder / part / name).write_text("{}")
    return folder


@pytest.mark.parametrize("suffix", ["bin", "pt", "ckpt"])
def test_pickled_weights_are_refused(able, suffix):
    """Weights that would have to be unpickled are refused before a worker starts; the clip waits."""
    folder = model(able.folder / "model")
    (folder / "vae/model.safetensors").rename(folder / f"vae/model.{suffix}")
    able.configure(engine={"kind": "diffusers", "model": str(folder)})
    able.clip("a.mp4")
    done = able.once()
    assert done.returncode == 3, done.stderr
    assert f"{folder}/vae/model.{suffix} is no safetensors file" in done.stderr
    assert "Convert it to safetensors" in done.stderr
    assert '"worker-started"' not in done.stderr
    assert able.peek("a.mp4")["waiting_on"] == "engine-unavailable"


def test_missing_model_file_is_named(able):
    """A missing model file is named, together with the command that fetches it."""
    folder = model(able.folder / "model")
    (folder / "scheduler/scheduler_config.json").unlink()
    able.configure(engine={"kind": "diffusers", "model": str(folder)})
    able.clip("a.mp4")
    done = able.once()
    assert done.returncode == 3, done.stderr
    (last,) = [line for line in done.stderr.splitlines() if '"summary"' in line and "not done" in line]
    assert f"The model's file {folder}/scheduler/scheduler_config.json is missing." in last
    assert "povwatch prefetch --engine diffusers" in last


def test_missing_guardrails_are_told_first(able):
    """Guardrails without their library are reported before a model is loaded."""
    (able.folder / "machine/cosmos_guardrail.py").unlink()
    (able.folder / "machine/sitecustomize.py").write_text(MACHINE + WITHOUT_GUARDRAILS)
    able.configure(engine={"kind": "diffusers", "model": str(model(able.folder / "model"))})
    able.clip("a.mp4")
    done = able.once()
    assert done.returncode == 3, done.stderr
    assert f"cosmos_guardrail is not installed: {LOCKED}" in done.stderr
    assert '"worker-started"' not in done.stderr


@pytest.mark.parametrize("kind", ["diffusers", "cosmos"])
def test_offline_names_what_to_fetch(able, kind):
    """Without a network, the files that were not fetched are named with the command that fetches them."""
    python = able.folder / "python"
    python.write_text("#!/bin/sh\n")
    python.chmod(0o755)
    able.configure(engine={"kind": kind, "python": str(python)})
    able.env |= {"HF_HUB_OFFLINE": "1", "HF_HOME": str(able.folder / "hf")}
    able.clip("a.mp4")
    done = able.once()
    assert done.returncode == 3, done.stderr
    assert "nvidia/Cosmos-Transfer2.5-2B" in done.stderr
    assert f"run povwatch prefetch --engine {kind}" in done.stderr


def test_guardrails_off_is_told(here):
    """Guardrails that are off are a warning at every start, but not for an engine that has none."""
    here.configure(engine={"kind": "diffusers", "guardrails": False})
    here.start()
    said = here.wait_for("guardrails-off")
    assert said["level"] == "warning"
    assert "licence no longer holds" in said["message"]
    assert here.stop() == 0
    here.configure(engine={"kind": "diffusers"})
    here.start().wait_for("engine-unavailable", start=2)
    assert not here.events("guardrails-off", start=2)
    here.stop()
    here.configure(engine={"kind": "preview", "guardrails": False})  # it has none, and needs none
    here.start().wait_for("engine-ready", start=3)
    assert not here.events("guardrails-off", start=3)
