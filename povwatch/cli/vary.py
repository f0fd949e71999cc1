"""povwatch vary: writes JSONs for further looks of a clip, without a daemon. core/looks.py has the rule of their names.

1. With templates, a look is what a new JSON of that template says. Without one, it is what the clip's own JSON says.
2. Every template is written with every seed. The name of a look is made of what was asked for: `kitchen_night_s1`.
3. A JSON that exists is never replaced.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from povwatch.cli import complete
from povwatch.cli.app import shared, verbs
from povwatch.cli.clips_here import bases, listing, named
from povwatch.cli.specs import SpecWriter
from povwatch.core import layout, looks
from povwatch.core.command import command
from povwatch.core.errors import ConfigError, EnvironmentFault, PovwatchError, SpecInvalid
from povwatch.spec.first import choose, first_spec, merged, needs_duration
from povwatch.spec.inputs_folder import InputsFolder
from povwatch.spec.parse import SIZE_MAX, as_json, parse
from povwatch.spec.problems import explain
from povwatch.spec.prompts import check_name, configured_templates

if TYPE_CHECKING:
    from collections.abc import Sequence

    from povwatch.config.settings import Config

SEEDS_MAX = 10_000
"""The most seeds of one command: a slip such as 1..1000000 must not fill the folder."""

BRIEF_MAX = 24
"""Characters of a value that are still in the name of a look."""

_RANGE = re.compile(r"(\d{1,18})(?:\.\.(\d{1,18}))?")


@dataclass(frozen=True, slots=True)
class Variation:
    """One look that is asked for."""

    look: str
    template: str
    """Empty for what the clip's own JSON says."""
    changes: dict[str, Any]
    """Fields that replace those of the template or of the clip's own JSON."""


@verbs.command()
def vary(  # noqa: PLR0917 - typer passes them by name
    context: typer.Context,
    clip: Annotated[
        str,
        typer.Argument(
            metavar="CLIP",
            help="A path below inputs/, a file name, or either without its suffix.",
            autocompletion=complete.clips,
        ),
    ],
    template: Annotated[
        list[str] | None,
        typer.Option(
            metavar="T",
            help="A prompt template; several times for several. Without it: the clip's own JSON.",
            autocompletion=complete.templates,
        ),
    ] = None,
    seed: Annotated[
        list[str] | None, typer.Option(metavar="N..M", help="Seeds, each for every template: 7, 1..4 or 1,3,5.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="FIELD=VALUE",
            help="A field of the JSON: guidance=4, edge.control_weight=0.5; null takes it out.",
        ),
    ] = None,
    hold: Annotated[bool, typer.Option("--hold", help="Hold each of them.")] = False,  # noqa: FBT002
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")] = False,  # noqa: FBT002
) -> None:
    """Write JSONs for further looks of a clip."""
    config = shared(context).config()
    asked = variations(template or [""], _seeds(seed or []), _settings(settings or []), hold=hold)
    (path,) = named(config, [clip])
    writer = _Writer(config, path, dry=dry_run)
    writer.check(asked)
    counts = {"written": 0, "there": 0, "failed": 0}
    for variation in asked:
        outcome, message = writer.write(variation)
        counts[outcome] += 1
        typer.echo(f"{layout.shown(writer.spec_of(variation.look))}: {message}")
    text = f"{counts['written']} {'would be ' if dry_run else ''}written, {counts['there']} there already"
    if counts["failed"]:
        text += f", {counts['failed']} not written"
    typer.echo(f"{text}.")
    if counts["failed"]:
        raise typer.Exit(1)


def variations(
    templates: Sequence[str], seeds: Sequence[int], changes: dict[str, Any], *, hold: bool
) -> list[Variation]:
    """Every look that is asked for: each template with each seed.

    Raises:
        ConfigError: nothing would differ from the clip's own look, or a change cannot be made.
    """
    if not any(templates) and not seeds and not changes:
        raise ConfigError(
            "Nothing says how the looks differ.", f"Give --template, --seed or --set: {command('vary', '--help')}"
        )
    _check_changes(changes, seeds)
    extra = "_".join(f"no-{key}" if value is None else f"{key}{_brief(value)}" for key, value in _flat(changes))
    found = {}
    every_seed: Sequence[int | None] = seeds or [None]
    for template, seed in itertools.product(templates, every_seed):
        parts = [template, f"s{seed}" if seed is not None else "", extra]
        look = re.sub(r"[^\w-]+", "-", "_".join(filter(None, parts)))
        own = {} if seed is None else {"seed": seed}
        held = {"povwatch": {**changes.get("povwatch", {}), "start": "hold"}} if hold else {}
        found[look] = Variation(look, template, {**own, **changes, **held})
    return list(found.values())


