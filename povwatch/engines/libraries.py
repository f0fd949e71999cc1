"""Shell commands that install the diffusers engine's libraries into this environment."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

PIP = shlex.join([sys.executable, "-m", "pip", "install"])
"""pip by its interpreter: a plain `pip` is the system's, which Debian does not allow to install."""

LOCK = shlex.quote(str(Path(__file__).parents[2] / "requirements" / "diffusers.lock"))

TORCH = f"{PIP} torch torchvision"
"""Not locked, so that any build of torch may be used."""

LOCKED = f"{PIP} --require-hashes --no-deps -r {LOCK}"
"""All but torch. cosmos_guardrail comes without the OpenCV that it requires, which would overwrite ours."""

FLASH3 = {"flash_attn_3": "flash_attn_interface", "fa3-fwd": "fa3_fwd_interface"}
"""Packages with FlashAttention-3, and the module that each one has: PyTorch's own builds, and the one on PyPI."""

FLASH3_INSTALL = f"{PIP} fa3-fwd"

INSTALL = f"Install them (torch and torchvision of one build): {TORCH}; then {LOCKED}"
