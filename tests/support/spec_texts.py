"""A spec's members and its file, for tests of the spec."""

from __future__ import annotations

import json
from typing import Any

CLIP = b"clip.mp4"


def members(**changes: object) -> dict[str, Any]:
    """The smallest spec, with changes; `...` removes a member."""
    base: dict[str, Any] = {"name": "clip", "video_path": "clip.mp4", "prompt": "hands", "edge": {}}
    return {key: value for key, value in (base | changes).items() if value is not ...}


def text(**changes: object) -> bytes:
    """The same as a file's bytes."""
    return json.dumps(members(**changes), indent=2).encode()
