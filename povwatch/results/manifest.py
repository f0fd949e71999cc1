"""The manifest beside a result: what exactly was run, in enough detail to run it again. Pure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from povwatch import __version__
from povwatch.core import layout
from povwatch.core.cosmos import CONTROLS
from povwatch.engines.control_files import left_by, used_by
from povwatch.media.info import Checked, Scored

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from povwatch.attempt.attempt import Attempt
    from povwatch.core.job import Job
    from povwatch.publish import Entry

VERSION = 1
"""Version of the manifest's format."""

PREVIEW_NOTE = (
    "This is a preview: the control video that the model would have been given, not a generated video. "
    "Run it for real with: povwatch retry --previews"
)

APART = frozenset({"files", "checkpoints", "libraries", "revisions", "filters"})
"""Capabilities of an engine that have their own place in the manifest."""

GENERATED_APART = frozenset({"path", "controls", "seconds", "guardrail_filters", "control_files", "control_files_used"})
"""What of an artifact has its own place in the manifest, or none."""

SOURCE_FIELDS = (
    "sha256",
    "size",
    "codec",
    "pix_fmt",
    "display_width",
    "display_height",
    "rotation",
    "frames",
    "rate",
    "constant",
    "duration",
    "audio",
)


def manifest(
    job: Job,
    attempt: Attempt,
    spec: dict[str, Any],
    entries: Sequence[Entry],
    checked: Checked,
    *,
    drawn: Mapping[str, str] | None = None,
    judged: dict[str, Any] | None = None,
    started_at: str,
    finished_at: str,
) -> bytes:
    """The manifest's bytes: indented JSON.

    Args:
        attempt: its files and measurements. Paths in them are left out.
        spec: the frozen spec, in upstream's fields.
        entries: the published files, under their final names: the result, then `attempt.controls`, then the contact
            sheet if there is one, then the other tries that `judged` says are kept.
        checked: what the check of the result found.
        drawn: what was drawn of the template's choices, by their names.
        judged: the tries and how they were judged, as quality.described has them; None if nothing is judged.
        started_at: ISO 8601, with the zone.
        finished_at: ISO 8601, with the zone.
    """
    capabilities, artifact = attempt.capabilities, attempt.artifact
    result, *others = entries
    controls = zip(attempt.controls.items(), others[: len(attempt.controls)], strict=True)
    text = {
        **_kind(capabilities),
        **_clip(job, attempt.info),
        "spec": spec,
        "spec_hash": job.spec_hash,
        **({"drawn": dict(drawn)} if drawn else {}),
        **({"keep": attempt.kept} if attempt.kept else {}),
        **_settings(spec, artifact),
        **_control_files(attempt),
        "guardrails": artifact.get("guardrails", capabilities.get("guardrails")),
        "guardrail_filters": [*attempt.prompt_filters, *artifact.get("guardrail_filters", [])],
        # The kind is the journal's engine.kind. A rebuilt journal knows from it what ran (povwatch rebuild).
        "engine": {key: value for key, value in capabilities.items() if key not in APART} | {"kind": job.engine},
        "model": {
            "name": capabilities.get("model"),
            "revisions": capabilities.get("revisions", {}),
            "files": capabilities.get("files", {}),
            "checkpoints": capabilities.get("checkpoints", []),
        },
        "libraries": capabilities.get("libraries", {}),
        "gpu": _gpu(capabilities, artifact, attempt.gpu),
        "generated": {key: value for key, value in artifact.items() if key not in GENERATED_APART},
        **_scores(attempt.scored),
        "output": _file(result, checked),
        "sound": {key: value for key, value in attempt.sound.items() if key != "path"},
        "control_videos": {key: _file(entry, Checked.from_json(found)) for (key, found), entry in controls},
        **({"sheet": _plain_file(others[len(attempt.controls)])} if attempt.has_sheet else {}),
        **({"quality": _judged(judged, others[len(attempt.controls) + attempt.has_sheet :])} if judged else {}),
        "job": job.id,
        "run_id": job.run_id,
        "attempt": job.attempts,
        "crashes": job.crashes,
        "seconds": attempt.seconds,
        "seconds_of_generate": artifact.get("seconds", {}),
        "started_at": started_at,
        "finished_at": finished_at,
    }
    # Control characters and lone surrogates become JSON escapes; text in any language stays readable.
    lines = json.dumps(text, indent=2, ensure_ascii=False) + "\n"
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in lines).encode()


