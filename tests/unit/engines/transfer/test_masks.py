"""Masks of controls, and what is kept of the clip: on the same arrays the same numbers as upstream's own functions."""

from fractions import Fraction
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from support import tiny_needs
from support.deferred import Deferred

tiny_needs.skip_without()

from support import tiny_jobs
from support.clips import make_clip
from support.tiny_jobs import quick, run
from support.upstream_source import MODEL, PIPELINE, UTILS, functions, method, needed, runnable

from povwatch.engines.port import EngineFailure
from povwatch.engines.transfer import frames as frames_module
from povwatch.engines.transfer.request import read
from povwatch.engines.transfer.settings import Settings
from povwatch.engines.video_writer import VideoWriter

torch = Deferred("torch")
masks = Deferred("povwatch.engines.transfer.masks")

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning:diffusers")

WIDTH, HEIGHT = tiny_jobs.SIZE

BOTH = {"edge": {"control_weight": 1.0}, "vis": {"control_weight": 0.5}}

RIGHT = np.arange(WIDTH) >= WIDTH // 2
"""The right half of a row."""


def mask_video(path, frames, size=tiny_jobs.SIZE, area=None):
    """A mask whose right half is white, or `area` of each frame."""
    width, height = size
    white = (np.arange(width) >= width // 2)[None] if area is None else area
    with VideoWriter(str(path), Fraction(30), size, {"crf": "1"}) as writer:
        for number in range(frames):
            shown = white(number) if callable(white) else white
            writer.add(np.broadcast_to(255 * shown[..., None], (height, width, 3)).astype(np.uint8))
    return str(path)


def asked(clip, frames, **spec):
    return read(quick(clip, frames, **spec), Settings(controls=("edge", "vis"), chunk_frames=9, pixels=48 * 32))


@pytest.fixture(scope="module")
def engine(tiny):
    return tiny_jobs.loaded(tiny, controls=["edge", "vis"])[0]


@needed
@pytest.mark.parametrize(
    ("size", "frames", "weights", "masked"),
    [
        ((32, 48), 9, [0.7], [0]),
        ((32, 48), 9, [1.0, 0.5], [1]),
        ((48, 80), 5, [0.3, 0.2, 0.4], [0, 2]),
    ],
    ids=["one", "sum above 1", "two masks of three"],
)
def test_weights_are_upstreams(size, frames, weights, masked) -> None:
    """A control's mask as a weight for each token: upstream's `resize_control_weight`."""
    generator = torch.Generator().manual_seed(0)
    whole = [torch.rand(1, 1, frames, *size, generator=generator) > 0.5 for _ in weights]
    given = [mask if number in masked else None for number, mask in enumerate(whole)]
    tokens = (1 + (frames - 1) // 4, size[0] // 16, size[1] // 16)
    ours = masks.by_token(given, weights, tokens)
    model = SimpleNamespace(
        tokenizer=SimpleNamespace(temporal_compression_factor=4), net=SimpleNamespace(patch_spatial=2)
    )
    maps = [
        mask * weight if number in masked else weight * torch.ones(1, 1, frames, *size)
        for number, (mask, weight) in enumerate(zip(whole, weights, strict=True))
    ]
    latents = torch.zeros(1, 16, tokens[0], size[0] // 8, size[1] // 8)
    theirs = runnable(functions(MODEL)["resize_control_weight"], torch=torch)(model, torch.stack(maps), latents)
    for own, other in zip(ours, theirs, strict=True):
        assert torch.equal(own.movedim(1, -1), other)
    assert 0 < sum(ours).mean() <= 1


@needed
def test_masks_are_binary_as_upstreams(tmp_path) -> None:
    """A mask is scaled first, then its first channel counts where it is above 127.5."""
    generator = np.random.default_rng(0)
    noise = [generator.integers(0, 2, (20, 30)) for _ in range(5)]
    path = mask_video(tmp_path / "mask.mp4", 5, (30, 20), lambda number: noise[number])
    clip = tiny_jobs.clip_of(tmp_path, 5)
    [piece] = frames_module.pieces(asked(clip, 5, edge={"mask_path": path}))
    resize = runnable(functions(UTILS)["resize_video"], np=np, cv2=cv2)

    def read_and_resize(path, *, interpolation, **_):
        return (
            torch.from_numpy(resize(tiny_jobs.decoded(path).transpose(3, 0, 1, 2)[None], HEIGHT, WIDTH, interpolation))[
                0
            ],
            0,
            "",
            (),
        )

    process = runnable(
        functions(UTILS)["read_and_process_control_input"],
        cv2=cv2,
        torch=torch,
        read_and_resize_input=read_and_resize,
        color_message=lambda *_: "",
        log=SimpleNamespace(info=print, warning=print),
        os=SimpleNamespace(path=SimpleNamespace(exists=bool)),
    )
    theirs, _ = process(str(clip), {"edge": None, "edge_mask": path}, ["edge"])
    assert np.array_equal(piece.masks["edge"], theirs["control_input_edge_mask"][0].numpy())
    assert 0.1 < piece.masks["edge"].mean() < 0.9


@needed
@pytest.mark.parametrize(("size", "frames"), [((32, 48), 9), ((48, 80), 5), ((32, 32), 1)])
def test_latent_masks_are_upstreams(size, frames) -> None:
    """What is kept of each latent: upstream's `construct_latent_weight_map`."""
    mask = torch.rand(1, 1, frames, *size, generator=torch.Generator().manual_seed(0))
    latents = (size[0] // 8, size[1] // 8)
    ours = masks.by_latent(mask, latents)
    build = runnable(method(PIPELINE, "ControlVideo2WorldInference", "construct_latent_weight_map"), torch=torch)
    theirs = build(None, mask.repeat(1, 3, 1, 1, 1), *latents, c=16)
    assert torch.equal(ours.expand(-1, 16, -1, -1, -1), theirs)


@needed
@pytest.mark.parametrize(
    ("labels", "dtype"), [(None, np.uint8), ([2, 3], np.uint8), ([1], np.int32), (None, np.float32)]
)
def test_arrays_are_read_as_upstream_does(tmp_path, labels, dtype) -> None:
    """Labels of an .npz: upstream's `_read_guided_generation_mask`, frame by frame here."""
    values = np.random.default_rng(0).integers(0, 5, (5, 24, 40)).astype(dtype)
    np.savez_compressed(tmp_path / "kept.npz", values)
    spec = {"guided_generation_mask": str(tmp_path / "kept.npz"), "guided_generation_foreground_labels": labels}
    [piece] = frames_module.pieces(asked(tiny_jobs.clip_of(tmp_path, 5), 5, **spec))
    assert np.array_equal(piece.kept / np.float32(255), upstreams_kept(tmp_path / "kept.npz", labels)[0, 0])
    assert 0 < piece.kept.mean() < 255
    np.savez(tmp_path / "kept.npz", np.asfortranarray(values))
    assert np.array_equal(next(frames_module.pieces(asked(tmp_path / "clip5.mp4", 5, **spec))).kept, piece.kept)


@needed
def test_videos_are_read_as_upstream_does(tmp_path) -> None:
    """An .mp4 of what is kept stays grey where it is grey."""
    path = mask_video(tmp_path / "kept.mp4", 5, (96, 64))
    [piece] = frames_module.pieces(asked(tiny_jobs.clip_of(tmp_path, 5), 5, guided_generation_mask=path))
    assert np.array_equal(piece.kept / np.float32(255), upstreams_kept(path, None)[0])


def upstreams_kept(path, labels):
    resize = runnable(functions(UTILS)["resize_video"], np=np, cv2=cv2)

    def read_video(path, **_):
        video = tiny_jobs.decoded(path).transpose(3, 0, 1, 2)[None]
        return torch.from_numpy(resize(video, HEIGHT, WIDTH, interpolation=cv2.INTER_AREA)[0]), 0, "", ()

    names = {"np": np, "cv2": cv2, "torch": torch, "resize_video": resize, "read_and_process_video": read_video}
    node = method(PIPELINE, "ControlVideo2WorldInference", "_read_guided_generation_mask")
    log = SimpleNamespace(debug=print, warning=print)
    return runnable(node, **names, log=log)(None, str(path), labels, HEIGHT, WIDTH).numpy()


@needed
@pytest.mark.parametrize("threshold", [0, 2, 25])
def test_blending_is_upstreams(threshold) -> None:
    """The networks get the clip's noisy latents where it is kept, up to and with the threshold's step."""
    generator = torch.Generator().manual_seed(0)
    noise, clean = (torch.randn(1, 16, 3, 4, 6, generator=generator) for _ in range(2))
    mask = torch.rand(1, 1, 3, 4, 6, generator=generator)
    sigmas = torch.tensor([0.9, 0.7, 0.5, 0.3, 0.1, 0.0])
    seen = []
    scheduler = SimpleNamespace(
        set_timesteps=lambda *_, **__: None,
        timesteps=sigmas[:-1] * 1000,
        sigmas=sigmas,
        step=lambda velocity, _t, latents, **_: [latents - 0.1 * velocity],
    )
    model = SimpleNamespace(
        _normalize_video_databatch_inplace=lambda _: None,
        _augment_image_dim_inplace=lambda _: None,
        is_image_batch=lambda _: False,
        input_data_key="video",
        config=SimpleNamespace(state_ch=16, use_kerras_sigma_at_inference=True),
        tokenizer=SimpleNamespace(get_latent_num_frames=lambda _: 3, spatial_compression_factor=8),
        tensor_kwargs={"device": "cpu"},
        sample_scheduler=scheduler,
        net=SimpleNamespace(is_context_parallel_enabled=False),
        get_velocity_fn_from_batch=lambda *_, **__: lambda _noise, x, _t: seen.append(x) or torch.tanh(x),
    )
    names = {"torch": torch, "INTERNAL": True, "get_rank": lambda: 1}
    sample = runnable(
        functions(MODEL)["generate_samples_from_batch"],
        misc=SimpleNamespace(arch_invariant_rand=lambda *_: noise),
        **names,
    )
    condition = {"x0": clean, "x_sigma_mask": mask.expand(-1, 16, -1, -1, -1), "step_threshold": threshold}
    sample(model, {"video": torch.zeros(1, 3, 9, 32, 48), "x0_spatial_condition": condition}, num_steps=5)
    kept, latents = masks.Kept(clean, mask, threshold), noise
    for step, theirs in enumerate(seen):
        ours = kept.blended(latents, noise, step=step, sigma=sigmas[step].item())
        assert torch.allclose(ours, theirs, atol=1e-6)
        assert torch.equal(ours, latents) == (step > threshold)
        latents = latents - 0.1 * torch.tanh(ours)
    assert len(seen) == 5


def test_white_and_black_masks(engine, tmp_path) -> None:
    """A mask that is white everywhere changes nothing; one that is black is as a weight of 0, and is said."""
    clip = tiny_jobs.clip_of(tmp_path, 5)
    everywhere, nowhere = (
        mask_video(tmp_path / f"{name}.mp4", 5, area=np.full((1, WIDTH), white))
        for name, white in (("all", True), ("none", False))
    )
    plain = run(engine, quick(clip, 5, edge={}), tmp_path / "plain")[1][0]
    assert torch.equal(run(engine, quick(clip, 5, edge={"mask_path": everywhere}), tmp_path / "all")[1][0], plain)
    artifact, [masked] = run(engine, quick(clip, 5, edge={"mask_path": nowhere}), tmp_path / "none")
    _, [without] = run(engine, quick(clip, 5, edge={"control_weight": 0.0}), tmp_path / "zero")
    assert ((masked - without).norm() / without.norm()).item() < 1e-5
    assert not torch.equal(masked, plain)
    assert artifact["notes"] == ["edge.mask_path is background in every frame: edge controls nothing."]


def test_mask_counts_in_each_chunk(engine, tmp_path) -> None:
    """A mask that is black in the second chunk alone changes that chunk alone; kept chunks know their masks."""
    clip = tiny_jobs.clip_of(tmp_path, 15)
    late = mask_video(tmp_path / "late.mp4", 15, area=lambda number: np.full((1, WIDTH), number < 9))
    plain = run(engine, quick(clip, 15, **BOTH), tmp_path / "a")[1]
    masked = {**BOTH, "vis": {"control_weight": 0.5, "mask_path": late}}
    artifact, found = run(engine, quick(clip, 15, **masked), tmp_path / "a")
    assert artifact["chunks_resumed"] == 0
    assert torch.equal(found[0], plain[0])
    assert not torch.equal(found[1], plain[1])
    assert [one["given"] for one in artifact["branches"]] == [[], ["mask"]]


def test_mask_is_scaled_and_said(engine, tmp_path) -> None:
    clip = tiny_jobs.clip_of(tmp_path, 5)
    small = mask_video(tmp_path / "small.mp4", 5, (32, 16))
    artifact, _ = run(engine, quick(clip, 5, edge={"mask_path": small}), tmp_path)
    assert artifact["notes"] == ["edge.mask_path (small.mp4) is 32x16 and is scaled to the clip's 48x32."]


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({"edge": {"mask_path": "short.mp4"}}, r"edge\.mask_path \(short\.mp4\) has 4 frames; the clip has 5"),
        ({"guided_generation_mask": "short.mp4"}, r"guided_generation_mask \(short\.mp4\) has 4 frames"),
        ({"guided_generation_mask": "short.npz"}, r"guided_generation_mask \(short\.npz\) has 4 frames"),
    ],
)
def test_length_has_to_fit(engine, tmp_path, spec, says) -> None:
    """Told before any GPU time: no progress was made."""
    clip, told = tiny_jobs.clip_of(tmp_path, 5), []
    mask_video(tmp_path / "short.mp4", 4)
    np.savez(tmp_path / "short.npz", np.ones((4, HEIGHT, WIDTH), np.uint8))
    named = {
        key: {"mask_path": str(tmp_path / value["mask_path"])} if isinstance(value, dict) else str(tmp_path / value)
        for key, value in spec.items()
    }
    with pytest.raises(EngineFailure, match=says) as failure:
        engine.generate(quick(clip, 5, **named), tiny_jobs.context(tmp_path, report=lambda *_: told.append(1)))
    assert (failure.value.kind, told) == ("invalid", [])


def test_what_is_kept_counts_in_each_chunk(engine, tmp_path) -> None:
    """Also in later ones, up to the threshold; a mask of background alone changes nothing, and is said."""
    clip = tiny_jobs.clip_of(tmp_path, 15)
    late = np.zeros((15, HEIGHT, WIDTH), np.uint8)
    late[10:, :, RIGHT] = 2
    np.savez(tmp_path / "kept.npz", late)
    spec = {"edge": {}, "guided_generation_mask": str(tmp_path / "kept.npz")}
    plain = run(engine, quick(clip, 15, edge={}), tmp_path / "plain")[1]
    found = run(engine, quick(clip, 15, **spec), tmp_path / "kept")[1]
    assert torch.equal(found[0], plain[0])
    assert not torch.equal(found[1], plain[1])
    fewer = {**spec, "guided_generation_step_threshold": 0}
    assert not torch.equal(run(engine, quick(clip, 15, **fewer), tmp_path / "fewer")[1][1], found[1])
    other = {**spec, "guided_generation_foreground_labels": [1]}
    artifact, nothing = run(engine, quick(clip, 15, **other), tmp_path / "nothing")
    assert all(map(torch.equal, nothing, plain))
    assert artifact["notes"] == [frames_module.GUIDED + " is background in every frame: nothing of the clip is kept."]


def test_shown_control_is_masked(engine, tmp_path) -> None:
    """As upstream shows it: black where the control does not hold."""
    clip = tiny_jobs.clip_of(tmp_path, 5)
    spec = {"vis": {"mask_path": mask_video(tmp_path / "mask.mp4", 5)}}
    artifact, _ = run(engine, {**quick(clip, 5, **spec), "keep_controls": True}, tmp_path)
    shown = tiny_jobs.decoded(artifact["controls"]["vis"])
    assert shown[:, :, : WIDTH // 2 - 4].mean() < 4 < shown[:, :, WIDTH // 2 + 4 :].mean()


def test_mask_of_an_uneven_clip(engine, tmp_path) -> None:
    """Frame k of the mask belongs to frame k of the clip, whatever their times."""
    times = [0, 1, 5, 6, 7]
    clip = make_clip(tmp_path / "uneven.mp4", frames=5, size=tiny_jobs.SIZE, times=times, time_base=Fraction(1, 30))
    area = lambda number: np.arange(WIDTH)[None] // 8 == number  # noqa: E731
    path = mask_video(tmp_path / "mask.mp4", 5, area=area)
    [piece] = frames_module.pieces(asked(clip, 5, edge={"mask_path": path}))
    columns = [np.flatnonzero(mask.any(0)) // 8 for mask in piece.masks["edge"]]
    assert [set(found) for found in columns] == [{number} for number in range(5)]
