"""Facts about Cosmos-Transfer2.5 that specs and engines share. Pure, standard library alone, Python 3.10."""

from __future__ import annotations

from typing import Literal, get_args

Control = Literal["edge", "vis", "depth", "seg"]
"""A hint key."""

CONTROLS: tuple[str, ...] = get_args(Control)
"""Upstream's CONTROL_KEYS (cosmos_transfer2/config.py), in its order."""

COMPUTED = ("edge", "vis")
"""The controls that are computed from the clip without a model."""

PRESETS = {"edge": "preset_edge_threshold", "vis": "preset_blur_strength"}
"""Computed control -> the spec's field for its strength."""

EDGE_THRESHOLDS = {
    "very_low": (20, 50),
    "low": (50, 100),
    "medium": (100, 200),
    "high": (200, 300),
    "very_high": (300, 400),
}
"""Lower and upper threshold of Canny, by the preset of the edge control. engines/control.py has the source."""

EDGE_PRESET = "medium"
"""The preset of a spec that names none."""

GREY = ("edge", "depth")
"""The controls whose pictures are grey: their three channels are alike."""

CHUNK_FRAMES = 93
"""Frames in a chunk. The model was trained on chunks of this length."""

HEADS = 16
"""Attention heads of the 2B model."""

STEPS = 35
"""Denoising steps of the full models, unless a spec says otherwise."""

RESOLUTION = "720"
"""The output's resolution, unless a spec says otherwise."""
