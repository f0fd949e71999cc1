"""What doctor says of a machine that shall run a real engine."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import constants
from support import tiny_guardrail

from povwatch.cli import doctor
from povwatch.config.load import load_config
from povwatch.config.settings import Engine
from povwatch.engines.libraries import FLASH3
from povwatch.engines.needs import Wishes, needs
from povwatch.gpu.nvml import Gpu, Gpus, Process
from povwatch.models import hub, record

ROOT = Path(__file__).parents[3]
H200 = Gpu(0, "GPU-0", "NVIDIA H200", 140 * 10**9, 139 * 10**9)
ONE = Gpus((H200,), "580.65.06", "13.0")
ANSWER = {"python": "3.10.12", "missing": [], "torch": "2.7.0", "cuda": "12.8", "cudnn": 90701, "gpus": 1}


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.delenv("COSMOS_CACHE_DIR", raising=False)
    return configured(tmp_path)


def configured(folder, **engine):
    text = "".join(f"{key} = {json.dumps(value)}\n" for key, value in engine.items())
    (folder / "config.toml").write_text(f"[engine]\n{text}")
    return load_config(folder / "config.toml")


def interpreter(config, script):
    """Puts a program where upstream's interpreter is looked for."""
    python = config.engine.python
    python.parent.mkdir(parents=True, exist_ok=True)
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)


def says(config, **answer):
    interpreter(config, f"echo 'a library greets'\necho '{json.dumps(ANSWER | answer)}'")


def only(findings):
    (finding,) = findings
    return finding


# -- the driver


def test_driver_is_good(config):
    """A driver that is new enough is told with its CUDA version."""
    found = doctor.driver("cosmos", ONE)
    assert (found.seen, found.todo) == ("580.65.06, CUDA up to 13.0", "")


@pytest.mark.parametrize(("version", "old"), [("570.124.05", True), ("570.124.06", False), ("565.1", True)])
def test_too_old_driver(version, old):
    """A driver that is too old is fatal for cosmos, and not for diffusers."""
    found = doctor.driver("cosmos", Gpus((H200,), version))
    assert found.fatal is old
    assert ("570.124.6 or newer" in found.todo) is old
    assert not doctor.driver("diffusers", Gpus((H200,), version)).todo


def test_no_driver():
    """A missing driver is fatal, and the advice is to install it."""
    found = doctor.driver("cosmos", Gpus(problem="there is no NVIDIA driver here"))
    assert found.fatal
    assert found.words == "there is no NVIDIA driver here. Install NVIDIA's driver."


def test_driver_without_a_version():
    """A driver that does not tell its version is no fault."""
    assert not doctor.driver("cosmos", Gpus((H200,))).fatal


# -- memory


def test_enough_memory():
    """A GPU with enough free memory is told with what is needed."""
    found = only(doctor.memory("cosmos", Engine(), ONE))
    assert (found.seen, found.todo) == ("GPU 0 has 139 GB free, 65 GB are needed", "")


def test_too_small_gpu():
    """A GPU that is too small is fatal, unless another is large enough."""
    small = Gpu(1, "GPU-1", "NVIDIA L4", 24 * 10**9, 24 * 10**9)
    found = only(doctor.memory("cosmos", Engine(), Gpus((small,))))
    assert found.fatal
    assert "65 GB" in found.todo
    # beside one that is large enough it does no harm
    assert [finding.fatal for finding in doctor.memory("cosmos", Engine(), Gpus((small, H200)))] == [False, False]


def test_holder_of_memory_is_named():
    """Who holds the GPU's memory is named, and that is not fatal."""
    held = Gpu(0, "GPU-0", "NVIDIA H200", 140 * 10**9, 9 * 10**9, None, (Process(4711, "blender", 130 * 10**9),))
    found = only(doctor.memory("cosmos", Engine(), Gpus((held,))))
    assert found.seen == "GPU 0 has 9.0 GB of 140 GB free; blender (4711) holds memory"
    assert not found.fatal
    assert found.todo


