"""A clip whose pictures change their size half way comes out in one size, and everything that tells of it says so."""

from __future__ import annotations

import json

from support import hostile
from support.daemons import Daemon


def test_scaled_pictures_are_told_everywhere(tmp_path):
    """A clip whose size changes is told of in the log, show, why, report and manifest."""
    with Daemon(tmp_path / "pov", engine={"kind": "preview"}) as here:
        hostile.pictures(here.inputs / "call.mov", *[hostile.png(64, 48)] * 4, *[hostile.png(48, 48)] * 4)
        once = here.once()
        assert once.returncode == 0, once.stderr
        words = (
            "Its pictures change their size: 64x48 at first, 48x48 from frame 4 (0.133 s) on. All are scaled to 64x48; "
            "where their shape is another they look squeezed or stretched."
        )
        (line,) = [line for line in map(json.loads, once.stderr.splitlines()) if line["event"] == "resized"]
        assert (line["level"], line["message"]) == ("warning", f"call.mov: {words}")
        assert here.show("call.mov")["resized"] == words
        assert words in here.call("show", "call.mov").stdout
        assert words.rstrip(".") in here.call("why", "call.mov").stdout
        assert words in here.call("report").stdout
        manifest = json.loads((here.outputs / "call/call_preview.json").read_text())
        assert manifest["resized"] == {"to": [64, 48], "count": 2, "runs": [[0, 0.0, 64, 48], [4, 0.133, 48, 48]]}
