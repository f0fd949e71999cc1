"""A journal that was lost: noticed, made again, and nothing is run twice."""

from __future__ import annotations

import shutil

from support.daemons import Daemon
from support.waiting import newest, sound


def test_lost_journal_is_made_again(tmp_path):
    """A lost journal is refused at the start, made again by rebuild, and nothing runs twice."""
    with Daemon(tmp_path / "pov") as here:
        for name in ("a.mp4", "a.mov", "edited.mp4", "sealed.mp4", "bare.mp4"):
            here.clip(name)
        assert here.once().returncode == 0
        results = {name: (here.outputs / name).read_bytes() for name in here.published()}
        sealed = newest(here, b"sealed.mp4")

        shutil.rmtree(here.state)
        spec = here.inputs / "edited.json"
        spec.write_text(spec.read_text().replace('"seed": 0', '"seed": 7'))
        (here.outputs / "bare/bare_preview.json").unlink()
        # As the power went while it was being published: sealed, its result visible, its manifest not.
        room = here.outputs / f".povwatch/{sealed.id}.{sealed.run_id}"
        room.mkdir(mode=0o700)
        (here.outputs / "sealed/sealed_preview.json").rename(room / "manifest_v1.json")
        away = here.folder / "a.mov"
        (here.inputs / "a.mov").rename(away)

        refused = here.once()
        assert refused.returncode == 2
        assert "There is no journal" in refused.stderr
        assert "povwatch rebuild makes it again" in refused.stderr
        assert here.published() == sorted(set(results) - {"bare/bare_preview.json", "sealed/sealed_preview.json"})

        done = here.call("rebuild")
        assert done.returncode == 1, done.stderr  # one clip is held, and somebody has to look at that
        assert "Made again: 1 done, 1 to be published, 1 edited since, 1 held, 1 gone." in done.stdout
        away.rename(here.inputs / "a.mov")  # it comes again, as it was

        again = here.once()
        assert again.returncode == 1
        events = [line.split('"event": "')[1].split('"')[0] for line in again.stderr.splitlines() if '"event"' in line]
        assert events.count("started") == 1, "only the clip whose JSON was edited runs"
        assert newest(here, b"edited.mp4").output == "edited/edited_preview_v2.mp4"
        assert newest(here, b"sealed.mp4").state == "done"
        assert newest(here, b"a.mov").detail == "the same was published before"
        assert newest(here, b"a.mp4").attempts == 1
        held = newest(here, b"bare.mp4")
        assert (held.state, held.waiting_on) == ("grace", "held")
        why = "bare/bare_preview.mp4 has no manifest, and may be its result"
        assert held.detail.startswith(f"`povwatch rebuild` held it ({why}), and only ")
        for name, data in results.items():
            if name != "bare/bare_preview.json":
                assert (here.outputs / name).read_bytes() == data
        assert len(here.published()) == len(results) - 1 + 2
        sound(here)
