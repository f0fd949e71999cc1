"""povwatch prefetch, from the hub to a service that needs no network: the real command, and a hub on 127.0.0.1."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.forked import Forked
from support.hubs import BIG, Accident, Hub, furnish

from povwatch.engines import needs
from povwatch.engines.annotate import presence

PATIENCE = 30.0


@pytest.fixture
def hub():
    with Hub() as running:
        furnish(running)
        yield running


class Prefetch(Forked):
    """A running `povwatch prefetch`."""

    def __init__(self, number, machine, arguments, env) -> None:
        self._said = [machine.folder / f"{stream}.{number}" for stream in ("stdout", "stderr")]
        stdout, stderr = self._said
        super().__init__(["prefetch", *arguments], cwd=machine.folder, env=env, stdout=stdout, stderr=stderr)

    def ended(self) -> subprocess.CompletedProcess[str]:
        """Wait until it ends; its exit code, and what it has said."""
        code = self.wait(PATIENCE)
        return subprocess.CompletedProcess(self.args, code, *(file.read_text() for file in self._said))


class Machine:
    """A folder with a config.toml, and the command."""

    def __init__(self, folder, hub) -> None:
        self.folder = folder
        self.hub = hub
        self.env: dict[str, str] = hub.environment(folder / "hf") | {"HF_TOKEN": hub.token, "COLUMNS": "120"}
        self.started: list[Prefetch] = []
        self.configure(kind="diffusers")

    def configure(self, **engine) -> None:
        text = "".join(f"{key} = {value!r}\n" for key, value in engine.items())
        (self.folder / "config.toml").write_text(f"[engine]\n{text}")

    def start(self, *arguments: str, **env: str) -> Prefetch:
        plain = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "COSMOS_"))}
        self.started.append(Prefetch(len(self.started), self, arguments, plain | self.env | env))
        return self.started[-1]

    def end(self) -> None:
        for process in self.started:
            process.kill()
            process.wait(PATIENCE)

    def prefetch(self, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        return self.start(*arguments, **env).ended()

    def python(self, code: str, **env: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=dict(os.environ) | self.env | env,
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout


@pytest.fixture
def machine(tmp_path, hub):
    machine = Machine(tmp_path, hub)
    yield machine
    machine.end()


def test_fetched_files_work_offline(machine, hub):
    """All is fetched but pickles, and the engine finds it without a network."""
    done = machine.prefetch()
    assert (done.returncode, done.stderr) == (0, "")
    assert "The diffusers engine: 2.0 MB, of which 2.0 MB to fetch." in done.stdout
    last = done.stdout.splitlines()[-1]
    assert last.startswith("The diffusers engine needs no network now.")
    assert last.endswith(f"Environment=HF_HUB_OFFLINE=1 HF_HOME={machine.folder / 'hf'}")
    names = {name for name, _ in hub.downloads()}
    assert not {"old.ckpt", "unused.pt"} & names, "a pickle, and what nobody asked for"
    offline = {"HF_HUB_OFFLINE": "1", "HF_ENDPOINT": "http://127.0.0.1:9"}
    found = machine.python(
        "from povwatch.engines.transfer import settings, weights\n"
        "files = weights.locate(settings.Settings(offline=True))\n"
        "print(sorted(weights.digests(files)))",
        **offline,
    )
    assert "transformer/model.safetensors" in found
    assert "controlnet/edge/controlnet.safetensors" in found
    assert machine.prefetch(**offline).returncode == 0
    assert machine.prefetch("--check", "--verify", **offline).returncode == 0


def test_models_that_compute_controls(machine, hub, monkeypatch):
    """What computes depth and segments is fetched too, at its commit and without pickles, and found there offline."""
    machine.configure(kind="diffusers", controls=["edge", "depth", "seg"])
    for control in ("depth", "seg"):
        hub.repositories[needs.TRANSFER].branches += (f"diffusers/controlnet/general/{control}",)
        for need in needs.computing(control):
            files = {name: name.encode() * 9 for name in (*need.files, "vocab.txt", "pytorch_model.bin")}
            hub.add(need.repository, files, commit=need.revision)
    done = machine.prefetch()
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("Apache-2.0") == 3
    assert "pytorch_model.bin" not in {name for name, _ in hub.downloads()}
    monkeypatch.setenv("HF_HOME", machine.env["HF_HOME"])
    monkeypatch.setattr(presence, "version", lambda _: "5.0")
    assert [presence.lacking(control) for control in ("depth", "seg")] == [("", "")] * 2
    assert machine.prefetch("--check", "--verify", HF_HUB_OFFLINE="1").returncode == 0


def test_second_run_fetches_nothing(machine, hub):
    machine.prefetch()
    hub.requests.clear()
    done = machine.prefetch()
    assert done.returncode == 0
    assert "of which 0 B to fetch" in done.stdout
    assert hub.downloads() == []


def test_cosmos_finds_its_cached_files(machine, hub):
    """The cosmos engine finds its files in the cache without uvx."""
    machine.configure(kind="cosmos", controls=["edge"])
    wanted = needs.needs("cosmos", needs.Wishes())
    for need in wanted:
        files = dict.fromkeys(need.files, BIG[:3000]) or {"config.json": b"{}", "a.safetensors": BIG[:2000]}
        known = hub.repositories.get(need.repository)
        if known is None or need.repository == needs.TRANSFER:
            hub.add(need.repository, files)
        hub.repositories[need.repository].earlier += (need.revision,)
    done = machine.prefetch()
    assert (done.returncode, done.stderr) == (0, "")
    found = machine.python(
        "import huggingface_hub.constants\n"  # upstream's libraries have done so long before
        "from povwatch.engines.upstream import cached\n"
        "def never(operands): raise AssertionError(operands)\n"
        f"print(cached._download(never, ['{needs.VAE.repository}', '--repo-type', 'model',"
        f" '--revision', '{needs.VAE.revision}', 'tokenizer.pth']))\n"
        f"print(cached._download(never, ['{needs.TEXT_ENCODER.repository}', '--repo-type', 'model',"
        f" '--revision', '{needs.TEXT_ENCODER.revision}', '--include', '*']))",
        HF_HUB_OFFLINE="1",
    )
    vae, encoder = found.split()
    assert vae.endswith(f"snapshots/{needs.VAE.revision}/tokenizer.pth")
    assert sorted(path.name for path in Path(encoder).iterdir()) == ["a.safetensors", "config.json"]


def test_gated_model_names_its_licence(machine, hub):
    """A gated model is named with its licence's page, and the rest is fetched."""
    done = machine.prefetch(HF_TOKEN="")
    assert done.returncode == 1
    for name in ("nvidia/Cosmos-Transfer2.5-2B", "nvidia/Cosmos-1.0-Guardrail"):
        assert f"missing  {name} is gated" in done.stdout
        assert f"https://huggingface.co/{name} and set HF_TOKEN" in done.stdout
    assert "needs no network" not in done.stdout
    assert {name for name, _ in hub.downloads()} == {"config.json", "model.safetensors"}
    done = machine.prefetch("--check", HF_TOKEN="")
    assert done.returncode == 1
    assert "ok  Qwen/Qwen3Guard-Gen-0.6B" in done.stdout
    assert "Its licence is accepted at https://huggingface.co/nvidia/Cosmos-1.0-Guardrail" in done.stdout
    # the licence is accepted, and the token is there
    assert machine.prefetch().returncode == 0


