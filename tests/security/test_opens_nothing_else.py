"""What the media children open, as the kernel saw it: the file that they were given, and nothing that it names.

A file that calls itself .mp4 may hold a script or a playlist that makes FFmpeg open other files or connections.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from support import hostile
from support.clips import make_clip

from povwatch.media.run import PROBE

ALL = bool(os.environ.get("POVWATCH_TEST_ALL"))


def untraceable() -> str | None:
    """Why nothing can be traced here; None if it can."""
    if shutil.which("strace") is None:
        return "there is no strace"
    done = subprocess.run(["strace", "-qq", "-e", "trace=none", "true"], capture_output=True, check=False)
    return None if done.returncode == 0 else f"nothing may be traced here: {done.stderr.decode().strip()[-200:]}"


@pytest.fixture(scope="module", autouse=True)
def _strace():
    if problem := untraceable():
        if ALL:
            pytest.fail(problem)
        pytest.skip(problem)


@pytest.fixture
def bait(tmp_path):
    """A real video that a script may name, in the same folder."""
    return make_clip(tmp_path / "bait.mp4")


CALL = re.compile(r'\b(?:openat|open|openat2|creat)\((?:AT_FDCWD|\d+)?(?:<[^>]*>)?,? ?"((?:[^"\\]|\\.)*)"')
NETWORK = re.compile(r"\b(socket|connect|bind|listen|sendto)\(")


def traced(log, command, request=lambda _: b""):
    """Run a command under strace: its output, the paths that it opened, and its calls to the network.

    `request` is what it reads, given its parent's pid.
    """
    tracer = ["strace", "-f", "-qq", "-s", "4096", "-e", "trace=open,openat,openat2,creat,%network", "-o", str(log)]
    # OpenCV, once a test has imported it, leaves the current folder in there.
    env = {name: value for name, value in os.environ.items() if name != "LD_LIBRARY_PATH"}
    with subprocess.Popen(
        [*tracer, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=env
    ) as process:
        process.stdin.write(request(process.pid))
        process.stdin.flush()
        output = process.stdout.read()
        process.stdin.close()
    text = log.read_text(errors="surrogateescape")
    return output, set(CALL.findall(text)), NETWORK.findall(text)


def opened(tmp_path, op, **arguments):
    """Run the real child so; its answer comes first."""
    limits = {"memory": PROBE.memory, "cpu_seconds": 100, "file_bytes": 2**30, "nice": 0}
    output, paths, network = traced(
        tmp_path / "trace",
        [sys.executable, "-I", "-m", "povwatch.media.child", op],
        lambda parent: json.dumps({"args": arguments, "limits": limits, "parent": parent}).encode() + b"\n",
    )
    return json.loads(output.splitlines()[-1]), paths, network


def beyond(paths, tmp_path):
    """What was opened beside Python, its packages, the C library's own files, and the kernel's word on the machine."""
    ours = (
        sys.prefix,
        sys.base_prefix,
        str(ROOT),
        "/usr/lib",
        "/lib",
        "/etc/ld.so",
        "/sys/devices/system",
        "/usr/share/locale",
    )
    known = {"/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/dev/null", "/dev/urandom", "/etc/localtime"}
    kernel = re.compile(r"/proc/(self|\d+)/(fd/\d+|maps|status|mounts|cgroup|task/.*)|/sys/fs/cgroup/.*|/proc/sys/.*")
    return {
        path.removeprefix(f"{tmp_path}/")
        for path in paths
        if path not in known
        and not path.startswith(ours)
        and not kernel.fullmatch(path)
        and not path.endswith("pyvenv.cfg")
    }


ROOT = Path(__file__).parents[2]

SDP = (
    b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n"
)
SCRIPTS = {
    "ffconcat": b"ffconcat version 1.0\nfile bait.mp4\n",
    "ffconcat, absolute": b"ffconcat version 1.0\nfile /etc/passwd\n",
    "concat without its first line": b"file 'bait.mp4'\nfile '/etc/passwd'\n",
    "m3u8": b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nbait.mp4\n#EXT-X-ENDLIST\n",
    "m3u8 of the network": b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n",
    "sdp": SDP,
    "dash": b"<?xml version='1.0'?>\n<MPD><Period><AdaptationSet><Representation><BaseURL>bait.mp4</BaseURL>",
    "pls": b"[playlist]\nFile1=bait.mp4\nNumberOfEntries=1\n",
}


@pytest.mark.parametrize("kind", ["mp4", "matroska", "avi"])
@pytest.mark.parametrize("name", SCRIPTS if ALL else list(SCRIPTS)[:1])
def test_disguised_script_opens_nothing_else(tmp_path, bait, name, kind):
    """Even if the daemon took it for a film and told the child so."""
    suffix = {"mp4": "mp4", "matroska": "mkv", "avi": "avi"}[kind]
    clip = tmp_path / f"x.{suffix}"
    clip.write_bytes(SCRIPTS[name] + b"\n" * 600)
    answer, paths, network = opened(tmp_path, "inspect", path=clip.name, root=str(tmp_path), kind=kind)
    assert answer["error"]["class"] == "NotAVideo"
    assert beyond(paths, tmp_path) == {str(tmp_path), clip.name}
    assert network == []
    assert bait.name not in beyond(paths, tmp_path)


def test_without_the_pin_it_would(tmp_path, bait):
    """What all of this is against: FFmpeg itself goes by what a file holds."""
    clip = tmp_path / "x.mp4"
    clip.write_bytes(SCRIPTS["ffconcat"])
    plainly = f"import av; print(av.open({str(clip)!r}).streams.video[0].width)"
    output, paths, _ = traced(tmp_path / "trace", [sys.executable, "-I", "-c", plainly])
    assert output == b"96\n"
    assert bait.name in beyond(paths, tmp_path)


def references() -> dict[str, bytes]:
    """QuickTime's own ways to name another file: a data reference, and a reference movie."""
    url = hostile.box(b"dref", struct.pack(">II", 0, 1) + hostile.box(b"url ", bytes(4) + b"file:bait.mp4\0"))
    alias = hostile.box(b"dref", struct.pack(">II", 0, 1) + hostile.box(b"alis", bytes(4) + _alias(b"bait.mp4")))
    movie = hostile.box(b"rdrf", bytes(4) + b"url " + struct.pack(">I", 9) + b"bait.mp4\0")
    return {
        "url": hostile.film(hostile.samples(40, 10, uniform=True), references=hostile.box(b"dinf", url)),
        "alias": hostile.film(hostile.samples(40, 10, uniform=True), references=hostile.box(b"dinf", alias)),
        "reference movie": hostile.box(b"ftyp", b"qt  \0\0\0\0")
        + hostile.box(b"moov", hostile.box(b"rmra", hostile.box(b"rmda", movie))),
    }


