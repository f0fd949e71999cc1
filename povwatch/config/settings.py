"""The settings: every key with its type and its default; its reason is in config.toml.

config_load.py reads them.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from povwatch.config.faults import PREFIX, near
from povwatch.config.hooks import Hook
from povwatch.core.cosmos import Control
from povwatch.core.hours import parse as parse_hours
from povwatch.core.units import Bytes, Seconds

ENGINE_KINDS = ("auto", "cosmos", "diffusers", "preview")


class Section(BaseModel):
    """A table of config.toml."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Paths(Section):
    """Where things are."""

    inputs: Path = Path("inputs")
    """Clips are copied here."""
    outputs: Path = Path("outputs")
    """Results appear here."""
    state: Path = Path(".povwatch")
    """The journal; under systemd $STATE_DIRECTORY. Never on a network file system."""


def _suffixes(value: Any) -> Any:  # noqa: ANN401 - whatever the file holds
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        for item in value:
            if not re.fullmatch(r"\.[A-Za-z0-9]+", item):
                raise ValueError(f'{item!r} is no file suffix: write it with its dot, such as ".mp4"')
        return tuple(item.lower() for item in value)
    return value


class Arrival(Section):
    """When a file in inputs/ counts as arrived."""

    extensions: Annotated[tuple[str, ...], BeforeValidator(_suffixes)] = (
        ".mp4",
        ".mov",
        ".mkv",
        ".webm",
        ".avi",
        ".m4v",
    )
    """File suffixes that make a clip, in lower case."""
    settle: Seconds = 5.0
    """A clip has arrived when it has not changed for so long."""
    network_settle: Seconds = 20.0
    """The same where inputs/ is on a network file system."""
    rescan: Seconds = 30.0
    """The longest pause between two looks at the whole folder."""
    recursive: bool = True
    """Whether folders in inputs/ are watched as well."""


class Grace(Section):
    """Time to edit the JSON."""

    period: Seconds = 120.0
    """From the clip's arrival, or the last edit of its JSON, to its start."""
    max: Seconds = 86400.0
    """A JSON that stays invalid for so long rejects its clip."""


class FolderDefaults(Section):
    """What the JSON of a clip in some folder begins with. A string alone is the template's name."""

    template: str = ""
    """The prompt template; spec.template if left out."""
    negative_prompt: str = ""
    """What the video is not to show, over the template's; it may have the same variables."""

    @model_validator(mode="before")
    @classmethod
    def _name_alone(cls, value: Any) -> Any:  # noqa: ANN401 - whatever the file holds
        if isinstance(value, str):
            return {"template": value}
        if not isinstance(value, dict):
            raise ValueError('has to be a template\'s name, or {template = "driving", negative_prompt = "..."}')  # noqa: TRY004 - pydantic's way
        return value


class SpecDefaults(Section):
    """What a default JSON holds."""

    template: str = "hand_manipulation"
    """The prompt template."""
    folders: dict[str, FolderDefaults] = Field(default_factory=dict)
    """Another template, or negative prompt, for some folders: pattern (as in "kitchen/**") to those."""
    priorities: dict[str, Annotated[int, Field(ge=-100, le=100)]] = Field(default_factory=dict)
    """The priority of clips in some folders: pattern to number, higher goes first. A JSON's own goes before it."""
    templates: str = ""
    """A folder with templates of your own; it may be missing."""
    controls: dict[Control, Annotated[float, Field(ge=0, le=1)]] = Field({"edge": 1.0}, min_length=1)
    """Controls and their weights."""
    seed: int = Field(0, ge=0)
    """The seed; the same one gives the same video again."""
    guidance: int = Field(3, ge=0, le=7)
    """How closely the video follows the prompt."""


def _hours(value: Any) -> Any:  # noqa: ANN401 - whatever the file holds
    return parse_hours(value).text


def _devices(value: Any) -> Any:  # noqa: ANN401 - whatever the file holds
    for item in value if isinstance(value, list) else ():
        index = isinstance(item, int) and not isinstance(item, bool) and item >= 0
        if not index and not (isinstance(item, str) and re.fullmatch(r"GPU-[\w-]+", item)):
            raise ValueError(
                f'{item!r} is no GPU: write an index such as 0, or a UUID such as "GPU-...": nvidia-smi -L'
            )
        if value.count(item) > 1:
            raise ValueError(f"{item!r} is named twice: a GPU has one worker")
    return value


