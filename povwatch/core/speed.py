"""How much a job may approximate to be done sooner. Pure, standard library alone."""

from __future__ import annotations

from typing import Literal, get_args

Speed = Literal["exact", "fast", "fastest"]
"""exact approximates nothing; engines/transfer/skipping.py and engines/transfer/fp8.py say what the others do."""

SPEEDS: tuple[Speed, ...] = get_args(Speed)
