"""The settings: every key with its type and its default. config.toml explains them.

load.py reads them.
"""

from __future__ import annotations

import re
from contextlib import suppress
from contextvars import ContextVar
from math import isfinite
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
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

from povwatch.config.faults import PREFIX, suggestion
from povwatch.config.hooks import Hook
from povwatch.config.notify import Notify
from povwatch.core import kept_file
from povwatch.core.cosmos import Control
from povwatch.core.hours import parse as parse_hours
from povwatch.core.quality import BEST_OF_MAX, Rule
from povwatch.core.scores import SCORES
from povwatch.core.speed import Speed
from povwatch.core.units import Bytes, Seconds

FILE: ContextVar[Path | None] = ContextVar("FILE", default=None)
"""The file that a `Config` is read from. A class for each file would take as long as reading it."""

ENGINE_KINDS = ("auto", "cosmos", "diffusers", "preview")


class Section(BaseModel):
    """A table of config.toml."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Paths(Section):
    """The folders."""

    inputs: Path = Path("inputs")
    """Clips are copied here."""
    outputs: Path = Path("outputs")
    """Results appear here."""
    state: Path = Path(".povwatch")
    """The journal; under systemd $STATE_DIRECTORY. Never on a network file system."""


VIDEO_SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v")
"""The suffixes of videos, in lower case."""


def _suffixes(value: Any) -> Any:  # noqa: ANN401 - whatever the file holds
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        for item in value:
            if not re.fullmatch(r"\.[A-Za-z0-9]+", item):
                raise ValueError(f'{item!r} is no file suffix: write it with its dot, such as ".mp4"')
        return tuple(item.lower() for item in value)
    return value


class Arrival(Section):
    """When a file in inputs/ counts as arrived."""

    extensions: Annotated[tuple[str, ...], BeforeValidator(_suffixes)] = VIDEO_SUFFIXES
    """File suffixes that make a clip, in lower case."""
    settle: Seconds = 5.0
    """Seconds that a clip must not change before it may have arrived."""
    network_settle: Seconds = 20.0
    """The same if inputs/ is on a network file system."""
    rescan: Seconds = 30.0
    """The most seconds between two scans of the whole folder."""
    recursive: bool = True
    """Whether folders in inputs/ are watched too."""

    @property
    def suffixes(self) -> frozenset[bytes]:
        """`extensions` as parts of file names."""
        return frozenset(extension.encode() for extension in self.extensions)


class Grace(Section):
    """Time to edit the JSON."""

    period: Seconds = 120.0
    """Seconds from the clip's arrival, or the last edit of its JSON, to its start."""
    max: Seconds = 86400.0
    """Seconds after which a clip whose JSON stays invalid is rejected."""


class FolderDefaults(Section):
    """Defaults for the JSONs of a folder. A string alone is the template's name."""

    template: str = ""
    """The prompt template; empty for spec.template."""
    negative_prompt: str = ""
    """The negative prompt, which overrides the template's; it may contain the same variables."""
    variants: tuple[str, ...] | None = None
    """Templates of further looks for each new clip; None for spec.variants."""

    @model_validator(mode="before")
    @classmethod
    def _name_alone(cls, value: Any) -> Any:  # noqa: ANN401 - whatever the file holds
        if isinstance(value, str):
            return {"template": value}
        if not isinstance(value, dict):
            raise ValueError('has to be a template\'s name, or {template = "driving", negative_prompt = "..."}')  # noqa: TRY004 - pydantic's way
        return value


def _kept(value: str) -> str:
    if value and (why := kept_file.misplaced(value)):
        raise ValueError(f"{why}. {kept_file.TODO}")
    return value


