"""What holds for every test."""

from __future__ import annotations

import os

# povwatch, its workers and children are started a thousand times: each start would compile every file anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
