"""One machine for all tests of a test process: booting it and installing takes seconds.

These tests run where POVWATCH_TEST_ALL is set, as in continuous integration. There whatever is missing is a failure,
but for the right to make a machine at all: without root, or in a container that may not mount, there is nothing that
could be installed, and the tests skip.
"""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest
from support.systemd_machine import VENV, system_library
from support.systemd_service import Service


@pytest.fixture(scope="session")
def machine(tmp_path_factory):
    """A machine where povwatch was installed and runs, as install.sh leaves it."""
    if not os.environ.get("POVWATCH_TEST_ALL"):
        pytest.skip("a machine of its own takes half a minute: POVWATCH_TEST_ALL=1 has these tests run")
    if os.geteuid() != 0:
        pytest.skip("systemd-nspawn needs root")
    if subprocess.run(["unshare", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"], check=False).returncode:
        pytest.skip("nothing may be mounted here, as in a container without CAP_SYS_ADMIN, so systemd cannot be booted")
    if not shutil.which("systemd-nspawn"):
        pytest.fail("there is no systemd-nspawn (Debian: apt-get install systemd-container)")
    if not (VENV / "lib" / system_library() / "site-packages").exists():
        pytest.fail(
            f"{VENV} is not of the Python that /usr/bin/python3 is: POVWATCH_PYTHON=/usr/bin/python3 script/bootstrap"
        )
    with Service(tmp_path_factory.mktemp("machine")) as made:
        made.installed = made.install()
        yield made
