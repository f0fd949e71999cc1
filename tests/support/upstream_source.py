"""Parses upstream's sources, for tests that compare povwatch with them; see upstream_tree.py."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest
from support import upstream_tree

ROOT = upstream_tree.root()

needed = pytest.mark.skipif(not ROOT, reason=upstream_tree.MISSING)

CONFIG = "cosmos_transfer2/config.py"
PIPELINE = "cosmos_transfer2/_src/transfer2/inference/inference_pipeline.py"
UTILS = "cosmos_transfer2/_src/transfer2/inference/utils.py"
MODEL = "cosmos_transfer2/_src/transfer2/models/vid2vid_model_control_vace_rectified_flow.py"
DISTILLED = "cosmos_transfer2/_src/interactive/methods/cosmos2_interactive_model.py"

INFERENCE = "cosmos_transfer2/inference.py"
FULL = "cosmos_transfer2/_src/predict2/models/video2world_model_rectified_flow.py"
PRESETS = "cosmos_transfer2/_src/imaginaire/auxiliary/guardrail/common/presets.py"
GUARDRAIL = "cosmos_transfer2/_src/imaginaire/auxiliary/guardrail"
CORE = f"{GUARDRAIL}/common/core.py"
BLOCKLIST = f"{GUARDRAIL}/blocklist/blocklist.py"
PROMPT_GUARD = f"{GUARDRAIL}/qwen3guard/qwen3guard.py"
LOG = "cosmos_transfer2/_src/imaginaire/utils/log.py"
VIDEO = "cosmos_transfer2/_src/imaginaire/visualize/video.py"
DATABASE = "cosmos_transfer2/_src/imaginaire/utils/checkpoint_db.py"
CHECKPOINTER = "cosmos_transfer2/_src/imaginaire/utils/checkpointer.py"
LOADER = "cosmos_transfer2/_src/predict2/utils/model_loader.py"
DISTRIBUTED = "cosmos_transfer2/_src/imaginaire/utils/distributed.py"
TEXT2WORLD = "cosmos_transfer2/_src/predict2/models/text2world_model_rectified_flow.py"
INIT = "packages/cosmos-oss/cosmos_oss/init.py"
CONTROLS = "cosmos_transfer2/_src/interactive/conditioner/condition_postprocessors.py"
EXPERIMENTS = "cosmos_transfer2/_src/transfer2/configs/vid2vid_transfer/experiment/experiment_list.py"


def tree(file: str) -> ast.Module:
    """A parsed file of upstream's."""
    return ast.parse(Path(ROOT, file).read_text())


def classes(file: str, root: str | Path = ROOT) -> dict[str, ast.ClassDef]:
    """The classes of a file, by name."""
    nodes = ast.walk(ast.parse(Path(root, file).read_text()))
    return {node.name: node for node in nodes if isinstance(node, ast.ClassDef)}


def functions(file: str) -> dict[str, ast.FunctionDef]:
    """The functions and methods of a file, by name; the last one of a name wins."""
    return {node.name: node for node in ast.walk(tree(file)) if isinstance(node, ast.FunctionDef)}


def constant(file: str, name: str) -> Any:
    """The value of a constant in a file."""
    for node in ast.walk(tree(file)):
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        if isinstance(target, ast.Name) and target.id == name:
            return ast.literal_eval(node.value)
    raise AssertionError(name)


def method(file: str, kind: str, name: str) -> ast.FunctionDef:
    """A class's own method."""
    [found] = [node for node in classes(file)[kind].body if getattr(node, "name", "") == name]
    assert isinstance(found, ast.FunctionDef)
    return found


def parameters(function: ast.FunctionDef) -> list[str]:
    """The names of a function's parameters, without self."""
    return [argument.arg for argument in [*function.args.args, *function.args.kwonlyargs] if argument.arg != "self"]


def said(node: ast.AST) -> str:
    """The node as source text in a canonical format."""
    return ast.unparse(node)


def assigned(function: ast.FunctionDef) -> set[str]:
    """The names of the attributes that a method sets on its object."""
    targets = [t for node in ast.walk(function) if isinstance(node, ast.Assign) for t in node.targets]
    return {t.attr for t in targets if isinstance(t, ast.Attribute) and said(t.value) == "self"}


def called(file: str, name: str) -> str:
    """The call whose result is assigned to a name in a file."""
    [found] = [
        said(node.value)
        for node in tree(file).body
        if isinstance(node, ast.Assign) and said(node.targets[0]) == name and isinstance(node.value, ast.Call)
    ]
    return found


def runnable(function: ast.FunctionDef, **names: Any) -> Any:
    """A function of upstream's that runs with these names alone; its annotations and decorators are left out."""
    bare = ast.parse(said(function)).body[0]
    assert isinstance(bare, ast.FunctionDef)
    bare.decorator_list, bare.returns = [], None
    for argument in (*bare.args.args, *bare.args.kwonlyargs, bare.args.kwarg):
        if argument is not None:
            argument.annotation = None
    exec(compile(ast.fix_missing_locations(ast.Module([bare], [])), function.name, "exec"), names)  # noqa: S102 - read here
    return names[function.name]
