"""Browsers and download managers: another name, or a file beside it, until all of it is there."""

from __future__ import annotations

import os

import pytest
from support.programs import Client, Feed, more, run


def partly(here, film, part):
    """A download that has written half of the clip under a name of its own."""
    feed = Feed(here.folder / "network", film.read_bytes())
    client = Client("cp", feed.path, here.inputs / part)
    feed.give(0.5, here.inputs / part)
    return feed, client


@pytest.mark.parametrize(
    "part",
    [
        "a.mov.crdownload",  # Chrome with a name that it knows
        pytest.param("Unconfirmed 4711.crdownload", marks=more),  # Chrome before that
        pytest.param("a.mov.tmp", marks=more),
        pytest.param("a.mov.filepart", marks=more),  # WinSCP
    ],
)
def test_download_under_another_name(here, fast_film, part):
    """A download is not seen before it has its own name."""
    feed, client = partly(here, fast_film, part)
    with client:
        here.daemon.ask("go", "nothing.mov")  # the daemon has had its turn
        assert not here.events()
        feed.end()
        client.ends()
    run("mv", here.inputs / part, here.inputs / "a.mov")
    here.came_in("a.mov", fast_film)
    assert not here.events("arriving")


def test_firefox_keeps_an_empty_file(here, fast_film):
    """The empty file that Firefox leaves under the name waits until the download is moved over it."""
    (here.inputs / "a.mov").touch()
    feed, client = partly(here, fast_film, "a.mov.part")
    with client:
        here.untouched(on="incomplete")
        feed.end()
        client.ends()
    run("mv", here.inputs / "a.mov.part", here.inputs / "a.mov")
    here.came_in("a.mov", fast_film)
    here.comes_out("a.mov")


@more
def test_aria2_reserves_and_fills(here, film, fast_film):
    """A file that aria2 has reserved and fills waits as long as its control file is there."""
    data = fast_film.read_bytes()
    half = len(data) // 2
    (here.inputs / "a.mov.aria2").write_bytes(b"what is still missing")
    with (here.inputs / "a.mov").open("wb", buffering=0) as file:
        os.posix_fallocate(file.fileno(), 0, len(data))
        file.write(data[:half])
    here.untouched(on="incomplete")
    with (here.inputs / "a.mov").open("r+b", buffering=0) as file:
        file.seek(half)
        file.write(data[half:])
    run("cp", film, here.inputs / "b.mov")
    here.came_in("b.mov", film)
    here.untouched(on="incomplete")  # it is whole for longer than b.mov, but its own file says otherwise
    run("rm", here.inputs / "a.mov.aria2")
    here.came_in("a.mov", fast_film)
