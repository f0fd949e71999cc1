import ast
import json
import shutil
import sys
import threading
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
from support import tiny_needs

tiny_needs.skip_without()

from support import tiny_jobs
from support.clips import make_clip, painted
from support.made_containers import beginning_with

from povwatch.engines import control, diffusers
from povwatch.engines.needs import Wishes, needs
from povwatch.engines.port import EngineBlocked, EngineCancelled, EngineFailure
from povwatch.engines.transfer import frames as frames_module
from povwatch.engines.transfer import weights
from povwatch.engines.transfer.guardrail import Guardrail, load
from povwatch.engines.transfer.request import read

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning:diffusers")


@pytest.fixture(scope="module")
def both(tiny):
    return tiny_jobs.loaded(tiny, controls=["edge", "vis"])


@pytest.fixture
def engine(both):
    return both[0]


def video_of(path, pictures, *, rate=30):
    """A video that keeps its RGB frames to the bit."""
    with av.open(str(path), "w", format="matroska") as container:
        stream = container.add_stream("libx264rgb", rate=rate, options={"qp": "0"})
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "rgb24"
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def test_says_what_it_is(both, tiny) -> None:
    """The engine tells its controls, device, libraries and weights."""
    _, capabilities = both
    json.dumps(capabilities, allow_nan=False)
    assert capabilities["name"] == "diffusers"
    assert capabilities["real"] is True
    assert capabilities["controls"] == ["edge", "vis"]
    assert capabilities["max_frames"] is None
    assert capabilities["guardrails"] is False
    assert capabilities["device"] == "cpu"
    assert capabilities["version"] == capabilities["libraries"]["diffusers"]
    files = [path for path in tiny.rglob("*.safetensors") if path.parent.name not in {"depth", "seg"}]
    weights = {path.relative_to(tiny).as_posix() for path in files}
    assert set(capabilities["files"]) == weights


def test_files_are_hashed_during_the_imports(tiny, monkeypatch) -> None:
    """The files of a model in a folder are hashed while the libraries are imported, which takes as long."""
    hashing = threading.Event()
    digests, libraries = weights.digests, diffusers._libraries

    def hashed(files):
        hashing.set()
        return digests(files)

    def imported(settings):
        assert hashing.wait(30)
        return libraries(settings)

    monkeypatch.setattr(weights, "digests", hashed)
    monkeypatch.setattr(diffusers, "_libraries", imported)
    assert tiny_jobs.loaded(tiny)[1]["files"]


def test_says_how_far_it_is(engine, tmp_path) -> None:
    """Progress names every step of every chunk, and never goes back."""
    told = []
    context = tiny_jobs.context(tmp_path, report=lambda *progress: told.append(progress))
    engine.generate(tiny_jobs.job(tiny_jobs.clip_of(tmp_path, 15), 15), context)
    steps = [(chunk, step) for stage, chunk, _, step, _ in told if stage == "denoise"]
    assert steps == [(chunk, step) for chunk in range(2) for step in range(tiny_jobs.STEPS + 1)]
    assert {(chunks, steps) for _, _, chunks, _, steps in told} == {(2, tiny_jobs.STEPS)}
    done = [chunk + step / steps for _, chunk, _, step, steps in told]
    assert done == sorted(done)


def test_artifact_is_on_record(engine, tmp_path) -> None:
    """The artifact has frames, chunks, seconds and settings, as JSON."""
    artifact = engine.generate(tiny_jobs.job(tiny_jobs.clip_of(tmp_path, 15), 15), tiny_jobs.context(tmp_path))
    json.dumps(artifact, allow_nan=False)
    assert (artifact["frames"], artifact["chunks"], artifact["chunks_resumed"]) == (15, 2, 0)
    assert {"prompt", "read", "encode", "denoise", "decode", "write"} <= artifact["seconds"].keys()
    assert artifact["seconds"]["denoise"] > 0
    assert (artifact["seed"], artifact["num_steps"], artifact["control"]) == (3, tiny_jobs.STEPS, "edge")


