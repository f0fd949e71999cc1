"""What an error file tells people to do in the folder alone does what it says."""

from __future__ import annotations

import json

from support.daemons import Daemon, toy


def test_failed_clip_runs_again(tmp_path):
    """Copied once more, it runs again as it was; with another JSON as that says, and a .go file spares the grace."""
    with Daemon(tmp_path / "pov", engine={"kind": toy("sticky"), "attempts": 1}) as here:
        clip, spec, error = (here.inputs / name for name in ("a.mp4", "a.json", "a.error.txt"))
        here.start()
        here.clip("a.mp4")
        here.wait_for("failed")
        told = here.until(lambda: error.exists() and error.read_text())
        assert told.startswith("povwatch: a.mp4 failed: no new video was made of it.\n\n")
        for line in ("Change a.json and save it", "copy a.mp4 here once more", "called a.go beside it"):
            assert line in told
        assert "CUDA error" in told
        assert "(commands are typed by whoever looks after povwatch)" in told
        clip.write_bytes(clip.read_bytes())
        here.wait_for("failed", count=2)
        here.stop()
        here.configure(engine={"kind": toy("copies")}, grace={"period": "1h"})
        here.start()
        (here.inputs / "a.go").touch()
        spec.write_text(json.dumps(json.loads(spec.read_text()) | {"seed": 7}))
        done = here.wait_for("done")
        assert (done["clip"], error.exists()) == ("a.mp4", False)
        assert here.peek("a.mp4")["id"] == 3
