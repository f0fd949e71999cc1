"""Could PyAV's demuxer answer what povwatch/container answers when a file arrives, and at what cost?

    python benchmarks/containers_by_pyav.py [--cuts 12] [--files 10000] [--children 20] [--frames 432000]

First the answers. Every file that tests/unit/container makes is looked at whole, cut off, grown since its size was
taken, with zeros for its rest, and with zeros in its middle. Four ways answer:

- `container`: povwatch/container;
- `index`: PyAV opens the file, and the demuxer's index is compared with the file's size;
- `packets`: the same, then PyAV reads every packet; frames are counted where the container says how many there are;
- `inspect`: the look that povwatch takes at what seems whole, which decodes. It tells nothing of open ends or per cent.

The signature names the demuxer for PyAV, as it does for media children.
Then the cost a file: for `--files` small files, for one of `--frames` frames (two hours at 60 a second) in each
container, and for files whose index is a lie. Each measurement has a process of its own; `in a child` means that a
child is started for each file as media children are.
`--cases WORD` compares only the cases with that word in their name, and prints each wrong answer.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from povwatch import container
from povwatch.container import Kind, signature
from povwatch.media import child
from povwatch.media.run import EXAMINE, SMALL, call
from povwatch.process.child import Child
from povwatch.process.start import child_environment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

UNPROBED = {"probesize": "32", "analyzeduration": "0"}
"""Options that have FFmpeg read no packet to find out what the streams are."""

ZEROS = 32
RUN = 4096
"""Bytes of zeros that no compressed frame begins with, and that H.264 and H.265 never have inside."""

LAST = 0.025
"""Seconds by which the last packet may end before the duration that a Matroska file promises."""

BEHIND = 16
"""Bytes that may follow the last packet of a Matroska file without a duration: the packet's own header, no more."""

APART = 10
"""Per cent of the file by which an answer to "how much has come" may be wrong."""

WAYS = ("container", "index", "packets", "inspect")


@dataclass
class Answer:
    """What one way says of a file."""

    whole: bool
    percent: float | None = None
    not_video: str | None = None
    end_known: bool | None = None
    """None where the way cannot tell."""

    def to_json(self) -> dict[str, Any]:
        """As JSON has it, for a media child."""
        return asdict(self)

    @property
    def words(self) -> str:
        """The verdict."""
        if self.not_video:
            return "no video"
        if not self.whole:
            return "waits"
        return "whole, open end" if self.end_known is False else "whole"


def by_container(path: str, size: int, *, brief: bool = False) -> Answer:
    """What povwatch says."""
    fd = os.open(path, os.O_RDONLY)
    try:
        report = container.examine(fd, size, brief=brief)
    finally:
        os.close(fd)
    return Answer(report.complete, report.percent, report.not_video, report.end_known)


def by_pyav(path: str, size: int, *, packets: bool) -> Answer:
    """What PyAV's demuxer says: `packets` has every packet read, not the index alone."""
    import av  # noqa: PLC0415 - the process that measures povwatch/container does without it
    import av.error  # noqa: PLC0415

    with Path(path).open("rb") as file:
        kind = signature.video_kind(file.read(signature.HEAD))
    demuxer = signature.DEMUXERS[kind] if kind else None
    options = {
        "format_whitelist": demuxer or ",".join(signature.DEMUXERS.values()),
        "protocol_whitelist": "file,subfile",
        "ignore_editlist": "1",  # or samples that an edit list hides are in no index
        **UNPROBED,
    }
    sampled = f"subfile,,start,0,end,{size},,:{path}"  # whatever is added meanwhile does not count
    try:
        with av.open(sampled, format=demuxer, options=options, metadata_errors="replace") as opened:
            return _judge(opened, size, packets=packets)
    except (av.error.FFmpegError, OSError):
        return Answer(whole=False)