def test_wrong_bytes_are_named(machine, hub):
    """A file that comes with wrong bytes is named, and fetched the next time."""
    hub.accidents["transformer/model.safetensors"] = Accident(swapped=BIG[::-1])
    done = machine.prefetch()
    assert done.returncode == 1
    assert (
        "missing  transformer/model.safetensors of nvidia/Cosmos-Transfer2.5-2B came with the wrong bytes"
        in done.stdout
    )
    hub.accidents.clear()
    assert machine.prefetch().returncode == 0


def test_killed_fetch_resumes(machine, hub):
    """A fetch that is killed in the middle of a file goes on where it was."""
    hub.accidents["transformer/model.safetensors"] = Accident(stall_after=1_500_000)
    first = machine.start()
    blobs = machine.folder / "hf/hub/models--nvidia--Cosmos-Transfer2.5-2B/blobs"
    wait_until(lambda: any(size_of(path) >= 1_400_000 for path in blobs.glob("*-part")))
    first.kill()
    first.ended()
    hub.accidents.clear()
    hub.requests.clear()
    assert machine.prefetch().returncode == 0
    (range_,) = [asked for name, asked in hub.downloads() if name == "transformer/model.safetensors"]
    assert int(range_.removeprefix("bytes=").rstrip("-")) >= 1_400_000
    assert machine.prefetch("--check", "--verify").returncode == 0


def size_of(path):
    """Bytes of a file that may get its final name this very moment."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def test_ctrl_c_keeps_what_is_here(machine, hub):
    """Ctrl-C ends the fetch without a traceback, and keeps what has come."""
    slow = Accident(stall_after=1_500_000)
    hub.accidents["transformer/model.safetensors"] = slow
    process = machine.start(HF_HUB_ETAG_TIMEOUT="1")
    blobs = machine.folder / "hf/hub/models--nvidia--Cosmos-Transfer2.5-2B/blobs"
    wait_until(lambda: any(size_of(path) >= 1_400_000 for path in blobs.glob("*-part")))
    process.send_signal(signal.SIGINT)
    hub.over.set()  # the next bytes, or the end of the connection, wake the thread
    done = process.ended()
    assert done.returncode not in (0, None)
    assert "Traceback" not in done.stderr
    assert any(size_of(path) >= 1_400_000 for path in blobs.glob("*-part"))


def test_too_small_disk_is_told_first(machine, hub):
    """A disk that is too small is told before anything is fetched."""
    hub.repositories["nvidia/Cosmos-Transfer2.5-2B"].claims["transformer/model.safetensors"] = 10**16
    done = machine.prefetch()
    assert done.returncode == 3
    assert "10000 TB are still to be fetched" in done.stderr
    assert hub.downloads() == []


def test_no_network_is_exit_3(machine):
    done = machine.prefetch(HF_ENDPOINT="http://127.0.0.1:9")
    assert done.returncode == 3
    assert "http://127.0.0.1:9 cannot be reached" in done.stderr
    done = machine.prefetch(HF_HUB_OFFLINE="1")
    assert done.returncode == 3
    assert "HF_HUB_OFFLINE is set" in done.stderr


@pytest.mark.parametrize("arguments", [("--engine", "comos"), ("--nothing",)])
def test_usage_is_exit_2(machine, arguments):
    assert machine.prefetch(*arguments).returncode == 2


def test_unloadable_controls_are_exit_2(machine):
    """Controls that upstream cannot load together are exit 2."""
    machine.configure(kind="cosmos", controls=["edge", "depth"])
    done = machine.prefetch()
    assert done.returncode == 2
    assert "Name exactly one control, or all four" in done.stderr


def test_preview_engine_needs_nothing(machine, hub):
    done = machine.prefetch("--engine", "preview")
    assert done.returncode == 0
    assert "no model files" in done.stdout
    assert hub.requests == []


def wait_until(true) -> None:
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)