def _check_changes(changes: dict[str, Any], seeds: Sequence[int]) -> None:
    if seeds and "seed" in changes:
        raise ConfigError("--seed and --set seed both give the seed.", "Take one of them out.")
    if fixed := next((key for key in ("name", "video_path") if key in changes), ""):
        raise ConfigError(f"--set {fixed}: the clip and the look decide it.", "Take it out.")
    if not isinstance(changes.get("povwatch", {}), dict):
        raise ConfigError("--set povwatch: it is no object.", "Write povwatch.priority=5.")


class _Writer:
    """The JSONs of one clip's looks."""

    def __init__(self, config: Config, path: bytes, *, dry: bool) -> None:
        self._config = config
        self._path = path
        self._dry = dry
        self._folder = InputsFolder(config.paths.inputs)
        self._bases = bases(config)
        self._base = self._bases[path]
        self._templates = configured_templates(config)
        self._facts = SpecWriter(config, self._templates).facts

    def spec_of(self, look: str) -> bytes:
        """The JSON of a look, relative to inputs/."""
        return layout.spec_beside(self._path, looks.stem(self._base, look))

    def check(self, asked: Sequence[Variation]) -> None:
        """Check everything that can be told before the first JSON is written.

        Raises:
            ConfigError: a template does not exist, a look cannot have its name, or there would be too many.
        """
        there = self._there()
        for variation in asked:
            if variation.template:
                check_name(variation.template, self._templates, f"--template {variation.template}")
            others = there | {other.look for other in asked}
            if why := looks.refusal(variation.look, self._base, others=others):
                raise ConfigError(why, "Ask for less at once, or write that JSON yourself under another name.")
            if (owner := self._owner(variation.look)) != (self._path, variation.look):
                whose = layout.shown(owner.clip) if owner else "a clip that is gone"
                raise ConfigError(
                    f"{layout.shown(self.spec_of(variation.look))} is the JSON of {whose}.",
                    "Write that look yourself under another name.",
                )
        count, most = len(there | {variation.look for variation in asked}), self._config.spec.variants_max
        if count > most:
            raise ConfigError(
                f"The clip would have {count} looks beside its own, and spec.variants_max is {most}.",
                f"Ask for fewer, or raise it in {self._config.origin}.",
            )

    def write(self, variation: Variation) -> tuple[str, str]:
        """Write a JSON; returns the outcome and a message."""
        spec = self.spec_of(variation.look)
        try:
            if self._folder.exists(spec):
                return "there", "there already, left as it is"
            data = self._text(variation)
            parse(data, clip_name=layout.split(self._path)[1], file=layout.shown(layout.split(spec)[1]))
            if not self._dry and not self._folder.write_spec(spec, data):
                return "there", "there already, left as it is"
        except SpecInvalid as error:
            return "failed", f"not written: {explain(error).rstrip()}"
        except (PovwatchError, EnvironmentFault) as error:
            return "failed", f"not written: {error}"
        of = f"template {variation.template}" if variation.template else "as the clip's own JSON"
        flat = [(key, value) for key, value in _flat(variation.changes) if key != "povwatch.start"]
        changed = "".join(f", without {key}" if value is None else f", {key} {value}" for key, value in flat)
        held = ", held" if variation.changes.get("povwatch", {}).get("start") == "hold" else ""
        return "written", f"{'would be ' if self._dry else ''}written, {of}{changed}{held}"

    def _text(self, variation: Variation) -> bytes:
        label = looks.label_of(self._base, variation.look)
        if not variation.template:
            file = self._folder.read_spec(layout.spec_beside(self._path, self._base))
            if file is not None and len(file.data) <= SIZE_MAX:
                parse(file.data, clip_name=layout.split(self._path)[1], file="its own JSON")
                return _changed(file.data, label, variation.changes)
        template = choose(self._config.spec, self._templates, self._path, template=variation.template or None)
        facts = self._facts(self._path, template)
        if facts is None:
            has = "{duration}" if needs_duration(template) else "choices, which are drawn for the clip's content"
            raise PovwatchError(f"template {template.name} has {has}, and the clip is no whole video (yet).")
        seed = variation.changes.get("seed")
        return first_spec(
            self._config.spec, template, label, facts, look=variation.look, seed=seed, changes=variation.changes
        )

    def _there(self) -> set[str]:
        """The further looks that the clip has a JSON for."""
        found = set()
        for spec in listing(self._config).specs:
            owner = looks.owner(spec, self._clip_of, suffixes=self._config.arrival.suffixes)
            if owner is not None and owner.clip == self._path and owner.look:
                found.add(owner.look)
        return found

    def _owner(self, look: str) -> looks.Owner | None:
        return looks.owner(self.spec_of(look), self._clip_of, suffixes=self._config.arrival.suffixes)

    def _clip_of(self, folder: bytes, base: bytes) -> bytes | None:
        prefix = folder + b"/" if folder else b""
        names = (path for path in self._bases if path.startswith(prefix) and layout.split(path)[0] == folder)
        return next((path for path in names if self._bases[path] == base), None)


