import hashlib
import json
import os
import shutil

import pytest
from support import tiny_needs
from support.deferred import Deferred

tiny_needs.skip_without()

from support import tiny_jobs

from povwatch.engines.port import EngineFailure
from povwatch.engines.transfer import weights
from povwatch.engines.transfer.settings import Settings

torch = Deferred("torch")
safetensors = Deferred("safetensors.torch")

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def copy(tiny, tmp_path):
    """The tiny model, to be spoilt."""
    return shutil.copytree(tiny, tmp_path / "model")


def refused(folder, **config):
    with pytest.raises(EngineFailure) as caught:
        tiny_jobs.loaded(folder, **config)
    assert caught.value.kind == "invalid"
    return caught.value


def in_hub(tiny, cache, *, controls=("edge",)):
    """The hub's cache, as huggingface_hub lays it out, with the tiny model in it."""
    repository = cache / "models--nvidia--Cosmos-Transfer2.5-2B"
    refs = {"diffusers/general": tiny} | {
        f"diffusers/controlnet/general/{name}": tiny / "controlnet" / name for name in controls
    }
    for number, (revision, folder) in enumerate(refs.items()):
        commit = COMMIT[:-1] + str(number)
        (repository / "refs" / revision).parent.mkdir(parents=True, exist_ok=True)
        (repository / "refs" / revision).write_text(commit)
        for file in folder.rglob("*"):
            if not file.is_file() or (folder == tiny and "controlnet" in file.parts):
                continue
            blob = repository / "blobs" / hashlib.sha256(file.read_bytes()).hexdigest()
            blob.parent.mkdir(exist_ok=True)
            shutil.copyfile(file, blob)
            link = repository / "snapshots" / commit / file.relative_to(folder)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(os.path.relpath(blob, link.parent))
    return repository


def test_pickled_weights_are_refused(copy) -> None:
    """Weights that would run code are refused, and safetensors is named."""
    file = copy / "vae" / "diffusion_pytorch_model.safetensors"
    torch.save(safetensors.load_file(file), file.with_suffix(".bin"))
    file.unlink()
    failure = refused(copy)
    assert "diffusion_pytorch_model.bin" in failure.message
    assert "safetensors" in failure.todo


@pytest.mark.parametrize(
    "name",
    [
        "transformer/diffusion_pytorch_model.safetensors",
        "text_encoder/config.json",
        "controlnet/edge/diffusion_pytorch_model.safetensors",
        "tokenizer/tokenizer_config.json",
        "scheduler/scheduler_config.json",
    ],
)
def test_missing_file_is_named(copy, name) -> None:
    """A missing file is named, and so is the command that gets it."""
    (copy / name).unlink()
    failure = refused(copy)
    assert str((copy / name).parent) in failure.message
    assert "povwatch prefetch" in failure.todo


def test_missing_shard_is_named(copy) -> None:
    folder = copy / "transformer"
    index = {"metadata": {}, "weight_map": {"a": "part-1.safetensors", "b": "part-2.safetensors"}}
    (folder / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))
    shutil.copyfile(folder / "diffusion_pytorch_model.safetensors", folder / "part-1.safetensors")
    assert refused(copy).message == f"The model's file {folder / 'part-2.safetensors'} is missing."


@pytest.mark.parametrize("name", ["transformer", "text_encoder"])
def test_damaged_file_is_refused(copy, name) -> None:
    file = next((copy / name).glob("*.safetensors"))
    file.write_bytes(file.read_bytes()[:5000])
    assert str(file.parent) in refused(copy).message


def test_incomplete_weights_are_refused(copy) -> None:
    """Weights that lack a tensor are refused, not filled with random numbers."""
    for name in ("vae", "transformer", "controlnet/edge", "text_encoder"):
        file = next((copy / name).glob("*.safetensors"))
        kept = file.read_bytes()
        tensors = safetensors.load_file(file)
        lacking = sorted(tensors)[3]
        del tensors[lacking]
        safetensors.save_file(tensors, file, metadata={"format": "pt"})
        failure = refused(copy)
        assert str(file.parent) in failure.message
        assert lacking.rpartition(".")[2] in failure.message
        file.write_bytes(kept)


def test_missing_model_is_named(tmp_path) -> None:
    """A model that is not there, or no repository, is named."""
    assert "config.json" in refused(tmp_path / "nothing").message
    assert "nobody/nothing" in refused("nobody/nothing", cache=str(tmp_path)).message
    assert "no repository's name" in refused("no/such/thing", cache=str(tmp_path)).message


def test_hub_cache_is_read_offline(tiny, tmp_path) -> None:
    """The hub's cache is read without a network, with revisions and digests."""
    in_hub(tiny, tmp_path)
    _, capabilities = tiny_jobs.loaded("nvidia/Cosmos-Transfer2.5-2B", cache=str(tmp_path))
    assert capabilities["revisions"] == {"base": COMMIT[:-1] + "0", "edge": COMMIT[:-1] + "1"}
    _, of_folder = tiny_jobs.loaded(tiny)
    assert {entry["sha256"] for entry in capabilities["files"].values()} == {
        entry["sha256"] for entry in of_folder["files"].values()
    }


def test_missing_control_stops_the_load(tiny, tmp_path) -> None:
    """A control that was not downloaded stops the load, with the command that gets it."""
    in_hub(tiny, tmp_path)
    failure = refused("nvidia/Cosmos-Transfer2.5-2B", cache=str(tmp_path), controls=["edge", "vis"])
    assert "diffusers/controlnet/general/blur" in failure.message
    assert "povwatch prefetch" in failure.todo


@pytest.mark.parametrize("block", [weights.BLOCK, 1000])
def test_hashes_are_of_the_files(tiny, monkeypatch, block) -> None:
    """Also of files that are longer than what is hashed at once."""
    monkeypatch.setattr(weights, "BLOCK", block)
    files = weights.locate(Settings(model=str(tiny), controls=("edge", "vis")))
    found = weights.digests(files)
    assert {"controlnet/edge/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors"} <= set(found)
    for name, entry in found.items():
        data = (tiny / name).read_bytes()
        assert entry == {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def test_pipeline_with_its_only_control(tiny, tmp_path) -> None:
    """A pipeline that was saved with its only control is taken for that control alone."""
    folder = shutil.copytree(tiny, tmp_path / "model", ignore=shutil.ignore_patterns("controlnet"))
    shutil.copytree(tiny / "controlnet" / "blur", folder / "controlnet")
    _, capabilities = tiny_jobs.loaded(folder, controls=["vis"])
    assert capabilities["controls"] == ["vis"]
    assert "controlnet/edge" in refused(folder, controls=["edge", "vis"]).message  # which of them would it be?
