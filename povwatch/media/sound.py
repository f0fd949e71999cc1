"""Makes and verifies the sound of a result before the engine generates. Finishing only copies from this file.

Sound is copied unchanged if MP4 can hold it and players know it. Else it is decoded, laid out by its timestamps, and
encoded in AAC. Sound that cannot be made is left out with a note: sound never fails a clip.
"""

from __future__ import annotations

import errno
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import av
import av.error
from av.audio.layout import AudioLayout

from povwatch.core.errors import SourceChanged
from povwatch.core.sentences import joined
from povwatch.media import channels, encode
from povwatch.media.errors import MediaError
from povwatch.media.info import Prepared, SoundTrack, VideoInfo
from povwatch.media.plain import plain
from povwatch.media.prepare import read_times
from povwatch.media.source import opened, read_only
from povwatch.media.spans import Span, holes, lead, spans

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from av.audio.codeccontext import AudioCodecContext
    from av.audio.frame import AudioFrame
    from av.audio.stream import AudioStream
    from av.container import InputContainer

    from povwatch.media.source import Source


COPIED = frozenset({"aac", "mp3", "mp3float", "ac3", "eac3", "opus", "libopus", "alac", "flac"})
"""Codecs (FFmpeg's decoder names) that MP4 can hold and players know."""

AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)
"""Samples a second of AAC. Source: ISO/IEC 14496-3, table 1.18."""

BIT_RATE = 96_000
"""Bits a second for each channel: enough that no loss can be heard."""

HOLE = 0.1
"""Largest gap in seconds in copied sound. Many players play packets one after the other, so a larger gap would shift
everything after it. FFmpeg's resampler has the same bound (min_hard_comp)."""

IN_STEP = 0.025
"""Seconds that copied packets may be stamped too early, as in bursts; the result has their timestamps."""

NEAR = 0.05
"""Seconds by which the finished sound may begin or end elsewhere: an encoder's frame, an edit list."""

NO_DECODER = "Its sound cannot be had: it has a codec that is unknown here."

FAILS = (av.error.FFmpegError, ValueError, IndexError)
"""What PyAV raises for sound that it cannot copy or encode, and for a failing disk; see raise_if_machine."""

OF_THE_FILE = frozenset(
    {errno.EINVAL, errno.ENOSYS, errno.ERANGE, errno.EOPNOTSUPP, errno.EDOM, errno.EPERM, errno.ENOENT}
)
"""Errors with which FFmpeg reports a file that it cannot handle."""

FFMPEG = 4096
"""The kernel's error numbers are below this; FFmpeg's own are above."""


def sound(
    source: str,
    info: dict[str, Any],
    prepared: dict[str, Any],
    out_path: str,
    *,
    decode: bool = True,
    report: Callable[[float], None] = lambda _: None,
) -> SoundTrack:
    """Make the sound of a clip's result, as an MP4 without video.

    Args:
        info: the clip's VideoInfo as JSON.
        out_path: the file; it is not made if there is no sound.
        decode: False to copy without decoding. For sound that crashed a decoder.

    Returns:
        What was made, and what is missing or lost.

    Raises:
        SourceChanged: the clip is gone.
        OSError: the file cannot be written.
    """
    about, ready = VideoInfo.from_json(info), Prepared.from_json(prepared)
    shown, base = read_times(ready.times), Fraction(ready.time_base)
    shift = -min(shown[0], 0) * base
    until = float(shown[-1] * base + shift)
    work = _SoundMaker(source, about.container, out_path, shift=shift, until=until, report=report)
    try:
        made = work.first_that_sounds(decode=decode)
    except BaseException:
        Path(out_path).unlink(missing_ok=True)
        raise
    if made.audio is None:
        Path(out_path).unlink(missing_ok=True)
    return made


class _NotProvenError(Exception):
    """The finished sound differs from the sound that was heard."""


