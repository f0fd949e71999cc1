"""A double of upstream's package, nvidia-cosmos/cosmos-transfer2.5 at 2ff49d0, for the tests of the cosmos engine.

It behaves as upstream does where that matters to whoever keeps it resident; each behaviour names the lines that it
mirrors. It is written from what those lines do, and holds nothing of their code. Numbers stand in for the model: what
comes out depends on the clip, the prompts, the seed, the drawn frame rate and the chunk before.

A prompt that holds a word in brackets makes the double fail: [blocked prompt], [blocked video], [exits], [chdir],
[oom], [oom in decode], [oom at the end], [sticky], [disk full], [slow], [rank 1 dies], [rank 1 fails],
[rank 1 fails late], [all ranks fail]. With [draws] it draws random numbers.
DOUBLE_LOAD makes the load fail: gated, offline, command, no uvx, exits, out of memory, no extra, other version,
other writer, other shape.
"""

import os
import sys

from .__about__ import __version__ as __version__

# __init__.py, 19-32: without the CUDA extra the import fails, with this very text.
if os.environ.get("DOUBLE_LOAD") == "no extra":
    raise RuntimeError("CUDA extra not installed. Please run 'uv sync --extra=<cuda_name>'") from None
# _src/imaginaire/utils/log.py, 61-71 and 167: a logger on standard output from the import on.
sys.stdout.write('{"type":"loaded","seq":1,"capabilities":{}}\n')
