"""Contains upstream's effects on its process: it is written to end after one run."""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from typing import TYPE_CHECKING

from povwatch.engines.port import EngineFailure

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def contained(folder: str) -> Iterator[None]:
    """Run upstream with a private folder as its working directory and for its temporary files.

    Its masks go to `{temporary folder}/{clip's stem}_{control}_mask.mp4`, a name that two workers, or somebody else's
    file, could share (_src/transfer2/inference/utils.py, 588-589).

    Raises:
        EngineFailure: Upstream called sys.exit. EngineCancelled passes unchanged.
    """
    before, temporary = os.open(".", os.O_RDONLY | os.O_DIRECTORY), tempfile.tempdir
    try:
        private = os.path.join(folder, "tmp")  # noqa: PTH118 - text paths throughout, as upstream takes them
        os.makedirs(private, exist_ok=True)  # noqa: PTH103
        os.chdir(folder)
        tempfile.tempdir = private
        yield
    except SystemExit as error:
        raise EngineFailure(
            "error", f"Upstream called sys.exit({error.code!r}).", "The log has its last words, just before this."
        ) from error
    finally:
        tempfile.tempdir = temporary
        os.fchdir(before)
        os.close(before)