class _SoundMaker:
    def __init__(
        self,
        source: str,
        kind: str,
        out_path: str,
        *,
        shift: Fraction,
        until: float,
        report: Callable[[float], None],
    ) -> None:
        self.source, self.kind, self.out_path = source, kind, out_path
        self.shift, self.until, self.report = shift, until, report
        self.track = 0
        """Number of the current track, in the order in which a player chooses."""

    def first_that_sounds(self, *, decode: bool) -> SoundTrack:
        """Use the track that a player would choose; if it has no sound, the next one that has."""
        with opened(self.source, self.kind) as clip:
            count = len(clip.sounds)
        if not count:
            return SoundTrack()
        first = SoundTrack()
        for self.track in range(count):
            made = self.decoded() if decode else self.undecoded()
            if self.track == 0:
                first = made
            elif made.audio is not None:
                instead = joined(first.problem, f"Another track of its sound ({made.audio}) is taken instead.")
                return replace(made, changed=joined(instead, made.changed))
            if made.audio is not None:
                return made
        return first

    @contextmanager
    def _sound(self) -> Iterator[tuple[Source, AudioStream]]:
        with opened(self.source, self.kind) as clip:
            yield clip, clip.sounds[self.track]

    def decoded(self) -> SoundTrack:
        """Decode the sound, then copy it, or encode it if it cannot be copied."""
        with self._sound() as (clip, stream):
            context = decoder_of(stream)
            if context is None:
                return SoundTrack(problem=NO_DECODER)
            name = context.name
            heard = decode_sound(clip.container, stream, self.report)
            heard.timed = clip.kind != "avi"
        if not heard.lengths:
            what = "nothing comes out of its decoder" if heard.packets else "it is announced, and there is none"
            return SoundTrack(problem=f"Its sound ({name}) cannot be had: {what}.")
        notes = []
        if heard.damaged:
            notes.append(f"{heard.damaged} packet(s) of it do not decode, they are silent")
        if name in COPIED and _even(heard):
            try:
                return self._copied(heard, notes)
            except (*FAILS, _NotProvenError) as error:
                raise_if_machine(error)  # the sound is encoded instead
        return self._encoded(name, heard, notes)

    def undecoded(self) -> SoundTrack:
        """Copy the sound without decoding it."""
        with self._sound() as (_, stream):
            context = decoder_of(stream)
            if context is None:
                return SoundTrack(problem=NO_DECODER)
            if context.name not in COPIED:
                return SoundTrack(problem=f"Its sound ({context.name}) cannot be decoded, and MP4 does not hold it.")
        try:
            self._copy()
            with sound_file(self.out_path) as (container, copy):
                if not any(packet.size for packet in container.demux(copy)):
                    return SoundTrack(problem="Its sound cannot be had: it is announced, and there is none.")
        except FAILS as error:
            raise_if_machine(error)
            return SoundTrack(problem=f"Its sound cannot be decoded here, and MP4 does not hold it: {_reason(error)}.")
        return SoundTrack(path=self.out_path, audio=context.name, copied=True)

    # -- copied

    def _copied(self, heard: SoundFrames, notes: list[str]) -> SoundTrack:
        self._copy()
        return self._proven(heard, copied=True, notes=notes)

    def _copy(self) -> None:
        with self._sound() as (clip, stream):
            base = stream.time_base or Fraction(1, 90_000)
            moved = round(self.shift / base)
            with encode.mp4(self.out_path, max(base.denominator, 1)) as container:
                out = container.add_stream_from_template(stream)
                read_only(clip.container, stream)
                for packet in clip.container.demux(stream):
                    if not packet.size or packet.dts is None or packet.pts is None:
                        continue
                    packet.pts += moved
                    packet.dts += moved
                    packet.stream = out
                    container.mux(packet)

    # -- encoded

    def _encoded(self, name: str, heard: SoundFrames, notes: list[str]) -> SoundTrack:
        named = [names for _, _, names in heard.kinds]
        for folds in ([*map(channels.fold, named)], [channels.alternate(len(names)) for names in named]):
            try:
                return self._laid_out(heard, folds, notes)
            except (*FAILS, _NotProvenError) as error:
                raise_if_machine(error)  # the resampler may not know a layout, but it knows stereo
                reason = _reason(error)
        return SoundTrack(problem=f"Its sound ({name}) cannot be encoded anew: {reason}.")

    def _laid_out(self, heard: SoundFrames, folds: list[channels.Fold], notes: list[str]) -> SoundTrack:
        from povwatch.media.sound_writer import (  # noqa: PLC0415 - NumPy, which a copied sound does without
            Converter,
            SoundWriter,
        )

        sizes = [AudioLayout(fold.layout).nb_channels for fold in folds]
        named = [channels.Fold(AudioLayout(fold.layout).name, fold.matrix, fold.loss) for fold in folds]
        layout = channels.target(named, sizes)
        highest = max(rate for _, rate, _ in heard.kinds)
        rate = min((r for r in AAC_RATES if r >= highest), default=48_000)
        size = AudioLayout(layout).nb_channels
        with self._sound() as (clip, stream), encode.mp4(self.out_path, rate) as container:
            out = container.add_stream("aac", rate=rate, layout=layout)
            out.codec_context.bit_rate = BIT_RATE * size
            writer = SoundWriter(container, out, rate, size, layout)
            decoded = enumerate(frames(clip.container, stream))
            found = heard.spans
            for span, after in zip(found, [*(s.first for s in found[1:]), len(heard.lengths)], strict=True):
                converter = Converter(named[heard.forms[span.first]], layout, rate)
                taken = writer.begin(span.start + float(self.shift), self.until)
                if not taken:
                    late = f"what sounds {span.start - self.until:.0f} s after the end of the picture is left out"
                    notes = [*notes, late] if late not in notes else notes
                for k, (frame, _) in decoded:
                    if taken:
                        writer.add(converter.samples(frame))
                    if k + 1 == after:
                        break
                if taken:
                    writer.add(converter.samples(None))
            writer.close()
        lost = [fold.loss for fold in named if fold.loss]
        lost += [
            f"{fold.layout} is mixed down to {layout}"
            for fold, many in zip(named, sizes, strict=True)
            if many > size and not fold.loss
        ]
        return self._proven(heard, copied=False, notes=[*dict.fromkeys(lost), *notes])

    # -- verified

    def _proven(self, heard: SoundFrames, *, copied: bool, notes: list[str]) -> SoundTrack:
        """Decode the finished sound.

        Raises:
            _NotProvenError: it differs from the sound that was heard.
        """
        with sound_file(self.out_path) as (container, stream):
            name = stream.codec_context.name
            made = decode_sound(container, stream)
        if not made.lengths:
            raise _NotProvenError("nothing of it can be decoded again")
        if copied and (made.damaged > heard.damaged or abs(made.seconds - heard.seconds) > NEAR):
            raise _NotProvenError("it does not decode as it did")
        changed = f"Its sound: {'; '.join(notes)}." if notes else ""
        return SoundTrack(path=self.out_path, audio=name, copied=copied, changed=changed)


