"""What doctor says of how results are scored, who is told what, and where the metrics are published."""

from __future__ import annotations

import errno
import tempfile
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any

from povwatch.cli.finding import Finding
from povwatch.core.command import command
from povwatch.core.errors import JournalError
from povwatch.core.scores import Missing
from povwatch.journal import open_reader
from povwatch.media.run import call
from povwatch.metrics.exporter import ADDRESS, port_problem
from povwatch.notifications.check import checked
from povwatch.notifications.process import UNIT, by_unit
from povwatch.notifications.services import INSTALL
from povwatch.results.stage import scoring_options

if TYPE_CHECKING:
    from collections.abc import Iterator

    from povwatch.config.settings import Config

HANDS_SECONDS = 120.0
"""Seconds for loading MediaPipe from a cold disk."""

ASK_SECONDS = 2.0
"""Seconds for the daemon's answer at its port, on this machine."""

MOST = 1 << 20
"""Bytes of that answer that are read."""

OURS = b"povwatch_info{"
"""What is in the metrics of a povwatch."""

DOCUMENTED = "docs/scores.md says how."


def scores(config: Config) -> Iterator[Finding]:
    """What results are scored and judged by, and whether their hands can be.

    Raises:
        ConfigError: a score of hands is to be judged, and cannot be measured.
    """
    quality = config.quality
    options = scoring_options(config)
    if not quality.scores:
        yield Finding("scores", "off (quality.scores = false)")
        return
    rules = ", ".join(rule.words for rule in quality.rules)
    most = f"{quality.tries} seed{'s' * (quality.tries > 1)} at most"
    judged = f"judged: {rules}, with {most}" if rules else "reported; none is judged"
    yield Finding("scores", judged)
    if options.hands_model is None:
        yield Finding(
            "hands", f"not scored: MediaPipe is not installed, and quality.hands_model is empty. {DOCUMENTED}"
        )
        return
    found = call("hands", {"model": options.hands_model}, timeout=HANDS_SECONDS)
    if found["missing"] == Missing.NOT_INSTALLED:
        yield Finding("hands", "MediaPipe cannot be imported, and quality.hands_model names a model", DOCUMENTED)
    elif found["missing"]:
        model = quality.hands_model
        lacks = f"{model} is no model that MediaPipe {found['version']} can load" if model else "no model is named"
        if model and not Path(model).is_file():
            lacks = f"{model} is not there"
        yield Finding("hands", lacks, f"Name hand_landmarker.task in quality.hands_model: {DOCUMENTED}")
    else:
        yield Finding("hands", f"scored by MediaPipe {found['version']} with {quality.hands_model}")


def notifications(config: Config) -> Iterator[Finding]:
    """Who is told, about what, and who sends it. No URL is shown, and no network used."""
    if not config.notify:
        yield Finding("notify", "nobody is told: there is no [[notify]]")
        return
    answer = checked(config)
    if answer is None:
        yield Finding("notify", "the [[notify]] could not be checked: that took too long", f"Try {_test()}.")
        return
    if answer.get("missing"):
        yield Finding(
            "notify", "Apprise is not installed: povwatch does not start with a [[notify]]", INSTALL, fatal=True
        )
        return
    unit = _sent_by_unit(config)
    services = {int(entry): name for entry, name in answer["services"].items()}
    for number, one in enumerate(config.notify, 1):
        if number in services:
            yield Finding("notify", f"entry {number}, {services[number]}: {', '.join(one.on)}")
    for number, why, unreadable in answer["refused"]:
        if unreadable and unit:
            yield Finding("notify", f"entry {number}: {why}, as this user; povwatch-notify has to be able to")
        else:
            todo = "Correct it: povwatch does not start with it."
            yield Finding("notify", f"entry {number}: {why}", todo, fatal=True)
    who = "povwatch-notify.service" if unit else "a process of the daemon"
    yield Finding("notify", f"sent by {who}. To try it: {_test(unit=unit)}")


def metrics(config: Config) -> Iterator[Finding]:
    """Whether the file can be written, and the port is free or povwatch's."""
    file, port = config.metrics.textfile, config.metrics.port
    if not file and not port:
        yield Finding("metrics", "not published: [metrics] has neither textfile nor port")
    if file:
        yield _textfile(Path(file))
    if port:
        yield _port(config, port)


def _textfile(file: Path) -> Finding:
    if not file.parent.is_dir():
        todo = "Make it, so that povwatch's user may write there: docs/monitoring.md."
        return Finding("metrics", f"{file.parent} is not there", todo)
    try:
        with tempfile.NamedTemporaryFile(prefix=".povwatch-", dir=file.parent):
            pass
    except OSError as error:
        todo = "povwatch's user has to be able to: docs/monitoring.md."
        return Finding("metrics", f"this user cannot write in {file.parent}: {error.strerror}", todo)
    if file.is_dir():
        return Finding("metrics", f"{file} is a folder", "metrics.textfile has to be a file in it.")
    return Finding("metrics", f"{file}, where this user may write")


def _port(config: Config, port: int) -> Finding:
    where = f"http://{ADDRESS}:{port}/metrics"
    if _sent_by_unit(config):
        todo = "Nobody outside of the unit's own network reaches it: take metrics.textfile."
        return Finding("metrics", f"{where}, by povwatch.service", todo)
    problem = port_problem(port)
    if problem is None:
        return Finding("metrics", f"{where}: the port is free")
    if problem.errno == errno.EADDRINUSE:
        if OURS in _answer(port):
            return Finding("metrics", f"{where}: a povwatch answers")
        todo = "Set metrics.port to another one, or end that program."
        return Finding("metrics", f"another program has port {port} of {ADDRESS}", todo)
    return Finding("metrics", f"port {port}: {problem.strerror}", "Set metrics.port to another one, from 1024 on.")


def _answer(port: int) -> bytes:
    """What is served at a port of this machine; nothing if it does not speak HTTP."""
    asked = HTTPConnection(ADDRESS, port, timeout=ASK_SECONDS)
    try:
        asked.request("GET", "/metrics")
        return asked.getresponse().read(MOST)
    except (OSError, HTTPException):
        return b""
    finally:
        asked.close()


def _sent_by_unit(config: Config) -> bool:
    """Whether the daemon runs as a unit whose sandbox has no network: as it said at its last start, or as ours is."""
    said: Any = None
    with suppress(JournalError), open_reader(config.paths.state) as reader:
        said = reader.fact("notifier")
    return bool(said == UNIT if said is not None else by_unit())


def _test(*, unit: bool = False) -> str:
    """The command that tries it: as the user who may read a file with a URL."""
    words = command("notify", "--test")
    return f"sudo -u povwatch-notify {words}" if unit else words
