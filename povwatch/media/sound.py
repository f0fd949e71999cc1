"""Makes and verifies the sound of a result before the engine generates. Finishing only copies from this file.

Sound is copied unchanged if MP4 can hold it and players know it. Else it is decoded, laid out by its timestamps, and
encoded in AAC. Sound that cannot be made is left out with a note: sound never fails a clip.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import av.error
from av.audio.layout import AudioLayout

from povwatch.core.sentences import joined
from povwatch.media import channels, encode
from povwatch.media.hearing import Heard, decoder_of, frames, listened, see_whose
from povwatch.media.info import Prepared, SoundTrack, VideoInfo
from povwatch.media.prepare import read_times
from povwatch.media.source import opened, read_only
from povwatch.media.spans import holes, lead
from povwatch.media.track import track

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from av.audio.stream import AudioStream

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
        prepared: its Prepared as JSON.
        out_path: the file; it is not made if there is no sound.
        decode: False to copy without decoding. For sound that crashed a decoder.
        report: gets the fraction that is done.

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
    work = _Work(source, about.container, out_path, shift=shift, until=until, report=report)
    try:
        made = work.first_that_sounds(decode=decode)
    except BaseException:
        Path(out_path).unlink(missing_ok=True)
        raise
    if made.audio is None:
        Path(out_path).unlink(missing_ok=True)
    return made


NO_DECODER = "Its sound cannot be had: it has a codec that is unknown here."

FAILS = (av.error.FFmpegError, ValueError, IndexError)
"""What PyAV raises for sound that it cannot copy or encode, and for a failing disk; see hearing.see_whose."""


class _NotProvenError(Exception):
    """The finished sound differs from the sound that was heard."""


class _Work:
    """Turns one clip's sound into a file of its own."""

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
        """The open clip and the current track."""
        with opened(self.source, self.kind) as clip:
            yield clip, clip.sounds[self.track]

    def decoded(self) -> SoundTrack:
        """Decode the sound, then copy it, or encode it if it cannot be copied."""
        with self._sound() as (clip, stream):
            context = decoder_of(stream)
            if context is None:
                return SoundTrack(problem=NO_DECODER)
            name = context.name
            heard = listened(clip.container, stream, self.report)
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
                see_whose(error)  # the sound is encoded instead
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
            with track(self.out_path) as (container, copy):
                if not any(packet.size for packet in container.demux(copy)):
                    return SoundTrack(problem="Its sound cannot be had: it is announced, and there is none.")
        except FAILS as error:
            see_whose(error)
            return SoundTrack(problem=f"Its sound cannot be decoded here, and MP4 does not hold it: {_said(error)}.")
        return SoundTrack(path=self.out_path, audio=context.name, copied=True)

    # -- copied

    def _copied(self, heard: Heard, notes: list[str]) -> SoundTrack:
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

    def _encoded(self, name: str, heard: Heard, notes: list[str]) -> SoundTrack:
        folds = [channels.fold(names) for _, _, names in heard.kinds]
        try:
            return self._laid_out(heard, folds, notes)
        except (*FAILS, _NotProvenError) as error:
            see_whose(error)  # the resampler does not know one of the layouts
        folds = [channels.alternate(len(names)) for _, _, names in heard.kinds]
        try:
            return self._laid_out(heard, folds, notes)
        except (*FAILS, _NotProvenError) as error:
            see_whose(error)
            return SoundTrack(problem=f"Its sound ({name}) cannot be encoded anew: {_said(error)}.")

    def _laid_out(self, heard: Heard, folds: list[channels.Fold], notes: list[str]) -> SoundTrack:
        from povwatch.media.laying import Form, Layer  # noqa: PLC0415 - NumPy: a clip whose sound is copied does without

        sizes = [AudioLayout(fold.layout).nb_channels for fold in folds]
        named = [channels.Fold(AudioLayout(fold.layout).name, fold.matrix, fold.said) for fold in folds]
        layout = channels.target(named, sizes)
        highest = max(rate for _, rate, _ in heard.kinds)
        rate = min((r for r in AAC_RATES if r >= highest), default=48_000)
        size = AudioLayout(layout).nb_channels
        with self._sound() as (clip, stream), encode.mp4(self.out_path, rate) as container:
            out = container.add_stream("aac", rate=rate, layout=layout)
            out.codec_context.bit_rate = BIT_RATE * size
            layer = Layer(container, out, rate, size, layout)
            decoded = enumerate(frames(clip.container, stream))
            found = heard.spans
            for span, after in zip(found, [*(s.first for s in found[1:]), len(heard.lengths)], strict=True):
                form = Form(named[heard.forms[span.first]], layout, rate)
                taken = layer.begin(span.start + float(self.shift), self.until)
                if not taken:
                    late = f"what sounds {span.start - self.until:.0f} s after the end of the picture is left out"
                    notes = [*notes, late] if late not in notes else notes
                for k, (frame, _) in decoded:
                    if taken:
                        layer.add(form.samples(frame))
                    if k + 1 == after:
                        break
                if taken:
                    layer.add(form.samples(None))
            layer.close()
        lost = [fold.said for fold in named if fold.said]
        lost += [
            f"{fold.layout} is mixed down to {layout}"
            for fold, many in zip(named, sizes, strict=True)
            if many > size and not fold.said
        ]
        return self._proven(heard, copied=False, notes=[*dict.fromkeys(lost), *notes])

    # -- verified

    def _proven(self, heard: Heard, *, copied: bool, notes: list[str]) -> SoundTrack:
        """Decode the finished sound.

        Raises:
            _NotProvenError: it differs from the sound that was heard.
        """
        with track(self.out_path) as (container, stream):
            name = stream.codec_context.name
            made = listened(container, stream)
        if not made.lengths:
            raise _NotProvenError("nothing of it can be decoded again")
        if copied and (made.damaged > heard.damaged or abs(made.seconds - heard.seconds) > NEAR):
            raise _NotProvenError("it does not decode as it did")
        changed = f"Its sound: {'; '.join(notes)}." if notes else ""
        return SoundTrack(path=self.out_path, audio=name, copied=copied, changed=changed)


def _even(heard: Heard) -> bool:
    """Whether packets played one after the other sound right, since players do so whatever the timestamps say."""
    whole = len(heard.kinds) == 1 and not heard.damaged
    if not whole or lead(heard.moments, heard.lengths) > IN_STEP:
        return False
    return all(abs(off) <= HOLE for _, off in holes(heard.moments, heard.lengths))


def _said(error: Exception) -> str:
    """The failure for people, in FFmpeg's words or ours, not Python's."""
    if isinstance(error, _NotProvenError):
        return str(error)
    return getattr(error, "strerror", None) or "FFmpeg does not take it"