def _changed(data: bytes, label: bytes, changes: dict[str, Any]) -> bytes:
    """The clip's own JSON with other fields, and another name for what upstream's command line makes of it."""
    members = merged(json.loads(data.decode("utf-8-sig")), changes)
    members["name"] = json.loads(as_json(label.decode("utf-8", "backslashreplace").encode()))
    return (json.dumps(members, indent=2, ensure_ascii=False) + "\n").encode("utf-8", "surrogateescape")


def _seeds(texts: Sequence[str]) -> list[int]:
    """The seeds of `--seed 1..4 --seed 7,9`.

    Raises:
        ConfigError: a text names no seeds.
    """
    found: dict[int, None] = {}
    for text in ",".join(texts).split(",") if texts else ():
        given = _RANGE.fullmatch(text.strip())
        first = int(given[1]) if given else 0
        last = int(given[2]) if given and given[2] else first
        if given is None or last < first:
            raise ConfigError(f"--seed {text} names no seeds.", "Write 7, 1..4 or 1,3,5.")
        if last - first >= SEEDS_MAX:
            raise ConfigError(f"--seed {text} names {last - first + 1} seeds.", f"At most {SEEDS_MAX} at once.")
        found |= dict.fromkeys(range(first, last + 1))
    return list(found)


def _settings(texts: Sequence[str]) -> dict[str, Any]:
    """The fields of `--set guidance=4 --set edge.control_weight=0.5`.

    Raises:
        ConfigError: a text names no field.
    """
    found: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        *objects, last = key.strip().split(".")
        if not equals or not last or not all(objects):
            raise ConfigError(f"--set {text} names no field and value.", "Write guidance=4 or edge.control_weight=0.5.")
        given = _value(value.strip())
        if not _is_text(key, given):
            raise ConfigError(f"--set {key.encode('utf-8', 'backslashreplace').decode()}: it is no text in UTF-8.")
        place = found
        for name in objects:
            place = place.setdefault(name, {})
            if not isinstance(place, dict):
                raise ConfigError(f"--set {text}: {name} has a value of its own already.", "Take one of them out.")
        place[last] = given
    return found


def _value(text: str) -> Any:  # noqa: ANN401 - whatever the field takes
    try:
        return json.loads(text)
    except ValueError:  # text without quotes
        return text


def _is_text(key: str, value: object) -> bool:
    """Whether a field and its value can be written as UTF-8, which an argument in another encoding cannot."""
    try:
        json.dumps({key: value}, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _brief(value: object) -> str:
    """A value in the name of a look. A long text is its digest, so that another text has another name."""
    text = str(value)
    return text if len(text) <= BRIEF_MAX else f"-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _flat(changes: dict[str, Any], before: str = "") -> list[tuple[str, Any]]:
    """The fields in objects, each with its path: `edge.control_weight`."""
    found = []
    for key, value in changes.items():
        if isinstance(value, dict):
            found += _flat(value, f"{before}{key}.")
        else:
            found.append((before + key, value))
    return found