class SpecDefaults(Section):
    """Defaults of a new JSON."""

    template: str = "hand_manipulation"
    """The prompt template."""
    folders: dict[str, FolderDefaults] = Field(default_factory=dict)
    """Other templates or negative prompts for some folders, by pattern ("kitchen/**")."""
    priorities: dict[str, Annotated[int, Field(ge=-100, le=100)]] = Field(default_factory=dict)
    """Priorities of some folders, by pattern; higher runs first. A JSON's own priority overrides it."""
    templates: str = ""
    """A folder with the user's own templates; it may be missing."""
    controls: dict[Control, Annotated[float, Field(ge=0, le=1)]] = Field({"edge": 1.0}, min_length=1)
    """Controls and their weights."""
    seed: int = Field(0, ge=0)
    """The seed; the same one gives the same video again."""
    guidance: int = Field(3, ge=0, le=7)
    """How closely the video follows the prompt."""
    keep: Annotated[str, AfterValidator(_kept)] = ""
    """A video that a hook leaves in each clip's folder in outputs/; empty for none. Where it shows more than its
    background, the clip is kept."""
    dilate: int = Field(kept_file.DILATE, ge=0, le=kept_file.DILATE_MAX)
    """How far around that the clip is kept too, in pixels of the clip."""
    variants: tuple[str, ...] = ()
    """Templates of further looks: each new clip gets a JSON of each, named after it."""
    variants_max: int = Field(32, ge=1, le=10_000)
    """The most looks of a clip beside its own."""


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
    """The engine."""

    kind: str = "auto"
    """auto, cosmos, diffusers or preview; or a user's own engine as `file.py:Class` or `module:Class`."""
    workers: Literal["auto"] | Annotated[int, Field(ge=0, le=64)] = "auto"
    """The number of workers on this machine; auto: one for each GPU with enough memory. At most one per GPU, if it
    needs one. None at all only with a pool."""
    devices: Annotated[tuple[Any, ...], BeforeValidator(_devices)] = ()
    """The GPUs to use, in this order: indices or UUIDs, as in nvidia-smi -L; empty for all."""
    python: Path = Path("cosmos-transfer2.5/.venv/bin/python")
    """The interpreter of upstream's own environment."""
    controls: Annotated[tuple[Control, ...], Field(min_length=1)] = ("edge",)
    """The controls that may be used. cosmos: one, or all four; diffusers: any."""
    model: str = ""
    """Another model than the engine's own: a folder or repository (diffusers), or a variant (cosmos)."""
    guardrails: bool = True
    """Whether prompts and videos are checked; the model's licence requires it."""
    offload_guardrails: bool = False
    """Whether the guardrails' models wait in main memory (cosmos): saves GPU memory, a little slower."""
    check_prompts: Literal["blocklist", "all", "off"] = "blocklist"
    """Which of the guardrail's text filters check a JSON's prompts on the CPU, before its job: its word lists, its
    language model too, or none. An idle worker checks with both, unless it is off."""
    exact: Literal["rounding", "pipeline"] = "rounding"
    """How exactly the diffusers engine computes what diffusers' pipeline does: but for rounding, or to the bit."""
    compile: Literal["auto"] | bool = "auto"
    """Whether the diffusers engine compiles its steps; auto: on a GPU, unless `exact` is pipeline."""
    memory: Literal["auto", "full", "low"] = "auto"
    """How much GPU memory the diffusers engine uses; auto: low where the whole model does not fit."""
    speed: Speed = "exact"
    """How much the diffusers engine may approximate, unless a JSON says it."""
    gpus_per_worker: int = Field(1, ge=1, le=64)
    """The number of GPUs that work on one clip together (cosmos): sooner done, but fewer clips an hour."""
    hours: Annotated[str, BeforeValidator(_hours)] = ""
    """The hours when clips may start, in local time; empty for always."""
    load_timeout: Seconds = 1800.0
    """Seconds that loading the model may take."""
    stall_timeout: Seconds = 600.0
    """Seconds that a step may take; then the worker is killed."""
    attempts: int = Field(3, ge=1)
    """The number of failures after which a clip is given up."""

    @model_validator(mode="after")
    def _exact_to_the_bit(self) -> Self:
        if self.compile is True and self.exact == "pipeline":
            raise ValueError('exact = "pipeline" is exact to the bit, and compile = true is not: take one of them out')
        if self.speed != "exact" and self.exact == "pipeline":
            raise ValueError(
                f'exact = "pipeline" is exact to the bit, and speed = "{self.speed}" is not: take one of them out'
            )
        return self

    @field_validator("kind")
    @classmethod
    def _known_kind(cls, kind: str) -> str:
        if kind not in ENGINE_KINDS and ":" not in kind:
            meant = suggestion(kind, ENGINE_KINDS)
            raise ValueError(f"{kind!r} is no engine: choose one of {', '.join(ENGINE_KINDS)}{meant and f';{meant}'}")
        return kind


class Pool(Section):
    """Workers on other machines, through Ray."""

    kind: Literal["local", "ray"] = "local"
    """local: this machine's workers alone; ray: those of a Ray cluster too."""
    address: str = ""
    """The cluster's head, as host:port; empty for this machine's own (bridge/head.py)."""
    max: int = Field(8, ge=1, le=4096)
    """The most workers that the cluster is asked for."""
    idle: Seconds = 600.0
    """Seconds after which a worker without a clip ends, so that the cluster can give its machine back."""
    files: Literal["shared", "stream"] = "shared"
    """shared: every node has outputs/ at the same path; stream: the clips are sent and the results fetched."""
    gpus_per_worker: int = Field(1, ge=1, le=64)
    """GPUs of a worker there, as Ray counts them; see Engine.gpus_per_worker."""
    runtime: str = ""
    """The interpreter of the engine's environment on the nodes; empty for the path of this machine's."""

    @field_validator("address")
    @classmethod
    def _host_and_port(cls, address: str) -> str:
        if address and not re.fullmatch(r"([\w.-]+|\[[0-9A-Fa-f:.]+\]):[1-9]\d{0,4}", address):
            raise ValueError(f'{address!r} is no address: write the head\'s host and port, such as "gpu-01:6379"')
        return address

    @field_validator("runtime")
    @classmethod
    def _path_on_the_nodes(cls, runtime: str) -> str:
        if runtime and not runtime.startswith("/"):
            raise ValueError(f"{runtime!r} has to begin with a slash: each node looks for it at that path")
        return runtime


