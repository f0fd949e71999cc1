"""The manifest beside a result: what exactly was run, enough to run it again. Pure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from povwatch import __version__, layout

if TYPE_CHECKING:
    from povwatch.job import Job
    from povwatch.media.info import Checked
    from povwatch.publish import Entry

VERSION = 1
"""Of the manifest's own shape."""

PREVIEW_NOTE = (
    "This is a preview: the control video that the model would have been given, not a generated video. "
    "Run it for real with: povwatch retry --previews"
)

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
    entry: Entry,
    *,
    info: dict[str, Any],
    spec: dict[str, Any],
    capabilities: dict[str, Any],
    artifact: dict[str, Any],
    checked: Checked,
    seconds: dict[str, float],
    started_at: str,
    finished_at: str,
) -> bytes:
    """The manifest's bytes, as people read JSON.

    Args:
        job: the job.
        entry: the published file, under its final name.
        info: VideoInfo of the clip.
        spec: the frozen spec.
        capabilities: what the engine said of itself.
        artifact: what the engine said of its result; paths are left out.
        checked: what the check found.
        seconds: stage to wall-clock seconds.
        started_at: ISO 8601, with the zone.
        finished_at: likewise.
    """
    real = bool(capabilities.get("real"))
    text = {
        "manifest_version": VERSION,
        "povwatch": __version__,
        "kind": "aug" if real else "preview",
        **({} if real else {"note": PREVIEW_NOTE}),
        "clip": layout.shown(job.path),
        "source": {"path_hex": job.path.hex(), **{key: info[key] for key in SOURCE_FIELDS}},
        "spec": spec,
        "spec_hash": job.spec_hash,
        "seed": spec["seed"],
        "engine": capabilities,
        "generated": {key: value for key, value in artifact.items() if key != "path"},
        "output": {
            "file": layout.shown(layout.split(entry.target)[1]),
            "sha256": entry.sha256,
            "size": entry.size,
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
        },
        "job": job.id,
        "run_id": job.run_id,
        "attempt": job.attempts,
        "crashes": job.crashes,
        "seconds": seconds,
        "started_at": started_at,
        "finished_at": finished_at,
    }
    # Halves of characters, which an engine's words may hold, come out as JSON's own escapes.
    return (json.dumps(text, indent=2, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")
