"""What people did to the folders, and so what has to be there in the end: clips, JSONs, markers, words, other files."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from collections import defaultdict
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from support.clips import make_clip

if TYPE_CHECKING:
    import random
    from collections.abc import Mapping
    from pathlib import Path

    from support.daemons import Daemon

MAKES: list[tuple[str, dict[str, Any]]] = [
    (".mp4", {}),
    (".mp4", {"audio": "aac"}),
    (".mov", {}),
    (".mov", {"rotation": 90}),
    (".mkv", {"time_base": Fraction(1, 1000), "times": [k * 33 + k % 3 for k in range(16)]}),
    (".avi", {"codec": "mpeg4"}),
    (".m4v", {"size": (64, 48)}),
]
"""Kinds of clips: a suffix, and arguments for make_clip."""

PLACES = ["", "kitchen", "kitchen/left hand", "dílna"]
SEEDS = [1, 2, 3, 100, 100, 201, 202, 203, 301, 302, 303]
"""What JSONs ask for; tests/engines/tempers.py says what each does."""

LOOKS = ["night", "rain"]
"""Further looks that people ask for."""

STEMS = ["a", "b", "c", "take 1", "übung", "d.e"]


@dataclass(frozen=True)
class Content:
    """A clip's bytes, whatever it is called."""

    sha: str
    file: Path
    """Where it is kept; outside inputs/."""
    suffix: str
    numbers: tuple[int, ...]
    """What its frames are numbered."""
    sound: bool


@dataclass
class World:
    """Everything that people know."""

    daemon: Daemon
    dice: random.Random
    contents: dict[str, Content] = field(default_factory=dict)
    """Every whole clip that there ever was, by its digest."""
    clips: dict[str, str] = field(default_factory=dict)
    """What lies in inputs/ now, whole: path to digest."""
    was: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """Every digest that a path ever had."""
    gone: set[str] = field(default_factory=set)
    """Paths from which something was taken away or moved, ever."""
    odd: dict[str, str] = field(default_factory=dict)
    """What lies in inputs/ under a clip's name and is no whole clip: path to digest."""
    was_odd: set[str] = field(default_factory=set)
    """Paths at which such a thing ever lay."""
    busy: set[str] = field(default_factory=set)
    """Paths at which somebody is at work: nobody else goes there."""
    moved_days: set[str] = field(default_factory=set)
    """Folders that were moved, with JSONs and error files in them of clips that were gone before."""
    texts: dict[str, bytes] = field(default_factory=dict)
    """Files of people in inputs/ that are no clips: path to bytes."""
    shown: dict[str, bytes] = field(default_factory=dict)
    """Files of people in outputs/: their paths and contents."""
    said: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """Verbs that were said of a path."""
    taken: set[str] = field(default_factory=set)
    """Results that somebody took out of outputs/: paths below it."""
    pauses: list[tuple[float, float]] = field(default_factory=list)
    """From the answer to `pause` until `resume` was said; seconds since the epoch, on a clock that nobody sets."""
    pausing: bool = False
    """Whether somebody is at that."""
    counts: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    """How often each thing was done."""

    def __post_init__(self) -> None:
        self.inputs, self.outputs = self.daemon.inputs, self.daemon.outputs
        self.made = self.daemon.folder / "made"
        self.aside = self.daemon.folder / "aside"
        """Where people put results that they move out of outputs/."""
        for folder in (self.made, self.aside, self.outputs):
            folder.mkdir()
        self._numbers = itertools.count()

    # -- clips

    def content(self) -> Content:
        """A clip, most often a new one."""
        draw = self.dice.random()
        suffix, options = MAKES[self.dice.randrange(len(MAKES))]
        first, frames = self.dice.randrange(200), self.dice.randrange(6, 16)
        if draw < 0.1 and self.contents:
            return list(self.contents.values())[int(draw * 10 * len(self.contents))]
        file = self.made / f"{next(self._numbers)}{suffix}"
        make_clip(file, first=first, frames=frames, **_cut(options, frames))
        return self.keep(file, tuple(range(first, first + frames)), sound="audio" in options)

    def keep(self, file: Path, numbers: tuple[int, ...], *, sound: bool) -> Content:
        """Know a clip that was made."""
        found = Content(digest(file.read_bytes()), file, file.suffix, numbers, sound)
        self.contents.setdefault(found.sha, found)
        return found

    def name_for(self, content: Content) -> str:
        """A path for it; often one that there is already."""
        place, stem = self.dice.choice(PLACES), self.dice.choice(STEMS)
        return os.path.join(place, stem + content.suffix)  # noqa: PTH118 - a relative path as text

    def came(self, path: str, content: Content) -> None:
        """It lies there now, whole."""
        self.clips[path] = content.sha
        self.was[path].add(content.sha)
        self.odd.pop(path, None)

    def left(self, path: str) -> None:
        """Nothing lies there any more."""
        self.clips.pop(path, None)
        self.odd.pop(path, None)
        self.gone.add(path)

    def spoilt(self, path: str) -> None:
        """What lies there is no whole clip."""
        self.clips.pop(path, None)
        self.odd[path] = digest((self.inputs / path).read_bytes())
        self.was_odd.add(path)

    def pick(self, paths: Mapping[str, Any] | set[str]) -> str | None:
        """One of these at which nobody is at work; None if there is none."""
        draw = self.dice.random()
        free = sorted(path for path in paths if path not in self.busy)
        return free[int(draw * len(free))] if free else None

    # -- what lies beside

    def spec_of(self, path: str) -> str:
        """The JSON of a clip, as people take it to be: with its full name where there is one."""
        stem = os.path.splitext(path)[0]  # noqa: PTH122 - a relative path as text
        return f"{path}.json" if (self.inputs / f"{path}.json").exists() else f"{stem}.json"

    def look_of(self, path: str, look: str) -> str:
        """The JSON of a further look of a clip, as people take it to be."""
        return f"{self.spec_of(path).removesuffix('.json')}.{look}.json"

    def put(self, path: str, data: bytes) -> None:
        """Write a file of one's own in inputs/, at once."""
        part = self.inputs / f"{path}.new~"
        part.parent.mkdir(parents=True, exist_ok=True)
        self.texts[path] = data
        part.write_bytes(data)
        part.rename(self.inputs / path)

    def drop(self, path: str) -> None:
        """Delete a file that is no clip, whoever wrote it."""
        self.texts.pop(path, None)
        (self.inputs / path).unlink(missing_ok=True)

    def spec(self, path: str, **changes: object) -> bytes:
        """A JSON that can be run."""
        name = os.path.basename(path)  # noqa: PTH119 - a relative path as text
        members = {"name": name, "video_path": name, "prompt": "hands", "edge": {"control_weight": 1.0}} | changes
        return json.dumps(members, indent=2, ensure_ascii=False).encode()


def digest(data: bytes) -> str:
    """As the journal and the manifests have it."""
    return hashlib.sha256(data).hexdigest()


def _cut(options: dict[str, Any], frames: int) -> dict[str, Any]:
    return options | ({"times": options["times"][:frames]} if "times" in options else {})
