"""A short soak, and that its ledger sees what is spoilt for it. `script/soak` takes ten minutes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SOAK = Path(__file__).with_name("soak.py")


@pytest.mark.timeout(900)
@pytest.mark.skipif(
    not os.environ.get("POVWATCH_TEST_ALL"), reason="takes a minute or two: POVWATCH_TEST_ALL=1, or script/soak"
)
def test_every_clip_is_accounted_for(tmp_path):
    """Everything at once costs no clip, and the ledger sees what is spoilt for it."""
    # The same choices each time, so that no commit is held up by what another one broke; .ci/nightly makes new ones.
    command = [sys.executable, SOAK, "--seed", "850083", "--seconds", "20", "--prove", "--folder", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
