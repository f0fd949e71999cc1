"""Jobs of several controls in the diffusers engine; test_step.py compares their steps with diffusers' modules."""

import pytest
from support import tiny_needs
from support.deferred import Deferred

tiny_needs.skip_without()

from support import tiny_jobs
from support.clips import make_clip
from support.tiny_jobs import quick, run

from povwatch.engines.transfer import memory

torch = Deferred("torch")

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning:diffusers")

BOTH = {"edge": {"control_weight": 1.0}, "vis": {"control_weight": 0.5}}


@pytest.fixture(scope="module")
def engine(tiny):
    return tiny_jobs.loaded(tiny, controls=["edge", "vis"])[0]


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return tiny_jobs.clip_of(tmp_path_factory.mktemp("clip"), 5)


def black(folder, frames):
    return make_clip(folder / "black.mp4", frames=frames, size=tiny_jobs.SIZE, blank=True)


def test_each_counts(engine, clip, tmp_path) -> None:
    """Each control and each weight has its effect, and the manifest names both with their weights and files."""
    asked = [BOTH, {"edge": {}}, {"vis": {"control_weight": 0.5}}, {**BOTH, "vis": {"control_weight": 0.1}}]
    made = [run(engine, quick(clip, 5, **one), tmp_path / str(number)) for number, one in enumerate(asked)]
    latents = [found[0] for _, found in made]
    assert all(not torch.equal(latents[0], other) for other in latents[1:])
    [edge, vis] = made[0][0]["branches"]
    assert [(one["key"], one["weight"], one["preset"]) for one in (edge, vis)] == [
        ("edge", 1.0, "medium"),
        ("vis", 0.5, "medium"),
    ]
    assert list(vis["files"]) == ["controlnet/blur/diffusion_pytorch_model.safetensors"]
    assert len(edge["files"]["controlnet/edge/diffusion_pytorch_model.safetensors"]["sha256"]) == 64
    assert "control" not in made[0][0]
    assert made[1][0]["control"] == "edge"


def test_black_one_is_left_out(engine, clip, tmp_path) -> None:
    """As upstream does: whatever its weight, the result is the same to the bit; and it is said."""
    asked = {"edge": {"control_path": str(black(tmp_path, 5))}, "vis": {"control_weight": 0.5}}
    artifact, [found] = run(engine, quick(clip, 5, **asked), tmp_path / "both")
    asked["edge"]["control_weight"] = 0.3
    _, [again] = run(engine, quick(clip, 5, **asked), tmp_path / "again")
    assert torch.equal(found, again)
    assert artifact["notes"] == ["edge is black in every frame: it controls nothing."]


def test_resumes_by_all_controls(engine, tmp_path) -> None:
    """A kept chunk is taken over only if every control's frames and weight are the same."""
    clip = tiny_jobs.clip_of(tmp_path, 15)
    _, first = run(engine, quick(clip, 15, **BOTH), tmp_path)
    (tmp_path / "chunks/chunk-00001.safetensors").unlink()
    artifact, again = run(engine, quick(clip, 15, **BOTH), tmp_path)
    assert artifact["chunks_resumed"] == 1
    assert all(map(torch.equal, first, again))
    other = {**BOTH, "vis": {"control_weight": 0.5, "preset_blur_strength": "low"}}
    assert run(engine, quick(clip, 15, **other), tmp_path)[0]["chunks_resumed"] == 0


def test_all_are_shown_and_kept(engine, clip, tmp_path) -> None:
    """Side by side in upstream's order, and each as a video of its own."""
    job = quick(clip, 5, **BOTH, show_control_condition=True, show_input=True)
    artifact, _ = run(engine, {**job, "keep_controls": True}, tmp_path)
    width, height = tiny_jobs.SIZE
    assert tiny_jobs.decoded(artifact["path"]).shape == (5, height, 4 * width, 3)
    assert list(artifact["controls"]) == ["edge", "vis"]
    edge, vis = (tiny_jobs.luma(tiny_jobs.decoded(path)) for path in artifact["controls"].values())
    panels = tiny_jobs.luma(tiny_jobs.decoded(artifact["path"]))
    assert abs(panels[:, :, :width] - edge).mean() < abs(panels[:, :, :width] - vis).mean()
    assert abs(panels[:, :, width : 2 * width] - vis).mean() < abs(panels[:, :, width : 2 * width] - edge).mean()


def test_pipelines_modules_say_so(tiny, engine, clip, tmp_path) -> None:
    """With `exact = "pipeline"` the modules are diffusers'; the result differs by rounding, and the log says why."""
    modules = tiny_jobs.loaded(tiny, controls=["edge", "vis"], exact="pipeline")[0]
    artifact, [theirs] = run(modules, quick(clip, 5, **BOTH), tmp_path / "modules")
    _, [ours] = run(engine, quick(clip, 5, **BOTH), tmp_path / "own")
    assert ((ours - theirs).norm() / theirs.norm()).item() < 1e-5
    assert "does not know several controls" in artifact["notes"][0]
    assert run(modules, quick(clip, 5), tmp_path / "one")[0]["notes"] == []


def test_nets_stay_while_there_is_room(engine, monkeypatch) -> None:
    """A net is loaded once, and freed only where memory is short: the one that was used least recently first."""
    model, loads = engine._loaded.model, []
    part = model._loading.part
    monkeypatch.setattr(model._loading, "part", lambda name, *rest: loads.append(name) or part(name, *rest))
    model.use(["edge", "vis"])
    for keys in (["edge"], ["vis"], ["edge", "vis"]):
        model.use(keys)
        assert model.keys == keys
    assert sorted(model.kept) == ["edge", "vis"]
    before = len(loads)
    room = memory.working(1)
    monkeypatch.setattr(model, "room", lambda: room)
    model.use(["vis"])
    assert (model.kept, len(loads)) == (["edge", "vis"], before)
    room -= 1
    model.use(["vis"])
    assert (model.kept, len(loads)) == (["vis"], before)
    model.use(["edge"])
    assert (model.kept, loads[before:]) == (["edge"], ["controlnet"])


@pytest.mark.parametrize(
    ("lacking", "freed"),
    [(-5, []), (0, []), (1, ["edge"]), (10, ["edge"]), (11, ["edge", "vis"])],
)
def test_no_more_is_freed_than_lacks(lacking, freed) -> None:
    assert memory.freed({"edge": 10, "vis": 10}, lacking) == freed


def test_given_one_has_to_fit(engine, clip, tmp_path) -> None:
    """Each of several given controls is checked before any GPU time."""
    short = make_clip(tmp_path / "short.mp4", frames=4, size=tiny_jobs.SIZE)
    asked = {"edge": {}, "vis": {"control_path": str(short)}}
    with pytest.raises(Exception, match=r"vis\.control_path \(short\.mp4\) has 4 frames; the clip has 5"):
        engine.generate(quick(clip, 5, **asked), tiny_jobs.context(tmp_path))
