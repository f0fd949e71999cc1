"""The diffusers engine in two ranks: jobs come out as from one, but for rounding, and whatever ends them."""

import pytest
from support import tiny_needs
from support.deferred import Deferred
from support.forked_ranks import forking, two_ranks

tiny_needs.skip_without()

from support import tiny_jobs
from support.clips import make_clip

from povwatch.engines.port import EngineCancelled, EngineFailure

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning:diffusers")

torch = Deferred("torch")
safetensors = Deferred("safetensors.torch")
tiny_steps = Deferred("support.tiny_steps")

TOLERANCE = 1e-5
"""Relative error of a chunk's latents, in float32."""

CONTROLS = ["edge", "vis"]


@pytest.fixture(scope="module")
def one(tiny):
    return tiny_jobs.loaded(tiny, controls=CONTROLS)


@pytest.fixture(scope="module")
def two(tiny, tmp_path_factory):
    with two_ranks(tiny, tmp_path_factory.mktemp("two"), controls=CONTROLS) as pair:
        yield pair


def latents(engine, folder, job, **options):
    """The latents of a job's chunks, and its artifact."""
    folder.mkdir(exist_ok=True)
    artifact = engine.generate(job, tiny_jobs.context(folder, **options))
    return [safetensors.load_file(file)["latents"] for file in sorted((folder / "chunks").iterdir())], artifact


@pytest.mark.parametrize(
    ("clip", "spec"),
    [
        ((15, tiny_jobs.SIZE), {}),
        ((15, tiny_jobs.SIZE), {"guidance": 0}),
        ((15, tiny_jobs.SIZE), {"vis": {"control_weight": 0.4}}),
        ((15, tiny_jobs.SIZE), {"edge": {"control_weight": 0.8}, "vis": {"mask_path": "clip.mp4"}}),
        ((5, tiny_jobs.SIZE), {"num_steps": 16, "povwatch": {"speed": "fastest"}}),
        ((5, (60, 28)), {"num_conditional_frames": 2}),
        ((1, (16, 96)), {"num_video_frames_per_chunk": 1}),
    ],
    ids=["guided", "without guidance", "other control", "both and a mask", "fewer steps", "odd size", "one frame"],
)
def test_same_latents_as_one_rank(one, two, tmp_path, clip, spec) -> None:
    """For first and later chunks."""
    frames, size = clip
    made = make_clip(tmp_path / "clip.mp4", frames=frames, size=size, options={"crf": "12"})
    spec = {
        key: {**value, "mask_path": str(made)} if isinstance(value, dict) and "mask_path" in value else value
        for key, value in spec.items()
    }
    job = tiny_jobs.job(made, frames, size=size, **spec) | {"speed": spec.get("povwatch", {}).get("speed", "exact")}
    alone, _ = latents(one[0], tmp_path / "one", job)
    together, artifact = latents(two[0], tmp_path / "two", job)
    assert len(together) == len(alone) == artifact["chunks"] == (2 if frames > 9 else 1)
    assert max(map(tiny_steps.error, together, alone)) < TOLERANCE
    assert artifact["frames"] == frames


def test_number_is_on_record(one, two) -> None:
    assert (one[1]["gpus"], two[1]["gpus"]) == (1, 2)


def test_another_engine_of_one_rank_differs(one, two) -> None:
    """Chunks of one rank are not taken over by two, because rounding differs."""
    alone, together = (engine._loaded.model.decisive("exact") for engine, _ in (one, two))
    assert (alone["gpus"], together["gpus"]) == (1, 2)


def test_kept_chunks_are_taken(two, tmp_path) -> None:
    """An attempt goes on with the chunks of the one before, which the other rank need not have."""
    job = tiny_jobs.job(tiny_jobs.clip_of(tmp_path, 15), 15)
    first, _ = latents(two[0], tmp_path, job)
    (tmp_path / "chunks/chunk-00001.safetensors").unlink()
    again, artifact = latents(two[0], tmp_path, job)
    assert artifact["chunks_resumed"] == 1
    assert all(map(torch.equal, first, again))


def test_end_of_a_job_ends_it_in_both(two, tmp_path) -> None:
    """A job that is cancelled or that fails between two steps leaves the group as it was."""
    job = tiny_jobs.job(tiny_jobs.clip_of(tmp_path, 15), 15)
    told = []

    def report(stage, chunk, _chunks, step, _steps):
        told.append((stage, chunk, step))

    with pytest.raises(EngineCancelled):
        latents(two[0], tmp_path / "a", job, report=report, is_cancelled=lambda: ("denoise", 1, 1) in told)
    short = tiny_jobs.job(tiny_jobs.clip_of(tmp_path, 5), 15)
    with pytest.raises(EngineFailure, match="ends after 5 frames"):
        latents(two[0], tmp_path / "b", short)
    assert latents(two[0], tmp_path / "c", job)[1]["frames"] == 15


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"gpus_per_worker": 3, "meeting": "meeting"}, "the model's 2 heads cannot be divided by that"),
        ({"gpus_per_worker": 2, "meeting": "meeting", "exact": "pipeline"}, "not divided among GPUs"),
        ({"gpus_per_worker": 0}, "has to be a number of GPUs"),
    ],
)
def test_what_cannot_be_divided_is_told(tiny, tmp_path, monkeypatch, config, says) -> None:
    monkeypatch.chdir(tmp_path)
    with forking(), pytest.raises(EngineFailure, match=says) as failure:
        tiny_jobs.loaded(tiny, **config)
    assert failure.value.kind == "invalid"
