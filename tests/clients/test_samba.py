"""Clips and JSON files through a real Samba server: another user's files, written for somebody far away."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import tempfile
from pathlib import Path

import pytest
from support.daemons import Daemon
from support.file_servers import SMB_USER, Samba, Wire
from support.programs import Client, more, run, size, until

pytestmark = more


@pytest.fixture(scope="module")
def folder():
    """Where another user may go: pytest's own folders are closed to others."""
    path = Path(tempfile.mkdtemp())
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def shared(folder):
    """In place of the daemon that the other modules share: its folder has to be open too."""
    with Daemon(folder / "pov", grace={"period": "1h"}) as daemon:
        daemon.wrapper = ["sh", "-c", 'umask 0007; exec "$@"', "sh"]  # as the unit has it
        yield daemon.start()


@pytest.fixture(scope="module")
def samba(folder, shared):
    (folder / "samba").mkdir()
    server = Samba(folder / "samba", shared.inputs)
    with server.server:
        yield server


@pytest.fixture
def there(samba, here):
    """A folder that its group may write, as systemd/povwatch.tmpfiles.conf makes inputs/."""
    os.chown(here.inputs, -1, pwd.getpwnam(SMB_USER).pw_gid)
    here.inputs.chmod(0o2775)
    return here


def half_put(there, samba, clip):
    """A smbclient that has put half of a clip over a line that is dead now."""
    wire = Wire(samba.port, clip.stat().st_size // 2)
    client = Client(*samba.client(f"cd {there.name}; put {clip} a.mov", port=wire.port))
    until(lambda: size(there.inputs / "a.mov") > clip.stat().st_size / 4 or not client.running)
    return wire, client


def test_slow_put_is_waited_for(there, samba, fast_film):
    """A put over a slow line is waited for while its writer has the file open."""
    wire, client = half_put(there, samba, fast_film)
    with wire, client:
        there.untouched(on="writer-open")
        wire.mend()
        client.ends()
    there.came_in("a.mov", fast_film)
    there.comes_out("a.mov")


def test_broken_put_done_anew_is_one_clip(there, samba, fast_film):
    wire, client = half_put(there, samba, fast_film)
    with wire, client:
        there.untouched(on="writer-open")
    there.untouched(on="incomplete")
    run(*samba.client(f"cd {there.name}; put {fast_film} a.mov"))  # not reput: 4.17 writes the rest over the beginning
    there.came_in("a.mov", fast_film)


def test_partial_name_renamed_by_the_server(there, samba, film):
    """A put under a partial name is seen when the server renames it."""
    run(*samba.client(f"cd {there.name}; put {film} a.mov.part"))
    there.daemon.ask("go", "nothing.mov")  # the daemon has had its turn
    assert not there.events()
    run(*samba.client(f"cd {there.name}; rename a.mov.part a.mov"))
    there.came_in("a.mov", film)


def test_user_edits_the_json_and_says_go(there, samba, film):
    """A user on a share edits the JSON and starts the clip with a go file."""
    run(*samba.client(f"cd {there.name}; put {film} a.mov"))
    there.came_in("a.mov", film)
    mine = there.folder / "mine.json"
    run(*samba.client(f"cd {there.name}; get a.json {mine}"))
    mine.write_text(json.dumps(json.loads(mine.read_text()) | {"prompt": "A hand in a green glove opens a box."}))
    run(*samba.client(f"cd {there.name}; put {mine} a.json"))
    there.wait_for("edited", clip="a.mov")
    (there.folder / "empty").touch()
    run(*samba.client(f"cd {there.name}; put {there.folder / 'empty'} a.go"))
    there.wait_for("done", clip="a.mov")
    assert there.show("a.mov")["spec"]["prompt"].startswith("A hand in a green glove")
    assert len(there.events("started", clip="a.mov")) == 1
