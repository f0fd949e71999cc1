"""The words for how a child ended."""

import signal

import pytest

from povwatch.process.ending import describe_end


@pytest.mark.parametrize(
    ("returncode", "words"),
    [
        (0, "exited with status 0"),
        (9, "exited with status 9"),
        (-signal.SIGTERM, "was killed by SIGTERM"),
        (-signal.SIGKILL, "was killed by SIGKILL (often the kernel's out-of-memory killer: see journalctl -k)"),
        (-40, "was killed by signal 40"),
    ],
)
def test_end_is_told_in_words(returncode, words):
    """A status or a signal is a phrase that follows a name."""
    assert describe_end(returncode) == words


def test_caller_may_explain_a_signal():
    """The caller may say what is behind a signal."""
    assert describe_end(-signal.SIGKILL, {signal.SIGKILL: "too big"}) == "was killed by SIGKILL (too big)"
    assert describe_end(-signal.SIGSEGV, {}) == "was killed by SIGSEGV"