def test_control_is_handed_over_if_wanted(engine, tmp_path) -> None:
    """The control is handed over frame for frame if it is wanted, also from kept chunks."""
    clip = tiny_jobs.clip_of(tmp_path, 15)
    plain = engine.generate(tiny_jobs.job(clip, 15), tiny_jobs.context(tmp_path))
    assert plain["controls"] == {}
    expected = tiny_jobs.decoded(plain["path"])
    again = tiny_jobs.context(tmp_path)  # with the chunks of the first: the control is not among them
    artifact = engine.generate(tiny_jobs.job(clip, 15) | {"keep_controls": True}, again)
    assert artifact["chunks_resumed"] == artifact["chunks"] == 2
    np.testing.assert_array_equal(tiny_jobs.decoded(artifact["path"]), expected)
    kept = tiny_jobs.decoded(artifact["controls"]["edge"])
    wanted = np.stack([control.edge(frame) for frame in tiny_jobs.decoded(clip)])
    assert kept.shape == wanted.shape
    assert np.abs(tiny_jobs.luma(kept) - tiny_jobs.luma(wanted)).mean() < 8


def test_cancelled_between_steps(engine, tmp_path) -> None:
    """A job is cancelled between two steps, and the next one is not harmed."""
    clip = tiny_jobs.clip_of(tmp_path, 15)
    job = tiny_jobs.job(clip, 15)
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    expected = tiny_jobs.decoded(engine.generate(job, tiny_jobs.context(tmp_path / "one"))["path"])
    told = []

    def report(stage, chunk, _chunks, step, _steps):
        told.append((stage, chunk, step))

    context = tiny_jobs.context(tmp_path, report=report, is_cancelled=lambda: ("denoise", 1, 1) in told)
    with pytest.raises(EngineCancelled):
        engine.generate(job, context)
    assert told[-1] == ("denoise", 1, 1)
    again = tiny_jobs.decoded(engine.generate(job, tiny_jobs.context(tmp_path / "two"))["path"])
    np.testing.assert_array_equal(again, expected)


def test_clip_of_one_frame(engine, tmp_path) -> None:
    """A clip of one frame is generated, in a chunk of the usual length and in one of one frame."""
    clip = tiny_jobs.clip_of(tmp_path, 1)
    for number, spec in enumerate([{}, {"num_video_frames_per_chunk": 1}]):
        folder = tmp_path / str(number)
        folder.mkdir()
        artifact = engine.generate(tiny_jobs.job(clip, 1, **spec), tiny_jobs.context(folder))
        assert tiny_jobs.decoded(artifact["path"]).shape == (1, 32, 48, 3)


def test_size_is_the_clips_or_the_models(engine, tmp_path) -> None:
    """The artifact has the clip's size, unless the model's is asked for."""
    clip = make_clip(tmp_path / "large.mp4", frames=5, size=(200, 100))
    job = tiny_jobs.job(clip, 5, size=(200, 100))
    artifact = engine.generate(job, tiny_jobs.context(tmp_path))
    assert (artifact["model_width"], artifact["model_height"]) == (48, 32)
    assert tiny_jobs.decoded(artifact["path"]).shape == (5, 100, 200, 3)
    job = tiny_jobs.job(clip, 5, size=(200, 100), keep_input_resolution=False)
    artifact = engine.generate(job, tiny_jobs.context(tmp_path))
    assert tiny_jobs.decoded(artifact["path"]).shape == (5, 32, 48, 3)
    assert (artifact["width"], artifact["height"]) == (48, 32)


def test_panels_in_upstreams_order(engine, tmp_path) -> None:
    """Control and clip are shown beside the result in upstream's order."""
    clip = tiny_jobs.clip_of(tmp_path, 11)
    job = tiny_jobs.job(clip, 11, show_control_condition=True, show_input=True)
    artifact = engine.generate(job, tiny_jobs.context(tmp_path))
    shown = tiny_jobs.decoded(artifact["path"])
    assert shown.shape == (11, 32, 3 * 48, 3)
    edges, clips = shown[:, :, :48].astype(int), shown[:, :, 48:96].astype(int)
    source = tiny_jobs.decoded(clip)
    assert abs(clips - source).mean() < 3
    assert abs(edges - np.stack([control.edge(frame) for frame in source])).mean() < 12
    assert abs(clips - source[::-1]).mean() > 6  # the frames are in order


