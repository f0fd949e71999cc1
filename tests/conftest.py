"""What holds for every test."""

from __future__ import annotations

import os
import signal

# povwatch, its workers and children are started a thousand times: each start would compile every file anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# A shell that runs the suite in the background has it ignore Ctrl-C, and every program that a test starts with it.
signal.signal(signal.SIGINT, signal.default_int_handler)