def _alias(name: bytes) -> bytes:
    """An alias record with the file's name, as FFmpeg's demuxer reads it."""
    head = bytes(4) + struct.pack(">HH", 150, 2) + bytes(2) + bytes([4]) + b"disk".ljust(27, b"\0") + bytes(12)
    names = bytes([len(name)]) + name.ljust(63, b"\0") + bytes(16) + struct.pack(">HH", 1, 1) + bytes(16)
    return head + names + struct.pack(">hH", 2, len(name)) + name + struct.pack(">hH", -1, 0)


@pytest.mark.parametrize("name", references() if ALL else ["alias"])
def test_film_with_references(tmp_path, bait, name):
    """A film that names another file opens nothing but itself."""
    clip = tmp_path / "x.mov"
    clip.write_bytes(references()[name])
    _, paths, network = opened(tmp_path, "inspect", path=clip.name, root=str(tmp_path), kind="mp4")
    assert beyond(paths, tmp_path) == {str(tmp_path), clip.name}
    assert network == []


def test_trace_shows_what_is_opened(tmp_path):
    """A good clip is opened once; the copy, its times and nothing else are written beside it."""
    clip = make_clip(tmp_path / "a.mkv")
    info, paths, network = opened(tmp_path, "inspect", path=clip.name, root=str(tmp_path), kind="matroska")
    assert info["result"]["complete"]
    assert beyond(paths, tmp_path) == {str(tmp_path), "a.mkv"}
    out = tmp_path / "work.mp4"
    made, paths, more = opened(tmp_path, "prepare", source=str(clip), info=info["result"], out_path=str(out))
    assert made["result"]["frames"] == 12
    assert beyond(paths, tmp_path) == {"a.mkv", "work.mp4", "work.mp4.times"}
    assert network == more == []
