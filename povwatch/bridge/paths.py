"""Paths of this machine, as they are on a node. Pure.

Where outputs/ is shared, the paths of a job are the same on each node, and only the load's configuration is changed:
what povwatch keeps in its state folder here is in a folder of the node's own there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

APART = frozenset({"output_dir", "meeting"})
"""The keys of a load's configuration whose folder no two workers may share: their last part is a worker's number."""


def on_node(config: Mapping[str, Any], state: str, node_state: str, slot: int) -> dict[str, Any]:
    """A load's configuration with the folders of the node.

    Args:
        config: as the daemon has it.
        state: the daemon's state folder.
        node_state: the node's.
        slot: no other worker of the node has this number.
    """

    def there(key: str, value: str) -> str:
        if not value.startswith(f"{state}/"):
            return value
        path = node_state + value.removeprefix(state)
        return f"{path.rpartition('/')[0]}/{slot}" if key in APART else path

    changed: dict[str, Any] = _changed("", dict(config), there)
    return changed


def needed(job: Mapping[str, Any], folder: str) -> list[str]:
    """The files in an attempt's folder that a job names, relative to the folder, each once."""
    found: dict[str, None] = {}

    def note(key: str, value: str) -> str:
        if _is_path(key) and value.startswith(f"{folder}/"):
            found[value.removeprefix(f"{folder}/")] = None
        return value

    _changed("", dict(job), note)
    return list(found)


def moved(job: Mapping[str, Any], folder: str, to: str) -> dict[str, Any]:
    """A job, or an artifact, whose files are in another folder."""

    def there(key: str, value: str) -> str:
        return to + value.removeprefix(folder) if _is_path(key) and value.startswith(f"{folder}/") else value

    changed: dict[str, Any] = _changed("", dict(job), there)
    return changed


def made(artifact: Mapping[str, Any], folder: str) -> list[str]:
    """The files that an artifact names, relative to the folder that they are in, each once.

    Raises:
        ValueError: one is not in the folder.
    """
    entries = artifact.get("control_files")
    left = [one.get("path") for one in entries if isinstance(one, dict)] if isinstance(entries, list) else []
    paths = [artifact.get("path"), *(artifact.get("controls") or {}).values(), *left]
    for path in paths:
        if not isinstance(path, str) or not path.startswith(f"{folder}/") or "/../" in path:
            raise ValueError(f"The engine's artifact {path!r} is not inside its work folder {folder!r}.")
    return list(dict.fromkeys(str(path).removeprefix(f"{folder}/") for path in paths))


def _is_path(key: str) -> bool:
    """Whether a field of a job or an artifact holds a path: a prompt that looks like one stays as it is."""
    return key in {"video", "controls"} or key.endswith("path")


def _changed(key: str, value: Any, change: Callable[[str, str], str]) -> Any:  # noqa: ANN401 - JSON values
    """A JSON value with each text of it changed; `change` gets the key that it is under, of lists that of the list."""
    if isinstance(value, dict):
        inner = key == "controls"  # an artifact's: hint key to path
        return {name: _changed(key if inner else name, one, change) for name, one in value.items()}
    if isinstance(value, list):
        return [_changed(key, one, change) for one in value]
    return change(key, value) if isinstance(value, str) else value
