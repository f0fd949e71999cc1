"""Takes model files from Hugging Face's cache, without the program that upstream runs to fetch them.

Upstream runs `uvx "hf>=1.3.5" download ...` for every file at every start, even for a cached one
(_src/imaginaire/utils/checkpoint_db.py, 153-167), and uvx looks for its tool in the package index. So a machine without
a network could not start, even with all files there.
"""

from __future__ import annotations

import functools
import importlib
import os
import re
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from povwatch.engines.port import EngineFailure
from povwatch.engines.upstream.downloads import prefetch

if TYPE_CHECKING:
    from collections.abc import Callable

DATABASE = "cosmos_transfer2._src.imaginaire.utils.checkpoint_db"
DOWNLOAD = "_hf_download"

LISTS = ("--include", "--exclude")
SINGLES = ("--repo-type", "--revision")

COMMIT = re.compile(r"[0-9a-f]{40}")

UV = Path(__file__).resolve().parents[3] / ".uv/bin"
"""Folder in which script/cosmos puts uv."""


def prefer_cache() -> None:
    """Make upstream look into the cache first, and make uvx available for what is not there."""
    database = importlib.import_module(DATABASE)
    setattr(database, DOWNLOAD, functools.partial(_download, getattr(database, DOWNLOAD)))
    if shutil.which("uvx") is None:
        ours = [str(folder) for folder in (UV, Path(sys.prefix, "bin")) if (folder / "uvx").exists()]
        os.environ["PATH"] = os.pathsep.join([os.environ.get("PATH", os.defpath), *ours])


def parse(operands: list[str]) -> tuple[str, str | None, list[str], dict[str, list[str]]]:
    """Repository, revision, files and patterns of `hf download`'s arguments, as upstream writes them."""
    names: list[str] = []
    lists: dict[str, list[str]] = {}
    singles: dict[str, str] = {}
    take = names
    rest = iter(operands)
    for operand in rest:
        if operand in SINGLES:
            singles[operand] = next(rest, "")
            take = names
        elif operand in LISTS:
            take = lists.setdefault(operand, [])
        else:
            take.append(operand)
    return names[0], singles.get("--revision"), names[1:], lists


def _download(original: Callable[[list[str]], str], operands: list[str]) -> str:
    """The path in the cache of a file, or of a folder with files."""
    hub = importlib.import_module("huggingface_hub")
    repository, revision, files, patterns = parse(operands)
    # The submodule is an attribute only if somebody imported it.
    constants = getattr(hub, "constants", None) or importlib.import_module("huggingface_hub.constants")
    offline = constants.HF_HUB_OFFLINE
    if len(files) == 1:
        # A cached branch stays at the commit of its download.
        settled = offline or COMMIT.fullmatch(revision or "") is not None
        found = hub.try_to_load_from_cache(repository, files[0], revision=revision) if settled else None
        if isinstance(found, str):
            return found
    elif offline:
        found = _folder(hub, repository, revision, patterns)
        if found is not None:
            return found
    if offline:
        what = f"{repository}{f' ({files[0]})' if files else ''} is not on this machine, and HF_HUB_OFFLINE is set."
        raise EngineFailure("error", what, prefetch())
    return original(operands)


def _folder(hub: Any, repository: str, revision: str | None, patterns: dict[str, list[str]]) -> str | None:  # noqa: ANN401
    try:
        path = hub.snapshot_download(
            repository,
            revision=revision,
            allow_patterns=patterns.get("--include"),
            ignore_patterns=patterns.get("--exclude"),
            local_files_only=True,
        )
    except (OSError, ValueError):  # LocalEntryNotFoundError is both
        return None
    return str(path)
