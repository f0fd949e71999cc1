"""Reaches the Hugging Face hub and its cache on this machine. The only file that imports huggingface_hub here.

HF_HOME, HF_TOKEN, HF_ENDPOINT and HF_HUB_OFFLINE have their usual meaning.
"""

from __future__ import annotations

import os
import re
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING

import httpx2
from huggingface_hub import HfApi, constants, get_session, get_token, hf_hub_url, hf_raise_for_status, snapshot_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils import (  # type: ignore[attr-defined]  # public, but not marked as exported
    build_hf_headers,
    disable_progress_bars,
)

from povwatch.core.command import command
from povwatch.engines.needs import depth_cache, page
from povwatch.models.errors import AccessError, CutError, NetworkError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from povwatch.engines.needs import Need

CHUNK = 1 << 20
"""Bytes read from a file at once."""

SILENCE = constants.HF_HUB_DOWNLOAD_TIMEOUT
"""Seconds without a byte after which a connection counts as dead. Ctrl-C may take as long."""

COMMIT = re.compile(r"[0-9a-f]{40}")

TOKEN = "set HF_TOKEN to a token of that account (https://huggingface.co/settings/tokens), or run `hf auth login`"  # noqa: S105 - advice


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file as the hub describes it."""

    name: str
    """Path in the repository, with `/`."""
    size: int
    """In bytes."""
    digest: str
    """SHA-256 of a large file; the id of git's blob, a SHA-1, of a small one. The cache names its bytes by it."""


@dataclass(frozen=True, slots=True)
class Listing:
    """The files of a need at one commit."""

    need: Need
    commit: str
    files: tuple[HubFile, ...]


def offline() -> bool:
    """Whether HF_HUB_OFFLINE forbids the network."""
    return bool(constants.HF_HUB_OFFLINE)


def cache_of(need: Need) -> Path:
    """The cache in which the need's engine looks."""
    if need.depth:
        return Path(depth_cache(os.environ, str(Path.home())))
    return Path(constants.HF_HUB_CACHE)


def store_of(need: Need) -> Path:
    """The repository's folder in the cache, with `blobs`, `snapshots` and `refs` in it."""
    return cache_of(need) / f"models--{need.repository.replace('/', '--')}"


def snapshot_of(need: Need, commit: str) -> Path:
    """The folder with the files of a commit, by their names."""
    return store_of(need) / "snapshots" / commit


def cached_commit(need: Need) -> str:
    """The commit that the cache has for the revision; empty if it has none."""
    if COMMIT.fullmatch(need.revision):
        return need.revision
    try:
        return (store_of(need) / "refs" / need.revision).read_text().strip()
    except OSError:
        return ""


def existing(folder: Path) -> Path:
    """The folder, or its nearest parent that exists, which is on the disk where the folder would be made."""
    while not folder.exists():
        folder = folder.parent
    return folder


def has_token() -> bool:
    """Whether this machine has a token for the hub."""
    return bool(get_token())


def check_access(repository: str) -> None:
    """Ask the hub whether we may have a repository's files.

    Raises:
        AccessError: a licence is not accepted yet, the token is missing or wrong, or there is no such repository.
        NetworkError: the hub cannot be asked.
    """
    with _translated(repository):
        HfApi().auth_check(repository)


def listing(need: Need) -> Listing:
    """List the need's files at its revision, with their sizes.

    Raises:
        AccessError: we may not have the repository, the revision or a file, or it does not exist.
        NetworkError: the hub cannot be asked.
    """
    with _translated(need.repository):
        api = HfApi()
        commit = need.revision
        if not COMMIT.fullmatch(commit):
            commit = api.model_info(need.repository, revision=commit).sha or ""
        tree = api.list_repo_tree(need.repository, revision=commit, recursive=True)
        there = {entry.path: entry for entry in tree if isinstance(entry, RepoFile)}
    names = [name for name in there if _wanted(need, name)]
    missing = [name for name in need.files if name not in there]
    if missing or not names:
        what = missing[0] if missing else "any file that is needed"
        raise AccessError(
            f"{need.repository} at {need.revision} does not have {what} ({need.why}).",
            "It was renamed or taken away there: look for a newer povwatch.",
        )
    files = (there[name] for name in sorted(names))
    return Listing(need, commit, tuple(HubFile(f.path, f.size, f.lfs.sha256 if f.lfs else f.blob_id) for f in files))


