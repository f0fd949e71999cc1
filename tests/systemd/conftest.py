"""One machine for all tests of a process, because booting and installing take seconds.

These tests run if POVWATCH_TEST_ALL is set, as in continuous integration. Anything missing is a failure then, except
for the right to make a machine at all: without root, or in a container that may not mount, the tests skip, because
no package would help.
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
    """A machine on which install.sh has installed and started povwatch."""
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
