"""The filters of a guardrail: what each of them is, and what it said of a job. Python 3.10, standard library alone.

cosmos_guardrail (cosmos_guardrail.py) and upstream's guardrail (_src/imaginaire/auxiliary/guardrail) have the same
classes. A runner has `safety_models`, each with `is_safe(input)`, which returns whether the input passes and a message,
and `postprocessors`, each with `postprocess(frames)`. Neither says afterwards which of them it has asked, so they are
listened to.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from povwatch.engines.control_files import file_digest
from povwatch.engines.needs import GUARDS, PROMPT_GUARD
from povwatch.engines.upstream.facts import blob_digest, cached

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from povwatch.engines.needs import Need

PASSED, BLOCKED, FAILED, APPLIED = "passed", "blocked", "failed", "applied"
"""Verdicts. Failed: the filter could not judge, and let its input pass. Applied: it changes frames, refusing none."""

SWALLOWED = "Unexpected error"
"""How the message of a filter begins that let its input pass because it failed (Qwen3Guard.is_safe)."""

PLACES = {
    "Blocklist": "blocklist",
    "RetinaFaceFilter": "face_blur_filter/Resnet50_Final.pth",
    "VideoContentSafetyFilter": "video_content_safety_filter/safety_filter.pt",
}
"""A filter to its files in the guardrail's repository."""

LANGUAGE_MODEL = "Qwen3Guard"
"""The filter that has a repository of its own."""

MESSAGE_MAX = 300
"""Characters of a filter's message that are kept."""

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_WORD = re.compile(r"(Exact|Partial) Match Word: (?P<word>.*)", re.DOTALL)
_CENSORED = re.compile(r"Censored Prompt: (?P<text>.*)", re.DOTALL)
_CATEGORIES = re.compile(r"Categories: \[(?P<names>.*)\]", re.DOTALL)


@dataclass
class _Heard:
    """What a filter has said of a job."""

    about: dict[str, Any]
    times: int = 0
    verdict: str = ""
    message: str = ""

    def hear(self, verdict: str, message: str) -> None:
        self.times += 1
        gravity = ("", APPLIED, PASSED, FAILED, BLOCKED)
        if gravity.index(verdict) > gravity.index(self.verdict):
            self.verdict, self.message = verdict, message


