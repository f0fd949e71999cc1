"""Reads config.toml, the environment and the command line into one configuration.

POVWATCH_* variables override the file: POVWATCH_GRACE__PERIOD=5m sets [grace] period. Relative paths are relative to
config.toml. Unknown keys are refused, with the nearest known one, and so are settings that contradict each other.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_settings import SettingsError

from povwatch.config.faults import check_environment, explain, place, suggestion
from povwatch.config.settings import ENGINE_KINDS, FILE, Config, Paths
from povwatch.core.errors import ConfigError
from povwatch.core.units import parse_duration


def load_config(file: Path | None, *, grace: str | None = None, engine: str | None = None) -> Config:
    """Read the configuration.

    Args:
        file: config.toml, or None for the defaults, relative to the current folder.
        grace: the command line's --grace, which overrides everything else.
        engine: the command line's --engine, which overrides everything else.

    Raises:
        ConfigError: names the file, the key, what was found and what is allowed.
    """
    config = _read(file)
    here = (file.parent if file else Path()).resolve()
    paths = {name: here / path for name, path in config.paths.model_dump().items()}
    state = os.environ.get("STATE_DIRECTORY")
    if state and "state" not in config.paths.model_fields_set:
        paths["state"] = Path(state.split(":")[0])
    changes: dict[str, Any] = {
        "paths": Paths(**paths),
        # Not resolved: a virtual environment's python is a link to elsewhere.
        "engine": config.engine.model_copy(
            update={"python": here / config.engine.python} | ({"kind": engine} if engine else {})
        ),
    }
    if config.spec.templates:
        changes["spec"] = config.spec.model_copy(update={"templates": str(here / config.spec.templates)})
    if config.quality.hands_model:
        changes["quality"] = config.quality.model_copy(update={"hands_model": str(here / config.quality.hands_model)})
    if config.metrics.textfile:
        changes["metrics"] = config.metrics.model_copy(update={"textfile": str(here / config.metrics.textfile)})
    if grace is not None:
        try:
            changes["grace"] = config.grace.model_copy(update={"period": parse_duration(grace)})
        except ValueError as error:
            raise ConfigError(f"--grace: {error}.") from error
    if engine and engine not in ENGINE_KINDS and ":" not in engine:
        meant = suggestion(engine, ENGINE_KINDS).replace("did", "Did")
        raise ConfigError(f"--engine {engine} is no engine.", f"Choose one of {', '.join(ENGINE_KINDS)}.{meant}")
    config = config.model_copy(update=changes)
    config._folder = here  # noqa: SLF001 - nobody else has it yet
    if file is not None:
        config._origin = str(file)  # noqa: SLF001 - see above
    _check_text(config)
    _check_apart(config)
    _check_controls(config)
    _check_pool(config, file)
    return config


def _read(file: Path | None) -> Config:
    """Read the file and the environment, without further checks."""
    if file is not None:
        _check_readable(file)
    check_environment(Config)
    token = FILE.set(file)
    try:
        return Config()
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file}: {error}.", "Put the syntax right: values that are text need quotes.") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file} is no UTF-8 text.", "Save it as UTF-8.") from error
    except SettingsError as error:
        raise ConfigError(f"{error}.", "Set one key with each variable, such as POVWATCH_GRACE__PERIOD=5m.") from error
    except ValidationError as error:
        raise ConfigError(explain(error, Config, file, str(file) if file else "the environment"), "") from error
    except (RecursionError, ValueError) as error:  # deeply nested lists; a number of thousands of digits
        raise ConfigError(f"{file} cannot be read: {error}.", "Put that right; no key takes such a value.") from error
    finally:
        FILE.reset(token)


def _check_text(config: Config) -> None:
    """Refuse null bytes: no path, name or program argument can contain one."""
    found: list[tuple[str, object]] = [("", config.model_dump())]
    while found:
        where, value = found.pop()
        if isinstance(value, dict):
            found += [(f"{where}.{key}" if where else str(key), value[key]) for key in value]
            found += [(where, str(key)) for key in value]
        elif isinstance(value, list | tuple | set | frozenset):
            found += [(where, each) for each in value]
        elif isinstance(value, str | Path) and "\0" in str(value):
            raise ConfigError(f"{config.origin}: {where} has a null byte in it.", "Take it out.")


def _check_readable(file: Path) -> None:
    try:
        file.open("rb").close()
    except IsADirectoryError as error:
        raise ConfigError(f"{file} is a folder.", f"Give the file: --config {file / 'config.toml'}") from error
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ConfigError(f"{file} is not there.", "Give the right one with --config FILE.") from error
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}.", "Let povwatch's user read it.") from error


def _check_apart(config: Config) -> None:
    """Refuse outputs/ inside inputs/: results would be taken in again, for ever."""
    paths = config.paths
    inputs, outputs, state = (Path(os.path.realpath(p)) for p in (paths.inputs, paths.outputs, paths.state))
    for one, one_name, other, other_name in (
        (outputs, "outputs", inputs, "inputs"),
        (inputs, "inputs", outputs, "outputs"),
        (state, "state", inputs, "inputs"),
    ):
        if one == other or other in one.parents:
            raise ConfigError(
                f"{config.origin}: paths.{one_name} ({one}) lies inside paths.{other_name} ({other}).",
                "Give each a folder of its own, side by side.",
            )


def _check_controls(config: Config) -> None:
    """Refuse default controls that the engine does not load: every JSON would have to be edited."""
    asked, loaded = config.spec.controls, config.engine.controls
    lacking = [key for key in asked if key not in loaded]
    if config.engine.kind in ("cosmos", "diffusers") and lacking:
        raise ConfigError(
            f"{config.origin}: spec.controls asks for {', '.join(lacking)}, "
            f"and engine.controls has {', '.join(loaded)} only.",
            "Every new JSON would ask in vain: make the two go together.",
        )


def _check_pool(config: Config, file: Path | None) -> None:
    """Refuse what only a machine on its own can have, or only a pool."""
    if config.pool.kind == "local" and config.engine.workers == 0:
        where = place(["engine", "workers"], file, config.origin)
        raise ConfigError(
            f"{where}: engine.workers: has to be 'auto' or 1 or more, not 0.",
            'Only with workers on other machines, [pool] kind = "ray", this one needs none.',
        )
    if config.pool.kind == "ray" and config.engine.kind == "auto":
        where = place(["pool", "kind"], file, config.origin)
        kinds = ", ".join(kind for kind in ENGINE_KINDS if kind != "auto")
        raise ConfigError(
            f'{where}: pool.kind is "ray", and engine.kind is "auto", which '
            "chooses by what this machine alone can run.",
            f"Name the engine that all machines run: engine.kind has to be one of {kinds}.",
        )
