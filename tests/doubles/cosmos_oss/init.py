"""A double of packages/cosmos-oss/cosmos_oss/init.py."""

import os
import sys


def init_environment():
    # Lines 154-160: sets up the console's log and, under torchrun, the process group.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    sys.stdout.write("[RANK 0] environment initialised\n")
