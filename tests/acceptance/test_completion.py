"""Completion in a real bash, as a user installs it and types."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys

import pytest
from support.daemons import Daemon
from support.terminal import Terminal

if shutil.which("bash") is None:
    pytest.skip("there is no bash here", allow_module_level=True)


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """A folder whose journal knows some clips, with `povwatch` on the PATH and its completion installed for bash."""
    with Daemon(tmp_path_factory.mktemp("completion") / "pov", grace={"period": "1h"}) as made:
        for name in ("kitchen/alpha.mp4", "my clip [1].mp4", "-rf.mp4", "beta.mp4"):
            made.clip(name)
        made.start()
        made.wait_state("beta.mp4", "grace")
        for name in ("kitchen/alpha.mp4", "my clip [1].mp4", "-rf.mp4"):
            made.wait_state(name, "grace")
        assert made.call("vary", "beta", "--template", "kitchen_night").returncode == 0
        made.until(lambda: made.ask("hold", "beta@kitchen_night").done, "the look is known")
        made.ask("cancel", "-rf.mp4")
        made.stop()
        home = made.folder / "home"
        (home / "bin").mkdir(parents=True)
        command = home / "bin/povwatch"
        command.write_text(f'#!/bin/sh\nexec {sys.executable} -m povwatch "$@"\n')
        command.chmod(0o755)
        made.home = home
        made.bash_env = {"HOME": str(home), "PATH": f"{home / 'bin'}:{os.environ['PATH']}", "LANG": "C.UTF-8"}
        install = ["bash", "-c", "povwatch --install-completion; true"]
        done = subprocess.run(install, env=made.bash_env, cwd=made.folder, capture_output=True, text=True, check=True)
        assert "bash completion installed in" in done.stdout, done
        yield made


def completed(here, typed, *, words=None):
    """What bash is offered after a line (its words as readline splits them), as its script asks povwatch."""
    words = words or typed.split(" ")
    here.env = {
        "_POVWATCH_COMPLETE": "complete_bash",
        "COMP_WORDS": "\n".join(words),
        "COMP_CWORD": str(len(words) - 1),
    }
    done = here.call()
    here.env = {}
    assert done.stderr == ""
    return sorted(line for line in done.stdout.split("\n") if line)


def test_verbs_options_and_states(here):
    assert completed(here, "povwatch re") == ["rebuild", "report", "resume", "retry"]
    assert completed(here, "povwatch jobs --st") == ["--state"]
    assert completed(here, "povwatch jobs --state ru") == ["running"]


def test_templates(here):
    assert completed(here, "povwatch specs --template kitchen_") == ["kitchen_night", "kitchen_rain"]
    assert completed(here, "povwatch vary beta --template kitchen_n") == ["kitchen_night"]
    assert completed(here, "povwatch prompts show hand_manipulation_s") == ["hand_manipulation_sampled"]


def test_clips_that_a_verb_can_use(here):
    """By path or file name; a cancelled clip can be shown and run again, but not started."""
    assert completed(here, "povwatch go ") == ["beta.mp4", "kitchen/alpha.mp4", "my\\ clip\\ \\[1\\].mp4"]
    assert completed(here, "povwatch show kit") == completed(here, "povwatch show alp") == ["kitchen/alpha.mp4"]
    assert completed(here, "povwatch retry ") == ["./-rf.mp4"]
    assert completed(here, "povwatch --config config.toml why be") == ["beta.mp4"]


def test_looks_of_a_clip(here):
    """bash splits words at an @, and replaces them from there on."""
    assert completed(here, "", words=["povwatch", "show", "beta", "@", "ki"]) == ["@kitchen_night"]
    assert completed(here, "", words=["povwatch", "show", "beta.mp4", "@"]) == ["@kitchen_night"]
    assert completed(here, "povwatch show beta@ki") == ["beta@kitchen_night"]


def test_failure_is_silent(here):
    """Without a configuration or a journal there is nothing to offer, and nothing is printed."""
    assert completed(here, "povwatch --config none.toml go b") == []
    assert completed(here, "povwatch nonsense b") == []


def test_installed_function_offers_them(here):
    """The function that was installed gives bash what povwatch offers, names with spaces as one word."""
    script = (
        "source ~/.bashrc; COMP_WORDS=(povwatch go my); COMP_CWORD=2; "
        "_povwatch_completion povwatch; printf '%s\\n' \"${COMPREPLY[@]}\""
    )
    done = subprocess.run(
        ["bash", "-c", script], cwd=here.folder, env=here.bash_env, capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("my\\ clip\\ \\[1\\].mp4\n", "")


def test_keys_in_a_terminal(here):
    """A real Tab: a name with a space is quoted, and the command does what was meant."""
    with Terminal("bash", "--norc", "-i", home=here.home) as screen:
        screen.type(f"PATH={here.home}/bin:$PATH; cd {shlex.quote(str(here.folder))}; . ~/.bashrc; PS1='rea''dy> '\n")
        screen.wait_for("ready> ")
        screen.type("povwatch why my\t\n")
        screen.wait_for("povwatch why my\\ clip\\ \\[1\\].mp4")
        screen.wait_for("my clip [1].json can be run")
        screen.type("povwatch hold beta@k\t\n")
        screen.wait_for("povwatch hold beta@kitchen_night")
        screen.wait_for("No daemon is running")
