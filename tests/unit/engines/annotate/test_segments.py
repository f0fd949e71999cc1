"""Segments, against upstream's own functions and transformers' own loop, with tiny models of the real classes."""

from __future__ import annotations

import ast
import colorsys
import random
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from support import tiny_needs, upstream_source

tiny_needs.skip_without()

from support.deferred import Deferred  # noqa: E402

from povwatch.core.errors import JobFailed  # noqa: E402
from povwatch.engines.annotate import presence, video  # noqa: E402

torch = Deferred("torch")
transformers = Deferred("transformers")
detect = Deferred("povwatch.engines.annotate.detect")
segments = Deferred("povwatch.engines.annotate.segments")
track = Deferred("povwatch.engines.annotate.track")

pytestmark = pytest.mark.usefixtures("annotators", "one_thread")

SEG = "cosmos_transfer2/_src/transfer2/datasets/augmentors/seg.py"

SAM2 = "cosmos_transfer2/_src/transfer2/auxiliary/sam2/sam2_model.py"

BOXES = np.array([[4, 4, 30, 40], [20, 10, 60, 44]], np.float32)

PROMPT = "hands cup"


def run(file, name, **names):
    """A function of upstream's own."""
    function = upstream_source.functions(file)[name]
    function.decorator_list.clear()
    exec(compile(ast.Module([function], []), file, "exec"), names)  # noqa: S102 - upstream's own function
    return names[name]


def computed(clip, prompt=PROMPT):
    """The video that is written, as an engine reads it; the things; sentences for the log."""
    folders = tuple(map(str, presence.folders("seg")))
    count, things, notes = segments.segments(clip, folders, prompt, "seg.mp4", device="cpu", report=lambda _: None)
    assert count == clip.frames
    assert not Path("seg.mp4.part").exists()
    return np.stack(list(video.frames(type(clip)(**clip.to_json() | {"path": "seg.mp4"})))), things, notes


def followed(clip):
    tracker = track.Tracker(str(presence.folders("seg")[1]), "cpu")
    return list(tracker.follow(video.frames(clip), clip.frames, BOXES))


@upstream_source.needed
def test_colours_are_upstreams(monkeypatch):
    """The picture is upstream's for the same colours; these are its draws, from the dice of the prompt."""
    dice = np.random.default_rng(3)
    masks = dice.random((4, 3, 6, 8)) < np.array([0.2, 0.7, 0.2, 0.5])[:, None, None, None]
    masks[2] = np.roll(masks[0], 1)  # two of one size
    ours = segments.drawn(PROMPT, 4)
    stub = SimpleNamespace(hsv_to_rgb=lambda hsv: colorsys.hsv_to_rgb(*hsv))
    random.seed(PROMPT)
    draw = run(SEG, "generate_distinct_colors", random=random, np=np, mcolors=stub)
    theirs = [draw() for _ in range(4)]
    np.testing.assert_array_equal(ours, theirs)
    colours = iter(theirs)
    paint = run(
        SEG,
        "segmentation_color_mask",
        np=np,
        PREDEFINED_COLORS_SEGMENTATION=None,
        generate_distinct_colors=lambda: next(colours),
    )
    expected = paint(masks.astype(np.uint8) * 255).transpose(1, 2, 3, 0)
    order = segments.by_size(masks.sum(axis=(1, 2, 3)))
    shown = [segments.coloured(some[order], ours) for some in masks.transpose(1, 0, 2, 3)]
    np.testing.assert_array_equal(shown, expected)


@upstream_source.needed
@pytest.mark.filterwarnings("ignore:The key `labels`:FutureWarning")
@pytest.mark.parametrize("surest", [0.99, 0.12, 0.05])
def test_boxes_are_upstreams(clip, monkeypatch, surest):
    """The boxes are those of upstream's code, the second thresholds included; both find nothing if all is unlikely."""
    picture = next(video.frames(clip(frames=1)))
    Image.fromarray(picture).save("1.png")
    forward = transformers.GroundingDinoForObjectDetection.forward

    def sure(*arguments, **named):
        found = forward(*arguments, **named)
        likely = torch.sigmoid(found.logits)
        found.logits = torch.logit(likely / likely.max() * surest)
        return found

    monkeypatch.setattr(transformers.GroundingDinoForObjectDetection, "forward", sure)
    folder = str(presence.folders("seg")[0])
    model = SimpleNamespace(
        device="cpu",
        processor=transformers.GroundingDinoProcessor.from_pretrained(folder),
        grounding_model=transformers.GroundingDinoForObjectDetection.from_pretrained(folder).eval(),
    )
    find = run(SAM2, "get_boxes_from_text", torch=torch, np=np, Image=Image, print=lambda *_: None)
    theirs = find(model, "1.png", PROMPT)["boxes"]
    ours, _ = detect.boxes(folder, "cpu", picture, PROMPT)
    np.testing.assert_array_equal(ours, theirs)
    assert (len(theirs) > 0) == (surest > 0.1)


