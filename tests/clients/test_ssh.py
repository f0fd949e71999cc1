"""scp, sftp and rsync through a real sshd, broken off in the middle and begun anew."""

from __future__ import annotations

import shutil

import pytest
from support.file_servers import Sshd
from support.programs import Client, more, run, size, until

pytestmark = more

SLOW = 4000
"""Kilobits a second: the clip takes some seconds."""


@pytest.fixture(scope="module")
def sshd(tmp_path_factory):
    server = Sshd(tmp_path_factory.mktemp("sshd"))
    with server.server:
        yield server


@pytest.fixture
def source(here, fast_film):
    path = here.folder / "a.mov"
    shutil.copyfile(fast_film, path)
    return path


def stalled(here, source, command, name="a.mov"):
    """A client that has sent a part of the clip and sends no more, with its connection open."""
    client = Client(*command)
    until(lambda: max(map(size, here.inputs.glob(name)), default=0) > source.stat().st_size / 4 or not client.running)
    client.stall()
    return client


@pytest.mark.parametrize(
    "protocol", [pytest.param(["-O"], id="rcp", marks=more), pytest.param(["-p"], id="sftp-keeps-date")]
)
def test_killed_scp_done_anew(here, source, sshd, protocol):
    """scp that stalls, is killed and done anew is one clip."""
    to = sshd.address(here.inputs)
    with stalled(here, source, sshd.ssh("scp", *protocol, "-l", SLOW, source, to)):
        here.untouched(on="writer-open")
    here.untouched(on="incomplete")
    run(*sshd.ssh("scp", *protocol, source, to))
    here.came_in("a.mov", source)
    here.comes_out("a.mov")


def test_killed_sftp_resumed(here, source, sshd):
    """sftp that is killed and goes on where it was is one clip."""
    put, reput = here.folder / "put", here.folder / "reput"
    put.write_text(f"put {source} a.mov\n")
    reput.write_text(f"reput {source} a.mov\n")
    to = sshd.address(here.inputs)
    with stalled(here, source, sshd.ssh("sftp", "-l", SLOW, "-b", put, to)):
        here.untouched(on="writer-open")
    here.untouched(on="incomplete")
    run(*sshd.ssh("sftp", "-b", reput, to))
    here.came_in("a.mov", source)


def test_broken_rsync_waits_for_the_rest(here, source, sshd):
    """rsync whose connection breaks waits for the rest."""
    rsync = ("rsync", "-a", "--partial", "-e", sshd.shell, source, f"{sshd.address(here.inputs)}/")
    with stalled(here, source, [*rsync, f"--bwlimit={SLOW // 8}"], name=".a.mov.??????"):
        here.daemon.ask("go", "nothing.mov")  # the daemon has had its turn
        assert not here.events()
    here.untouched(on="incomplete")  # the other side gave what it had its final name
    run(*rsync)
    here.came_in("a.mov", source)