def test_unknown_memory_is_no_fault():
    found = only(doctor.memory("cosmos", Engine(), Gpus((Gpu(0, "0", "NVIDIA GB10", 0, 0),))))
    assert (found.todo, found.fatal) == ("", False)


@pytest.mark.parametrize(
    ("asked", "gigabytes", "host", "said", "todo"),
    [
        ("auto", (24,), 64, ["GPU 0 has 24 GB free, 22 GB are needed", "low here: the text encoder waits"], ""),
        ("auto", (80, 24), 64, ["80 GB", "24 GB", "low on the GPUs with too little memory: the text"], ""),
        ("low", (80,), 16, ["80 GB free, 22 GB", "low here: the text encoder waits"], "The host has 16 GB"),
        ("full", (24,), 64, ["GPU 0 has 24 GB"], 'engine.memory = "low" needs 22 GB'),
        ("auto", (80,), 64, ["GPU 0 has 80 GB free, 22 GB are needed"], ""),
    ],
)
def test_memory_of_the_diffusers_engine(asked, gigabytes, host, said, todo):
    """Where the text encoder waits is told, and what that needs; so is the way out for a GPU that is too small."""
    found = [Gpu(n, f"GPU-{n}", "NVIDIA X", size * 10**9, size * 10**9) for n, size in enumerate(gigabytes)]
    engine, gpus = Engine(memory=asked), Gpus(tuple(found))
    told = [*doctor.memory("diffusers", engine, gpus), *doctor.text_encoder(asked, gpus, host * 10**9)]
    assert all(part in one.seen for part, one in zip(said, told, strict=True))
    assert todo in told[-1].todo
    assert bool(todo) == bool(told[-1].todo)


# -- upstream's work tree


def test_pinned_commit_is_the_one_everywhere():
    assert re.search(r"^pinned=(\w+)$", (ROOT / "script/cosmos").read_text(), re.MULTILINE)[1] == doctor.PINNED
    tree = subprocess.run(
        ["git", "-C", ROOT, "ls-files", "--stage", "cosmos-transfer2.5"], capture_output=True, text=True, check=False
    )
    if tree.returncode == 0 and tree.stdout:
        assert tree.stdout.split()[:2] == ["160000", doctor.PINNED]


def test_empty_submodule(config):
    """An empty submodule is fatal, with the command that fetches it."""
    found = doctor.submodule(config)
    assert found.fatal
    assert found.todo == "Run script/cosmos."


@pytest.mark.parametrize(
    ("head", "todo"),
    [
        (doctor.PINNED, ""),
        ("1" * 40, "It should be at 2ff49d0717af: run script/cosmos."),
        ("ref: refs/heads/main", "It should be at 2ff49d0717af."),
    ],
)
def test_submodule_at_another_commit(config, head, todo):
    """A submodule at another commit is told with the command, a branch without one."""
    tree = doctor.upstream_of(config)
    modules = tree.parent / ".git/modules/cosmos-transfer2.5"
    modules.mkdir(parents=True)
    tree.mkdir()
    (tree / ".git").write_text("gitdir: ../.git/modules/cosmos-transfer2.5\n")
    (modules / "HEAD").write_text(head + "\n")
    found = doctor.submodule(config)
    assert (found.todo, found.fatal) == (todo, False)


# -- the interpreter and its libraries


def test_interpreter_with_all_it_needs(config):
    """An interpreter with all it needs is told with its versions."""
    says(config)
    python, torch = doctor.libraries("cosmos", config, ONE)
    assert python.seen.endswith("/cosmos-transfer2.5/.venv/bin/python, Python 3.10.12")
    assert torch.seen == "2.7.0, CUDA 12.8, cuDNN 9.7.1"
    assert not python.todo
    assert not torch.todo


def test_no_interpreter(config):
    """A missing interpreter is fatal, with the command that sets it up."""
    found = only(doctor.libraries("cosmos", config, ONE))
    assert found.fatal
    assert found.words.endswith("does not run: No such file or directory. Run script/cosmos.")


