"""Collects facts about a loaded model and the GPU for the record: upstream's version, its weights, memory."""

from __future__ import annotations

import importlib.metadata
import os
import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from povwatch.engines.needs import Wishes, needs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from povwatch.engines.needs import Need
    from povwatch.engines.upstream.settings import Settings

SHA256 = re.compile(r"[0-9a-f]{64}")

LIBRARIES = ("torch", "transformers", "diffusers", "flash_attn", "transformer_engine", "natten", "numpy", "av")
"""Libraries that decide the result, if they are installed."""

WEIGHTS = (".pt", ".pth", ".safetensors", ".bin")
"""Suffixes of files of weights."""


def versions(package: Any) -> dict[str, Any]:  # noqa: ANN401 - the module cosmos_transfer2
    """Upstream's version and commit, and the libraries that decide the result."""
    torch: Any = sys.modules.get("torch")
    version = str(getattr(package, "__version__", ""))
    commit = commit_of(Path(package.__file__).resolve().parents[1])
    return {
        "version": f"{version}+{commit[:12]}" if commit else version,
        "commit": commit,
        "python": sys.version.split()[0],
        "torch": str(getattr(torch, "__version__", "")),
        "cuda": str(getattr(getattr(torch, "version", None), "cuda", None) or ""),
        "libraries": {name: found for name in LIBRARIES if (found := _version(name))},
    }


def commit_of(folder: Path) -> str:
    """The commit of a work tree or submodule; empty if it is on a branch, or no work tree.

    git is not run: it need not be installed, and refuses trees of another owner.
    """
    git = folder / ".git"
    try:
        if git.is_file():  # a submodule: "gitdir: ../.git/modules/NAME"
            git = folder / git.read_text().removeprefix("gitdir:").strip()
        head = (git / "HEAD").read_text().strip()
    except (OSError, UnicodeDecodeError):
        return ""
    return head if re.fullmatch(r"[0-9a-f]{40}", head) else ""


def weights(checkpoints: Any, controls: tuple[str, ...], *, distilled: bool) -> list[dict[str, str]]:  # noqa: ANN401
    """Which files of which revision have the weights of the loaded controls.

    Args:
        checkpoints: upstream's MODEL_CHECKPOINTS.
        controls: the hint keys that are loaded.
        distilled: whether their distilled models are loaded.
    """
    found = []
    for key, checkpoint in checkpoints.items():
        if getattr(key.variant, "value", key.variant) in controls and key.distilled == distilled:
            hub = checkpoint.hf
            found.append(
                {
                    "control": str(getattr(key.variant, "value", key.variant)),
                    "repository": hub.repository,
                    "revision": hub.revision,
                    "file": str(getattr(hub, "filename", "")),
                    "sha256": blob_digest(getattr(hub, "_path", None)),
                }
            )
    return found


def files(settings: Settings) -> dict[str, dict[str, Any]]:
    """Every file of weights that the engine needs and Hugging Face's cache has.

    Returns:
        `files`: repository/name to size in bytes and sha256, and `revisions`: repository to the commits.
    """
    found: dict[str, Any] = {}
    revisions: dict[str, set[str]] = {}
    for file in present(settings):
        found[file.name] = {"size": file.path.stat().st_size, "sha256": blob_digest(str(file.path))}
        revisions.setdefault(file.repository, set()).add(file.commit)
    return {"files": found, "revisions": {name: ", ".join(sorted(commits)) for name, commits in revisions.items()}}


class Present(NamedTuple):
    """A file of weights in Hugging Face's cache."""

    repository: str
    commit: str
    name: str
    """Repository and name."""
    path: Path


def present(settings: Settings) -> Iterator[Present]:
    """Every file of weights that the engine needs and the cache has."""
    for need in needs("cosmos", Wishes(settings.controls, settings.model, settings.guardrails)):
        folder = cached(need)
        if folder is None:
            continue
        for name in need.files or [path.name for path in sorted(folder.glob("*"))]:
            path = folder / name
            if path.suffix in WEIGHTS and path.is_file():
                yield Present(need.repository, folder.name, f"{need.repository}/{name}", path)


def cached(need: Need) -> Path | None:
    """The folder in Hugging Face's cache that has a need's files; its name is their commit. None if there is none."""
    folder = hub_cache() / f"models--{need.repository.replace('/', '--')}"
    commit = _commit(folder, need.revision)
    found = folder / "snapshots" / commit
    return found if commit and os.path.isdir(found) else None  # noqa: PTH112 - Path's raises where it may not look


def hub_cache() -> Path:
    """Hugging Face's cache, by its client's rules (huggingface_hub.constants)."""
    home = os.environ.get("HF_HOME") or os.path.join(os.environ.get("XDG_CACHE_HOME", "~/.cache"), "huggingface")  # noqa: PTH118
    return Path(os.environ.get("HF_HUB_CACHE") or os.path.join(home, "hub")).expanduser()  # noqa: PTH118


def gpu_name() -> str:
    """The GPU that torch uses; empty without one."""
    cuda = _cuda()
    return str(cuda.get_device_name()) if cuda else ""


def usable_gpu_memory() -> int | None:
    """Bytes of GPU memory that a job can use: free, or held by torch without use; None without a GPU."""
    cuda = _cuda()
    if cuda is None:
        return None
    return int(cuda.mem_get_info()[0] + cuda.memory_reserved() - cuda.memory_allocated())


def begin_peak() -> None:
    """Free what the last job left over, and start to measure the peak of memory."""
    cuda = _cuda()
    if cuda is not None:
        cuda.empty_cache()
        cuda.reset_peak_memory_stats()


def peak() -> int | None:
    """Most bytes of GPU memory that torch held since `begin_peak`; None without a GPU."""
    cuda = _cuda()
    return int(cuda.max_memory_allocated()) if cuda else None


def settled() -> float:
    """Seconds on a clock that never goes back, once the GPU has done what it was given so far."""
    cuda = _cuda()
    if cuda is not None:
        cuda.synchronize()
    return time.monotonic()


def _cuda() -> Any:  # noqa: ANN401 - torch.cuda, or None
    torch: Any = sys.modules.get("torch")
    cuda = getattr(torch, "cuda", None)
    return cuda if cuda is not None and cuda.is_available() else None


def _commit(folder: Path, revision: str) -> str:
    """The commit that the cache has for a revision; empty if it has none."""
    if re.fullmatch(r"[0-9a-f]{40}", revision):
        return revision
    try:
        return (folder / "refs" / revision).read_text().strip()
    except OSError:
        return ""


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def blob_digest(path: str | None) -> str:
    """The digest of a file in Hugging Face's cache, in which a snapshot's files are links to blobs named by digest."""
    name = os.path.basename(os.path.realpath(path)) if path else ""  # noqa: PTH119
    return name if SHA256.fullmatch(name) else ""
