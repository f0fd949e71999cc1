"""Apprise itself: what it refuses, and that no part of a URL is shown."""

from __future__ import annotations

import logging

import pytest
from support.receivers import Receiver

from povwatch.notifications.services import Service, Unusable
from povwatch.notifications.targets import targets

pytest.importorskip("apprise")
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")  # Apprise imports it


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("jsn://user:geheim@host/geheim", "jsn:// is no service of Apprise; did you mean json://?"),
        ("qqqqqqq://geheim", "qqqqqqq:// is no service of Apprise: see https://"),
        ("slack://geheim", "slack:// is a service of Apprise, but the rest of the URL is not what it needs"),
    ],
)
def test_wrong_url_is_told_without_it(url, why, caplog):
    with pytest.raises(Unusable) as refused:
        Service(url)
    assert str(refused.value).startswith(why)
    assert "geheim" not in str(refused.value) + caplog.text


def test_failure_hides_the_url(caplog):
    """A refusal and a dead server are one line each, without host, user, password or path."""
    caplog.set_level(logging.WARNING)
    with Receiver(status=500) as receiver:
        service = Service(receiver.url)
        refused = service.send("title", "body")
    gone = service.send("title", "body")
    assert "error=500" in refused
    assert "connection" in gone.lower()
    for text in (refused, gone, caplog.text):
        assert len(text.splitlines()) <= 1
        assert "geheim" not in text
        assert "127.0.0.1" not in text


def test_message_arrives_as_it_is():
    with Receiver() as receiver:
        assert Service(receiver.url).send("1 clip failed", "- <b>*a*</b>.mp4: broken") == ""
    assert (receiver.got[0]["title"], receiver.got[0]["message"]) == ("1 clip failed", "- <b>*a*</b>.mp4: broken")


def test_url_in_a_file(tmp_path):
    """`@/file` keeps the URL out of config.toml."""
    file = tmp_path / "url"
    file.write_text("json://localhost/x\nmore\n")
    (found,), refused = targets([(f"@{file}", ["done"])])
    assert (found.label, refused) == ("JSON (notify, entry 1)", [])
    file.write_text("\n")
    missing = tmp_path / "missing"
    _, (empty, gone) = targets([(f"@{file}", ["done"]), (f"@{missing}", ["done"])])
    assert empty.why.startswith(f"the first line of the file {file} is no URL")
    assert (gone.entry, gone.why) == (2, f"the file {missing} cannot be read: No such file or directory")
