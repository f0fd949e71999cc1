import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from support import tiny_needs
from support.deferred import Deferred

tiny_needs.skip_without()

from support import tiny_jobs

from povwatch.engines.port import EngineCancelled

torch = Deferred("torch")
safetensors = Deferred("safetensors.torch")
checkpoint = Deferred("povwatch.engines.transfer.checkpoint")

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning:diffusers")

FRAMES = 22
"""Three chunks of 9, two of them with a frame of the one before."""


@pytest.fixture(scope="module")
def engine(tiny):
    return tiny_jobs.loaded(tiny)[0]


def generate(engine, folder, job, *, stop=None, **shared):
    """Run a job; `stop` is the chunk and step at which it is cancelled."""
    folder.mkdir(exist_ok=True)
    told = []

    def report(stage, chunk, _chunks, step, _steps):
        told.append((stage, chunk, step))

    context = tiny_jobs.context(
        folder, report=report, is_cancelled=lambda: stop is not None and ("denoise", *stop) in told, **shared
    )
    return engine.generate(job, context), told


def stopped(engine, folder, job, chunk=1, step=1):
    """The job up to the given step of the given chunk."""
    with pytest.raises(EngineCancelled):
        generate(engine, folder, job, stop=(chunk, step))


def test_job_resumes_with_the_next_chunk(engine, tmp_path) -> None:
    """A job goes on with the next chunk and gives the same result, bit by bit."""
    job = tiny_jobs.job(tiny_jobs.clip_of(tmp_path, FRAMES), FRAMES)
    whole, _ = generate(engine, tmp_path / "whole", job)
    stopped(engine, tmp_path / "again", job)
    assert sorted(path.name for path in (tmp_path / "again" / "chunks").iterdir()) == ["chunk-00000.safetensors"]
    resumed, told = generate(engine, tmp_path / "again", job)
    assert (whole["chunks_resumed"], resumed["chunks_resumed"]) == (0, 1)
    assert {chunk for stage, chunk, _ in told if stage == "denoise"} == {1, 2}
    assert Path(resumed["path"]).read_bytes() == Path(whole["path"]).read_bytes()
    for path in (tmp_path / "whole" / "chunks").iterdir():
        assert path.read_bytes() == (tmp_path / "again" / "chunks" / path.name).read_bytes()


def test_finished_job_is_only_decoded_again(engine, tmp_path) -> None:
    job = tiny_jobs.job(tiny_jobs.clip_of(tmp_path, FRAMES), FRAMES)
    first, _ = generate(engine, tmp_path / "one", job)
    expected = Path(first["path"]).read_bytes()
    second, told = generate(engine, tmp_path / "one", job)
    assert second["chunks_resumed"] == 3
    assert not [stage for stage, *_ in told if stage == "denoise"]
    assert Path(second["path"]).read_bytes() == expected


@pytest.mark.parametrize(
    "change",
    [{"seed": 4}, {"prompt": "another"}, {"edge": {"control_weight": 0.6}}, {"num_conditional_frames": 2}],
)
def test_chunks_of_another_spec(engine, tmp_path, change) -> None:
    """Chunks of another spec are not used."""
    clip = tiny_jobs.clip_of(tmp_path, FRAMES)
    stopped(engine, tmp_path / "one", tiny_jobs.job(clip, FRAMES))
    changed = tiny_jobs.job(clip, FRAMES, **change)
    artifact, _ = generate(engine, tmp_path / "one", changed)
    assert artifact["chunks_resumed"] == 0


def test_chunks_of_another_clip(engine, tmp_path) -> None:
    """Chunks of another clip are not used."""
    clip = tiny_jobs.clip_of(tmp_path, FRAMES)
    stopped(engine, tmp_path / "one", tiny_jobs.job(clip, FRAMES))
    (tmp_path / "later").mkdir()
    other = tiny_jobs.clip_of(tmp_path / "later", FRAMES, rotation=180)
    artifact, _ = generate(engine, tmp_path / "one", tiny_jobs.job(other, FRAMES))
    assert artifact["chunks_resumed"] == 0