def _kind(capabilities: dict[str, Any]) -> dict[str, Any]:
    known = {"manifest_version": VERSION, "povwatch": __version__}
    if capabilities.get("real"):
        return {**known, "kind": "aug"}
    return {**known, "kind": "preview", "note": PREVIEW_NOTE}


def _clip(job: Job, info: dict[str, Any]) -> dict[str, Any]:
    """The clip, from its VideoInfo."""
    source = {"path_hex": job.path.hex(), "base_hex": job.base.hex(), **{key: info[key] for key in SOURCE_FIELDS}}
    found = {"damaged": info.get("damage"), "resized": info.get("resized")}
    look = {"look": job.look} if job.look else {}
    return {
        "clip": layout.shown(job.path),
        **look,
        "source": source,
        **{key: value for key, value in found.items() if value},
    }


def _scores(scored: dict[str, Any]) -> dict[str, Any]:
    """The scores of the result; nothing if it was not scored."""
    found = Scored.from_json(scored)
    if not found.scores and not found.missing:
        return {}
    about: dict[str, Any] = {"frames": found.frames, "missing": found.missing, "details": found.details}
    return {"scores": found.scores, "scores_about": about | ({"problem": found.problem} if found.problem else {})}


def _control_files(attempt: Attempt) -> dict[str, Any]:
    """The files of computed controls, which the looks of a clip share, by hint key."""
    artifact = attempt.artifact
    used = used_by(artifact)
    taken = [one for one in attempt.control_files if one["sha256"] == used.get(one["setting"]["key"])]
    made = [one.to_json() for one in left_by(artifact)]
    found = {
        one["setting"]["key"]: {
            **{key: one[key] for key in ("sha256", "size", "frames", "setting")},
            "computed_by": str(attempt.who_computed(one["sha256"])),
        }
        for one in [*taken, *made]
    }
    found |= attempt.annotated
    return {"control_files": found} if found else {}


def _judged(judged: dict[str, Any], rejected: Sequence[Entry]) -> dict[str, Any]:
    """The tries, with the files of those that are kept."""
    files = iter(rejected)
    tries = [{**one, **(_plain_file(next(files)) if one.pop("kept", False) else {})} for one in judged["tries"]]
    return judged | {"tries": tries}


def _plain_file(entry: Entry) -> dict[str, Any]:
    """A published file."""
    return {
        "file": layout.shown(layout.split(entry.target)[1]),
        "path_hex": entry.target.hex(),
        "sha256": entry.sha256,
        "size": entry.size,
    }


def _file(entry: Entry, checked: Checked) -> dict[str, Any]:
    """A published video."""
    return {
        **_plain_file(entry),
        "frames": checked.frames,
        "width": checked.width,
        "height": checked.height,
        "rate": checked.rate,
        "duration": checked.duration,
        "codec": checked.codec,
        "pix_fmt": checked.pix_fmt,
        "audio": checked.audio,
        "max_time_error": checked.max_time_error,
        "contrast": checked.contrast,
    }


def peak_memory(artifact: dict[str, Any], gpu: dict[str, Any]) -> int | None:
    """Most bytes of GPU memory that a job used: counted by the engine, else measured from outside."""
    for found in (artifact.get("peak_memory"), artifact.get("peak_memory_bytes"), gpu.get("peak_memory")):
        if found:
            return int(found)
    return None


def _settings(spec: dict[str, Any], artifact: dict[str, Any]) -> dict[str, Any]:
    """The settings that decide the result, as the engine used them; settings that it does not report, from the spec."""
    found = {key: artifact.get(key, spec.get(key)) for key in ("seed", "num_steps", "guidance")}
    controls = {key: spec[key].get("control_weight", 1.0) for key in CONTROLS if spec.get(key) is not None}
    chunks: dict[str, Any] = {key: artifact[key] for key in ("chunks", "chunks_resumed") if key in artifact}
    return {**found, "controls": controls, **chunks}


def _gpu(capabilities: dict[str, Any], artifact: dict[str, Any], gpu: dict[str, Any]) -> dict[str, Any]:
    name = capabilities.get("gpu") or capabilities.get("device")
    return {"name": name, **gpu, "peak_memory": peak_memory(artifact, gpu)}
