"""What a hook has drawn is kept, in a whole povwatch: the hook of examples/mano, then the clip."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from support.clips import make_clip
from support.daemons import Daemon
from support.waiting import sound

ROOT = Path(__file__).parents[2]
HANDS = "3_mano_no_overlay.mp4"


def test_hands_of_a_hook_are_kept(tmp_path):
    """spec.keep is in the new JSON; the hook draws, the mask is made of it, and the manifest has it."""
    hook = {
        "name": "mano",
        "when": "before",
        "argv": [sys.executable, str(ROOT / "examples/mano/stand_in.py"), "{video}", "--out", "{outdir}"],
        "expects": [f"{{outdir}}/{HANDS}"],
    }
    with Daemon(tmp_path / "pov", hooks=[hook], spec={"keep": HANDS, "dilate": 5}) as here:
        here.start()
        here.clip(frames=7, size=(97, 65), pix_fmt="yuv444p")
        here.wait_for("done")
        assert json.loads((here.inputs / "a.json").read_text())["povwatch"] == {"keep": HANDS, "dilate": 5}
        kept = json.loads((here.outputs / "a/a_preview.json").read_text())["keep"]
        assert (kept["file"], kept["frames"], kept["dilate"]) == (f"a/{HANDS}", 7, 5)
        assert (kept["width"], kept["height"], kept["as"]) == (97, 65, "guided_generation_mask")
        assert f"keeps what outputs/a/{HANDS} shows and 5 pixels around it" in here.events("kept")[0]["message"]
        here.stop()
        sound(here)


def test_missing_file_fails_in_words(tmp_path):
    """A file that is missing fails the clip, with an error file; once it is there, a retry makes the result."""
    with Daemon(tmp_path / "pov", spec={"keep": HANDS}) as here:
        here.start()
        here.clip(frames=7)
        failed = here.wait_for("failed")
        assert f"povwatch.keep (outputs/a/{HANDS}) is not there" in failed["problem"]
        assert HANDS in (here.inputs / "a.error.txt").read_text()
        assert here.published() == []
        (here.outputs / "a").mkdir(exist_ok=True)
        make_clip(here.outputs / "a" / HANDS, frames=7)
        here.ask("retry", "a.mp4")
        here.wait_for("done")
        assert not (here.inputs / "a.error.txt").exists()
        here.stop()
        sound(here)
