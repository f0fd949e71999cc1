"""The source's sound beside the new pictures: copied as it is if MP4 can hold it, else in AAC; its offset is kept."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

import av.error
from av.audio.resampler import AudioResampler

if TYPE_CHECKING:
    from collections.abc import Iterator

    from av.audio.frame import AudioFrame
    from av.audio.stream import AudioStream
    from av.container import OutputContainer
    from av.packet import Packet

    from povwatch.media.source import Source

COPIED = frozenset({"aac", "mp3", "mp3float", "ac3", "eac3", "opus", "libopus", "alac", "flac"})
"""Codecs (FFmpeg's decoder names) that MP4 holds and players know."""

AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)
"""Samples a second that AAC has. Source: ISO/IEC 14496-3, table 1.18."""

LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "4.0", 5: "5.0", 6: "5.1", 8: "7.1"}
"""Channels, and AAC's layout for so many: AVI and raw PCM name none, and AAC knows few. Others become stereo."""

BIT_RATE = 96_000
"""Bits a second and channel: beyond what can be told apart."""


class Sound:
    """The sound of a clip on its way into another file.

    Args:
        source: the clip, of which nothing else is read.
        container: takes the stream.
        shift: seconds by which everything is moved (see times.source_grid).
        end: seconds at which the sound is cut, or None.
    """

    def __init__(self, source: Source, container: OutputContainer, shift: Fraction, end: Fraction | None) -> None:
        assert source.audio is not None  # noqa: S101 - the caller asked
        self.source = source
        self.stream: AudioStream = source.audio
        self.shift = shift
        self.end = end
        self.copied = self.stream.codec_context.name in COPIED
        if self.copied:
            self.out: AudioStream = container.add_stream_from_template(self.stream)
        else:
            rate = min((r for r in AAC_RATES if r >= self.stream.rate), default=48_000)
            layout = LAYOUTS.get(self.stream.channels, "stereo")
            self.out = container.add_stream("aac", rate=rate, layout=layout)
            self.out.codec_context.bit_rate = BIT_RATE * self.out.channels

    def packets(self) -> Iterator[tuple[Fraction, Packet[AudioStream]]]:
        """Packets ready to be muxed, each with the second at which it sounds."""
        yield from self._as_they_are() if self.copied else self._encoded()

    def _as_they_are(self) -> Iterator[tuple[Fraction, Packet[AudioStream]]]:
        base = self.stream.time_base or Fraction(1, self.stream.rate)
        moved = round(self.shift / base)
        for packet in self.source.container.demux(self.stream):
            if not packet.size or packet.dts is None or packet.pts is None:
                continue
            packet.pts += moved
            packet.dts += moved
            moment = packet.pts * base
            if self.end is not None and moment >= self.end:
                break
            packet.stream = self.out
            yield moment, packet

    def _encoded(self) -> Iterator[tuple[Fraction, Packet[AudioStream]]]:
        rate = self.out.rate
        base = Fraction(1, rate)
        resampler = AudioResampler(format="fltp", layout=self.out.layout.name, rate=rate)
        start: int | None = None
        count = 0
        for frame in self._decoded():
            if start is None:
                start = round(((frame.pts or 0) * (frame.time_base or base) + self.shift) / base)
            for part in resampler.resample(frame):
                if self.end is not None and (start + count) * base >= self.end:
                    break
                part.pts, part.time_base = start + count, base
                count += part.samples
                yield from self._timed(self.out.encode(part))
        yield from self._timed(self.out.encode(None))

    def _decoded(self) -> Iterator[AudioFrame]:
        for packet in self.source.container.demux(self.stream):
            try:
                yield from packet.decode()
            except av.error.InvalidDataError:
                continue  # a gap in the sound loses no frame of the video

    def _timed(self, packets: list[Packet[AudioStream]]) -> Iterator[tuple[Fraction, Packet[AudioStream]]]:
        for packet in packets:
            yield (packet.pts or 0) * packet.time_base, packet