def _judge(opened: Any, size: int, *, packets: bool) -> Answer:  # noqa: ANN401 - PyAV is imported late
    if not opened.streams.video:
        # A beginning of which the list of streams has not arrived has none either.
        words = "sound only" if opened.streams.audio else None
        return Answer(whole=False, not_video=words)
    header = 8 if opened.format.name == "avi" else 0  # its index names a chunk, whose header comes first
    need = max(
        (entry.pos + entry.size + header for stream in opened.streams for entry in stream.index_entries), default=0
    )
    if need > size:
        return Answer(whole=False, percent=100 * size / need)
    ends = None if opened.duration or "matroska" not in opened.format.name else False
    if not packets:
        return Answer(whole=True, end_known=ends)
    share = _arrived(opened, size)
    if share is None:
        return Answer(whole=True, end_known=ends)
    return Answer(whole=False, percent=100 * share or None)


def _arrived(opened: Any, size: int) -> float | None:  # noqa: ANN401
    """The part of the frames that is there, 0 where that is not known; None if every packet can be read."""
    import av.error  # noqa: PLC0415

    promised = {stream.index: stream.frames for stream in opened.streams.video}
    seen: Counter[int] = Counter()
    last, end = 0.0, 0
    good = True
    try:
        for packet in opened.demux():
            if not packet.size:
                continue
            seen[packet.stream_index] += 1
            if packet.pts is not None:
                last = max(last, float((packet.pts + (packet.duration or 0)) * packet.time_base))
            end = max(end, (packet.pos or 0) + packet.size)
            good = good and not packet.is_corrupt and not _unwritten(packet)
    except av.error.FFmpegError:
        good = False
    shares = [seen[index] / frames for index, frames in promised.items() if frames]
    if "matroska" in opened.format.name and opened.duration:
        seconds = opened.duration / 1_000_000
        shares.append(1.0 if last >= seconds - LAST else last / seconds)
    elif "matroska" in opened.format.name:  # nothing may follow the last packet: it may be the next one's beginning
        good = good and size - end <= BEHIND
    share = min(shares, default=0.0)
    if good and (not shares or share >= 1):
        return None
    return share if share < 1 else 0.0


def _unwritten(packet: Any) -> bool:  # noqa: ANN401
    """Whether zeros are where a frame of compressed video should be."""
    if packet.stream.type != "video" or packet.stream.codec_context.name in {"rawvideo", "v210"}:
        return False
    data = bytes(packet)
    inside = packet.stream.codec_context.name in {"h264", "hevc"} and bytes(RUN) in data
    return inside or (len(data) >= ZEROS and not data[:ZEROS].strip(b"\0"))


def by_inspect(path: str, size: int) -> Answer:
    """What the look says that follows in povwatch once a file seems whole: it decodes."""
    from povwatch.core.errors import NotAVideo  # noqa: PLC0415
    from povwatch.media.probe import inspect  # noqa: PLC0415 - loads PyAV

    with Path(path).open("rb") as file:
        kind = signature.video_kind(file.read(signature.HEAD))
    if kind is None or Path(path).stat().st_size != size:  # the daemon does not believe a look at a file that grew
        return Answer(whole=False)
    try:
        return Answer(inspect(path, str(kind)).complete)
    except NotAVideo as error:
        return Answer(whole=False, not_video="sound only" if "sound but no video" in error.what else None)


def look(way: str, path: str, size: int) -> Answer:
    """One way's answer."""
    if way == "inspect":
        return by_inspect(path, size)
    return by_container(path, size) if way == "container" else by_pyav(path, size, packets=way == "packets")


def in_child(path: str, size: int, **_: object) -> Answer:
    """A media child's work: see `asked`."""
    return by_pyav(path, size, packets=True)


def asked(path: str, size: int) -> dict[str, Any]:
    """What a child says that is started as media children are, but for what it does."""
    with_pyav = Child.start([sys.executable, "-I", __file__, "look"], env=child_environment(SMALL))
    with_pyav.send({"args": {"path": path, "size": size}, "limits": asdict(EXAMINE), "parent": os.getpid()})
    answers: list[dict[str, Any]] = []
    while with_pyav.open:
        answers += with_pyav.listen(10)[0]
    with_pyav.close()
    return dict(answers[-1]["result"])


# The cases


