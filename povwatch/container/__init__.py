"""Whether a file is a video, and whether it has arrived completely.

Only the file's own structure is read: nothing is decoded, and no other file is opened.
ffprobe cannot tell: it shows a faststart MP4 of which half has arrived with its full duration.
A walk over the boxes (MP4), elements (Matroska) or chunks (AVI) can, and it knows the percentage.
"""

from __future__ import annotations

from povwatch.container import ebml, mp4, riff
from povwatch.container.reader import Reader, TakesLonger
from povwatch.container.report import VIDEO_KINDS, Incomplete, Kind, NoVideo, Report, Whole
from povwatch.container.signature import HEAD, classify
from povwatch.core.sentences import joined

__all__ = ["VIDEO_KINDS", "Kind", "Report", "TakesLonger", "examine"]

WALKS = {Kind.MP4: mp4.walk, Kind.MATROSKA: ebml.walk, Kind.AVI: riff.walk}
"""The walk of each container."""

PLAIN_NAMES = {Kind.MP4: "MP4", Kind.MATROSKA: "Matroska", Kind.AVI: "AVI"}


GLANCE = 500
"""The most steps of a glance: milliseconds."""


def examine(fd: int, size: int, *, glance: bool = False, brief: bool = False) -> Report:
    """Examine a file. It may still grow; only its first `size` bytes count.

    Reads are limited in number and size, whatever the file contains. The descriptor stays open; its offset changes.

    Args:
        fd: a regular file, open for reading.
        size: its size in bytes, from fstat.
        glance: only ask how much has arrived: parts that state their end are skipped.
        brief: give up if it takes longer than a few hundredths of a second. The answer is the same.

    Raises:
        TakesLonger: it would take longer, with `brief`. Then use media.examine, which runs in a child.
        EnvironmentFault: the file cannot be read (a broken disk, a share that went away).
    """
    reader = Reader(fd, size, GLANCE if glance else None, brief=brief)
    kind, words = classify(reader.read(0, HEAD))
    if words is not None:
        return _no_video(kind, words)
    walk = WALKS.get(kind)
    if walk is None:
        why = "The file is empty." if kind is Kind.EMPTY else "Its beginning has not arrived yet."
        return Report(kind, complete=False, why=why)
    try:
        whole = walk(reader)
    except NoVideo as verdict:
        return _no_video(kind, verdict.what)
    except Incomplete as verdict:
        return Report(kind, complete=False, why=_partly(verdict), percent=verdict.percent, video=verdict.video)
    return _whole(kind, whole)


def _no_video(kind: Kind, words: str) -> Report:
    return Report(kind, complete=False, why=f"It is {words}.", video=False, not_video=words)


def _partly(verdict: Incomplete) -> str:
    if verdict.percent is None:
        return verdict.why
    return joined(verdict.why, f"About {int(verdict.percent)} % of it has arrived.")


def _whole(kind: Kind, whole: Whole) -> Report:
    text = f"{PLAIN_NAMES[kind]}, whole."
    if not whole.end_known:
        text = f"{PLAIN_NAMES[kind]}, whole as far as it goes; the format does not say where it ends."
    return Report(kind, complete=True, why=text, video=whole.video, end_known=whole.end_known)