def test_given_control_is_taken_instead(engine, tmp_path) -> None:
    """A given control gives what the same computed one gives."""
    clip = tiny_jobs.clip_of(tmp_path, 11)
    edges = video_of(tmp_path / "edges.mkv", [control.edge(frame) for frame in tiny_jobs.decoded(clip)])
    results = []
    for number, edge in enumerate([{"control_weight": 0.7}, {"control_weight": 0.7, "control_path": str(edges)}]):
        folder = tmp_path / str(number)
        folder.mkdir()
        artifact = engine.generate(tiny_jobs.job(clip, 11, edge=edge), tiny_jobs.context(folder))
        results.append(tiny_jobs.decoded(artifact["path"]))
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize(
    ("count", "size", "rate", "numbers"),
    [
        (10, (48, 32), 30, ("10 frames", "11")),
        (12, (48, 32), 30, ("12 frames", "11")),
        (11, (32, 48), 30, ("32x48", "48x32")),
        (11, (48, 32), 25, ("25.000 frames a second", "30.000")),
    ],
)
def test_misfit_control_is_refused_first(engine, tmp_path, *, count, size, rate, numbers) -> None:
    """A given control that does not fit is refused before anything else is done."""
    path = video_of(tmp_path / "control.mkv", [painted(k, size) for k in range(count)], rate=rate)
    job = tiny_jobs.job(tiny_jobs.clip_of(tmp_path, 11), 11, edge={"control_path": str(path)})
    told = []
    with pytest.raises(EngineFailure) as caught:
        engine.generate(job, tiny_jobs.context(tmp_path, report=lambda *progress: told.append(progress)))
    assert caught.value.kind == "invalid"
    assert all(number in caught.value.message for number in numbers)
    assert told == []


@pytest.mark.parametrize("box", [b"wide", b"mdat", b"moov"])
def test_movie_without_ftyp_is_a_control(engine, tmp_path, box) -> None:
    path = tmp_path / "control.mov"
    path.write_bytes(beginning_with(box, frames=5, size=tiny_jobs.SIZE))
    job = tiny_jobs.job(tiny_jobs.clip_of(tmp_path, 5), 5, edge={"control_path": str(path)}) | {"fps_num": 24}
    assert engine.generate(job, tiny_jobs.context(tmp_path))["frames"] == 5


def test_text_is_no_control(engine, tmp_path) -> None:
    """A given control that is no video is refused."""
    path = tmp_path / "control.mp4"
    path.write_text("ffconcat version 1.0\nfile /etc/passwd\n")
    job = tiny_jobs.job(tiny_jobs.clip_of(tmp_path, 5), 5, edge={"control_path": str(path)})
    with pytest.raises(EngineFailure, match=r"edge.control_path .*no MP4"):
        engine.generate(job, tiny_jobs.context(tmp_path))


def test_unloaded_control_is_refused(engine, tmp_path) -> None:
    """A control that is not loaded is refused, and the setting is named."""
    job = tiny_jobs.job(tiny_jobs.clip_of(tmp_path, 5), 5, depth={})
    with pytest.raises(EngineFailure, match=r"engine\.controls") as caught:
        engine.generate(job, tiny_jobs.context(tmp_path))
    assert caught.value.kind == "invalid"


def test_short_working_copy_fails(engine, tmp_path) -> None:
    """A working copy that ends too soon fails with both numbers."""
    with pytest.raises(EngineFailure, match="ends after 5 frames; 11"):
        engine.generate(tiny_jobs.job(tiny_jobs.clip_of(tmp_path, 5), 11), tiny_jobs.context(tmp_path))


