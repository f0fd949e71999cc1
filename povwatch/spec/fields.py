"""The types of a spec's fields, with upstream's rules and ours. Pure."""

from __future__ import annotations

import math
import posixpath
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from povwatch.core.cosmos import CHUNK_FRAMES

CHUNKS = (CHUNK_FRAMES, 1)
"""Frames in a chunk: the model's own number, or a single image. Upstream asserts this late."""

GUIDED_MASKS = (".mp4", ".npz")
"""Suffixes of a guided generation mask. Upstream raises ValueError for others, after it has loaded the model."""

SIGMA_MAX = 200.0
"""Pure noise."""


def rule(kind: str, message: str, todo: str, *, field: str = "") -> PydanticCustomError:
    """An error for a rule of ours.

    Args:
        field: for rules across fields; relative to the validated object.
    """
    # Braces would be taken for placeholders: the texts travel in the context instead.
    return PydanticCustomError(
        kind,
        "{message}",
        {"message": message, "todo": todo, "field": field},
    )


def _no_bool(value: object) -> object:
    if isinstance(value, bool):
        raise rule("no_number", "true and false are no numbers here", "")
    return value


def _said(value: str) -> str:
    if not value.strip():
        raise rule("blank", "is blank", "Write a text, or take the line out.")
    return value


def _negative(value: str) -> str:
    if not value.strip():
        # Upstream then silently uses the text of the job before.
        raise rule("blank", "is blank", "Say what to avoid, or take the line out: there is a good default.")
    return value


def _chunk(value: int) -> int:
    if value not in CHUNKS:
        raise rule("chunk", "is a chunk that the model was not trained on", "")
    return value


def _sigma(value: str) -> str:
    try:
        sigma = float(value)
    except ValueError:
        sigma = math.nan
    if not 0 <= sigma <= SIGMA_MAX:
        raise rule("sigma", "is no number from 0 to 200 in quotes", 'Write "80", for example, or take the line out.')
    return value


def _inside(value: str) -> str:
    """Normalise a path and check that it stays in the JSON's folder."""
    todo = "Put the file into the JSON's folder, or a folder below it, and name it from there."
    if not value.strip():
        raise rule("path", "names no file", "Name a file, or take the line out.")
    if "\0" in value:
        raise rule("path", "has a null character in it", todo)
    if value.startswith("/"):
        raise rule("path", "is an absolute path", todo)
    if value.startswith("~"):
        raise rule("path", "begins with ~, which upstream takes for a home folder", todo)
    if ".." in value.split("/"):
        raise rule("path", "leaves the JSON's folder by '..'", todo)
    return posixpath.normpath(value)


def _clip(value: str) -> str:
    name = _inside(value)
    if "/" in name:
        raise rule("path", "is no bare file name", "")
    return name


def _guided(value: str) -> str:
    if not value.endswith(GUIDED_MASKS):
        raise rule("guided_mask", "is neither .mp4 nor .npz", "Give the mask as a video (.mp4) or an array (.npz).")
    return value


NoBool = BeforeValidator(_no_bool)
"""Rejects true and false, which would pass as 1 and 0."""

Int = Annotated[int, NoBool]
"""A whole number; like upstream it accepts 3.0 and "3", but not 3.5."""

Positive = Annotated[int, Field(gt=0), NoBool]

Seed = Annotated[int, Field(ge=0, le=2**63 - 1), NoBool]
"""A seed for any engine's random generator. (Python's accepts -1 too, and treats it as 1.)"""

Guidance = Annotated[int, Field(ge=0, le=7), NoBool]

Priority = Annotated[int, Field(ge=-100, le=100), NoBool]

Weight = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False), NoBool]

Text = Annotated[str, AfterValidator(_said)]
"""A text that is not blank."""

NegativeText = Annotated[str, AfterValidator(_negative)]

ChunkSize = Annotated[Int, AfterValidator(_chunk), WithJsonSchema({"enum": list(CHUNKS), "type": "integer"})]

Sigma = Annotated[str, AfterValidator(_sigma)]

RelativePath = Annotated[str, AfterValidator(_inside)]
"""A file below the JSON's folder."""

ClipName = Annotated[str, AfterValidator(_clip)]
"""A file in the JSON's folder; a leading `./` is dropped."""

GuidedMask = Annotated[RelativePath, AfterValidator(_guided)]