@dataclass
class Filters:
    """The filters that an engine has loaded."""

    kind: str
    """The engine's kind, which decides where their files are."""
    package: str
    """The package that they are of, with its version."""
    _text: list[Any] = field(default_factory=list)
    _heard: list[_Heard] = field(default_factory=list)

    def listen(self, runner: Any, looks_at: str) -> None:  # noqa: ANN401 - of an untyped library
        """Listen to every filter of a runner from now on. `looks_at` is text or video.

        A runner that is not built as expected is left alone: then it is only known that its filters were asked for.
        """
        for model in getattr(runner, "safety_models", None) or ():
            self.add(model, looks_at)
        for model in getattr(runner, "postprocessors", None) or ():
            heard = self._known(model, looks_at)
            model.postprocess = _listened(model.postprocess, heard, lambda _: (APPLIED, ""))

    def add(self, model: Any, looks_at: str) -> None:  # noqa: ANN401 - of an untyped library
        """Listen to one filter that judges."""
        heard = self._known(model, looks_at)
        model.is_safe = _listened(model.is_safe, heard, _verdict)
        if looks_at == "text":
            self._text.append(model)

    @property
    def known(self) -> bool:
        """Whether any filter is listened to."""
        return bool(self._heard)

    def about(self, looks_at: str = "") -> list[dict[str, Any]]:
        """What the filters are, by `looks_at` if it is given: name, package, repository, revision, and their files.

        `sha256` is of the file; of a folder it is of what `sha256sum` prints of its files, sorted by name.
        """
        return [heard.about for heard in self._heard if looks_at in {"", heard.about["looks_at"]}]

    def begin(self) -> None:
        """Forget what was heard of the last job."""
        for heard in self._heard:
            heard.times, heard.verdict, heard.message = 0, "", ""

    def ran(self) -> list[dict[str, Any]]:
        """The filters for a manifest: what each is, how often it ran since `begin`, and its gravest verdict."""
        return [
            {**heard.about, "when": "engine", "how": "ran" if heard.times else "asked for", "times": heard.times}
            | ({"verdict": heard.verdict} if heard.times else {})
            | ({"message": heard.message} if heard.message else {})
            for heard in self._heard
        ]

    def reason(self) -> str:
        """Which filter has refused something since `begin`, and why; empty if none has."""
        return next(
            (f"{heard.about['name']}: {heard.message}" for heard in self._heard if heard.verdict == BLOCKED), ""
        )

    def check(self, texts: Iterable[str]) -> list[list[dict[str, Any]]]:
        """Let the text filters check texts; see port.PromptChecker."""
        return [self._check(text) for text in texts]

    def _check(self, text: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for model in self._text:
            verdict, message = _verdict(model.is_safe(text))
            found.append({"filter": type(model).__name__, "verdict": verdict, "message": message})
            if verdict == BLOCKED:  # as GuardrailRunner.run_safety_check
                break
        return found

    def _known(self, model: Any, looks_at: str) -> _Heard:  # noqa: ANN401 - of an untyped library
        name = type(model).__name__
        about = {"name": name, "looks_at": looks_at, "package": self.package, **self._files(name)}
        self._heard.append(_Heard(about))
        return self._heard[-1]

    def _files(self, name: str) -> dict[str, Any]:
        need = PROMPT_GUARD if name == LANGUAGE_MODEL else GUARDS.get(self.kind)
        if need is None or not (name == LANGUAGE_MODEL or name in PLACES):
            return {}
        folder = cached(need)
        found = {"repository": need.repository, "revision": folder.name if folder else need.revision}
        with contextlib.suppress(OSError):  # the record lacks a digest then; the filter has read its files by itself
            found |= digest(folder / PLACES.get(name, "")) if folder else {}
        return found


def lacking(kind: str, *, language_model: bool) -> list[Need]:
    """What of the text filters' files the hub's cache lacks: the word lists, and the language model if it is wanted."""
    words = cached(GUARDS[kind])
    found = [] if words is not None and os.access(words / PLACES["Blocklist"], os.R_OK) else [GUARDS[kind]]
    model = cached(PROMPT_GUARD) if language_model else None
    there = not language_model or (model is not None and any(model.glob("*.safetensors")))
    return found if there else [*found, PROMPT_GUARD]


def digest(place: Path) -> dict[str, Any]:
    """Number, bytes and SHA-256 of a file, or of all files in a folder; see Filters.about. Empty if there are none."""
    names = sorted(str(path.relative_to(place)) for path in place.rglob("*") if path.is_file())
    if place.is_file():
        return {"files": 1, "bytes": place.stat().st_size, "sha256": _sha256(place)}
    if not names:
        return {}
    lines = [f"{_sha256(place / name)}  {name}\n" for name in names]
    total = sum((place / name).stat().st_size for name in names)
    return {"files": len(names), "bytes": total, "sha256": hashlib.sha256("".join(lines).encode()).hexdigest()}


def _sha256(path: Path) -> str:
    """A file's digest. The hub's cache names large files by it, and checked it at the download."""
    return blob_digest(str(path)) or file_digest(str(path))


def _listened(ask: Callable[..., Any], heard: _Heard, judge: Callable[[Any], tuple[str, str]]) -> Callable[..., Any]:
    def listened(*args: Any, **named: Any) -> Any:  # noqa: ANN401 - the filter's own
        try:
            answer = ask(*args, **named)
        except BaseException as error:
            heard.hear(FAILED, clear(f"{type(error).__name__}: {error}"))
            raise
        heard.hear(*judge(answer))
        return answer

    return listened


def _verdict(answer: tuple[bool, str]) -> tuple[str, str]:
    """The verdict in what `is_safe` returned, and a message unless it passed."""
    safe, message = answer
    if not safe:
        return BLOCKED, clear(str(message))
    return (FAILED, clear(str(message))) if str(message).startswith(SWALLOWED) else (PASSED, "")


def clear(message: str) -> str:
    """A filter's message without the text that it repeats: the word or the category."""
    plain = " ".join(_COLOUR.sub("", message).split())
    if found := _WORD.search(plain):
        plain = f'its list has "{found["word"]}"'
    elif found := _CENSORED.search(plain):
        text, at = found["text"], max(found["text"].find("*") - 60, 0)
        plain = f"its list has what is starred here: {'...' if at else ''}{text[at : at + 200]}"
    elif found := _CATEGORIES.search(plain):
        plain = f"unsafe, {found['names'].replace(chr(39), '') or 'in no category that it names'}"
    return plain[:MESSAGE_MAX]
