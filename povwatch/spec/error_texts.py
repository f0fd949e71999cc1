"""The texts of error files. Pure.

They are for people who have only the folder: no terminal, no log, and perhaps no idea of povwatch. So each text has the
same parts, in this order: what happened; what helps, which may name commands; what can be done in the folder alone;
when povwatch looks again; and what the technical words in it mean.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from povwatch.core.command import program
from povwatch.core.units import spell_duration


class Case(Enum):
    """What kind of trouble a clip is in: it decides what can be done about it in the folder alone."""

    NO_VIDEO = "is rejected: it cannot be used as a video"
    """The file is no video."""
    INCOMPLETE = "is still incomplete"
    """Part of the file is missing."""
    FAILED = "failed: no new video was made of it"
    """It was given up; nothing was generated."""
    BLOCKED = "was refused by the engine's guardrail"
    """Nobody is to get this result."""
    NOT_FINISHED = "was generated, and could not be finished"
    """The engine's work is kept."""
    NOT_PUBLISHED = "was generated, and could not be published"
    """The same, a step later."""
    LOOK_NAME = "has a JSON that cannot be used"
    """The name of a look's JSON is refused."""
    JSON = "cannot be run as it stands"
    """The JSON is wrong."""

    @property
    def happened(self) -> str:
        """Continues a sentence that begins with the file's name."""
        return self.value


@dataclass(frozen=True, slots=True)
class Files:
    """The names of what lies beside each other, as they are shown, without their folder."""

    clip: str
    spec: str
    go: str
    own: bool
    """Whether this is about the clip's own look: copying the clip again runs all of its looks again."""


_EDIT = "Change {spec} and save it: then it runs again, as the file says by then."
_COPY = "Or copy {clip} here once more, over the one that is there: then it runs again as it was."
_GO = "An empty file called {go} beside it has it start without the time that is left for edits."
_DELETE = "Or delete {clip}, if it is not needed."

HERE: dict[Case, tuple[str, ...]] = {
    Case.NO_VIDEO: (
        "Put the right video here, under the same name. If this is one, export it anew as MP4 (H.264) first.",
        _DELETE,
    ),
    Case.INCOMPLETE: (
        "Copy {clip} here once more, from its beginning to its end, over the one that is there.",
        _DELETE,
    ),
    Case.FAILED: (_EDIT, _COPY, _GO, _DELETE),
    Case.BLOCKED: (
        "Change the prompt in {spec} and save it: then it runs again.",
        "Or put another video here, under the same name.",
        _DELETE,
    ),
    Case.NOT_FINISHED: (
        "Nothing here uses what was generated: ask whoever looks after povwatch.",
        "If you cannot, it can be made anew, which takes as long as before. " + _EDIT,
    ),
    Case.LOOK_NAME: ("Give {spec} another name, or delete it. {clip} itself is not concerned.",),
    Case.JSON: ("Put that right in {spec}, with any text editor, and save it.",),
}
HERE[Case.NOT_PUBLISHED] = HERE[Case.NOT_FINISHED]

OF_A_LOOK = frozenset({Case.FAILED, Case.BLOCKED, Case.NOT_FINISHED, Case.NOT_PUBLISHED})
"""What may happen to one look of a clip, while its other looks are well."""

OWN_JSON = "Or delete {spec}: povwatch then writes a new one, as for a new clip."
LOOK_JSON = "Or delete {spec}: then this look of the clip is not made."

_BY_ITSELF = (
    "povwatch does not try this again by itself. It sees what you change here within {rescan}, and then tries again."
)
AGAIN: dict[Case, str] = {
    Case.INCOMPLETE: "As soon as the file changes, within {rescan}. It goes on by itself once all of it is here.",
    Case.JSON: "Each time that the file is saved, within {rescan}. Until it is right, the clip waits.",
}
"""Whatever is not here: `_BY_ITSELF`."""

HELPS, HELPS_BY_COMMAND = "What helps:", "What helps (commands are typed by whoever looks after povwatch):"

WORDS = {
    "worker": "the program that makes the video",
    "artifact": "the video as the engine has made it, before it is finished",
    "engine": "what makes the video out of the clip",
    "guardrail": "the part of the engine that refuses prompts and videos which its licence forbids",
    "hook": "a program of your own that runs before or after each clip",
    "look": "one of several versions of the same clip",
    "GPU": "the graphics card that does the computing",
    "Xid": "a code by which the driver of the GPU tells its faults",
    "journalctl": "where the machine's log is; for whoever looks after it",
    "seed": "a number in the JSON; another one gives another video",
    "prompt": "the text in the JSON that says what the video is to show",
    "JSON": "the file beside the clip that says how it is run",
}
"""Technical words that a text may have, and what they mean."""


def error_text(case: Case, files: Files, what: str, todo: str, *, rescan: float) -> str:
    """The text of an error file.

    Args:
        case: the kind of trouble.
        files: the names of what lies beside each other.
        what: what happened, as sentences; for a wrong JSON with its lines.
        todo: what helps, as sentences; it may name commands. Empty if that is in `what`.
        rescan: seconds between two scans of the folder.
    """
    here = list(HERE[case] if files.own else (line for line in HERE[case] if line not in {_COPY, _DELETE}))
    one_look = case in OF_A_LOOK and not files.own
    if case is Case.JSON or one_look:
        here.append(OWN_JSON if files.own else LOOK_JSON)
    names = {"clip": files.clip, "spec": files.spec, "go": files.go, "rescan": spell_duration(rescan)}
    subject = files.spec if case is Case.JSON else files.clip
    if one_look:
        subject = f"{files.spec}, a look of {files.clip},"
    again = AGAIN.get(case, _BY_ITSELF).format(**names)
    parts = [
        "" if what.startswith(f"{subject} {case.happened}") else f"{subject} {case.happened}.",
        what.strip(),
        f"{HELPS_BY_COMMAND if program() in todo else HELPS}\n{todo.strip()}" if todo.strip() else "",
        "\n".join(["What you can do here, in this folder:", *(f"- {line.format(**names)}" for line in here)]),
        f"When povwatch looks again:\n{again}",
        "This file goes away by itself when that is fixed.",
        _meanings(f"{subject} {case.happened} {what} {todo}"),
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def _meanings(said: str) -> str:
    used = [word for word in WORDS if re.search(rf"\b{word}s?\b", said)]
    return "\n".join(["Words:", *(f"- {word}: {WORDS[word]}" for word in used)]) if used else ""
