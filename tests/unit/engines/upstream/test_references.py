import numpy as np
import pytest
from PIL import Image
from support.cosmos_jobs import clip, job
from support.made_containers import beginning_with

from povwatch.engines.port import EngineFailure
from povwatch.engines.upstream.references import check, probe
from povwatch.media.fit import Shape


@pytest.fixture
def refused(tmp_path):
    """Makes a job with some fields, has it checked, and gives the refusal."""

    def refusal(frames=12, **spec):
        with pytest.raises(EngineFailure) as raised:
            check(job(tmp_path / "c.mp4", frames, **spec))
        assert raised.value.kind == "invalid"
        return str(raised.value)

    return refusal


def edge(path, **more):
    return {"edge": {"control_path": str(path), **more}}


def test_control_of_the_clips_shape(tmp_path):
    """A control and a mask of the clip's own shape are good."""
    control = clip(tmp_path / "e.mp4", 12)
    check(job(tmp_path / "c.mp4", 12, **edge(control, mask_path=str(control))))
    assert probe("x", str(control)) == Shape(12, 64, 48, 24)


def test_control_for_the_wanted_frames(tmp_path):
    """A control for the wanted frames alone is good."""
    check(job(tmp_path / "c.mp4", 300, max_frames=12, **edge(clip(tmp_path / "e.mp4", 12))))


def test_another_length_is_refused(tmp_path, refused):
    """Another length is refused with both numbers."""
    text = refused(**edge(clip(tmp_path / "e.mp4", 11)))
    assert "edge.control_path has 11 frames at 24 a second, the clip has 12 frames at 24 a second." in text


def test_another_size_is_refused(tmp_path, refused):
    """Another size is refused with both sizes."""
    text = refused(**edge(clip(tmp_path / "e.mp4", 12, size=(80, 48))))
    assert "edge.control_path is 80x48, the clip is 64x48." in text


def test_odd_size_made_even_is_the_same(tmp_path):
    odd = clip(tmp_path / "e.avi", 12, size=(63, 47), codec="ffv1", pix_fmt="yuv444p")
    check(job(tmp_path / "c.mp4", 12, size=(64, 48), **edge(odd)))


def test_another_rate_is_refused(tmp_path, refused):
    """Another rate is refused with both numbers."""
    text = refused(**edge(clip(tmp_path / "e.mp4", 12, fps=30)))
    assert "edge.control_path has 30 frames a second, the clip has 24." in text


@pytest.mark.parametrize("box", [b"wide", b"mdat", b"moov"])
def test_movie_without_ftyp_is_a_control(tmp_path, box):
    control = tmp_path / "e.mov"
    control.write_bytes(beginning_with(box, frames=12, size=(64, 48)))
    check(job(tmp_path / "c.mp4", 12, **edge(control)))


def test_two_spellings_of_a_rate_are_one(tmp_path):
    check(job(tmp_path / "c.mp4", 12, fps=24, **edge(clip(tmp_path / "e.mp4", 12, fps="24000/1001"))))


def test_mask_is_checked_like_a_control(tmp_path, refused):
    text = refused(edge={"mask_path": str(clip(tmp_path / "m.mp4", 5))})
    assert "edge.mask_path has 5 frames at 24 a second, the clip has 12 frames at 24 a second." in text


def test_suffix_that_upstream_does_not_read(tmp_path, refused):
    """A file whose suffix upstream does not read is refused, capitals too."""
    assert "ends in '.mkv', which upstream does not read" in refused(**edge(clip(tmp_path / "e.mkv", 12)))
    upper = clip(tmp_path / "e.mp4", 12).rename(tmp_path / "e.MP4")
    assert "ends in '.MP4'" in refused(**edge(upper))


def test_playlist_is_never_opened(tmp_path, refused):
    """A list of other files is refused and never opened."""
    clip(tmp_path / "secret.mp4", 12)
    (tmp_path / "e.mp4").write_text("ffconcat version 1.0\nfile secret.mp4\n")
    assert "ends in .mp4 but is a list of other files (ffconcat)" in refused(**edge(tmp_path / "e.mp4"))


def test_missing_or_cut_file_is_refused(tmp_path, refused):
    assert "is no file" in refused(**edge(tmp_path / "gone.mp4"))
    whole = clip(tmp_path / "e.mp4", 12)
    whole.write_bytes(whole.read_bytes()[:200])
    assert "edge.control_path cannot be read" in refused(**edge(whole))


def test_mask_in_an_array(tmp_path, refused):
    """A mask in an array has to fit in frames and shape, under the name upstream reads, without objects."""
    good = tmp_path / "g.npz"
    np.savez(good, np.zeros((12, 48, 64), np.uint8))
    check(job(tmp_path / "c.mp4", 12, guided_generation_mask=str(good)))
    np.savez(good, np.zeros((9, 48, 64), np.uint8))
    assert "guided_generation_mask has 9 frames" in refused(guided_generation_mask=str(good))
    np.savez(good, np.zeros((12, 48), np.uint8))
    assert "of shape (12, 48)" in refused(guided_generation_mask=str(good))
    np.savez(good, mask=np.zeros((12, 48, 64), np.uint8))
    assert "holds no array arr_0" in refused(guided_generation_mask=str(good))
    np.savez(good, np.full((12, 48, 64), None), allow_pickle=True)
    assert "object" in refused(guided_generation_mask=str(good))


@pytest.mark.parametrize("kind", ["bool", "int8", "complex64", "U1"])
def test_mask_values_that_upstream_spoils(tmp_path, refused, kind):
    """It writes 255 into the array: True stays 1 of 255, and a signed byte cannot hold it."""
    path = tmp_path / "m.npz"
    np.savez(path, np.zeros((12, 48, 64), kind))
    found = refused(guided_generation_mask=str(path))
    assert "of uint8" in found


def test_image_for_the_style(tmp_path, refused):
    """An image has to be what its suffix says."""
    Image.new("RGB", (8, 8)).save(tmp_path / "i.png")
    check(job(tmp_path / "c.mp4", 12, image_context_path=str(tmp_path / "i.png")))
    (tmp_path / "i.jpg").write_bytes((tmp_path / "i.png").read_bytes())
    assert "ends in .jpg but is a PNG picture" in refused(image_context_path=str(tmp_path / "i.jpg"))