class Engine(Section):
    """What generates."""

    kind: str = "auto"
    """auto, cosmos, diffusers or preview; or an engine of your own as `file.py:Class` or `module:Class`."""
    workers: Literal["auto"] | Annotated[int, Field(ge=1, le=64)] = "auto"
    """How many workers; auto is one a GPU that has room. Never more than there are GPUs, where an engine needs one."""
    devices: Annotated[tuple[Any, ...], BeforeValidator(_devices)] = ()
    """The GPUs that may be used, in this order: indices or UUIDs, as nvidia-smi -L has them; empty for all."""
    python: Path = Path("cosmos-transfer2.5/.venv/bin/python")
    """The interpreter of upstream's own environment."""
    controls: Annotated[tuple[Control, ...], Field(min_length=1)] = ("edge",)
    """What is loaded, and so may be asked for: one control, or all four."""
    model: str = ""
    """Another model than the engine's own: a folder or repository (diffusers), or a variant (cosmos)."""
    guardrails: bool = True
    """Prompts and videos are checked; without it the model's licence does not hold."""
    offload_guardrails: bool = False
    """The guardrails' models wait in main memory (cosmos): less of the GPU's, a little slower."""
    gpus_per_worker: int = Field(1, ge=1, le=64)
    """How many GPUs work on one clip together (cosmos): sooner done, but fewer clips an hour."""
    hours: Annotated[str, BeforeValidator(_hours)] = ""
    """When clips may be started, in local time; empty for always."""
    load_timeout: Seconds = 1800.0
    """A model that takes longer to load is given up."""
    stall_timeout: Seconds = 600.0
    """A step that takes longer is a stall; the worker is killed."""
    attempts: int = Field(3, ge=1)
    """How often a clip may fail before it is given up."""

    @field_validator("kind")
    @classmethod
    def _known_kind(cls, kind: str) -> str:
        if kind not in ENGINE_KINDS and ":" not in kind:
            meant = near(kind, ENGINE_KINDS)
            raise ValueError(f"{kind!r} is no engine: choose one of {', '.join(ENGINE_KINDS)}{meant and f';{meant}'}")
        return kind


class Publish(Section):
    """What appears in outputs/."""

    layout: str = "{folder}/{stem}/{stem}_{kind}.mp4"
    """Where a result goes: folder (below inputs/), stem, kind (aug or preview)."""
    source: Literal["keep", "move"] = "keep"
    """What happens to a finished clip: it stays, or is moved aside."""
    source_to: str = "{folder}/.done/{name}"
    """Where it is moved, below inputs/."""

    keep_controls: bool = False
    """The control videos of a real engine are published beside the result."""

    @model_validator(mode="after")
    def _usable(self) -> Self:
        _check_pattern("layout", self.layout, allowed={"folder", "stem", "kind"}, needed={"stem", "kind"})
        if not self.layout.endswith(".mp4"):
            raise ValueError(f"layout = {self.layout!r} has to end in .mp4")
        _check_pattern("source_to", self.source_to, allowed={"folder", "name"}, needed={"name"})
        if not any(part.startswith(".") for part in self.source_to.split("/")[:-1]):
            raise ValueError(
                f"source_to = {self.source_to!r} would be watched again: "
                'put a folder into it whose name begins with a dot, such as "{folder}/.done/{name}"'
            )
        return self


class Disk(Section):
    """Space that povwatch leaves alone."""

    reserve: Bytes = 5_000_000_000
    """With less free space than this no clip is started, and no result finished."""


class Config(BaseSettings):
    """The whole configuration."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
    )

    paths: Paths = Field(default_factory=Paths)
    arrival: Arrival = Field(default_factory=Arrival)
    grace: Grace = Field(default_factory=Grace)
    spec: SpecDefaults = Field(default_factory=SpecDefaults)
    engine: Engine = Field(default_factory=Engine)
    publish: Publish = Field(default_factory=Publish)
    disk: Disk = Field(default_factory=Disk)
    hooks: tuple[Hook, ...] = ()
    _origin: str = PrivateAttr("config.toml")
    _folder: Path = PrivateAttr(default_factory=Path.cwd)

    @property
    def origin(self) -> str:
        """The file that it was read from, for messages."""
        return self._origin

    @property
    def folder(self) -> Path:
        """Where that file is: what a relative path is relative to."""
        return self._folder

    @field_validator("hooks")
    @classmethod
    def _names_differ(cls, hooks: tuple[Hook, ...]) -> tuple[Hook, ...]:
        names = [hook.name for hook in hooks]
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"two hooks are called {twice[0]!r}: give each a name of its own")
        return hooks

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Environment over file; no .env file and no secrets folder."""
        del dotenv_settings, file_secret_settings
        toml = settings_cls.model_config.get("toml_file")
        file = (TomlConfigSettingsSource(settings_cls, toml),) if toml else ()
        return (env_settings, *file, init_settings)


def _check_pattern(key: str, pattern: str, *, allowed: set[str], needed: set[str]) -> None:
    found = set(re.findall(r"\{(.*?)\}", pattern))
    if unknown := sorted(found - allowed):
        raise ValueError(f"{key} = {pattern!r}: {{{unknown[0]}}} is unknown, known are {_braced(allowed)}")
    if missing := sorted(needed - found):
        raise ValueError(f"{key} = {pattern!r} needs {_braced(set(missing))}")
    parts = pattern.split("/")
    if pattern.startswith("/") or ".." in parts:
        raise ValueError(f"{key} = {pattern!r} has to stay inside: no leading / and no ..")
    if any("{folder}" in part and part != "{folder}" for part in parts):
        raise ValueError(f"{key} = {pattern!r}: {{folder}} has to stand alone between slashes")


def _braced(names: set[str]) -> str:
    return ", ".join(f"{{{name}}}" for name in sorted(names))
