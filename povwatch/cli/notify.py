"""povwatch notify: sends notifications where the daemon has no network; with --test, one to try."""

from __future__ import annotations

import signal
import socket
from typing import TYPE_CHECKING, Annotated

import typer

from povwatch.cli.app import console, plain, shared, verbs
from povwatch.core.errors import ConfigError, PovwatchError
from povwatch.core.events import say
from povwatch.core.waker import Waker
from povwatch.notifications.check import raise_refused
from povwatch.notifications.child import run
from povwatch.notifications.sender import Sender
from povwatch.notifications.services import INSTALL, NotInstalled
from povwatch.notifications.spool import NoticeSpool
from povwatch.notifications.targets import entries, targets
from povwatch.service import log

if TYPE_CHECKING:
    from collections.abc import Sequence

    from povwatch.config.settings import Config
    from povwatch.notifications.sender import LogLine, Target


@verbs.command()
def notify(
    context: typer.Context,
    *,
    test: Annotated[bool, typer.Option("--test", help="Send each service a message to try it, and exit.")] = False,
) -> None:
    """Send the notifications that the daemon leaves, until it is stopped."""
    config = shared(context).config()
    if test:
        _test(_targets(config))
        return
    log.configure()
    if not config.notify:
        say("notify-idle", origin=config.origin)
        return
    _send(NoticeSpool(config.paths.state), _targets(config))


def _targets(config: Config) -> list[Target]:
    try:
        made, refused = targets(entries(config.notify))
    except NotInstalled as error:
        raise ConfigError("Notifications need Apprise, and it is not installed.", INSTALL) from error
    raise_refused(config, [(one.entry, one.why, one.unreadable) for one in refused])
    if not made:
        raise ConfigError(f"{config.origin} has no [[notify]]: there is nobody to tell.", "config.toml shows one.")
    return made


def _test(found: Sequence[Target]) -> None:
    failed = False
    for target in found:
        problem = target.service.send(
            f"povwatch on {socket.gethostname()}: a test",
            "This service is told about: " + ", ".join(sorted(target.on)) + ". There is nothing to do.",
        )
        console.print(plain(f"{target.label}: {problem or 'has it.'}"), soft_wrap=True)
        failed |= bool(problem)
    if failed:
        raise typer.Exit(1)


def _send(spool: NoticeSpool, found: Sequence[Target]) -> None:
    stopped = _Stopped()
    try:
        spool.prepare()
        with spool.held() as other:
            if other:
                raise PovwatchError(
                    f"Another process (pid {other}) sends the notifications in {spool.folder}.",
                    "It is the daemon's own, or povwatch-notify.service: one is enough.",
                )
            run(Sender(spool, found), stopped.wait, _report)
    except OSError as error:
        raise PovwatchError(
            f"The notifications in {spool.folder} cannot be read or written: {error.strerror}.",
            "Run it as the user of the daemon; under systemd: systemctl start povwatch-notify",
        ) from error


def _report(line: LogLine) -> None:
    say(line.event, **line.fields)


class _Stopped:
    """Waits, and is ended by a signal. What waits is sent before the end: the daemon has ended too, or will."""

    def __init__(self) -> None:
        self._waker = Waker()
        self._stop = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._set())

    def wait(self, seconds: float) -> str:
        """As `run` wants it."""
        self._waker.sleep(0.0 if self._stop else seconds)
        return "flush" if self._stop else ""

    def _set(self) -> None:
        self._stop = True
        self._waker.wake()