def test_interpreter_that_hangs(config):
    """An interpreter that hangs is fatal, and is not waited for."""
    interpreter(config, "exec sleep 60")
    found = only(doctor.libraries("cosmos", config, ONE, patience=0.2))
    assert "no answer within" in found.seen
    assert found.fatal


@pytest.mark.parametrize("script", ["exit 1", "echo nonsense", "kill -9 $$"])
def test_interpreter_that_answers_nonsense(config, script):
    """An interpreter that gives no answer is fatal."""
    interpreter(config, script)
    found = only(doctor.libraries("cosmos", config, ONE))
    assert "it gives no answer" in found.seen
    assert found.fatal


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"missing": ["cosmos_transfer2"]}, "cosmos_transfer2 missing. Run script/cosmos."),
        (
            {"problem": "ImportError: libcudnn.so.9"},
            "cannot be imported: ImportError: libcudnn.so.9. Run script/cosmos.",
        ),
        ({"cuda": None, "cudnn": None}, "2.7.0, CUDA none, cuDNN none. This build is for CPUs"),
        ({"gpus": 0}, "It sees no GPU: the driver does CUDA 13.0"),
    ],
)
def test_faults_of_the_libraries(config, answer, words):
    """A library that is missing, broken, for CPUs or without a GPU is fatal, with what helps."""
    says(config, **answer)
    wrong = only(finding for finding in doctor.libraries("cosmos", config, ONE) if finding.todo)
    assert words in wrong.words
    assert wrong.fatal


def test_real_interpreter_understands_it():
    """A real interpreter answers the question that doctor asks."""
    found = doctor._asked(sys.executable, ("json", "no_such_package"), 60)
    assert found["missing"] == ["no_such_package"]
    assert found["python"] == sys.version.split()[0]
    assert "torch" in found or "torch" in found["problem"]


def test_diffusers_has_our_interpreter(config):
    """The diffusers engine runs in our own interpreter."""
    python, *others = doctor.libraries("diffusers", config, ONE)
    assert sys.executable in python.seen
    if missing := [finding for finding in others if finding.about == "libraries"]:
        assert "requirements/diffusers.lock" in missing[0].todo


@pytest.mark.parametrize(
    ("capability", "answer", "words"),
    [
        ((9, 0), {"flash3": "fa3-fwd 0.0.3"}, "FlashAttention-3 (fa3-fwd 0.0.3), if it passes its test at the load"),
        ((9, 0), {}, "cuDNN. With FlashAttention-3 a step takes a tenth less time: "),
        ((8, 9), {}, "the fastest of torch's own that computes correctly here; the log names it"),
        (None, {"flash3": "fa3-fwd 0.0.3"}, "the fastest of torch's own that computes correctly here"),
    ],
)
def test_attention_is_named(monkeypatch, config, capability, answer, words):
    """The kernel that will be tried is named, and what FlashAttention-3 would gain on the GPU that it is for."""
    monkeypatch.setattr(doctor, "_asked", lambda *_: ANSWER | answer)
    gpus = Gpus((replace(H200, capability=capability),), "580.65.06", "13.0")
    found = only(finding for finding in doctor.libraries("diffusers", config, gpus) if finding.about == "attention")
    assert found.words.startswith(words)
    assert not found.fatal


