"""A clip whose pictures change their size half way: one size comes out, and that is said."""

from fractions import Fraction

import av
import pytest
from support import hostile
from support.clips import painted, read_numbers

from povwatch.media.damage import RUNS_MAX, Sizes, describe_sizes
from povwatch.media.prepare import prepare
from povwatch.media.probe import inspect


def coded(path, sizes):
    """A raw H.264 stream of four numbered pictures of each size."""
    number = 0
    with path.open("wb") as whole:
        for width, height in sizes:
            part = path.with_suffix(".part")
            with av.open(str(part), "w", format="h264") as out:
                stream = out.add_stream("libx264", rate=30, options={"crf": "12", "bf": "0"})
                stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
                for _ in range(4):
                    frame = av.VideoFrame.from_ndarray(painted(number, (width, height)), format="rgb24")
                    out.mux(stream.encode(frame))
                    number += 1
                out.mux(stream.encode(None))
            whole.write(part.read_bytes())
    return path


def muxed(path, sizes):
    """The same in MP4, as a recorder of a call writes it."""
    raw = coded(path.with_suffix(".h264"), sizes)
    with av.open(str(raw), format="h264") as source, av.open(str(path), "w") as out:
        stream = out.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(p for p in source.demux(video=0) if p.size):
            packet.stream, packet.time_base = stream, Fraction(1, 30)
            packet.pts = packet.dts = number
            packet.duration = 1
            out.mux(packet)
    return path


def made(clip, kind, folder):
    info = inspect(str(clip), kind)
    assert info.complete
    return prepare(str(clip), info.to_json(), str(folder / "work.mp4"))


def test_resized_h264_is_scaled(tmp_path):
    """An H.264 recording that changes its size is scaled to its first size, not copied, and each run is told."""
    clip = muxed(tmp_path / "call.mp4", [(192, 128), (128, 96), (96, 64)])
    work = made(clip, "mp4", tmp_path)
    assert (work.copied, work.frames, work.width, work.height) == (False, 12, 192, 128)
    with av.open(work.path) as out:
        assert {(frame.width, frame.height) for frame in out.decode(video=0)} == {(192, 128)}
    assert read_numbers(work.path) == list(range(12))
    assert work.resized == {
        "to": [192, 128],
        "count": 3,
        "runs": [[0, 0.0, 192, 128], [4, pytest.approx(0.133), 128, 96], [8, pytest.approx(0.267), 96, 64]],
    }


def test_pictures_of_another_shape(tmp_path):
    """Pictures of another shape are scaled, and the sentence says that they look squeezed."""
    frames = [hostile.png(64, 48)] * 3 + [hostile.png(32, 32)] * 2
    work = made(hostile.pictures(tmp_path / "p.mov", *frames), "mp4", tmp_path)
    assert work.frames == 5
    assert describe_sizes(work.resized) == (
        "Its pictures change their size: 64x48 at first, 32x32 from frame 3 (0.1 s) on. All are scaled to 64x48; "
        "where their shape is another they look squeezed or stretched."
    )


def test_one_size_is_not_mentioned(tmp_path):
    work = made(muxed(tmp_path / "a.mp4", [(96, 64), (96, 64)]), "mp4", tmp_path)
    assert work.resized is None
    assert describe_sizes(work.resized) == ""


def test_same_shape_is_not_squeezed():
    """Pictures of the same shape are scaled, and nothing is said of squeezing."""
    sizes = Sizes()
    for number, size in enumerate([(64, 48), (128, 96)]):
        sizes.see(number, *size)
    words = describe_sizes(sizes.to_json([0, 1], Fraction(1), (64, 48), sideways=False))
    assert words.endswith("128x96 from frame 1 (1 s) on. All are scaled to 64x48.")


def test_many_changes_are_counted():
    """Of many changes the first are named, and all are counted."""
    sizes = Sizes()
    for number in range(100):
        sizes.see(number, 64 + 2 * (number % 2), 48)
    told = sizes.to_json(range(100), Fraction(1, 10), (64, 48), sideways=True)
    assert (told["count"], len(told["runs"])) == (100, RUNS_MAX)
    assert told["runs"][1][2:] == [48, 66]
    assert "and 94 more changes" in describe_sizes(told)