@pytest.mark.parametrize("spoil", [lambda data: data[: len(data) // 2], lambda _: b"", lambda data: b"{}" + data])
def test_damaged_chunk_is_made_again(engine, tmp_path, spoil) -> None:
    """A damaged chunk is made again, with all that follow, and the result is the same."""
    job = tiny_jobs.job(tiny_jobs.clip_of(tmp_path, FRAMES), FRAMES)
    first, _ = generate(engine, tmp_path / "one", job)
    expected = Path(first["path"]).read_bytes()
    path = tmp_path / "one" / "chunks" / "chunk-00001.safetensors"
    whole = path.read_bytes()
    path.write_bytes(spoil(whole))
    second, told = generate(engine, tmp_path / "one", job)
    assert second["chunks_resumed"] == 1
    assert {chunk for stage, chunk, _ in told if stage == "denoise"} == {1, 2}
    assert Path(second["path"]).read_bytes() == expected
    assert path.read_bytes() == whole


def test_chunk_is_synced_before_its_name(tmp_path, monkeypatch) -> None:
    """A chunk is written beside, synced, renamed, and its folder synced."""
    done = []
    fsync, rename = os.fsync, os.replace

    def noted_fsync(fd):
        done.append(("fsync", Path(f"/proc/self/fd/{fd}").readlink().name))
        fsync(fd)

    def noted_rename(source, target, **options):
        done.append(("rename", Path(source).name, Path(target).name))
        rename(source, target, **options)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(os, "replace", noted_rename)
    finished = checkpoint.Finished(torch.arange(6.0).reshape(1, 1, 1, 2, 3), torch.Generator().get_state())
    checkpoint.Store(str(tmp_path / "chunks")).keep(7, "key", finished)
    partial, final = done[0][1], "chunk-00007.safetensors"
    assert partial.startswith(f"{final}.")
    assert partial.endswith(".part")
    assert done == [("fsync", partial), ("rename", partial, final), ("fsync", "chunks")]
    assert torch.equal(safetensors.load_file(tmp_path / "chunks" / final)["latents"], finished.latents)


def test_chunk_is_found_by_its_key_alone(tmp_path) -> None:
    store = checkpoint.Store(str(tmp_path))
    state = torch.Generator().manual_seed(5).get_state()
    store.keep(0, "key", checkpoint.Finished(torch.ones(1, 2), state))
    assert store.load(0, "another") is None
    assert store.load(1, "key") is None
    kept = store.load(0, "key")
    assert torch.equal(kept.latents, torch.ones(1, 2))
    assert torch.equal(kept.generator, state)


def test_key_depends_on_all_frames_so_far() -> None:
    frames = np.zeros((3, 4, 5, 3), np.uint8)
    other = frames.copy()
    other[1, 2, 3, 0] = 1

    def keys(decisive, *pieces):
        key = checkpoint.Key(decisive)
        return [key.next(piece) for piece in pieces]

    one = keys({"seed": 1}, frames, frames)
    assert one == keys({"seed": 1}, frames, frames)
    assert one[0] != one[1]
    assert one[0] != keys({"seed": 2}, frames)[0]
    assert one[1] != keys({"seed": 1}, other, frames)[1]
    assert one[0] != keys({"seed": 1}, frames.reshape(3, 5, 4, 3))[0]


def test_added_control_keeps_chunks(engine, tiny, tmp_path) -> None:
    """Chunks stay usable when a control is added to the engine."""
    job = tiny_jobs.job(tiny_jobs.clip_of(tmp_path, FRAMES), FRAMES)
    stopped(engine, tmp_path / "one", job)
    more, _ = tiny_jobs.loaded(tiny, controls=["edge", "vis"])
    artifact, _ = generate(more, tmp_path / "one", job)
    assert artifact["chunks_resumed"] == 1


def test_chunks_of_other_weights(engine, tiny, tmp_path) -> None:
    """Chunks of other weights are not used."""
    job = tiny_jobs.job(tiny_jobs.clip_of(tmp_path, FRAMES), FRAMES)
    stopped(engine, tmp_path / "one", job)
    other = shutil.copytree(tiny, tmp_path / "model")
    shutil.copytree(tiny / "controlnet" / "blur", other / "controlnet" / "edge", dirs_exist_ok=True)
    artifact, _ = generate(tiny_jobs.loaded(other)[0], tmp_path / "one", job)
    assert artifact["chunks_resumed"] == 0