@pytest.mark.parametrize(
    ("capability", "answer", "words"),
    [
        ((9, 0), {"flash3": "fa3-fwd 0.0.3"}, "fast: attention and feed-forward in FP8"),
        ((9, 0), {}, "fast: the feed-forward in FP8; attention stays as it is"),
        ((8, 9), {"flash3": "fa3-fwd 0.0.3"}, "fast: the feed-forward in FP8; attention stays as it is"),
        ((8, 0), {}, "fast, without FP8. This GPU does not compute in FP8: steps are left out"),
    ],
)
def test_speed_is_named(monkeypatch, tmp_path, capability, answer, words):
    """What engine.speed comes to on this GPU is told; exact comes to nothing."""
    monkeypatch.setattr(doctor, "_asked", lambda *_: ANSWER | answer)
    gpus = Gpus((replace(H200, capability=capability),), "580.65.06", "13.0")
    found = only(doctor.speed(Engine(speed="fast"), answer.get("flash3", ""), gpus))
    assert found.words.startswith(words)
    assert not found.fatal
    assert list(doctor.speed(Engine(), answer.get("flash3", ""), gpus)) == []


def test_question_names_flash_attention_3():
    """The program that asks the interpreter looks for the packages that the engine imports."""
    assert str(tuple(FLASH3)).replace("'", '"') in doctor.ASK


def test_guardrails_need_their_library(monkeypatch, tmp_path):
    """Guardrails need their library, unless they are off."""
    asked = []
    monkeypatch.setattr(doctor, "_asked", lambda _, packages, __: asked.append(packages) or ANSWER)
    for guardrails in (True, False):
        list(doctor.libraries("diffusers", configured(tmp_path, guardrails=guardrails), ONE))
    assert ["cosmos_guardrail" in packages for packages in asked] == [True, False]


# -- model files


def put(need, *, on_record=None):
    """Files of a need in the cache, as another program fetched them."""
    commit = need.revision if hub.COMMIT.fullmatch(need.revision) else "c" * 40
    folder = hub.snapshot_of(need, commit)
    for name in need.files or ("model.safetensors",):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"0123456789")
    if commit != need.revision:
        ref = hub.store_of(need) / "refs" / need.revision
        ref.parent.mkdir(parents=True, exist_ok=True)
        ref.write_text(commit)
    if on_record is not None:
        kept = tuple(record.Kept(name, 10, "0" * 64, 0) for name in need.files or ("model.safetensors",))
        snapshot = record.Snapshot(
            need.repository, need.revision, record.asked(need), str(hub.cache_of(need)), commit, kept
        )
        record.save(on_record, [snapshot])


def test_nothing_was_fetched(config):
    """Without model files, each is missing with the command, and licences and room are told."""
    found = list(doctor.model_files("cosmos", config))
    models = [finding for finding in found if finding.about == "model"]
    assert len(models) == len(needs("cosmos", Wishes()))
    assert all(finding.fatal and "Run povwatch prefetch --engine cosmos." in finding.todo for finding in models)
    assert "lacks general/edge/61f5694b" in models[0].seen
    assert "(the text encoder) is not here" in models[2].seen
    licences = only(finding for finding in found if finding.about == "licences")
    assert "https://huggingface.co/nvidia/Cosmos-Guardrail1" in licences.seen
    room = only(finding for finding in found if finding.about == "room")
    assert "some 36 GB are to be fetched" in room.seen


def test_all_was_fetched_and_checked(config):
    """Model files that were fetched and checked are told with their sizes, and nothing is to be done."""
    for need in needs("cosmos", Wishes()):
        put(need, on_record=config.paths.state)
    found = list(doctor.model_files("cosmos", config))
    assert [finding.todo for finding in found] == [""] * len(found)
    assert found[0].seen == "nvidia/Cosmos-Transfer2.5-2B (the model for edge), 10 B"
    assert {finding.about for finding in found} == {"model", "licences"}


def test_all_was_fetched_by_another_program(config):
    """Files that another program fetched are there, but were never checked."""
    for need in needs("cosmos", Wishes()):
        put(need)
    found = list(doctor.model_files("cosmos", config))
    models = [finding for finding in found if finding.about == "model"]
    assert all("was never checked" in finding.seen and not finding.fatal for finding in models)