def test_controls_are_swapped_between_jobs(engine, tmp_path) -> None:
    """Another control takes the place of the one before, and that changes no result."""
    clip = tiny_jobs.clip_of(tmp_path, 5)
    model = engine._loaded.model
    results = []
    for number, key in enumerate(["edge", "vis", "edge"]):
        folder = tmp_path / str(number)
        folder.mkdir()
        artifact = engine.generate(tiny_jobs.job(clip, 5, **{key: {}}), tiny_jobs.context(folder))
        assert model.keys == [key]
        results.append(tiny_jobs.decoded(artifact["path"]))
    np.testing.assert_array_equal(results[0], results[2])
    assert not np.array_equal(results[0], results[1])


def test_prompt_is_embedded_once(engine, tmp_path, monkeypatch) -> None:
    clip = tiny_jobs.clip_of(tmp_path, 5)
    calls = []
    encode = engine._loaded.model.pipeline.encode_prompt
    monkeypatch.setattr(
        engine._loaded.model.pipeline, "encode_prompt", lambda **named: calls.append(named["prompt"]) or encode(**named)
    )
    for number, prompt in enumerate(["one", "two", "one"]):
        folder = tmp_path / str(number)
        folder.mkdir()
        engine.generate(tiny_jobs.job(clip, 5, prompt=prompt, negative_prompt="none"), tiny_jobs.context(folder))
    assert calls == ["one", "none", "two"]


def test_long_clip_is_read_by_chunk(engine, tmp_path, monkeypatch) -> None:
    """A long clip is never read further than the chunk at hand."""
    clip = tiny_jobs.clip_of(tmp_path, 30)
    made = []
    edge = control.edge
    monkeypatch.setattr(control, "edge", lambda frame, preset: made.append(1) or edge(frame, preset))
    pieces = frames_module.pieces(read(tiny_jobs.job(clip, 30), engine._loaded.settings))
    shapes, read_so_far = [], []
    for piece in pieces:
        shapes.append(piece.controls["edge"].shape[0])
        read_so_far.append(len(made))
    assert shapes == [9, 9, 9, 6]
    assert read_so_far == [9, 17, 25, 30]


class Checker(tiny_jobs.Approves):
    """Refuses what it is told to."""

    def __init__(self, refuses="", video=lambda frames: frames):
        self.refuses, self.video, self.texts, self.seen = refuses, video, [], 0

    def check_text_safety(self, text):
        self.texts.append(text)
        return text != self.refuses

    def check_video_safety(self, frames):
        self.seen += len(frames)
        return self.video(frames)


def guarded(tiny, monkeypatch, checker):
    tiny_jobs.install_guardrail(monkeypatch, checker)
    return tiny_jobs.loaded(tiny, guardrails=True)


def test_guardrails_see_prompts_and_frames(tiny, tmp_path, monkeypatch) -> None:
    """Guardrails see the prompts and every frame, and what they change comes out."""
    checker = Checker(video=lambda frames: 255 - frames)
    engine, capabilities = guarded(tiny, monkeypatch, checker)
    assert capabilities["guardrails"] is True
    job = tiny_jobs.job(tiny_jobs.clip_of(tmp_path, 15), 15)
    artifact = engine.generate(job, tiny_jobs.context(tmp_path))
    assert artifact["guardrails"] is True
    assert checker.texts == ["hands fold a towel", "blur"]
    assert checker.seen == 15
    seen, expected = tiny_jobs.decoded(artifact["path"]), 255 - tiny_jobs.reference(tiny, job)
    assert abs(tiny_jobs.luma(seen) - tiny_jobs.luma(expected)).mean() < 2  # what it changed is what comes out


