from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest


@pytest.fixture
def open_to_all():
    """A folder that every user may enter; tmp_path is closed to others."""
    folder = Path(tempfile.mkdtemp(prefix="open-to-all-"))
    folder.chmod(0o755)
    yield folder
    for below in folder.iterdir():
        if below.is_dir():
            below.chmod(0o755)
    shutil.rmtree(folder)