class Publish(Section):
    """The results in outputs/."""

    layout: str = "{folder}/{stem}/{stem}_{kind}.mp4"
    """Where a result goes: folder (below inputs/), stem, kind (aug or preview; night_aug for the look night)."""
    source: Literal["keep", "move"] = "keep"
    """Whether a finished clip stays or is moved."""
    source_to: str = "{folder}/.done/{name}"
    """Where it is moved, relative to inputs/."""

    keep_controls: bool = False
    """Whether a real engine's control videos are published beside the result."""
    sheet: bool = True
    """Whether a contact sheet is published beside the result: eight moments, the input over the result."""

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


class Quality(Section):
    """The scores of results, and what they are judged by: each further key is a score that has to be so."""

    model_config = ConfigDict(extra="allow", frozen=True)

    scores: bool = True
    """Whether results are scored."""
    hands_model: str = ""
    """MediaPipe's model of hand landmarks, the file hand_landmarker.task; empty for none."""
    tries: int = Field(4, ge=1, le=BEST_OF_MAX)
    """The number of seeds that are tried at most, for a result that passes."""
    keep_rejected: bool = False
    """Whether the results of the other seeds are published too, in a folder beside the best."""

    @model_validator(mode="after")
    def _scores_exist(self) -> Self:
        rules = self.rules
        if rules and not self.scores:
            raise ValueError(f"scores = false measures nothing, and {rules[0].score} is judged: take one of them out")
        return self

    @property
    def rules(self) -> tuple[Rule, ...]:
        """What the scores have to be."""
        return tuple(_rule(name, value) for name, value in (self.model_extra or {}).items())


def _rule(name: str, value: Any) -> Rule:  # noqa: ANN401 - whatever the file holds
    """A rule, such as `edge_f1 = 0.6` or `edge_f1 = {at_least = 0.6}`."""
    settings = Quality.model_fields
    if name not in SCORES:
        meant = suggestion(name, [*settings, *SCORES])
        found = f"{name!r} is no score and no setting: there are {', '.join([*settings, *SCORES])}"
        raise ValueError(f"{found}{meant and f';{meant}'}")
    way, bound = "at_least" if SCORES[name].higher else "at_most", value
    if isinstance(value, dict) and len(value) == 1 and set(value) <= {"at_least", "at_most"}:
        ((way, bound),) = value.items()
    if isinstance(bound, str):  # from the environment
        with suppress(ValueError):
            bound = float(bound)
    if isinstance(bound, bool) or not isinstance(bound, int | float) or not isfinite(bound):
        raise ValueError(f"{name} = {value!r} is no number and no {{at_least = 0.6}} or {{at_most = 0.6}}")
    return Rule(name, float(bound), at_least=way == "at_least")


class Page(Section):
    """The page outputs/index.html."""

    enabled: bool = True
    """Whether it is written."""
    title: str = "povwatch"
    """Its heading, and the name of its tab."""


class Disk(Section):
    """The space that povwatch leaves free."""

    reserve: Bytes = 5_000_000_000
    """Bytes. With less free space no clip starts, and no result is finished."""


def _prom(value: str) -> str:
    if value and not value.endswith(".prom"):
        raise ValueError(f"{value!r} has to end in .prom: node_exporter reads no other file")
    return value


class Metrics(Section):
    """Where the metrics are published; nowhere by default."""

    textfile: Annotated[str, AfterValidator(_prom)] = ""
    """A file for node_exporter's textfile collector; empty for none."""
    port: int = Field(0, ge=0, le=65535)
    """A port of 127.0.0.1 at which Prometheus may ask; 0 for none."""


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
    pool: Pool = Field(default_factory=Pool)
    publish: Publish = Field(default_factory=Publish)
    quality: Quality = Field(default_factory=Quality)
    page: Page = Field(default_factory=Page)
    disk: Disk = Field(default_factory=Disk)
    metrics: Metrics = Field(default_factory=Metrics)
    hooks: tuple[Hook, ...] = ()
    notify: tuple[Notify, ...] = ()
    _origin: str = PrivateAttr("config.toml")
    _folder: Path = PrivateAttr(default_factory=Path.cwd)

    @property
    def origin(self) -> str:
        """The file that it was read from, for messages."""
        return self._origin

    @property
    def folder(self) -> Path:
        """The folder of that file, to which paths are relative."""
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
        """The environment overrides the file. There is no .env file and no secrets folder."""
        del dotenv_settings, file_secret_settings
        toml = FILE.get()
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
