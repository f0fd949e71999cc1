"""Reads the file with a result's sound, and copies it into the result."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from fractions import Fraction
from itertools import chain
from typing import TYPE_CHECKING

import av

from povwatch.core.errors import SourceChanged
from povwatch.media.errors import MediaError
from povwatch.media.plain import plain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from av.audio.stream import AudioStream
    from av.container import InputContainer, OutputContainer
    from av.packet import Packet


@contextmanager
def track(path: str) -> Iterator[tuple[InputContainer, AudioStream]]:
    """Open the file that `sound` made.

    Raises:
        MediaError: the file is gone.
    """
    try:
        stack = ExitStack()
        fd = stack.enter_context(plain(path))
    except SourceChanged as error:
        raise MediaError("The sound that was made for the result is gone.") from error
    with stack, av.open(f"/proc/self/fd/{fd}", "r", format="mov") as container:
        yield container, container.streams.audio[0]


class Copied:
    """Copies the packets of that file into a result.

    Args:
        container: the open file.
        stream: its sound.
        into: gets the stream, if there is a packet for it.
        end: seconds at which the sound is cut, or None.
    """

    def __init__(
        self, container: InputContainer, stream: AudioStream, into: OutputContainer, end: Fraction | None = None
    ) -> None:
        self._base = stream.time_base or Fraction(1, 48_000)
        self._rest = self._wanted(container.demux(stream), end)
        self._first = next(self._rest, None)
        self._out = into.add_stream_from_template(stream) if self._first is not None else None

    @property
    def silent(self) -> bool:
        """Whether there is no sound before the end."""
        return self._first is None

    def packets(self) -> Iterator[tuple[Fraction, Packet[AudioStream]]]:
        """Packets to mux, each with its time in seconds."""
        if self._first is None or self._out is None:
            return
        for packet in chain((self._first,), self._rest):
            packet.stream = self._out
            yield (packet.pts or 0) * self._base, packet

    def _wanted(self, packets: Iterator[Packet[AudioStream]], end: Fraction | None) -> Iterator[Packet[AudioStream]]:
        for packet in packets:
            if not packet.size or packet.dts is None or packet.pts is None:
                continue
            if end is not None and packet.pts * self._base >= end:
                return
            yield packet
