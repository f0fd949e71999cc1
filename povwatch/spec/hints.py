"""Hints for wrong fields: allowed values, and likely names. Both come from the model's schema. Pure."""

from __future__ import annotations

import difflib
import functools
from typing import TYPE_CHECKING, Any

from povwatch.core.cosmos import CONTROLS
from povwatch.spec.model import Spec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from povwatch.spec.reader import Path

Schema = dict[str, Any]

ALIASES: Mapping[str, tuple[str, ...]] = {
    "blur": ("vis", "preset_blur_strength"),
    "visual": ("vis",),
    "canny": ("edge",),
    "segment": ("seg",),
    "segmentation": ("seg",),
    "depth_map": ("depth",),
    "steps": ("num_steps",),
    "num_inference_steps": ("num_steps",),
    "sampling_steps": ("num_steps",),
    "cfg": ("guidance",),
    "cfg_scale": ("guidance",),
    "guidance_scale": ("guidance",),
    "negative": ("negative_prompt",),
    "neg_prompt": ("negative_prompt",),
    "text": ("prompt",),
    "caption": ("prompt",),
    "description": ("prompt",),
    "prompt": ("control_prompt",),
    "input": ("video_path",),
    "input_video": ("video_path",),
    "video": ("video_path", "control_path"),
    "vision_path": ("video_path", "control_path"),
    "path": ("video_path", "control_path"),
    "frames": ("max_frames",),
    "num_frames": ("max_frames",),
    "image": ("image_context_path",),
    "style_image": ("image_context_path",),
    "chunk": ("num_video_frames_per_chunk",),
    "chunk_size": ("num_video_frames_per_chunk",),
    "size": ("resolution",),
    "sigma": ("sigma_max",),
    "mask": ("mask_path", "guided_generation_mask"),
    "weight": ("control_weight",),
    "strength": ("control_weight",),
    "scale": ("control_weight",),
    "control_strength": ("control_weight",),
    "threshold": ("preset_edge_threshold",),
    "blur_strength": ("preset_blur_strength",),
    "when": ("start",),
    "prio": ("priority",),
}
"""Names from other tools and from upstream's documents, and our fields for them."""


def allowed(path: Path) -> str:
    """The allowed values of a field, to follow "Write"; empty if there is no such field."""
    schema = _at(path)
    return _words(schema, str(path[-1])) if schema is not None and path else ""


def meant(path: Path) -> str:
    """A sentence that suggests a field for the unknown name at `path`."""
    written, siblings = str(path[-1]), _names(path[:-1])
    plain = written.lower().strip().replace("-", "_").replace(" ", "_")
    targets = (*ALIASES.get(plain, ()), plain)
    for target in targets:
        if target in siblings:
            return f'Did you mean "{target}"?'
    for target in targets:
        if home := _home(target):
            return home
    close = difflib.get_close_matches(plain[:64], siblings, n=1, cutoff=0.7)
    if close:
        return f'Did you mean "{close[0]}"?'
    known = ", ".join(name for name in siblings if name != "$schema")
    return f"Take it out; the names here are {known}." if known else "Take it out."


def _home(name: str) -> str:
    """A sentence that says where a misplaced field belongs; empty if the name is unknown."""
    if name in _names(()):
        return f'"{name}" belongs at the top level, not inside another object.'
    if name in _names(("povwatch",)):
        return f'It belongs into "povwatch": {{"{name}": ...}}.'
    for control in CONTROLS:
        if name in _names((control,)):
            return f'"{name}" belongs into a control: "{control}": {{"{name}": ...}}.'
    return ""


@functools.cache
def _schema() -> Schema:
    return Spec.model_json_schema()


def _names(path: Path) -> list[str]:
    """The names in the object at `path`."""
    schema = _at(path)
    return list(_object(schema).get("properties", {})) if schema is not None else []


def _at(path: Path) -> Schema | None:
    schema: Schema | None = _schema()
    for step in path:
        if schema is None:
            return None
        if isinstance(step, int):
            schema = _branch(schema).get("items")
        else:
            whole = _object(schema)
            others = whole.get("additionalProperties") or None  # false for objects with fixed names
            schema = whole.get("properties", {}).get(step, others)
    return schema


def _branch(schema: Schema) -> Schema:
    """The schema without the null that may stand for "not set"."""
    branches = [branch for branch in schema.get("anyOf", [schema]) if branch.get("type") != "null"]
    return branches[0] if branches else schema


def _object(schema: Schema) -> Schema:
    """The schema with its reference followed."""
    branch = _branch(schema)
    name = str(branch.get("$ref", "")).rpartition("/")[2]
    return _schema()["$defs"][name] if name else branch


def _words(schema: Schema, name: str) -> str:
    branch = _branch(schema)
    if "enum" in branch:
        values = [f'"{value}"' if isinstance(value, str) else str(value) for value in branch["enum"]]
        return f"one of {', '.join(values)}"
    if "$ref" in branch or branch.get("type") == "object":
        return f'an object: "{name}": {{}}'
    if branch.get("type") == "array":
        return "a list of whole numbers: [1, 2]"
    kind = {"integer": "a whole number", "number": "a number", "boolean": "true or false"}.get(branch.get("type", ""))
    return f"{kind}{_range(branch)}" if kind else "a text in double quotes"


def _range(schema: Schema) -> str:
    if "exclusiveMinimum" in schema:
        return f" above {schema['exclusiveMinimum']}"
    if "minimum" in schema:
        return f" from {schema['minimum']} to {schema['maximum']}"
    return ""
