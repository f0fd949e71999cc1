"""Recognises common mistakes in JSON. Pure.

Each function returns the message, what to do, and an offset if it is not the reader's own.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import json

Slip = tuple[str, str] | tuple[str, str, int]

SMART_QUOTES = "\u201c\u201d\u201e\u201f\u2018\u2019\u201a\u00ab\u00bb\u2033\uff02"
WORD = re.compile(r"[A-Za-z_$][\w$-]*")
SPELLED = {"True": "true", "False": "false", "None": "null", "TRUE": "true", "FALSE": "false", "nil": "null"}

CUT_SHORT = (
    "the file ends too early",
    "Something is not closed, or the file was only written in part: look at its end.",
)


def no_value(text: str, at: int) -> Slip:
    """No value where one should be."""
    slip = _anywhere(text, at)
    if slip:
        return slip
    if word := WORD.match(text, at):
        right = SPELLED.get(word.group())
        if right:
            return f"{word.group()} is not JSON's spelling", f"Write {right}."
        return "a text without quotes", f'Put it in double quotes: "{word.group()[:40]}".'
    if text[at] in ".+" or text.startswith("-.", at):
        return "a number that begins with no digit", "Write 0.5, not .5 or +0.5."
    if text[at] in ",}]":
        return "a value is missing", f"Write one in front of the {text[at]}."
    return (
        "no value that JSON knows",
        'Write a number, a text in double quotes, true, false, null, or an object: "edge": {}',
    )


def no_key(text: str, at: int, comma: int) -> Slip:
    """No key where one should be, after the comma at `comma` (-1: after the opening brace)."""
    if at < len(text) and comma >= 0:
        if text[at] in "}]":
            return f"a comma with nothing behind it before the {text[at]}", "Take the comma out.", comma
        if text[at].isdigit():
            return "a comma inside a number", "Write the number with a point: 0.5, not 0,5.", comma
    slip = _anywhere(text, at)
    if slip:
        return slip
    if word := WORD.match(text, at):
        return "a name without quotes", f'Put it in double quotes: "{word.group()[:40]}".'
    if text[at] == ",":
        return "two commas, or one too early", "Take one comma out."
    return "a name in double quotes should stand here", 'Each line is "name": value'


def no_colon(text: str, at: int) -> Slip:
    """No colon where one should be."""
    if text.startswith(("=", ";"), at):
        return f"{text[at]} instead of a colon", 'Each line is "name": value'
    return _anywhere(text, at) or ("a colon is missing behind the name", 'Each line is "name": value')


def no_comma(text: str, at: int, end: int) -> Slip:
    """No comma or closing bracket where one should be; the value ended at `end`."""
    slip = _anywhere(text, at)
    if slip:
        return slip
    if text[at] == '"':
        return "a comma is missing behind this", "Write one at the end, before the next line.", max(end - 1, 0)
    if text[at] in "0123456789" and text[end - 1 : end] in ("0", "-"):
        return "a number that begins with 0", "Take the 0 in front out.", end - 1
    if text[at] == ".":
        return "a number that ends in a point", "Write 1.0 or 1, not 1.", at
    if text[at] in "}])":
        return f"{text[at]} closes what another bracket opened", "Look which bracket is not closed."
    return "a comma or a closing bracket should stand here", "Look at what stands before this."


def in_a_text(text: str, start: int, error: json.JSONDecodeError) -> Slip:
    """The string that begins at `start` cannot be read."""
    if error.msg.startswith("Unterminated"):
        return "a text that is never closed", 'Put a " at its end.', start
    if error.msg.startswith("Invalid control"):
        if text[error.pos] in "\r\n":
            return "a line break inside a text", 'Write \\n for it, or close the text with " before it.', error.pos
        return "a control character inside a text", "Write it as an escape: \\t for a tab.", error.pos
    return (
        "a backslash that JSON does not know",
        "Write two for a backslash: \\\\. Folders are parted by / here.",
        error.pos,
    )


def after_the_end(text: str, at: int) -> Slip:
    """Text after the end of the value."""
    slip = _anywhere(text, at)
    if slip:
        return slip
    return "something follows the end of the spec", "One { ... } is all that a file may hold: take the rest out."


def _anywhere(text: str, at: int) -> Slip | None:
    """Mistakes that may occur anywhere."""
    if at >= len(text):
        return (*CUT_SHORT, len(text.rstrip(" \t\r\n")))  # after the last visible character
    char = text[at]
    if text.startswith(("//", "/*", "#"), at):
        return "a comment, which JSON does not have", "Take it out."
    if char == "'":
        return "single quotes", 'Write double quotes: "...".'
    if char in SMART_QUOTES:
        return f"a typographic quote (U+{ord(char):04X})", 'Write straight double quotes: "...".'
    if not char.isprintable() or char.isspace():
        return f"an invisible character (U+{ord(char):04X})", "Delete it, and type a plain space if one is needed."
    return None
