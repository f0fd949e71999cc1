import os
import sys
import tempfile
from pathlib import Path

import pytest

from povwatch.engines.port import EngineCancelled, EngineFailure
from povwatch.engines.upstream.guard import contained


def test_process_stays_as_it_was(tmp_path):
    """Upstream leaves folder and temporary folder as they were, also after a failure."""
    here, temporary = str(Path.cwd()), tempfile.gettempdir()
    (tmp_path / "job").mkdir()
    with contained(str(tmp_path / "job")):
        assert str(Path.cwd()) == str(tmp_path / "job")
        assert tempfile.gettempdir() == str(tmp_path / "job/tmp")
        os.chdir("/")
    assert (str(Path.cwd()), tempfile.gettempdir()) == (here, temporary)
    with pytest.raises(EngineFailure, match=r"sys.exit\(1\)"), contained(str(tmp_path / "job")):
        sys.exit(1)
    with pytest.raises(EngineCancelled), contained(str(tmp_path / "job")):
        raise EngineCancelled
    assert str(Path.cwd()) == here
