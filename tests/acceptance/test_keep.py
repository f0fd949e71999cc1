"""publish.keep_controls and publish.source = "move", in a whole povwatch."""

from __future__ import annotations

import hashlib
import json
from fractions import Fraction

import av
from support.clips import make_clip, read_times
from support.daemons import Daemon, toy
from support.waiting import sound

TIMES = [0, 40, 70, 130, 150, 200, 290]


def spec_of(clip, **fields):
    shared = {"name": "x", "video_path": clip, "prompt": "Hands fold a towel.", "edge": {"control_weight": 0.5}}
    return json.dumps(shared | fields)


def test_control_videos_and_moved_source(tmp_path):
    """Control videos stand beside the result with the source's times, and the clip moves to .done."""
    with Daemon(
        tmp_path / "pov", engine={"kind": toy("keeps_controls")}, publish={"keep_controls": True, "source": "move"}
    ) as here:
        made = make_clip(
            here.folder / "made.mp4", frames=7, size=(96, 64), times=TIMES, time_base=Fraction(1, 1000), audio="aac"
        )
        (here.outputs / "a").mkdir(parents=True)
        taken = here.outputs / "a/a_aug_control_edge.mp4"
        taken.write_bytes(b"somebody else's")
        for name, more in (("a.mp4", {}), ("b.mp4", {"vis": {"control_weight": 0.5}})):
            (here.inputs / name).with_suffix(".json").write_text(spec_of(name, **more))
            here.copy(made, name)
        (here.inputs / "a.go").touch()
        here.start()
        here.wait_for("done", count=2)
        assert here.stop() == 0

        assert taken.read_bytes() == b"somebody else's"
        files = ["a/a_aug_v2.json", "a/a_aug_v2.mp4", "a/a_aug_v2_control_edge.mp4"]
        assert here.published() == ["a/a_aug_control_edge.mp4", *files] + [
            f"b/b_aug{end}" for end in (".json", ".mp4", "_control_edge.mp4")
        ]
        for base in ("a/a_aug_v2", "b/b_aug"):
            result, control = (here.outputs / f"{base}{end}.mp4" for end in ("", "_control_edge"))
            assert read_times(control) == read_times(result) == read_times(made)
            with av.open(str(control)) as opened, av.open(str(result)) as whole:
                assert (len(opened.streams.audio), len(whole.streams.audio)) == (0, 1)
            about = json.loads((here.outputs / f"{base}.json").read_text())
            video = about["control_videos"]["edge"]
            assert list(about["control_videos"]) == ["edge"]
            assert (video["file"], video["frames"], video["width"]) == (control.name, 7, 96)
            assert video["sha256"] == hashlib.sha256(control.read_bytes()).hexdigest()
            assert str(here.folder) not in json.dumps(about["generated"])
        lost = here.wait_for("control-lost")
        assert (lost["clip"], lost["key"]) == ("b.mp4", "vis")
        sound(here)
        moved = [path.relative_to(here.inputs).as_posix() for path in here.inputs.rglob("*") if path.is_file()]
        assert sorted(moved) == [f".done/{name}" for name in ("a.go", "a.json", "a.mp4", "b.json", "b.mp4")]