@contextmanager
def sound_file(path: str) -> Iterator[tuple[InputContainer, AudioStream]]:
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


def _even(heard: SoundFrames) -> bool:
    """Whether packets played one after the other sound right, since players do so whatever the timestamps say."""
    whole = len(heard.kinds) == 1 and not heard.damaged
    if not whole or lead(heard.moments, heard.lengths) > IN_STEP:
        return False
    return all(abs(off) <= HOLE for _, off in holes(heard.moments, heard.lengths))


def _reason(error: Exception) -> str:
    """The failure for people, in FFmpeg's words or ours, not Python's."""
    if isinstance(error, _NotProvenError):
        return str(error)
    return getattr(error, "strerror", None) or "FFmpeg does not take it"


@dataclass(slots=True)
class SoundFrames:
    """The decoder's output."""

    moments: list[float | None] = field(default_factory=list)
    """Seconds at which each frame sounds."""
    lengths: list[float] = field(default_factory=list)
    """Seconds that each frame lasts."""
    forms: list[int] = field(default_factory=list)
    """Each frame's index in `kinds`."""
    kinds: list[tuple[str, int, tuple[str, ...]]] = field(default_factory=list)
    """Sample format, rate and channel names of each form."""
    timed: bool = True
    """Whether the timestamps are real. AVI has none: FFmpeg computes them from bytes."""
    packets: int = 0
    damaged: int = 0
    """Packets that do not decode."""

    @property
    def seconds(self) -> float:
        """Length of all frames together."""
        return sum(self.lengths)

    @property
    def spans(self) -> list[Span]:
        """The frames' spans."""
        moments = self.moments if self.timed else [*self.moments[:1], *[None] * (len(self.moments) - 1)]
        return spans(moments, self.lengths, self.forms)

    def note(self, frame: AudioFrame, names: tuple[str, ...]) -> None:
        """Add a frame."""
        kind = (frame.format.name, frame.sample_rate, names)
        if kind not in self.kinds:
            self.kinds.append(kind)
        self.moments.append(
            None if frame.pts is None else float(frame.pts * (frame.time_base or Fraction(1, frame.sample_rate)))
        )
        self.lengths.append(frame.samples / frame.sample_rate)
        self.forms.append(self.kinds.index(kind))


