"""Makes the publishable file: generated frame k with the time, size and sound of source frame k.

If nothing about the pictures has to change, their packets are put on the source's times without any loss. Else they are
encoded once more.
"""

from __future__ import annotations

from contextlib import ExitStack
from fractions import Fraction
from itertools import chain, takewhile
from pathlib import Path
from typing import TYPE_CHECKING

from povwatch.core.errors import CheckFailed
from povwatch.media import encode, times
from povwatch.media.errors import RUN_AGAIN
from povwatch.media.info import Finished, Prepared, VideoInfo
from povwatch.media.picture import FULL, NO_PAD, Fitted
from povwatch.media.prepare import read_times
from povwatch.media.sound import sound_file
from povwatch.media.source import Source, opened, turn_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from av.audio.stream import AudioStream
    from av.container import InputContainer, OutputContainer
    from av.packet import Packet
    from av.video.stream import VideoStream

    from povwatch.media.times import Grid


def finish(
    info: dict[str, Any],
    prepared: dict[str, Any],
    generated: str,
    out_path: str,
    *,
    frames: int | None = None,
    panels: int = 1,
    keep_size: bool = False,
    sound: str | None = None,
    report: Callable[[float], None] = lambda _: None,
) -> Finished:
    """Put a generated video back on its source.

    Args:
        info: VideoInfo of the clip as JSON.
        generated: the engine's MP4.
        out_path: the publishable file.
        frames: frames that were asked for, from the first on; None for all.
        panels: pictures side by side in a generated frame (show_input, show_control_condition).
        keep_size: keep the generated size (keep_input_resolution = false).
        sound: the file that sound.sound made; None for no sound.

    Raises:
        CheckFailed: the generated video cannot be read or has another number of frames.
        MediaError: the sound's file is gone.
    """
    about, ready = VideoInfo.from_json(info), Prepared.from_json(prepared)
    shown = read_times(ready.times)
    base = Fraction(ready.time_base)
    grid = times.source_grid(shown, base, Fraction(ready.rate), constant=ready.constant)
    count = min(frames or ready.frames, ready.frames)
    grid = grid.first(count)
    panel = (ready.width, ready.height)
    aspect = Fraction(about.sample_aspect)
    pad = ready.pad
    try:
        with ExitStack() as stack:
            made = stack.enter_context(opened(generated, "mp4"))
            container = stack.enter_context(encode.mp4(out_path, grid.timescale))
            if keep_size:
                panel, pad, aspect = (made.stream.width // panels, made.stream.height), NO_PAD, Fraction(1)
            fit = Fitted(panel, pad, panels)
            order = _order(generated, fit) if aspect == 1 else None
            pictures = _copied(made, container, grid, order) if order else _encoded(made, container, grid, fit, aspect)
            heard = None
            if sound is not None:
                cut = grid.end if count < ready.frames else None
                heard = _copied_sound(*stack.enter_context(sound_file(sound)), container, cut)
            _mux(container, pictures, heard or iter(()), lambda moment: report(float(moment / grid.end)))
            outcome = Finished(
                path=out_path,
                frames=count,
                width=fit.width,
                height=fit.height,
                remuxed=order is not None,
                sound=heard is not None,
            )
    except BaseException:
        Path(out_path).unlink(missing_ok=True)
        raise
    return outcome


def _copied(made: Source, container: OutputContainer, grid: Grid, order: list[int]) -> Iterator[Packet[VideoStream]]:
    """The generated packets, on the source's times. The container has their stream when this returns."""
    if len(order) != len(grid.ticks):
        raise _wrong_count(len(order), len(grid.ticks))
    out = container.add_stream_from_template(made.stream)
    out.time_base = Fraction(1, grid.timescale)

    def packets() -> Iterator[Packet[VideoStream]]:
        for packet in encode.retimed(order, (p for p in made.packets() if p.size), grid):
            packet.stream = out
            yield packet

    return packets()


def _encoded(
    made: Source, container: OutputContainer, grid: Grid, fit: Fitted, aspect: Fraction
) -> Iterator[Packet[VideoStream]]:
    """The generated frames, fitted and encoded once more. The container has their stream when this returns."""
    frames = (fit(frame) for frame in made.frames())
    first = next(frames, None)
    if first is None:
        raise CheckFailed("The engine made a video of which no frame can be decoded.", RUN_AGAIN)
    encoder = encode.Encoder(container, first, grid, encode.PUBLISHED, aspect)
    wanted = len(grid.ticks)

    def packets() -> Iterator[Packet[VideoStream]]:
        count = 0
        for frame in chain((first,), frames):
            if count == wanted:
                raise _wrong_count("more", count)
            count += 1
            yield from encoder.add(frame)
        if count < wanted:
            raise _wrong_count(count, wanted)
        yield from encoder.rest()

    return packets()


def _copied_sound(
    container: InputContainer, stream: AudioStream, into: OutputContainer, end: Fraction | None
) -> Iterator[tuple[Fraction, Packet[AudioStream]]] | None:
    """The packets of the sound that was made for a result, each with its time in seconds; None if there are none.

    Args:
        end: seconds at which the sound is cut, or None.
    """
    base = stream.time_base or Fraction(1, 48_000)
    usable = (p for p in container.demux(stream) if p.size and p.dts is not None)
    timed = ((p.pts * base, p) for p in usable if p.pts is not None)
    wanted = timed if end is None else takewhile(lambda found: found[0] < end, timed)
    first = next(wanted, None)
    if first is None:
        return None
    out = into.add_stream_from_template(stream)

    def packets() -> Iterator[tuple[Fraction, Packet[AudioStream]]]:
        for moment, packet in chain((first,), wanted):
            packet.stream = out
            yield moment, packet

    return packets()


def _order(generated: str, fit: Fitted) -> list[int] | None:
    """The frame that each packet shows, if the packets can be published unchanged; else None."""
    with opened(generated, "mp4") as made:
        context = made.stream.codec_context
        first = next(made.frames(), None)
        if (
            first is None
            or turn_of(first)
            or any(fit.pad)
            or context.name != "h264"
            or first.format.name not in {"yuv420p", "yuv444p"}
            or (first.width, first.height) != (fit.width, fit.height)
            or (made.stream.sample_aspect_ratio or 1) != 1
            or first.color_range == FULL
        ):
            return None
    with opened(generated, "mp4") as made:
        packets = [(p.pts, p.is_discard) for p in made.packets() if p.size]
    moments = sorted(pts for pts, discarded in packets if pts is not None and not discarded)
    place = {pts: index for index, pts in enumerate(moments)}
    if len(place) != len(packets):  # a time is missing, used twice, or cut off by an edit list
        return None
    return [place[pts] for pts, _ in packets if pts is not None]


def _mux(
    container: OutputContainer,
    pictures: Iterator[Packet[VideoStream]],
    sounds: Iterator[tuple[Fraction, Packet[AudioStream]]],
    report: Callable[[Fraction], None],
) -> None:
    """Write both streams in the order of time, so that players need not seek and memory stays small."""
    waiting: list[tuple[Fraction, Packet[AudioStream]]] = []
    for packet in pictures:
        moment = (packet.pts or 0) * packet.time_base
        report(moment)
        while not waiting or waiting[0][0] <= moment:
            if waiting:
                container.mux(waiting.pop()[1])
            following = next(sounds, None)
            if following is None:
                break
            waiting.append(following)
        container.mux(packet)
    for _, rest in chain(waiting, sounds):
        container.mux(rest)


def _wrong_count(made: int | str, asked: int) -> CheckFailed:
    return CheckFailed(f"The engine made {made} frames instead of {asked}.", RUN_AGAIN)
