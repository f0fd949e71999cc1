"""`povwatch pool` as its supervisor starts it, with less patience: no test waits half a minute for a silent node."""

from __future__ import annotations

import os
import sys

from povwatch.bridge import worker
from povwatch.bridge.supervise import VARIABLE
from povwatch.cli import main

if __name__ == "__main__":
    worker.SILENCE = float(sys.argv.pop(1))
    os.environ[VARIABLE] = str(os.getppid())
    main()
