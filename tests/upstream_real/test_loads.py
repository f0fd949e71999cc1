"""What upstream's own package says where something is missing or damaged, in povwatch's words.

It runs under script/upstream-proof alone. Nothing is downloaded: the cache is offline.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from support import upstream_tree
from support.clips import make_clip
from support.cosmos_jobs import job
from support.supervising import ENGINES
from support.upstream_packages import CACHE, ENVIRONMENT, LONG, PYTHON, Upstream, Worker

from povwatch.engines.needs import CHECKPOINTS, SEGMENTS, TEXT_ENCODER, Need
from povwatch.process import protocol
from povwatch.workers import events

pytestmark = pytest.mark.timeout(1200)

EDGE = CHECKPOINTS["edge"]

RESHAPE = """
import sys, torch
weights = torch.load(sys.argv[1])
name = next(name for name, one in weights.items() if one.dim() == 2)
weights[name] = torch.zeros(3, 5)
torch.save(weights, sys.argv[2])
"""


def link(cache, need: Need, name):
    """A file in a cache."""
    folder = cache / "hub" / f"models--{need.repository.replace('/', '--')}"
    commit = need.revision if len(need.revision) == 40 else (folder / "refs" / need.revision).read_text()
    return folder / "snapshots" / commit / name


@pytest.fixture(scope="module", autouse=True)
def upstream():
    """Skips every test of this file where upstream's package is not set up."""
    return Upstream()


@pytest.fixture(scope="module")
def loop(upstream, tmp_path_factory):
    """A worker that has tried to load from a cache with each fault, and then from one without segments' models."""
    folder = tmp_path_factory.mktemp("loads")
    cache = folder / "hf"
    shutil.copytree(CACHE, cache, symlinks=True)
    upstream.env |= {"HF_HOME": str(cache)}
    checkpoint = link(cache, EDGE, EDGE.files[0])
    text = link(cache, TEXT_ENCODER, "model-00001-of-00001.safetensors")
    for file in (checkpoint, text):
        cut = folder / f"{file.name}.cut"
        cut.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    other = folder / "other.pt"
    subprocess.run([PYTHON, "-c", RESHAPE, checkpoint, other], check=True, cwd=folder)
    link(cache, SEGMENTS[0], SEGMENTS[0].files[0]).unlink()
    turns = {
        "guardrails": ({"guardrails": True}, [str(cache / "hub/models--nvidia--Cosmos-Guardrail1")]),
        "missing": ({}, [str(checkpoint)]),
        "cut": ({}, [str(checkpoint), str(folder / f"{checkpoint.name}.cut")]),
        "text cut": ({}, [str(text), str(folder / f"{text.name}.cut")]),
        "other": ({}, [str(checkpoint), str(other)]),
    }
    in_turn = [{"config": config, "instead": instead} for config, instead in turns.values()]
    engine = f"{ENGINES / 'cosmos_in_turn.py'}:Engine"
    with Worker(upstream, folder, engine=engine, in_turn=in_turn) as worker:
        worker.ready(within=LONG)
        worker.told = dict(zip(turns, worker.supervisor.capabilities["told"], strict=True))
        yield worker


@pytest.mark.parametrize(
    ("fault", "kind", "words"),
    [
        ("guardrails", "error", "nvidia/Cosmos-Guardrail1 is not on this machine"),
        ("missing", "error", f"{EDGE.repository} ({EDGE.files[0]}) is not on this machine"),
        ("cut", "error", "A file of weights is damaged or was cut short"),
        ("text cut", "error", "A file of weights is damaged or was cut short"),
        ("other", "invalid", "The weights are of another model"),
    ],
)
def test_fault_is_told(loop, fault, kind, words):
    """What is missing or damaged is told in words, with what to do."""
    told, message, todo = loop.told[fault]
    assert told == kind, message
    assert message.startswith(words)
    assert "prefetch" in todo


def test_segments_model_missing(loop, tmp_path):
    """A job that needs a mask from words fails in words where the model is missing, and the worker stays."""
    clip = make_clip(tmp_path / "clip.mp4", frames=2, size=(160, 96), fps=24)
    wanted = job(clip, 2, size=(160, 96), resolution="256", edge={"mask_prompt": "a"})
    loop.forget()
    loop.supervisor.generate(protocol.Generate(wanted, "r1", str(tmp_path), str(tmp_path / "chunks")))
    end = loop.until((events.JobFailed, protocol.Generated, events.WorkerLost), within=LONG)
    assert isinstance(end, events.JobFailed), end
    assert "facebook/sam2-hiera-large is not on this machine" in str(end.error)
    assert loop.supervisor.pid


# -- other upstreams ---------------------------------------------------------------------------------------------------


def interpreter(folder, *shown):
    """An interpreter of an environment of its own, which is shown these folders, before or in place of upstream's."""
    subprocess.run([PYTHON, "-m", "venv", "--without-pip", folder], check=True)
    [site] = folder.glob("lib/python*/site-packages")
    site.joinpath("a.pth").write_text("".join(f"{line}\n" for line in shown))
    return folder / "bin/python"


def renamed(tree, old, new):
    """A copy of upstream's package in which a name is another one throughout, also of a module."""
    shutil.copytree(Path(upstream_tree.root(), "cosmos_transfer2"), tree / "cosmos_transfer2", copy_function=_linked)
    for file in tree.rglob("*.py"):
        text = file.read_text()
        if old in text:
            file.unlink()  # a link to upstream's own
            file.write_text(text.replace(old, new))
        if file.stem == old:
            file.rename(file.with_stem(new))
    return tree


def _linked(source, target):
    Path(target).symlink_to(source)


def refused(folder, python):
    """What is said where upstream cannot be used: kind and words."""
    package = Upstream()
    package.python = str(python)
    with Worker(package, folder) as loop:
        loop.start()
        end = loop.until((events.EngineUnavailable, events.EngineLoaded), within=LONG)
    assert isinstance(end, events.EngineUnavailable), "it loaded"
    return f"{end.message} {end.todo}"


@pytest.mark.parametrize(
    ("old", "new", "lacks"),
    [
        ("checkpoint_db", "checkpoint_list", "cosmos_transfer2._src.imaginaire.utils.checkpoint_db"),
        ("_get_num_chunks", "_count_chunks", "inference_pipeline._get_num_chunks"),
    ],
)
def test_other_upstream(tmp_path, old, new, lacks):
    """An upstream in which a module or a function that is hooked into has another name is told with the name."""
    tree = renamed(tmp_path / "tree", old, new)
    [site] = ENVIRONMENT.glob("lib/python*/site-packages")
    python = interpreter(tmp_path / "env", tree, f"import site; site.addsitedir({str(site)!r})")
    said = refused(tmp_path / "work", python)
    assert f"This version of Cosmos-Transfer2.5 has no {lacks}." in said
    assert "povwatch works with the one that it pins: run script/cosmos." in said


def test_environment_lacks_a_package(tmp_path):
    """An environment that lacks a package is told with the package, and what installs it."""
    tree = Path(upstream_tree.root())
    python = interpreter(tmp_path / "env", tree, tree / "packages/cosmos-oss", tree / "packages/cosmos-cuda")
    said = refused(tmp_path / "work", python)
    assert "The engine's interpreter has no " in said
    assert "Run script/cosmos, and see engine.python." in said
