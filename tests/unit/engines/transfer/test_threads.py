import threading

import numpy as np
import pytest

from povwatch.engines.transfer.threads import Writing, read_ahead


class Writer:
    """Keeps what it is to write, once it is let."""

    def __init__(self, *, waits=False, fails_at=None):
        self.written = []
        self.goes = threading.Event()
        self._fails_at = fails_at
        if not waits:
            self.goes.set()

    def add(self, *pictures):
        assert self.goes.wait(30)
        if len(self.written) == self._fails_at:
            raise OSError(28, "No space left on device")
        self.written.append(tuple(int(picture.flat[0]) for picture in pictures))

    def soon(self):
        """Let it write when this thread has gone on."""
        threading.Timer(0.05, self.goes.set).start()


def frames(*numbers):
    """Frames whose pixels are these numbers."""
    return np.array(numbers, np.uint8).reshape(-1, 1, 1, 1).repeat(3, axis=3)


def test_frames_are_written_in_order() -> None:
    """The artifact's and the control's frames are written in order, with what is shown beside them."""
    artifact, control = Writer(), Writer()
    with Writing([artifact, control], limit=2) as writing:
        for first in (0, 2, 4):
            writing.add([frames(first, first + 1), frames(10, 10)], [frames(20, 20)])
        writing.finish()
    assert artifact.written == [(number, 10) for number in range(6)]
    assert control.written == [(20,)] * 6


def test_few_frames_wait() -> None:
    """No more frames wait for the writer than allowed, so that memory is bounded."""
    writer = Writer(waits=True)
    with Writing([writer], limit=3) as writing:
        writing.add([frames(0, 1)])
        writer.soon()
        writing.add([frames(2, 3)])
        assert writer.written[:2] == [(0,), (1,)]
        writing.finish()
    assert len(writer.written) == 4


def test_too_many_frames_at_once_are_written() -> None:
    """A part with more frames than may wait is taken when nothing waits."""
    writer = Writer()
    with Writing([writer], limit=1) as writing:
        writing.add([frames(0, 1, 2)])
        writing.add([frames(3, 4)])
        writing.finish()
    assert len(writer.written) == 5


def test_failed_write_ends_the_job() -> None:
    """What the thread cannot write is an error of the job."""
    with Writing([Writer(fails_at=1)], limit=10) as writing:
        writing.add([frames(0, 1)])
        with pytest.raises(OSError, match="No space left"):
            writing.finish()


def test_failed_job_writes_no_more() -> None:
    """When a job is cancelled or fails, the frames that wait are not written first."""
    writer = Writer(waits=True)

    def fail():
        with Writing([writer], limit=10) as writing:
            for number in range(3):
                writing.add([frames(number)])
            writer.soon()
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert writer.written == [(0,)]


def test_items_are_made_ahead() -> None:
    """The first item is made before it is asked for; an error comes in its place."""
    made = threading.Event()

    def items():
        made.set()
        yield 1
        yield 2
        raise ValueError

    with read_ahead(items()) as ahead:
        assert made.wait(30)
        assert [next(ahead), next(ahead)] == [1, 2]
        with pytest.raises(ValueError):  # noqa: PT011 - the one above
            next(ahead)
    with read_ahead(iter([1, 2])) as ahead:
        assert list(ahead) == [1, 2]