def test_masks_are_those_of_the_whole_clip(clip):
    """With the memory of a few frames the masks are the same as with the whole clip, longer than that memory."""
    made = clip(frames=9)
    folder = str(presence.folders("seg")[1])
    model, processor = (
        transformers.Sam2VideoModel.from_pretrained(folder).eval(),
        transformers.Sam2VideoProcessor.from_pretrained(folder),
    )
    whole = list(video.frames(made))
    session = processor.init_video_session()
    for picture in whole:
        session.add_new_frame(processor(images=picture, return_tensors="pt")["pixel_values"][0])
    processor.add_inputs_to_inference_session(
        session, 0, [0, 1], input_boxes=[BOXES.tolist()], original_size=(made.height, made.width)
    )
    with torch.inference_mode():
        model(session, frame_idx=0)
        low = [found.pred_masks for found in model.propagate_in_video_iterator(session)]
    theirs = [processor.post_process_masks([one], [(made.height, made.width)])[0][:, 0].numpy() for one in low]
    ours = followed(made)
    np.testing.assert_array_equal(ours, theirs)
    assert 0 < np.mean(ours) < 1


def test_memory_does_not_grow(clip, monkeypatch):
    """After each frame no more is kept than the model reads, however long the clip is."""
    kept = []
    forget = track.Tracker._forget

    def counted(self, session, number):
        forget(self, session, number)
        outputs = session.output_dict_per_obj[0]["non_cond_frame_outputs"]
        kept.append((len(outputs), len(dict.keys(session.processed_frames)), len(session.frames_tracked_per_obj[0])))
        assert not {name for found in outputs.values() for name in found} & set(track.UNREAD)

    monkeypatch.setattr(track.Tracker, "_forget", counted)
    followed(clip(frames=9))
    assert kept[-1] == kept[-2] == (4, 0, 4)


def test_segments_of_a_clip(clip):
    """Each frame of an odd shape has the things in their colours, the same each time; all else is black."""
    made = clip(frames=3, size=(90, 38))
    shown, things, notes = computed(made)
    assert (shown.shape, notes) == ((3, 38, 90, 3), [])
    colours = {tuple(colour) for colour in np.unique(shown.reshape(-1, 3), axis=0)}
    assert colours <= {(0, 0, 0), *map(tuple, segments.drawn(PROMPT, things))}
    assert len(colours) > 1
    np.testing.assert_array_equal(computed(made)[0], shown)


def test_nothing_is_found(clip, monkeypatch):
    """A prompt that finds nothing fails with the prompt, and says what to name."""
    monkeypatch.setattr("povwatch.engines.annotate.detect.THRESHOLDS", ((1.1, 0.25), (1.1, 0.1)))
    with pytest.raises(JobFailed, match=r"nothing was found in the clip's first frame for 'a .* [.]{3}'") as failed:
        computed(clip(frames=1), "a " * 200)
    assert "seg.control_prompt" in failed.value.todo


def test_prompt_that_is_too_long(clip):
    """Of a prompt that is longer than the model reads the beginning counts, and the log says so."""
    shown, things, notes = computed(clip(frames=1), "word " * 300)
    assert (len(shown), things > 0, notes) == (1, True, [segments.CUT])


def test_things_that_are_lost_at_once(clip, monkeypatch):
    """Things that SAM 2 does not keep give a black control, and the log says so."""
    black = (np.zeros((1, 48, 64), np.bool_) for _ in range(2))
    monkeypatch.setattr(track.Tracker, "follow", lambda *_: black)
    monkeypatch.setattr("povwatch.engines.annotate.segments.boxes", lambda *_: (BOXES[:1], False))
    shown, things, notes = computed(clip(frames=2))
    assert (shown.max(), things, notes) == (0, 1, [segments.EMPTY])
