"""A double of packages/cosmos-oss/cosmos_oss/init.py."""

import os
import sys

from cosmos_transfer2._src.imaginaire.utils import distributed


def init_environment():
    # Lines 145-151: sets up the console's log and, under torchrun, the process group.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    sys.stdout.write("[RANK 0] environment initialised\n")
    if "RANK" in os.environ:
        distributed.init()
