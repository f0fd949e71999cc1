"""What a configuration asks for that cannot go well."""

from __future__ import annotations

import pytest

from povwatch.config.settings import Config
from povwatch.daemon.doubts import doubts
from povwatch.engines.abilities import Abilities
from povwatch.spec.prompts import configured_templates

HOOK = {"name": "mano", "when": "before", "argv": ["mano"]}


def told(kind="diffusers", controls=("edge", "vis"), hooks=(), **spec):
    config = Config(spec=spec, hooks=hooks)
    found = doubts(config, configured_templates(config), Abilities(kind, controls))
    return [(event, fields.get("template", fields.get("keep")), fields.get("asked")) for event, fields in found]


@pytest.mark.parametrize(("hooks", "said"), [((), True), (({**HOOK, "when": "after"},), True), ((HOOK,), False)])
def test_kept_without_a_hook(hooks, said):
    """spec.keep without a hook before the clip is told."""
    assert told(hooks=hooks) == []
    assert told(hooks=hooks, keep="hands.mp4") == [("keep-without-hook", "hands.mp4", None)] * said


def test_controls_that_are_not_loaded():
    """Templates that ask for controls which the engine does not have are told, also those of looks and folders."""
    assert told(template="lighting") == []
    assert told("preview", template="objects") == []
    assert told(template="lighting", controls=("edge",)) == [("template-controls", "lighting", "vis")]
    assert told(controls=("edge",), template="texture") == []
    folders = {"a/**": {"template": "objects", "variants": ["background"]}}
    assert [name for _, name, _ in told(folders=folders, variants=["texture"])] == ["background", "objects"]