def cases() -> Iterator[tuple[str, str, Callable[[], bytes], str]]:
    """(group, name, what makes it, what is true of it)."""
    whole, missing, others = (
        importlib.import_module(f"unit.container.test_{n}") for n in ("whole", "missing", "not_video")
    )
    made = importlib.import_module("support.made_containers")
    for name, (kind, make) in (whole.WHOLE | whole.OPEN_ENDED).items():
        yield _group(kind, name), name, make, "whole, open end" if name in whole.OPEN_ENDED else "whole"
    for name, make in missing.FILMS.items():
        yield _group(None, name), f"{name}, larger", make, "whole"
    for name, (kind, options) in missing.MUTED.items():
        yield (
            _group(None, name),
            f"muted {name}",
            lambda kind=kind, options=options: made.video(
                kind, sound="pcm_s16le", silent=True, size=(320, 240), **options
            ),
            "whole",
        )
    for kind, pixels in missing.RAW:
        yield (
            _group(None, kind),
            f"black raw {kind} {pixels}",
            lambda kind=kind, pixels=pixels: made.video(kind, "rawvideo", frames=4, pix_fmt=pixels, black=True),
            "whole",
        )
    for first in (b"wide", b"mdat", b"moov"):
        yield (
            "MP4, MOV",
            f"mov that begins with {first.decode()}",
            lambda first=first: made.beginning_with(first),
            "whole",
        )
    live = whole.OPEN_ENDED["mkv down a pipe"][1]
    tags = b"\x12\x54\xc3\x67\xa0\xec\x9e" + bytes(30)
    yield "Matroska, open end", "mkv down a pipe, tags at its end", lambda: live() + tags, "whole, open end"
    yield "MP4, MOV", "mp4 with an edit list", _front_cut, "whole"
    for name, (data, _, _) in others.OTHERS.items():
        yield "no video", name, lambda data=data: data, "no video"
    for name, make in others.SOUND.items():
        yield "no video", f"sound in {name}", make, "no video"


def _group(kind: Kind | None, name: str) -> str:
    if "OpenDML" in name:
        return "OpenDML"
    if "fragment" in name or "hybrid" in name or "segment" in name:
        return "MP4, fragmented"
    if "pipe" in name or "live" in name:
        return "Matroska, open end"
    if kind is Kind.AVI or name.startswith("avi"):
        return "AVI"
    if kind is Kind.MATROSKA or name.startswith(("mkv", "webm", "matroska")):
        return "Matroska, WebM"
    return "MP4, fast start" if "faststart" in name else "MP4, MOV"


def _front_cut() -> bytes:
    clips, damaged = (importlib.import_module(f"support.{name}") for name in ("clips", "damaged"))
    with tempfile.TemporaryDirectory() as folder:
        source = clips.make_clip(Path(folder, "long.mp4"), frames=48, size=(192, 128))
        return bytes(damaged.cut_front(source, Path(folder, "clip.mp4"), Fraction(1, 2)).read_bytes())


@dataclass
class Change:
    """A file as it may be found."""

    words: str
    data: bytes
    size: int
    """Bytes that were there when it was sampled."""
    there: int
    """Bytes up to the first one that is missing."""
    percent: float | None = None
    """How much has come; None where the file is whole, or lacks a part in its middle."""


