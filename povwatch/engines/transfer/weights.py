"""Finds, checks and hashes the model's files, without torch.

Only safetensors are read: anything else is a Python pickle, which runs any code that is written in it.
"""

from __future__ import annotations

import hashlib
import json
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from povwatch.core.command import command
from povwatch.engines import trust
from povwatch.engines.port import EngineFailure
from povwatch.engines.transfer.settings import CONTROL_NAMES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from povwatch.engines.transfer.settings import Settings

COMPONENTS = ("text_encoder", "vae", "transformer")
"""Folders with weights, in the order of loading."""

CONFIGS = {"tokenizer": "tokenizer_config.json", "scheduler": "scheduler_config.json"}
"""Folders without weights, each with the file that it must have."""

PATTERNS = ("*.safetensors", "*.json", "*.txt", "*.jinja")
"""Files fetched from a repository: never a pickle."""

PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")

HASHING_THREADS = 4
"""Hashing threads: one hashes about 1.5 GB/s, and there are some 20 GB."""

BLOCK = 16 << 20
"""Bytes that are hashed at once. For each block a thread takes Python's lock twice, which it may have to wait 5 ms for
while libraries are imported: `hashlib.file_digest` with its 256 KiB then hashes ten times slower."""


@dataclass(frozen=True, slots=True)
class Files:
    """Where the model's files are."""

    base: Path
    """The folder with COMPONENTS and CONFIGS in it."""
    controls: dict[str, Path]
    """Hint key to the folder with that control's weights."""
    revisions: dict[str, str]
    """Part (`base` or a hint key) to the repository's commit; empty for a folder."""

    def folders(self) -> dict[str, Path]:
        """Every folder with weights, by the name that the record has for it."""
        parts = {name: self.base / name for name in COMPONENTS}
        return parts | {f"controlnet/{CONTROL_NAMES[key]}": path for key, path in self.controls.items()}


def revisions(controls: Iterable[str]) -> dict[str, str]:
    """The repository's revisions: of the parts that all controls share (`base`), and of each control's own weights."""
    own = {key: f"diffusers/controlnet/general/{CONTROL_NAMES[key]}" for key in controls}
    return {"base": "diffusers/general", **own}


def locate(settings: Settings) -> Files:
    """Find every file; download missing ones, unless `offline`.

    Raises:
        EngineFailure: a file is missing, or would need unpickling.
    """
    files = _in_folder(_folder(settings), settings) if is_folder(settings) else _from_hub(settings)
    for path in files.folders().values():
        weights(path)
    for name, config in CONFIGS.items():
        if not (files.base / name / config).is_file():
            raise _missing(files.base / name / config)
    return files


def is_folder(settings: Settings) -> bool:
    """Whether the model is a folder, not a repository of the hub."""
    folder = _folder(settings)
    return folder.is_absolute() or folder.exists()


def weights(folder: Path) -> list[Path]:
    """The safetensors files of one part.

    Raises:
        EngineFailure: a file is missing, or there are only pickles.
    """
    config = folder / "config.json"
    if not config.is_file():
        raise _missing(config)
    found = sorted(folder.glob("*.safetensors"))
    for index in sorted(folder.glob("*.safetensors.index.json")):
        shards = sorted(set(json.loads(index.read_text())["weight_map"].values()))
        if lacking := next((shard for shard in shards if not (folder / shard).is_file()), None):
            raise _missing(folder / lacking)
    if not found:
        if pickles := sorted(path.name for path in folder.iterdir() if path.suffix in PICKLES):
            raise EngineFailure(
                "invalid",
                f"{folder / pickles[0]} is no safetensors file: reading it would run whatever Python is in it.",
                "Convert it to safetensors on a machine that you can spare, or download the model again.",
            )
        raise _missing(folder / "*.safetensors")
    return found


def check_owners(files: Files) -> None:
    """Check that nobody else may change the model's files; see engines/trust.py.

    Raises:
        EngineFailure: somebody may.
    """
    folders = files.folders().values()
    trust.check_owners(path for folder in folders for path in (folder / "config.json", *weights(folder)))


def digests(files: Files) -> dict[str, dict[str, str | int]]:
    """Size and SHA-256 of every file of weights, by its name below the model.

    The hub's cache names a file of weights by its hash, which was checked at download. All others are read.
    """
    named = {
        f"{part}/{path.name}": path.resolve() for part, folder in files.folders().items() for path in weights(folder)
    }
    with ThreadPoolExecutor(HASHING_THREADS, "hashing") as pool:
        hashes = dict(zip(named, pool.map(_digest, named.values()), strict=True))
    return {name: {"size": path.stat().st_size, "sha256": hashes[name]} for name, path in named.items()}


def total_size(paths: Iterable[Path]) -> int:
    """Bytes of all files."""
    return sum(path.stat().st_size for path in paths)


def prefetch() -> str:
    """The advice for a missing file."""
    return f"Download the model with: {command('prefetch')}"


def _digest(path: Path) -> str:
    if path.parent.name == "blobs" and re.fullmatch(r"[0-9a-f]{64}", path.name):
        return path.name
    hashed, block = hashlib.sha256(), memoryview(bytearray(BLOCK))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(block):
            hashed.update(block[:count])
    return hashed.hexdigest()


def _folder(settings: Settings) -> Path:
    return Path(settings.model).expanduser()


def _in_folder(folder: Path, settings: Settings) -> Files:
    controls = {key: folder / "controlnet" / CONTROL_NAMES[key] for key in settings.controls}
    if len(controls) == 1 and (folder / "controlnet" / "config.json").is_file():
        controls = dict.fromkeys(controls, folder / "controlnet")  # the layout of a saved pipeline with one control
    return Files(folder, controls, {})


def _from_hub(settings: Settings) -> Files:
    from huggingface_hub import snapshot_download  # noqa: PLC0415 - an extra's dependency
    from huggingface_hub.errors import GatedRepoError, HFValidationError  # noqa: PLC0415

    found: dict[str, Path] = {}
    for part, revision in revisions(settings.controls).items():
        try:
            where = snapshot_download(
                settings.model,
                revision=revision,
                cache_dir=settings.cache,
                local_files_only=settings.offline,
                allow_patterns=list(PATTERNS),
            )
        except GatedRepoError as error:
            raise EngineFailure(
                "invalid",
                f"{settings.model} is gated, and this machine's token has no access: {first_line(error)}",
                f"Accept the licence at https://huggingface.co/{settings.model}, and set HF_TOKEN.",
            ) from error
        except HFValidationError as error:
            raise EngineFailure(
                "invalid",
                f"engine.model = {settings.model!r} is no folder that is there, and no repository's name.",
                "Give a folder, or owner/name as the hub has it.",
            ) from error
        except (OSError, ValueError) as error:
            raise EngineFailure(
                "invalid", f"{settings.model} at {revision} is not there: {first_line(error)}", prefetch()
            ) from error
        found[part] = Path(where)
    base = found.pop("base")
    return Files(base, found, {"base": base.name, **{key: path.name for key, path in found.items()}})


def _missing(path: Path) -> EngineFailure:
    return EngineFailure("invalid", f"The model's file {path} is missing.", prefetch())


def first_line(error: Exception) -> str:
    """The first line of an exception's text; its class if it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
