"""povwatch go --damaged: what can be decoded of a clip that would wait for ever."""

from __future__ import annotations

import json

import pytest
from support.clips import audio_span, read_times
from support.daemons import Corner, Daemon
from support.damaged import LONG, SHORT, from_the_front, noisy, remuxed, spoil
from support.waiting import Waiting

N = 40


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A daemon whose clips would have an hour of grace."""
    folder = tmp_path_factory.mktemp("shared") / "pov"
    with Daemon(folder, engine={"kind": "preview"}, grace={"period": "1h"}) as daemon:
        yield daemon.start()


@pytest.fixture
def here(shared, request):
    """A folder of its own in a daemon that the tests here share."""
    return Corner(shared, request.node.name)


def cut(here, name="a.mp4", share=0.7, **how):
    """A clip whose index is in front and whose end is missing."""
    made = noisy(here.folder / f"whole.{name}", N, **({"options": LONG} | how))
    data = remuxed(made, here.folder / f"made.{name}", movflags="faststart").read_bytes()
    return data, data[: int(len(data) * share)]


def incomplete(here, data, name="a.mp4"):
    (here.inputs / name).write_bytes(data)
    return here.wait_state(name, "arriving", waiting_on="incomplete")


def outcome(here, stem="a"):
    video = here.outputs / stem / f"{stem}_preview.mp4"
    return video, json.loads(video.with_suffix(".json").read_text())


def test_clip_that_is_cut_off_runs(here):
    """What decodes of a cut clip runs; log, show and manifest say what is missing."""
    whole, part = cut(here)
    detail = incomplete(here, part)["detail"]
    go = f"povwatch go --damaged {here.name}/a.mp4"
    assert go in " ".join(here.call("why", "a.mp4").stdout.split())
    said = here.call("go", "a.mp4", "--damaged")
    assert said.returncode == 0, said.stdout
    assert f"what can be decoded of it is run. {detail}" in said.stdout
    here.wait_for("done", clip="a.mp4")
    video, manifest = outcome(here)
    shown = len(read_times(video))
    assert 0 < shown < N
    assert shown == len(from_the_front(here.inputs / "a.mp4")[0])
    assert manifest["damaged"]["missing"] == detail
    assert (manifest["damaged"]["frames"], manifest["damaged"]["lost"]) == (N, N - shown)
    words = f"Part of the file is missing: {detail.rstrip('.')}. {N - shown} of {N} frames could not be decoded"
    assert words in here.wait_for("damaged", clip="a.mp4")["message"]
    assert here.show("a.mp4")["damaged"].startswith(words)
    (here.inputs / "a.mp4").write_bytes(whole)  # the rest comes after all: that is another clip
    here.wait_for("grace", clip="a.mp4")
    assert here.peek("a.mp4")["state"] == "grace"


@pytest.mark.parametrize("name", ["a.mkv", "a.webm", "a.avi"])
def test_other_containers_too(here, name):
    """MKV, WebM and AVI that are cut off run as far as they decode."""
    how = {
        "a.mkv": {"options": SHORT},
        "a.webm": {"codec": "libvpx", "options": {"deadline": "realtime", "cpu-used": "8"}},
        "a.avi": {"codec": "mpeg4", "options": {"qscale": "3"}},
    }[name]
    data = noisy(here.folder / f"made{name[1:]}", N, **how).read_bytes()
    incomplete(here, data[: len(data) * 2 // 3], name)
    assert here.ask("go", name, damaged=True).done
    here.wait_for("done", clip=name)
    video, manifest = outcome(here)
    assert 0 < len(read_times(video)) < N
    assert manifest["damaged"]["missing"]


def test_gap_of_zeros_costs_its_frames(here):
    """Only the frames within a gap of zeros are missing."""
    made = spoil(noisy(here.folder / "made.mp4", N, options=SHORT), *range(10, 16), how="zeros")
    incomplete(here, made.read_bytes())
    assert here.ask("go", "a.mp4", damaged=True).done
    here.wait_for("done", clip="a.mp4")
    video, manifest = outcome(here)
    assert len(read_times(video)) == len(from_the_front(made)[0])
    assert "only zeros" in manifest["damaged"]["missing"]


def test_hold_file_still_holds_it(here):
    """A hold file goes before go --damaged, and the answer names it."""
    _, part = cut(here)
    incomplete(here, part)
    (here.inputs / "a.hold").touch()
    answer = here.ask("go", "a.mp4", damaged=True)
    assert not answer.done
    assert answer.text.endswith(f"The file {here.name}/a.hold still holds it: remove that, and it starts.")
    here.wait_state("a.mp4", "grace", waiting_on="held")
    (here.inputs / "a.hold").unlink()
    here.wait_for("done", clip="a.mp4")


def test_refused_where_it_makes_no_sense(here):
    """A whole clip, one that cannot be decoded, one that still arrives and an ended one are refused, with reasons."""

    def asked(name):
        answer = here.ask("go", name, damaged=True)
        assert not answer.done
        return answer.text

    whole, part = cut(here)
    (here.inputs / "whole.mp4").write_bytes(whole)
    here.wait_for("grace", clip="whole.mp4")
    assert asked("whole.mp4").startswith("nothing of it is missing: povwatch go ")
    no_index = noisy(here.folder / "made.mp4", N, options=LONG).read_bytes()
    incomplete(here, no_index[: len(no_index) // 2], "end.mp4")
    assert "nothing of it can be decoded. It is cut off. " in asked("end.mp4")
    assert "without that no frame of an MP4 can be found" in asked("end.mp4")
    assert "--damaged" not in here.call("why", "end.mp4").stdout
    incomplete(here, part[: part.index(b"mdat") + 4] + bytes(len(part)), "zeros.mp4")
    assert "nothing of it can be decoded." in asked("zeros.mp4")
    incomplete(here, b"", "empty.mp4")
    assert asked("empty.mp4") == "nothing of it can be decoded: its beginning is missing."
    assert "no clip here is called so" in asked("nowhere.mp4")
    (here.inputs / "b.mp4").write_bytes(whole)
    (here.inputs / "b.mp4.part").write_bytes(b"more")
    here.wait_state("b.mp4", "arriving", waiting_on="incomplete")
    assert "b.mp4.part is still beside it" in asked("b.mp4")
    (here.inputs / "b.mp4.part").unlink()
    here.ask("cancel", "end.mp4")
    assert "it is cancelled already" in asked("end.mp4")
    for name in ("end.mp4", "zeros.mp4", "empty.mp4"):
        assert not here.events("arrived", clip=name)


def test_survives_a_restart(tmp_path):
    """go --damaged survives a kill. A change of the file withdraws it."""
    with Waiting(tmp_path / "pov", load=False, grace={"period": "1h"}) as here:
        whole, part = cut(here)
        (here.inputs / "a.mp4").write_bytes(part)
        (here.inputs / "b.mp4").write_bytes(part)
        here.start()
        for name in ("a.mp4", "b.mp4"):
            here.wait_state(name, "arriving", waiting_on="incomplete")
            assert here.ask("go", name, damaged=True).done
        here.kill()  # wherever they are
        (here.inputs / "b.mp4").write_bytes(whole)
        here.start()
        here.wait_state("a.mp4", "queued")
        assert here.show("a.mp4")["source"]["damage"]["missing"]
        here.wait_state("b.mp4", "grace")
        assert here.events("damaged-withdrawn", clip="b.mp4", start=2)
        assert here.show("b.mp4")["source"]["damage"] is None
        (here.inputs / "a.mp4").write_bytes(part + b"more of it")
        here.wait_state("a.mp4", "arriving", waiting_on="incomplete")
        assert here.events("damaged-withdrawn", clip="a.mp4", start=2)
        (here.inputs / "a.mp4").write_bytes(whole)
        here.wait_state("a.mp4", "grace", waiting_on="grace")


def test_request_without_a_daemon_is_kept(tmp_path):
    """go --damaged without a daemon is kept and taken at the next start."""
    with Waiting(tmp_path / "pov", load=False, grace={"period": "1h"}) as here:
        _, part = cut(here)
        (here.inputs / "a.mp4").write_bytes(part)
        here.start().wait_state("a.mp4", "arriving", waiting_on="incomplete")
        here.stop()
        said = here.call("go", "a.mp4", "--damaged")
        assert "kept and taken at its start" in said.stdout
        here.start().wait_state("a.mp4", "queued")


def test_forced_retry_runs_it_damaged_again(tmp_path):
    """A retry of a run from a damaged clip runs it as damaged, too."""
    with Daemon(tmp_path / "pov", grace={"period": "1h"}) as here:
        _, part = cut(here)
        (here.inputs / "a.mp4").write_bytes(part)
        here.start().wait_state("a.mp4", "arriving", waiting_on="incomplete")
        here.ask("go", "a.mp4", damaged=True)
        here.wait_for("done", clip="a.mp4")
        assert here.ask("retry", "a.mp4", force=True).done
        here.wait_state("a.mp4", "grace")
        assert here.show("a.mp4")["source"]["damage"]["missing"]


def test_report_names_the_way_out(tmp_path):
    """The report names go --damaged for a clip that is incomplete."""
    with Daemon(tmp_path / "pov", grace={"period": "1h"}) as here:
        _, part = cut(here)
        (here.inputs / "a.mp4").write_bytes(part)
        here.start().wait_state("a.mp4", "arriving", waiting_on="incomplete")
        assert "go --damaged a.mp4" in here.call("report").stdout


@pytest.mark.parametrize(("name", "sound"), [("a.mp4", "aac"), ("a.mov", "pcm_s16le"), ("a.mkv", "flac")])
def test_sound_comes_as_far_as_it_goes(here, name, sound):
    """The result has the sound of the part that decodes, from the beginning to about the last frame."""
    made = noisy(here.folder / f"whole.{name}", 90, options=SHORT, audio=sound)
    front = remuxed(made, here.folder / f"made.{name}", movflags="faststart") if name != "a.mkv" else made
    data = front.read_bytes()
    incomplete(here, data[: len(data) * 2 // 3], name)
    assert here.ask("go", name, damaged=True).done
    here.wait_for("done", clip=name)
    video, manifest = outcome(here)
    shown = read_times(video)
    assert 0 < len(shown) < 90
    assert manifest["output"]["audio"]
    begin, end = audio_span(video)
    assert begin < 0.05
    assert 0.5 < end < float(shown[-1]) + 0.5