def test_model_of_a_control_may_be_missing(config, tmp_path):
    """A model that computes a control is named with its licence; without it only that control is to be given."""
    config = configured(tmp_path, kind="diffusers", guardrails=False, controls=["edge", "depth"])
    found = [finding for finding in doctor.model_files("diffusers", config) if "Depth-Anything" in finding.seen]
    (finding,) = found
    assert finding.seen.startswith("depth-anything/Depth-Anything-V2-Small-hf (computes depth, Apache-2.0) ")
    assert not finding.fatal
    assert finding.todo.endswith("Until then, depth needs a control video in the JSON.")


def test_disk_without_room_for_the_rest(config, monkeypatch):
    """A disk without room for the rest is fatal, and the variable that moves the cache is named."""
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10**9})())
    room = only(finding for finding in doctor.model_files("cosmos", config) if finding.about == "room")
    assert room.fatal
    assert "HF_HOME" in room.todo


def test_own_model_is_looked_at(config, tmp_path):
    """A model of one's own is looked at where it lies."""
    config = configured(tmp_path, kind="diffusers", model=str(tmp_path / "mine"), guardrails=False)
    found = only(doctor.model_files("diffusers", config))
    assert found.fatal
    assert "text_encoder/config.json is missing" in found.seen


def test_preview_is_not_examined(config):
    assert list(doctor.engine_findings("preview", config, ONE)) == []


def test_everything_is_looked_at(config):
    """doctor looks at everything that the cosmos engine needs, in order."""
    says(config)
    seen = [finding.about for finding in doctor.engine_findings("cosmos", config, ONE)]
    assert list(dict.fromkeys(seen)) == [
        *("driver", "memory", "upstream", "interpreter", "torch", "model", "licences", "room"),
        *("guardrails", "prompts"),
    ]


def test_guardrails_off_are_pointed_at(config, tmp_path):
    """Guardrails that are off are told, and not fatal."""
    assert doctor.guardrails(config).todo == ""
    off = doctor.guardrails(configured(tmp_path, guardrails=False))
    assert "licence does not hold" in off.todo
    assert not off.fatal


def test_lacking_text_filters_are_named(tmp_path, monkeypatch):
    """Text filters whose files are missing are named with the command that fetches them, which is not fatal."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    config = configured(tmp_path)
    lacks = only(doctor.prompts("diffusers", config))
    assert "nvidia/Cosmos-1.0-Guardrail (guardrails) is not here" in lacks.seen
    assert "prefetch --engine diffusers" in lacks.todo
    assert not lacks.fatal
    tiny_guardrail.add_words(tmp_path / "hub")
    assert only(doctor.prompts("diffusers", config)).seen.endswith(
        "by an idle worker, else by the word lists on the CPU"
    )
    whole = only(doctor.prompts("diffusers", configured(tmp_path, check_prompts="all")))
    assert "Qwen/Qwen3Guard-Gen-0.6B (guardrail of prompts) is not here" in whole.seen
    assert "by the engine alone" in only(doctor.prompts("cosmos", configured(tmp_path, check_prompts="off"))).seen
    assert list(doctor.prompts("cosmos", configured(tmp_path, guardrails=False))) == []


def test_devices_fit_the_gpus(tmp_path):
    """engine.devices is compared with the GPUs that are there."""
    two = Gpus((H200, Gpu(1, "GPU-1", "NVIDIA H200", 140 * 10**9, 139 * 10**9)), "580", "13.0")
    assert list(doctor.devices("cosmos", configured(tmp_path), two)) == []
    found = only(doctor.devices("cosmos", configured(tmp_path, devices=[1]), two))
    assert (found.seen, found.todo) == ("a worker on each of GPU 1", "")
    found = only(doctor.devices("cosmos", configured(tmp_path, gpus_per_worker=2), two))
    assert found.seen == "a worker on each of GPU 0+1"
    found = only(doctor.devices("cosmos", configured(tmp_path, devices=[1, 5]), two))
    assert (found.fatal, "names 5" in found.seen) == (False, True)
    found = only(doctor.devices("cosmos", configured(tmp_path, devices=[5]), two))
    assert found.fatal
