from fractions import Fraction

import av
import numpy as np
import pytest

from povwatch.engines.port import Context, EngineCancelled
from povwatch.engines.upstream.pictures import Writer, pixels


class Tensor:
    """An array that is asked as a torch.Tensor is."""

    def __init__(self, array):
        self.array = array
        self.shape = array.shape
        self.dtype = f"torch.{array.dtype}"

    def __getitem__(self, place):
        return Tensor(self.array[place])

    def cpu(self):
        return self

    def float(self):
        return Tensor(self.array.astype(np.float32))

    def numpy(self):
        return self.array


def video(frames=30, size=(64, 48)):
    """Noise that moves, from a little below 0 to a little above 1; shape (3, frames, height, width)."""
    noise = np.random.default_rng(7).random((3, frames, size[1], size[0]), np.float32)
    return Tensor(noise * 1.2 - 0.1)


def save(folder, what, name="x", rate=Fraction(30000, 1001), **how):
    Writer(rate, Context(str(folder), "/c", **how)).save(what, str(folder / name), fps=29)
    return folder / f"{name}.mp4"


def test_same_pictures_same_file(tmp_path):
    """The same pictures give the same file."""
    one, other = (save(tmp_path, video(), name).read_bytes() for name in ("one", "other"))
    assert one == other


@pytest.mark.parametrize(("frames", "size"), [(1, (64, 48)), (30, (64, 48)), (3, (33, 25))])
def test_every_picture_is_there(tmp_path, frames, size):
    """Every picture is in the file, at the clip's own rate."""
    smooth = np.linspace(0, 1, size[0], dtype=np.float32) * np.ones((3, frames, size[1], 1), np.float32)
    with av.open(str(save(tmp_path, Tensor(smooth)))) as container:
        stream = container.streams.video[0]
        found = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
        assert stream.average_rate == Fraction(30000, 1001) or frames == 1
        assert stream.codec_context.colorspace == 1
    assert np.stack(found).shape == (frames, size[1], size[0], 3)
    assert np.abs(found[-1].astype(int) - pixels(Tensor(smooth[:, -1]))).max() <= 4


def test_rounding():
    """What were bytes before come out as the same bytes, and a mask's one channel as three."""
    given = np.array([-0.5, 0.0, 0.5, 0.997, 1.0, 1.5], np.float32).reshape(1, 1, 6).repeat(3, axis=0)
    assert pixels(Tensor(given))[0, :, 0].tolist() == [0, 0, 128, 254, 255, 255]
    every = np.arange(256, dtype=np.float32) / np.float32(127.5) - 1  # upstream's uint8_to_normalized_float
    told = pixels(Tensor(((1 + every) / 2).reshape(1, 1, 256)))
    assert (told[0] == np.arange(256)[:, None]).all()
    whole = np.arange(12, dtype=np.uint8).reshape(3, 2, 2)
    assert (pixels(Tensor(whole)) == whole.transpose(1, 2, 0)).all()


def test_cancelled_while_writing(tmp_path):
    """A job that is no longer wanted is left while its result is written."""
    asked = iter([False] * 5 + [True])
    with pytest.raises(EngineCancelled):
        save(tmp_path, video(), is_cancelled=lambda: next(asked))


def test_missing_folder(tmp_path):
    """A folder that is not there is an OSError."""
    with pytest.raises(OSError, match="No such file"):
        save(tmp_path / "away", video())
