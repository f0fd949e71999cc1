"""Sound costs no clip and no second generation, in a whole povwatch."""

from __future__ import annotations

import json

import av
import pytest
from support.beeps import BEEPS, FRAMES, ambisonic, beeping, hole, joined, labelled, onsets
from support.clips import read_numbers
from support.daemons import Daemon, toy


def test_sound_costs_no_clip(tmp_path):
    """Whatever sound a clip has, it comes out with one generation, and a change is told before that."""
    with Daemon(tmp_path / "pov") as here:
        make = here.folder / "made"
        make.mkdir()
        clips = {
            "empty.webm": (beeping(make / "empty.webm", "libopus", change=lambda _: []), None, "sound-left-out"),
            "hole.mkv": (
                beeping(make / "hole.mkv", "pcm_s16le", change=hole(0.6, 1.1)),
                [0.25, 1.25, 1.75, 2.25],
                None,
            ),
            "forms.mkv": (
                joined(make / "forms.mkv", "mp2", [("stereo", 48_000), ("mono", 48_000)]),
                [0.25, 0.75, 1.25, 1.75],
                None,
            ),
            "order.mov": (labelled(make / "order.mov", "5.1", 3, 1, 2, 5, 6, 4), BEEPS, None),
            "many.mov": (labelled(make / "many.mov", "hexadecagonal"), BEEPS, "sound-changed"),
            "round.mov": (ambisonic(make / "round.mov"), BEEPS, "sound-changed"),
            "plain.mp4": (beeping(make / "plain.mp4", "aac"), BEEPS, None),
        }
        for name, (clip, _, _) in clips.items():
            here.copy(clip, name)
        here.start()
        here.wait_for("done", count=len(clips))

        for name, (_, beeps, event) in clips.items():
            shown = here.show(name)
            said = [event["event"] for event in shown["events"]]
            assert (said.count("started"), said.count("generated"), said.count("retry")) == (1, 1, 0), (name, said)
            assert [e for e in said if e.startswith("sound-")] == ([event] if event else []), (name, said)
            assert len(here.events("sound-left-out", clip=name) + here.events("sound-changed", clip=name)) == bool(
                event
            )
            result = here.outputs / shown["output"]
            assert read_numbers(result) == list(range(FRAMES))
            about = json.loads(result.with_suffix(".json").read_text())["sound"]
            if event is not None:
                assert said.index(event) < said.index("generated"), "known before any GPU time is spent"
                assert about["problem" if beeps is None else "changed"]
            if beeps is None:
                with av.open(str(result)) as container:
                    assert not container.streams.audio
            else:
                assert onsets(result) == pytest.approx(beeps, abs=0.02), name


def test_unfinished_result_is_kept(tmp_path):
    """The engine takes away what finishing needs. Nothing is generated again for that, and nothing is lost."""
    with Daemon(tmp_path / "pov", engine={"kind": toy("takes_times"), "attempts": 2}) as here:
        here.copy(beeping(here.folder / "made.mp4", "aac"), "a.mp4")
        here.start()
        failed = here.wait_for("failed")
        said = [event["event"] for event in here.show("a.mp4")["events"]]
        assert (said.count("started"), said.count("generated"), said.count("finish-retry")) == (1, 1, 1), said
        (artifact,) = (here.outputs / ".povwatch").glob("*/out.mp4")
        assert str(artifact) in failed["problem"]
        assert str(artifact) in (here.inputs / "a.error.txt").read_text()

        assert here.stop() == 0
        here.start()  # the sweep at a start leaves it
        assert here.call("clean").returncode == 0
        assert artifact.is_file()

        (times,) = artifact.parent.glob("*.taken")
        times.rename(times.with_suffix(".times"))
        answer = here.ask("retry", "a.mp4")
        assert answer.done
        assert "nothing is generated" in answer.text
        here.wait_for("done")
        shown = here.show("a.mp4")
        said = [event["event"] for event in shown["events"]]
        assert (said.count("started"), said.count("generated")) == (1, 1), said
        result = here.outputs / shown["output"]
        assert read_numbers(result) == list(range(FRAMES))
        assert onsets(result) == pytest.approx(BEEPS, abs=0.02), "the sound is made again where it is gone"
        here.until(lambda: not artifact.parent.exists(), "nothing of it is left")
        here.until(lambda: not (here.inputs / "a.error.txt").exists(), "its error file is gone")


def test_force_generates_anew(tmp_path):
    """retry --force generates anew what was kept, and the newer artifact takes its place."""
    with Daemon(tmp_path / "pov", engine={"kind": toy("takes_times"), "attempts": 1}) as here:
        here.clip("a.mp4", frames=5)
        here.start()
        here.wait_for("failed")
        (artifact,) = (here.outputs / ".povwatch").glob("*/out.mp4")
        assert here.ask("retry", "a.mp4", force=True).done
        here.wait_for("failed", count=2)
        assert len(here.events("generated")) == 2
        here.until(
            lambda: here.call("clean").returncode == 0 and not artifact.exists(), "the newer one takes its place"
        )
        assert len(list((here.outputs / ".povwatch").glob("*/out.mp4"))) == 1
