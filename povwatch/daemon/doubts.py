"""What a configuration asks for that cannot go well, told in the log as the daemon starts. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from povwatch.hooks.plan import BEFORE
from povwatch.spec.prompts import templates_used

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from povwatch.config.settings import Config
    from povwatch.engines.abilities import Abilities
    from povwatch.spec.prompts import Template


def doubts(
    config: Config, templates: Mapping[str, Template], abilities: Abilities
) -> Iterator[tuple[str, dict[str, str]]]:
    """Events to log, each with its fields."""
    if config.spec.keep and not any(hook.when == BEFORE for hook in config.hooks):
        yield "keep-without-hook", {"keep": config.spec.keep}
    for name in templates_used(config):
        asked = templates[name].controls or config.spec.controls
        if lacking := abilities.lacking(asked):
            yield (
                "template-controls",
                {"template": name, "asked": ", ".join(lacking), "controls": ", ".join(abilities.controls)},
            )
