"""How the diffusers engine's libraries are installed into the environment that runs here, for a shell."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

PIP = shlex.join([sys.executable, "-m", "pip", "install"])
"""By its interpreter: a plain `pip` is the system's, which Debian lets install nothing."""

LOCK = shlex.quote(str(Path(__file__).parents[2] / "requirements" / "diffusers.lock"))

TORCH = f"{PIP} torch torchvision"
"""In no lock, so that any build of it can take its place."""

LOCKED = f"{PIP} --require-hashes --no-deps -r {LOCK}"
"""All but torch; cosmos_guardrail without the OpenCV that it asks for, which would overwrite ours."""