def changes(data: bytes, cuts: int) -> Iterator[Change]:
    """A whole file, and what it may be before it is whole."""
    total = len(data)
    yield Change("whole", data, total, total)
    lengths = [total * k // (cuts + 1) for k in range(1, cuts + 1)]
    for length in (*lengths, total - total // 50, total - 100, total - 1):
        yield Change("cut off", data[:length], length, length, 100 * length / total)
    grown = total * 6 // 10
    yield Change("grown since its size was taken", data, grown, grown, 100 * grown / total)
    for length in lengths:
        yield Change("zeros to its end", data[:length] + bytes(total - length), total, length, 100 * length / total)
    for part in (3, 5, 7):
        low, gap = total * part // 10, total // 8
        yield Change("zeros in its middle", data[:low] + bytes(gap) + data[low + gap :], total, low)


def compare(cuts: int, word: str) -> None:
    """Print how often each way is wrong, a line for each kind of file and change."""
    rows: dict[tuple[str, str], Counter[str]] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "clip")
        for group, name, make, truth in cases():
            if word not in name:
                continue
            data = make()
            path.write_bytes(data)
            frames_end = _frames_end(str(path)) if truth != "no video" else 0
            for change in changes(data, cuts) if frames_end else islice(changes(data, 0), 1):
                path.write_bytes(change.data)
                row = rows.setdefault((group, change.words), Counter())
                row["files"] += 1
                row["asked"] += change.percent is not None
                for way in WAYS:
                    answer = look(way, str(path), change.size)
                    wrong = _wrong(way, answer, change, truth)
                    row[f"{way} wrong"] += wrong
                    row[f"{way} lacks frames"] += wrong and answer.whole and change.there < frames_end
                    row[f"{way} told"] += _near(answer.percent, change.percent)
                    if word and wrong:
                        print(f"{name}, {change.words}, {change.there} of {len(data)} bytes: {way} says {answer}")
    print("wrong (of these: says whole, though frames are missing); per cent: how much has come, within 10")
    print(
        f"{'':20} {'':30}  files  " + "  ".join(f"{way:10}" for way in WAYS) + "  per cent of  " + " ".join(WAYS[:-1])
    )
    for (group, words), row in [*rows.items(), (("all", ""), sum(rows.values(), Counter()))]:
        wrong = "  ".join(f"{row[f'{way} wrong']:4} ({row[f'{way} lacks frames']:3}) " for way in WAYS)
        told = " ".join(f"{row[f'{way} told']:{len(way)}}" for way in WAYS[:-1])
        print(f"{group:20} {words:30}  {row['files']:5}  {wrong}  {row['asked']:11}  {told}")


def _wrong(way: str, answer: Answer, change: Change, truth: str) -> bool:
    if way == "inspect" and truth != "no video":
        return answer.whole is not (change.words == "whole")
    if truth == "no video" or change.words != "whole":
        return answer.words != ("no video" if truth == "no video" else "waits")
    return answer.words != truth


def _near(said: float | None, true: float | None) -> bool:
    return said is not None and true is not None and abs(said - true) <= APART


def _frames_end(path: str) -> int:
    """The byte behind the last packet of a whole file."""
    import av  # noqa: PLC0415

    with av.open(path) as opened:
        return max((packet.pos + packet.size for packet in opened.demux() if packet.size and packet.pos), default=0)


# The cost


def measure(way: str, folder: str, times: int) -> dict[str, float]:
    """Look at the first files of a folder one after the other, in this process or in a child each."""
    files = sorted(os.scandir(folder), key=lambda entry: entry.name)[:times]
    if way in {"index", "packets"}:
        importlib.import_module("av")
    started = _peak()
    read, began = _read(), (time.perf_counter(), _processor())
    whole = 0
    for entry in files:
        size = entry.stat().st_size
        if way == "packets in a child":
            whole += asked(entry.path, size)["whole"]
        elif way == "container in a child":
            whole += call("examine", {"path": entry.path, "size": size}, timeout=60, limits=EXAMINE)["complete"]
        elif way == "container, brief":
            with contextlib.suppress(container.TakesLonger):
                whole += by_container(entry.path, size, brief=True).whole
        else:
            whole += look(way, entry.path, size).whole
    in_children = "child" in way
    return {
        "files": len(files),
        "whole": whole,
        "milliseconds": 1000 * (time.perf_counter() - began[0]) / len(files),
        "processor": 1000 * (_processor() - began[1]) / len(files),
        "started": started,
        "peak": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1000 if in_children else _peak(),
        "read": (_read() - read) / len(files) / 1000,
    }


def _processor() -> float:
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def _read() -> int:
    """Bytes that this process has read so far."""
    return int(Path("/proc/self/io").read_text().split()[1])


def _peak() -> float:
    """MB of memory that this process has had at the most; ru_maxrss would count its parent's."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1000


def cost(files: int, children: int, frames: int) -> None:
    """Print what each way costs a file."""
    made = importlib.import_module("support.made_containers")
    with tempfile.TemporaryDirectory() as name:
        small = Path(name, "small")
        small.mkdir()
        film = made.video(sound="aac")
        (small / "clip-00000.mp4").write_bytes(film)
        for i in range(1, files):
            os.link(small / "clip-00000.mp4", small / f"clip-{i:05}.mp4")
        print(f"\n{files} files of {len(film) // 1000} kB, a file:")
        _table(small, files, children)
        for container_name, options in LONG.items():
            folder = Path(name, container_name)
            folder.mkdir()
            clip = long_clip(folder / "clip", container_name.split()[0], frames, options)
            print(f"\none {container_name} of {frames} frames, {clip.stat().st_size / 1e6:.0f} MB:")
            _table(folder, 1, 1)
        for number, (what, data) in enumerate(lies().items()):
            folder = Path(name, f"lie-{number}")
            folder.mkdir()
            (folder / "clip").write_bytes(data)
            print(f"\n{what}:")
            _table(folder, 1, 1)


def lies() -> dict[str, bytes]:
    """Files whose index is a lie."""
    hostile = importlib.import_module("support.hostile")
    return {
        "an index of 10 MB that unpacks to 20 million samples": hostile.film(hostile.packed_sizes(20_000_000)),
        "an index of 5 million samples, most of them past the end": hostile.long_index(5_000_000),
        "a track of 2,000 boxes within boxes": hostile.nested(2_000),
    }


LONG: dict[str, dict[str, str]] = {
    "mp4": {},
    "mp4 fragments": {"movflags": "frag_keyframe+empty_moov"},
    "matroska": {},
    "avi": {},
}


def _table(folder: Path, files: int, children: int) -> None:
    first = None
    print("  way                          files  whole     ms  processor ms  ratio  started MB  peak MB  read kB")
    for way in (
        "container, brief",
        "container",
        "index",
        "packets",
        "container in a child",
        "packets in a child",
    ):
        times = children if "child" in way else files
        asked_for = [sys.executable, __file__, "--measure", way, str(folder), str(times)]
        found = json.loads(subprocess.run(asked_for, check=True, capture_output=True).stdout)
        first = found["processor"] if way == "container" else first
        ratio = f"{found['processor'] / first:.1f}" if first else "-"
        print(
            f"  {way:27} {found['files']:6} {found['whole']:6} {found['milliseconds']:6.2f} {found['processor']:13.2f} "
            f"{ratio:>6} {found['started']:11.0f} {found['peak']:8.0f} {found['read']:8.0f}",
            flush=True,
        )


def long_clip(path: Path, kind: str, frames: int, options: dict[str, str]) -> Path:
    """A clip of 60 frames a second, whose few encoded frames are repeated."""
    import av  # noqa: PLC0415

    made = importlib.import_module("support.made_containers")
    part = path.with_name("part")
    codec, coded = ("mpeg4", {}) if kind == "avi" else ("libx264", {"bf": "0"})
    part.write_bytes(made.video(kind, codec, frames=60, size=(32, 32), black=True, codec_options=coded))
    with av.open(str(part)) as source, av.open(str(path), "w", format=kind, options=options) as out:
        stream = out.add_stream_from_template(source.streams.video[0])
        stream.time_base = Fraction(1, 60)
        packets = [(bytes(packet), packet.is_keyframe) for packet in source.demux(video=0) if packet.size]
        for k in range(frames):
            data, key = packets[k % len(packets)]
            packet = av.Packet(data)
            packet.stream, packet.pts, packet.dts, packet.duration = stream, k, k, 1
            packet.time_base, packet.is_keyframe = Fraction(1, 60), key
            out.mux(packet)
    part.unlink()
    return path


def main() -> None:
    """Compare the answers, then measure the cost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cuts", type=int, default=12, help="places at which each file is cut off; 0: compare nothing")
    parser.add_argument("--files", type=int, default=10_000, help="small files; 0: measure nothing")
    parser.add_argument("--children", type=int, default=20, help="of them, how many are looked at by a child each")
    parser.add_argument("--frames", type=int, default=2 * 3600 * 60, help="frames of the long clip")
    parser.add_argument("--cases", default="", help="only these cases, each difference in a line")
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        way, folder, times = args.measure
        print(json.dumps(measure(way, folder, int(times))))
        return
    if args.cuts:
        compare(args.cuts, args.cases)
    if args.files:
        cost(args.files, args.children, args.frames)


if __name__ == "__main__":
    if sys.argv[1:] == ["look"]:
        child.OPERATIONS["look"] = ("__main__:in_child", child.OPERATIONS["examine"][1])
        child.main()
    else:
        main()