@pytest.mark.parametrize(
    ("checker", "says"),
    [
        (Checker(refuses="hands fold a towel"), "the prompt: 'hands fold"),
        (Checker(refuses="blur"), "the negative_prompt: 'blur'"),
        (Checker(video=lambda _: None), "frames 0 to 8"),
        (Checker(video=np.zeros_like), "frames 0 to 8"),
    ],
)
def test_guardrail_refusal_is_blocked(tiny, tmp_path, monkeypatch, checker, says) -> None:
    """What the guardrail refuses is blocked, and the error says what it was."""
    engine, _ = guarded(tiny, monkeypatch, checker)
    job = tiny_jobs.job(tiny_jobs.clip_of(tmp_path, 11), 11)
    with pytest.raises(EngineBlocked, match=says):
        engine.generate(job, tiny_jobs.context(tmp_path))


def test_real_checker_is_as_we_take_it() -> None:
    """Read, not imported: with its models missing nothing of it runs, and importing it takes seconds."""
    found = find_spec("cosmos_guardrail")
    assert found is not None
    [folder] = found.submodule_search_locations
    text = Path(folder, "cosmos_guardrail.py").read_text()
    [kind] = [node for node in ast.parse(text).body if getattr(node, "name", "") == "CosmosSafetyChecker"]
    methods = {node.name: [one.arg for one in node.args.args] for node in kind.body if hasattr(node, "args")}
    assert methods["check_text_safety"] == ["self", "prompt"]
    assert methods["check_video_safety"] == ["self", "frames"]
    assert methods["to"][:2] == ["self", "device"]
    refused = next(node for node in kind.body if getattr(node, "name", "") == "check_video_safety")
    assert "return None" in ast.unparse(refused)
    # What engines/needs.py fetches for it: of its parts those that it is made of.
    made = ast.unparse(kind)
    assert "VideoContentSafetyFilter(" not in made
    assert all(f"{part}(" in made for part in ("Blocklist", "Qwen3Guard", "RetinaFaceFilter"))
    *_, guard, words = [need for need in needs("diffusers", Wishes()) if "guardrail" in need.why]
    assert (guard.repository, guard.patterns) == ("nvidia/Cosmos-1.0-Guardrail", ("blocklist/*",))
    for name in (guard.repository, *guard.files, *guard.patterns, words.repository):
        assert name in text
    assert "weights_only=False" not in text + Path(folder, "cosmos_utils.py").read_text()


def test_checker_may_write_its_words(monkeypatch, tmp_path) -> None:
    """What prefetch left, run as root, is not for the service's user to write."""
    constants = SimpleNamespace(HF_HOME="")
    seen = []

    class Copies(Checker):
        def __init__(self):
            super().__init__()
            copy = Path(constants.HF_HOME, "cosmos_guardrail")
            copy.mkdir()
            seen.append(copy)

    tiny_jobs.install_guardrail(monkeypatch, None)
    monkeypatch.setattr(sys.modules["cosmos_guardrail"], "CosmosSafetyChecker", Copies)
    inner = SimpleNamespace(hf_constants=constants)
    monkeypatch.setattr(sys.modules["cosmos_guardrail"], "cosmos_guardrail", inner, raising=False)
    (tmp_path / "file").touch()
    for home in (tmp_path, tmp_path / "file/not to be written"):  # as root all else may be
        constants.HF_HOME = str(home)
        kept = load("cpu", on=True)
        assert str(home) == constants.HF_HOME
        assert seen[-1].is_dir()
    assert seen[0].parent == tmp_path
    kept._keep.delete()  # as its end does
    assert not seen[1].exists()


def test_black_frames_are_no_refusal() -> None:
    """A clip that fades to black may well come out black; the checker refuses by None, or blackens what was not."""
    black = np.zeros((9, 32, 48, 3), np.uint8)
    assert Guardrail(Checker()).check_frames(black, 0) is black
    blackens = Guardrail(Checker(video=lambda frames: np.multiply(frames, 0, out=frames)))
    with pytest.raises(EngineBlocked, match="frames 9 to 17"):
        blackens.check_frames(black + 1, 9)