def decoder_of(stream: AudioStream) -> AudioCodecContext | None:
    """The decoder of a sound; None if FFmpeg has none for its codec."""
    return stream.codec_context  # its type does not admit None


def decode_sound(
    container: InputContainer, stream: AudioStream, report: Callable[[float], None] = lambda _: None
) -> SoundFrames:
    """Decode all of a sound."""
    heard = SoundFrames()
    for frame, names in frames(container, stream, heard, report):
        heard.note(frame, names)
    return heard


def frames(
    container: InputContainer,
    stream: AudioStream,
    heard: SoundFrames | None = None,
    report: Callable[[float], None] = lambda _: None,
) -> Iterator[tuple[AudioFrame, tuple[str, ...]]]:
    """Every frame that decodes, and the names of its channels; others are skipped."""
    counted = SoundFrames() if heard is None else heard
    named = _unshared(stream.codec_context)
    size = container.size or 1
    read_only(container, stream)
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except av.error.FFmpegError as error:
            raise_if_machine(error)
            return  # the unreadable rest is missing, like packets that do not decode
        if packet is None:
            return
        counted.packets += bool(packet.size)
        report(0.5 * (packet.pos or 0) / size)
        try:
            decoded = packet.decode()
        except av.error.FFmpegError as error:
            raise_if_machine(error)
            counted.damaged += bool(packet.size)
            continue
        for frame in decoded:
            names = tuple(channel.name for channel in frame.layout.channels)
            if frame.samples and frame.sample_rate and names:
                yield frame, named if set(names) == {"NONE"} and len(named) == len(names) else names


def _unshared(context: AudioCodecContext) -> tuple[str, ...]:
    """The channels' names by the container; afterwards the decoder knows only their number.

    PyAV 18.1 returns a layout whose order is the file's own (`chan` in MOV) without copying its list of channels, and
    frees that list with each such object: the process aborts. Here the layout is requested once, and removed from the
    decoder before it is freed.
    """
    layout = context.layout
    names = tuple(channel.name for channel in layout.channels)
    if names:
        context.layout = f"{len(names)} channels"
    return names


def raise_if_machine(error: Exception) -> None:
    """Raise an error again if it says nothing about the sound: the disk is full, memory is short."""
    code = error.errno if isinstance(error, av.error.FFmpegError) else None
    if code is not None and code < FFMPEG and code not in OF_THE_FILE:
        raise error
