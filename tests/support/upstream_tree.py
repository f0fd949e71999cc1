"""Runs upstream's own sources, if they are there: in POVWATCH_UPSTREAM, or in the submodule that script/cosmos fetches.

Two parts of them need no GPU: config.py, and the computation of edges and blur. As a program this module runs one of
them in a separate process, where upstream's package does not meet its double:

    upstream_tree.py TREE config                JSON from standard input to standard output, see `judge`
    upstream_tree.py TREE controls FILE.npz     `frames` in it (frames, height, width, 3), see `controls`
"""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

SUBMODULE = Path(__file__).parents[2] / "cosmos-transfer2.5"

MISSING = "POVWATCH_UPSTREAM names no work tree of cosmos-transfer2.5, and script/cosmos fetched none"

AUGMENTORS = "cosmos_transfer2._src.transfer2.datasets.augmentors"


def root() -> str:
    """The work tree; empty if there is none."""
    named = os.environ.get("POVWATCH_UPSTREAM", "")
    return named or (str(SUBMODULE) if (SUBMODULE / "cosmos_transfer2/config.py").is_file() else "")


def judge(*, env: dict[str, str] | None = None, **asked: list[Any]) -> dict[str, list[dict[str, Any]]]:
    """Let upstream's own config.py validate fields.

    Args:
        env: environment variables for it.
        asked: class name to lists of fields, as JSON values; `files` to the paths of JSON files, which are read as its
            command line reads them.

    Returns:
        The resulting `fields` for each, or `refused` with the reason; upstream's list of `checkpoints`; and the
        `downloads` that it makes for everything that it has registered.
    """
    done = subprocess.run(
        [sys.executable, __file__, root(), "config"],
        input=json.dumps(asked),
        env=os.environ | (env or {}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, list[dict[str, Any]]] = json.loads(done.stdout.splitlines()[-1])
    return found


def controls(frames: Any, folder: Path) -> Any:
    """Let upstream's augmentors compute the controls of frames, on the CPU, with the calls of its inference.

    Returns:
        `edge-PRESET` and `vis-PRESET`, each of the frames' shape.
    """
    given, made = folder / "frames.npz", folder / "frames.npz.controls.npz"
    np.savez(given, frames=frames)
    done = subprocess.run(
        [sys.executable, __file__, root(), "controls", str(given)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return np.load(made)


def _judge(tree: str) -> None:
    _stand_in("tyro", conf=SimpleNamespace(arg=lambda **_: None))  # it reads a command line
    config = _upstream(tree, "cosmos_transfer2.config")
    asked = json.load(sys.stdin)
    files = [Path(path) for path in asked.pop("files", [])]
    answers = {name: [judged(getattr(config, name), one) for one in some] for name, some in asked.items()}
    answers["files"] = [
        one.model_dump(mode="json") for path in files for one in config.InferenceArguments.from_files([path])[0]
    ]
    answers["checkpoints"] = [
        {
            "control": key.variant.value,
            "distilled": key.distilled,
            "repository": found.hf.repository,
            "revision": found.hf.revision,
            "file": found.hf.filename,
            "path": found.hf._path,
        }
        for key, found in config.MODEL_CHECKPOINTS.items()
        if key.variant in config.BASE_MODEL_VARIANTS
    ]
    answers["downloads"] = _downloads()
    sys.stdout.write(json.dumps(answers))


def judged(kind: Any, fields: dict[str, Any]) -> dict[str, Any]:
    """The result of a class of upstream's, or of its double's, for some fields."""
    try:
        found = kind.model_validate(fields)
    except (ValueError, KeyError) as error:  # pydantic's is a ValueError; an unknown model is a KeyError
        return {"refused": str(error)}
    return {"fields": found.model_dump(mode="json"), "hint_keys": getattr(found, "hint_keys", [])}


def _downloads() -> list[list[str]]:
    database = import_module("cosmos_transfer2._src.imaginaire.utils.checkpoint_db")
    asked: list[list[str]] = []
    database._hf_download = lambda operands: asked.append(operands) or "/"
    for found in {id(one): one for one in database._CHECKPOINTS.values()}.values():
        with suppress(AssertionError):  # that it is there now
            found.hf.download()
    return asked


def _controls(tree: str, given: str) -> None:
    import torch  # noqa: PLC0415 - not everywhere
    from support import tiny_model  # noqa: F401, PLC0415 - lets a torchvision of another build be imported

    if find_spec("attrs") is None:
        _stand_in("attrs", define=_define)
    _stand_in("pycocotools", mask=None)
    _stand_in(f"{AUGMENTORS}.seg", decode_partial_rle_width1=None, segmentation_color_mask=None)
    evaluate = _upstream(tree, f"{AUGMENTORS}.control_input").get_augmentor_for_eval
    frames = torch.from_numpy(np.load(given)["frames"]).permute(3, 0, 1, 2)
    made = {}
    for key, argument in (("edge", "preset_edge_threshold"), ("vis", "preset_blur_strength")):
        for preset in ("very_low", "low", "medium", "high", "very_high"):
            batch = evaluate({"input_video": frames}, ["input_video"], [key], **{argument: preset})
            made[f"{key}-{preset}"] = batch[f"control_input_{key}"][0].permute(1, 2, 3, 0).numpy()
    np.savez(given + ".controls.npz", **made)


def _upstream(tree: str, module: str) -> Any:
    """A module of upstream's, without CUDA's libraries, and without its logger, which needs some of them."""
    names = ("debug", "info", "warning", "error", "critical", "success")
    _stand_in("cosmos_transfer2._src.imaginaire.utils.log", **dict.fromkeys(names, lambda *_, **__: None))
    about = runpy.run_path(str(Path(tree, "cosmos_transfer2/__about__.py")))
    _stand_in("cosmos_cuda", __version__=about["__version__"])
    sys.path[:0] = [tree, str(Path(tree, "packages/cosmos-oss"))]
    return import_module(module)


def _define(cls: type) -> type:
    """attrs.define, as far as upstream's blur settings use it: fields with defaults, set by name."""

    def init(self: Any, **given: Any) -> None:
        vars(self).update({name: getattr(cls, name, None) for name in cls.__annotations__} | given)

    cls.__init__ = init  # type: ignore[misc]
    return cls


def _stand_in(name: str, **attributes: Any) -> ModuleType:
    module = sys.modules[name] = ModuleType(name)
    vars(module).update(attributes)
    return module


if __name__ == "__main__":
    sys.path.append(str(Path(__file__).parents[1]))  # for tests/support
    match sys.argv[1:]:
        case tree, "config":
            _judge(tree)
        case tree, "controls", given:
            _controls(tree, given)
