"""The services that Apprise reaches. Nothing here shows a URL: only the service's name and the entry in config.toml.

Apprise's own private form of a URL still shows an ntfy topic, or a token in a path, and either is a password.
"""

from __future__ import annotations

import difflib
import logging
import re
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Iterator

SERVICES = "https://appriseit.com/services"

INSTALL = "It is in the extra povwatch[notify]: script/bootstrap --notify"

SHORT = 3
"""A part of a URL that is longer than so many characters is hidden in what Apprise says."""


class NotInstalled(Exception):  # noqa: N818 - what happened
    """Apprise is not installed."""


class Unusable(Exception):  # noqa: N818 - what happened
    """Apprise cannot use a URL. The text continues a sentence that begins with the setting's name."""


class Service:
    """One service, by its URL."""

    def __init__(self, url: str) -> None:
        """Parse the URL; no network is used.

        Raises:
            NotInstalled: Apprise is not installed.
            Unusable: the URL is none that Apprise can use.
        """
        apprise = _apprise()
        self._url = url
        asset = apprise.AppriseAsset(
            app_id="povwatch", app_desc="povwatch", app_url="", async_mode=False, secure_logging=True
        )
        with _Overheard(url):
            plugin = apprise.Apprise.instantiate(url, asset=asset)
        if plugin is None:
            raise Unusable(_why(apprise, url))
        self._apprise = apprise.Apprise(asset=asset)
        self._apprise.add(plugin)
        self.name = str(plugin.service_name)
        """What it is called, such as Slack."""

    def send(self, title: str, body: str) -> str:
        """Send a message, and wait for the service's answer.

        Returns:
            Why that failed, as a sentence; empty if the service has it.
        """
        apprise = _apprise()
        with _Overheard(self._url) as overheard:
            try:
                done = self._apprise.notify(body=body, title=title, body_format=apprise.NotifyFormat.TEXT)
            except Exception as error:  # noqa: BLE001 - 130 services, each with code of its own
                return f"Apprise failed ({type(error).__name__})."
        if done:
            return ""
        return overheard.last or f"{self.name} did not take it."


def _apprise() -> Any:  # noqa: ANN401 - a module that may be missing
    try:
        import apprise  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise NotInstalled(str(error)) from error
    return apprise


def _why(apprise: Any, url: str) -> str:  # noqa: ANN401 - the module
    scheme = url.partition("://")[0].lower()
    known = {scheme for one in apprise.Apprise().details()["schemas"] for scheme in _schemes(one)}
    if scheme in known:
        return f"{scheme}:// is a service of Apprise, but the rest of the URL is not what it needs; see {SERVICES}"
    close = difflib.get_close_matches(scheme, sorted(known), n=1)
    return f"{scheme}:// is no service of Apprise{f'; did you mean {close[0]}://?' if close else f': see {SERVICES}'}"


def _schemes(details: dict[str, Any]) -> list[str]:
    return [*(details.get("protocols") or ()), *(details.get("secure_protocols") or ())]


class _Overheard(logging.Handler):
    """Keeps the last warning of Apprise's log, without any part of the URL, and has nobody else see the log."""

    def __init__(self, url: str) -> None:
        super().__init__(logging.WARNING)
        self._log = logging.getLogger("apprise")
        self._hidden = sorted(_parts(url), key=len, reverse=True)
        self.last = ""
        """The last warning, as a sentence."""

    def __enter__(self) -> Self:
        self._before = (self._log.propagate, self._log.handlers[:])
        self._log.propagate, self._log.handlers[:] = False, [self]
        return self

    def __exit__(self, *_: object) -> None:
        self._log.propagate, self._log.handlers[:] = self._before

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        text = record.getMessage()
        for part in self._hidden:
            text = re.sub(re.escape(part), "***", text, flags=re.IGNORECASE)
        self.last = text


def _parts(url: str) -> Iterator[str]:
    """Whatever in a URL may be a secret: all that stands between its marks, but for the scheme."""
    _, _, rest = url.partition("://")
    for text in (rest, unquote(rest)):
        yield from (part for part in re.split(r"[/?&=:@#,;\s]+", text) if len(part) > SHORT)