def test_missing_guardrails_stop_the_load(tiny, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "cosmos_guardrail", None)
    with pytest.raises(EngineFailure, match="cosmos_guardrail") as caught:
        tiny_jobs.loaded(tiny, guardrails=True)
    assert caught.value.kind == "invalid"
    assert "requirements/diffusers.lock" in caught.value.todo


def test_unknown_networks_take_diffusers(tiny, tmp_path) -> None:
    """Networks that the engine's own step does not know run with diffusers' modules, and a sentence says so."""
    folder = shutil.copytree(tiny, tmp_path / "model")
    config = folder / "controlnet" / "edge" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "rope_scale": [2.0, 1.0, 1.0]}))
    engine, capabilities = tiny_jobs.loaded(folder, compile=True)
    assert (capabilities["step"], capabilities["compiled"]) == ("diffusers", False)
    [note] = capabilities["notes"]
    assert "rope_scale" in note
    asked = tiny_jobs.job(tiny_jobs.clip_of(tmp_path, 6), 6)
    artifact = engine.generate(asked, tiny_jobs.context(tmp_path))
    expected = tiny_jobs.reference(folder, asked)
    assert abs(tiny_jobs.luma(tiny_jobs.decoded(artifact["path"])) - tiny_jobs.luma(expected)).mean() < 2


def test_broken_compiler_costs_speed_alone(tiny, tmp_path, monkeypatch) -> None:
    """A compiler that fails at the load is named, and the clip comes out."""
    import torch  # noqa: PLC0415

    compiled = torch.compile

    def broken(_graph, _inputs):
        raise RuntimeError("Failed to find C compiler")

    monkeypatch.setattr(torch, "compile", lambda function: compiled(function, backend=broken))
    engine, capabilities = tiny_jobs.loaded(tiny, compile=True)
    assert (capabilities["step"], capabilities["compiled"]) == ("povwatch", False)
    [note] = capabilities["notes"]
    assert "Failed to find C compiler" in note
    artifact = engine.generate(tiny_jobs.job(tiny_jobs.clip_of(tmp_path, 6), 6), tiny_jobs.context(tmp_path))
    assert (artifact["compiled"], artifact["frames"]) == (False, 6)


def test_compiler_that_breaks_later(tiny, tmp_path, monkeypatch) -> None:
    """A compiler that fails at a chunk of another length is named with that clip, which comes out."""
    import torch  # noqa: PLC0415

    compiled, graphs = torch.compile, []

    def breaks(graph, _inputs):
        graphs.append(graph)
        if len(graphs) > 3:  # those of the load
            raise torch.OutOfMemoryError("out of memory")
        return graph.forward

    monkeypatch.setattr(torch, "compile", lambda function: compiled(function, backend=breaks))
    engine, capabilities = tiny_jobs.loaded(tiny, compile=True)
    assert (capabilities["compiled"], capabilities["notes"]) == (True, [])
    still = {"max_frames": 1, "num_video_frames_per_chunk": 1}
    asked = tiny_jobs.job(tiny_jobs.clip_of(tmp_path, 6), 6, **still)
    artifact = engine.generate(asked, tiny_jobs.context(tmp_path))
    assert (artifact["compiled"], artifact["frames"]) == (False, 1)
    [note] = artifact["notes"]
    assert "out of memory" in note


def test_missing_gpu_is_not_replaced(tiny) -> None:
    """A missing GPU is an error; the CPU does not take its place."""
    import torch  # noqa: PLC0415

    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(EngineFailure, match="computes on cuda"):
        tiny_jobs.loaded(tiny, device="cuda")


def test_missing_library_is_named(tiny, monkeypatch) -> None:
    """A library that is missing is named with what to install."""
    for name in ("model", "run", "denoise"):
        monkeypatch.delitem(sys.modules, f"povwatch.engines.transfer.{name}")
        monkeypatch.delattr(f"povwatch.engines.transfer.{name}")
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(EngineFailure, match="import of diffusers halted") as caught:
        tiny_jobs.loaded(tiny)
    assert caught.value.kind == "invalid"
    assert "requirements/diffusers.lock" in caught.value.todo