@contextmanager
def stream(listing: Listing, file: HubFile, start: int) -> Iterator[tuple[int, Iterator[bytes]]]:
    """Get a file's bytes, and the offset at which they begin: `start`, or 0 if the hub sends the whole file.

    Raises:
        AccessError: we may not have the file.
        CutError: the connection broke or could not be made; the hub answered a moment ago.
    """
    url = hf_hub_url(listing.need.repository, file.name, revision=listing.commit)
    # An offset into a compressed file would mean other bytes.
    headers = {**build_hf_headers(), "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    with (
        _for_now(),
        _translated(listing.need.repository),
        get_session().stream("GET", url, headers=headers, follow_redirects=True, timeout=SILENCE) as response,
    ):
        if response.is_error:
            response.read()
        hf_raise_for_status(response)
        began = start if response.status_code == httpx2.codes.PARTIAL_CONTENT else 0
        yield began, response.iter_raw()


def link(listing: Listing) -> Path:
    """Name the files whose bytes are in the cache, and point the branch to its commit.

    Returns:
        The folder with the files of the commit.

    Raises:
        AccessError, NetworkError: as for `listing`.
    """
    disable_progress_bars()
    with _translated(listing.need.repository):
        need = listing.need
        # By the revision's own name: from_pretrained asks for `main` on a machine that cannot ask what that means now.
        found = snapshot_download(
            need.repository, revision=need.revision, cache_dir=cache_of(need), allow_patterns=_patterns(need)
        )
    return Path(found)


def _wanted(need: Need, name: str) -> bool:
    patterns = _patterns(need)
    return patterns is None or any(fnmatch(name, pattern) for pattern in patterns)


def _patterns(need: Need) -> list[str] | None:
    return [*need.files, *need.patterns] or None


@contextmanager
def _translated(repository: str) -> Iterator[None]:
    """Raise the hub client's errors as ours. They are answers of a server; machine_faults.py knows the machine's."""
    try:
        yield
    except GatedRepoError as error:
        raise AccessError(
            f"{repository} is gated, and this machine has no access to it.",
            f"Accept its licence at {page(repository)} and {TOKEN}.",
        ) from error
    except RepositoryNotFoundError as error:  # also the answer for a private one without a token
        raise AccessError(
            f"{repository} is not there, or not for this machine's token ({_status(error)}).",
            f"Open {page(repository)}: if it asks for a licence, accept it, and {TOKEN}.",
        ) from error
    except (RevisionNotFoundError, EntryNotFoundError) as error:
        raise AccessError(
            f"{repository} does not have what is needed: {_first_line(error)}.", "Look for a newer povwatch."
        ) from error
    except OfflineModeIsEnabled as error:
        raise NetworkError("HF_HUB_OFFLINE is set, so nothing can be fetched.", "Unset it for this command.") from error
    except HfHubHTTPError as error:
        if error.response.status_code in (httpx2.codes.UNAUTHORIZED, httpx2.codes.FORBIDDEN):
            raise AccessError(
                f"{repository} refuses this machine ({_status(error)}): {_first_line(error)}.",
                f"Open {page(repository)}, accept what it asks for, and {TOKEN}.",
            ) from error
        raise NetworkError(f"The hub answers {_status(error)} for {repository}.", "Try again later.") from error
    except httpx2.HTTPError as error:
        raise NetworkError(
            f"{constants.ENDPOINT} cannot be reached: {_first_line(error)}.",
            f"Check the network and the proxy (HTTPS_PROXY), then run {command('prefetch')} again.",
        ) from error


@contextmanager
def _for_now() -> Iterator[None]:
    """Raise a network error as a CutError: the network may be back in a moment."""
    try:
        yield
    except NetworkError as error:
        raise CutError(error.what, f"Run {command('prefetch')} again: it goes on where it was.") from error


def _status(error: HfHubHTTPError) -> str:
    return f"HTTP {error.response.status_code}"


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if len(lines) > 1 and "Client Error" in lines[0]:  # "404 Client Error. (Request ID: ...)", and then what it is
        lines = lines[1:]
    return lines[0].rstrip(".") if lines else type(error).__name__
