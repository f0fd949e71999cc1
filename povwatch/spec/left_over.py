"""Left-overs of povwatch in inputs/, for `povwatch clean`."""

from __future__ import annotations

import contextlib
import os
import stat
from typing import TYPE_CHECKING

from povwatch.core.layout import ERROR, OURS, bases
from povwatch.core.machine_faults import Place
from povwatch.files.fs import closing, walk_beneath
from povwatch.files.names import is_ignored_folder
from povwatch.spec.inputs_folder import InputsFolder, in_words, lstat, ours

if TYPE_CHECKING:
    from collections.abc import Iterator


class LeftInInputs(InputsFolder):
    """Finds and removes left-overs."""

    def lonely_errors(self, suffixes: tuple[bytes, ...]) -> list[tuple[bytes, int]]:
        """Our error files without a possible clip beside them, with their sizes.

        Args:
            suffixes: of clips, in lower case.

        Raises:
            InputsRefused: inputs/ is away.
        """
        found: list[tuple[bytes, int]] = []
        for path, names, folder in self._walk():
            errors = {name.removesuffix(ERROR): name for name in names if name.endswith(ERROR)}
            clips = (name for name in names if errors and name.lower().endswith(suffixes))
            lonely = errors.keys() - {base for name in clips for base in bases(name)}
            found += [(path + errors[base], len(data)) for base in lonely if (data := ours(folder, errors[base]))]
        return sorted(found)

    def temporary(self, before: float) -> list[tuple[bytes, int]]:
        """Our temporary files that have not changed since `before`, with their sizes.

        Args:
            before: seconds since the epoch.

        Raises:
            InputsRefused: inputs/ is away.
        """
        found = []
        for path, names, folder in self._walk():
            for name in names:
                status = lstat(folder, name) if name.startswith(OURS) else None
                if status and stat.S_ISREG(status.st_mode) and status.st_mtime < before:
                    found.append((path + name, status.st_size))
        return found

    def remove_temporary(self, path: bytes) -> None:
        """Remove a temporary file.

        Raises:
            InputsRefused: the folder refuses.
        """
        with self._folder_of(path, Place.SPEC) as (folder, name):
            if name.startswith(OURS):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=folder)

    def _walk(self) -> Iterator[tuple[bytes, list[bytes], int]]:
        """Walk all folders that may hold clips.

        Yields a folder's path with a trailing slash (empty for inputs/ itself), its file names, and its descriptor.
        """
        try:
            root = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise in_words(error, Place.READ_SPEC, b"") from error
        with closing(root):
            for path, names, folder in walk_beneath(root, is_ignored_folder):
                yield path + b"/" if path else b"", names, folder
