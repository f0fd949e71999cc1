"""What doctor asks about codecs, through a real child."""

from __future__ import annotations

from povwatch.media.codecs import NEEDED
from povwatch.media.run import call


def test_needed_codecs_are_in_the_wheel() -> None:
    """The installed PyAV has every codec that is needed."""
    found = call("codecs", {}, timeout=30)
    assert found["codecs"] == dict.fromkeys(NEEDED, True)
    assert found["av"]
    assert found["ffmpeg"]
