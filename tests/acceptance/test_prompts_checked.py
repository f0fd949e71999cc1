"""The guardrail's text filters check prompts while a JSON can be edited: cosmos_guardrail's own, on tiny files."""

from __future__ import annotations

import functools
import json
import os
import signal
import tempfile
from pathlib import Path

import pytest
from support import forked_workers, tiny_needs
from support.clips import make_clip
from support.daemons import Daemon
from support.tiny_daemon import LONG, Tiny

tiny_needs.skip_without()

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def cache(guardrail_hub, tmp_path):
    """Where the guardrail's files are: variables of the daemon's environment."""
    return {"HF_HUB_CACHE": str(guardrail_hub), "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}


def edit(file, **changes):
    """Change some fields, as an editor saves: a new file renamed over the old one."""
    new = file.with_name(".new")
    new.write_text(json.dumps(json.loads(file.read_text()) | changes, indent=1))
    new.rename(file)


def test_word_lists_on_the_cpu(cache, tmp_path):
    """Where no worker has the engine loaded, the word lists refuse a prompt on the CPU, and say so with its line."""
    with Daemon(tmp_path / "pov", engine={"kind": "diffusers"}, grace={"period": "1h"}) as daemon:
        daemon.env = cache
        if server := forked_workers.server():
            daemon.before = functools.partial(forked_workers.install, server)
        make_clip(daemon.inputs / "a.mp4", frames=3)
        daemon.start("--verbose")
        daemon.wait_for("grace", clip="a.mp4")
        spec, error = daemon.inputs / "a.json", daemon.inputs / "a.error.txt"
        edit(spec, prompt="hands, and two weapons")
        daemon.wait_for("invalid-spec", clip="a.mp4", patience=LONG)
        daemon.until(error.exists, "the error file is there")
        told = error.read_text()
        assert 'prompt is refused by the guardrail\'s Blocklist: its list has "weapon".' in told
        assert "line 4, column" in told
        assert "refused by the guardrail" in daemon.call("why", "a.mp4").stdout
        checked = daemon.call("check", str(spec))
        assert "prompt is refused by the guardrail's Blocklist" in checked.stdout
        assert checked.returncode == 1
        assert "are loaded" in checked.stderr
        edit(spec, prompt="hands, and two cups")
        daemon.wait_for("valid-spec", clip="a.mp4")
        daemon.until(lambda: not error.exists(), "the error file is gone")
        assert daemon.events("prompts-unchecked") == []


def test_all_filters_on_an_idle_worker(cache, tiny, tmp_path):
    """A worker without a job checks with the language model too, and the manifest names who ran, when and how."""
    with Tiny(tmp_path / "pov", tiny, guardrails=True) as daemon:
        daemon.env |= cache | {"TINY_GUARDRAIL": "real"}
        daemon.ask_for("a.mp4", prompt="hands fold a towel!", frames=9)
        daemon.configure(engine={"kind": f"{tiny_needs.MODEL}:TinyEngine"}, grace={"period": "1h"})
        daemon.start("--verbose")
        daemon.wait_for("engine-ready", patience=LONG)
        spec, error = daemon.inputs / "a.json", daemon.inputs / "a.error.txt"
        daemon.until(error.exists, "the error file is there", LONG)
        told = error.read_text()
        assert "prompt is refused by the guardrail's Qwen3Guard: unsafe, Violent Crimes" in told
        edit(spec, prompt="hands fold a towel")
        daemon.wait_for("valid-spec", clip="a.mp4")
        daemon.ask("go", "a.mp4")
        daemon.wait_for("done", clip="a.mp4", patience=LONG)
        manifest = json.loads((daemon.outputs / "a/a_aug.json").read_text())
    assert manifest["guardrails"] is True
    ran = [
        (one["when"], one.get("on"), one["name"], one["verdict"], one["times"]) for one in manifest["guardrail_filters"]
    ]
    engine = [("engine", None, name, "passed", 2) for name in ("Blocklist", "Qwen3Guard")]
    assert ran[-3:] == [*engine, ("engine", None, "RetinaFaceFilter", "applied", 1)]
    assert set(ran[:-3]) <= {("grace", "worker", name, "passed", 2) for name in ("Blocklist", "Qwen3Guard")}
    assert all(len(one["sha256"]) == 64 and one["how"] == "ran" for one in manifest["guardrail_filters"])


def test_copied_words_are_deleted(cache, tmp_path):
    """What the filters have copied, where HF_HOME is not theirs, goes at a stop, and after a kill at the next start."""
    place = Path(tempfile.gettempdir())
    before = set(place.glob("povwatch-guardrail-*"))

    def copied():
        found = set(place.glob("povwatch-guardrail-*")) - before
        return {path for path in found if list(path.glob("**/index.noun"))}

    with Daemon(tmp_path / "pov", engine={"kind": "diffusers"}, grace={"period": "1h"}) as daemon:
        daemon.env = cache | {"HF_HOME": "/nonexistent/hf"}
        if server := forked_workers.server():
            daemon.before = functools.partial(forked_workers.install, server)
        make_clip(daemon.inputs / "a.mp4", frames=3)
        daemon.start("--verbose")
        daemon.until(copied, "the words are copied", LONG)
        daemon.stop()
        assert copied() == set()
        daemon.start("--verbose")
        first = daemon.until(copied, "the words are copied again", LONG)
        os.kill(daemon.events("worker-started")[-1]["pid"], signal.SIGKILL)
        daemon.kill()
        assert copied() == first
        daemon.start("--verbose")
        second = daemon.until(lambda: copied() - first, "the words are copied once more", LONG)
        assert copied() == second
        daemon.stop()
        assert copied() == set()
