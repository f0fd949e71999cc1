"""Reads inputs/ and outputs/ for a plan. Changes nothing."""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from povwatch.core import layout, looks
from povwatch.core.errors import EnvironmentFault, OutputsAway, SpecInvalid
from povwatch.files.fs import closing, open_beneath
from povwatch.files.scan import scan
from povwatch.files.signature import signature, size_of
from povwatch.hooks.plan import AFTER
from povwatch.ops.rebuild.outputs import find_promises, read_outputs
from povwatch.ops.rebuild.plan import Clip, Plan, bases_of, leftovers, plan
from povwatch.spec.inputs_folder import InputsFolder
from povwatch.spec.parse import named_clip

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from pathlib import Path

    from povwatch.config.settings import Config
    from povwatch.files.scan import Listing
    from povwatch.ops.rebuild.outputs import Outputs, Result
    from povwatch.spec.inputs_folder import SpecFile


@dataclass(frozen=True, slots=True)
class Survey:
    """The findings, and the plan."""

    plan: Plan
    clips: list[Clip]
    outputs: Outputs
    lost: int
    """The number of runs that were under way and are lost."""

    @property
    def odd(self) -> list[str]:
        """Anything unusual, a line each, for people."""
        unusable = [f"{layout.shown(file)}: {why}" for file, why in sorted(self.outputs.unusable.items())]
        unreadable = [
            f"{layout.shown(folder)}: cannot be listed ({why})" for folder, why in self.outputs.unreadable.items()
        ]
        return [result.problem for _, result in self.plan.results if result.problem] + unusable + unreadable


def survey(config: Config, *, hold: bool, tell: Callable[[bytes, int], None]) -> Survey:
    """Read everything, and make the plan.

    Args:
        hold: hold the clips that have no result.
        tell: called with a clip and its size before the clip is read.

    Raises:
        InputsAway: inputs/ cannot be listed.
        OutputsAway: outputs/ cannot be listed.
    """
    paths = config.paths
    listing = scan(paths.inputs, config.arrival)
    try:
        outputs = read_outputs(paths.outputs)
        after = any(hook.when == AFTER for hook in config.hooks)
        promises, lost = find_promises(paths.outputs, outputs.results, hooks=after)
    except OSError as error:
        raise OutputsAway(f"{paths.outputs} cannot be listed: {error.strerror}.", "Is its disk mounted?") from error
    inputs = Clips(paths.inputs, listing, config.arrival.suffixes, tell, most=config.spec.variants_max)
    bases = inputs.names(bases_of(outputs.results, promises))
    found = inputs.read(bases, [*outputs.results, *(promise.result for promise in promises)])
    strays = outputs.without_manifest() - {promise.result.output.target for promise in promises}
    left = leftovers(config.publish.layout, {clip.key: clip.base for clip in found}, strays)
    return Survey(plan(outputs.results, promises, found, left, hold=hold), found, outputs, lost)


class Clips:
    """The clips of one listing."""

    def __init__(
        self,
        root: Path,
        listing: Listing,
        suffixes: frozenset[bytes],
        tell: Callable[[bytes, int], None],
        *,
        most: int,
    ) -> None:
        """`most` is spec.variants_max: the JSONs of further looks are left to wait."""
        self._root = root
        self._listing = listing
        self._suffixes = suffixes
        self._folder = InputsFolder(root)
        self._tell = tell
        self._most = most

    def names(self, known: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
        """The base of every clip: that of its result, else of the JSON that names the clip, else the first free one.

        Args:
            known: clip to base, from the results; these are in the answer too.
        """
        bases = dict(known)
        taken = {(layout.split(path)[0], base) for path, base in bases.items()}
        paths = sorted(self._listing.clips, key=layout.precedence)
        for path in paths:
            if path in bases:
                continue
            folder, name = layout.split(path)
            for base in layout.bases(name):
                if (folder, base) not in taken and self._is_named(path, layout.spec_beside(path, base)):
                    bases[path] = base
                    taken.add((folder, base))
                    break
        return bases | layout.assign_bases(paths, bases)

    def read(self, bases: Mapping[bytes, bytes], results: Sequence[Result]) -> list[Clip]:
        """Every look of every clip. A clip is read only if its size is that of a manifest's source.

        Args:
            bases: clip to base.
            results: with those of promises.
        """
        sizes: dict[bytes, set[object]] = {}
        for result in results:
            sizes.setdefault(result.path, set()).add(result.text["source"].get("size"))
        with closing(os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as root:
            further = self._looks(bases, {result.key for result in results})
            found: list[Clip] = []
            for path, seen in sorted(self._listing.clips.items()):
                clip = Clip(path, bases[path], seen)
                if size_of(seen) in sizes.get(path, ()):
                    clip = self._read(root, clip)
                found += [self._with_spec(replace(clip, look=look)) for look in ["", *further.get(path, ())]]
            return found

    def _looks(self, bases: Mapping[bytes, bytes], made: Collection[looks.Owner]) -> dict[bytes, list[str]]:
        """The further looks of each clip that have a JSON: all that have a result, and others up to the limit."""
        holders = {(layout.split(path)[0], base): path for path, base in bases.items() if path in self._listing.clips}
        found: dict[bytes, list[str]] = {}
        for spec in sorted(self._listing.specs):
            owner = looks.owner(spec, lambda *base: holders.get(base), suffixes=self._suffixes)
            if owner is not None and owner.look and not looks.refusal(owner.look, bases[owner.clip]):
                found.setdefault(owner.clip, []).append(owner.look)
        for clip, of_clip in found.items():
            first = [look for look in of_clip if looks.Owner(clip, look) in made]
            others = [look for look in of_clip if look not in first]
            found[clip] = first + others[: max(0, self._most - len(first))]
        return found

    def _read(self, root: int, clip: Clip) -> Clip:
        """The clip with the hash of its content."""
        self._tell(clip.path, size_of(clip.signature))
        try:
            return replace(clip, source_hash=_content(root, clip.path, clip.signature))
        except OSError as error:
            return replace(clip, unreadable=error.strerror or str(error))

    def _with_spec(self, clip: Clip) -> Clip:
        """The look of a clip with the hash of its spec, if the clip was read."""
        if (sha := clip.source_hash) is None:
            return clip
        spec = layout.spec_beside(clip.path, looks.stem(clip.base, clip.look))
        try:
            file = self._folder.read_spec(spec)
        except (SpecInvalid, EnvironmentFault):
            return replace(clip, source_hash=sha, has_spec=True)
        if file is None:
            return replace(clip, source_hash=sha)
        asks = self._asks(spec, clip.path, file)
        return replace(clip, source_hash=sha, has_spec=True, spec_hash=asks, spec_stat=file.signature)

    def _asks(self, spec: bytes, path: bytes, file: SpecFile) -> str | None:
        """The digest of a JSON's spec; None if it is invalid."""
        try:
            return self._folder.spec_in(file, spec, path).digest()
        except (SpecInvalid, EnvironmentFault):
            return None

    def _is_named(self, path: bytes, spec: bytes) -> bool:
        """Whether `video_path` names this clip, even in an invalid spec."""
        if spec not in self._listing.specs:
            return False
        try:
            file = self._folder.read_spec(spec)
        except (SpecInvalid, EnvironmentFault):
            return False
        return file is not None and named_clip(file.data) == os.fsdecode(layout.split(path)[1])


def _content(root_fd: int, path: bytes, seen: bytes) -> str | None:
    """SHA-256 of a clip; None if the file has changed since it was listed, or while it was read.

    Raises:
        OSError: it cannot be read.
    """
    try:
        fd = open_beneath(root_fd, path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except FileNotFoundError:
        return None
    with os.fdopen(fd, "rb") as file:
        before = os.fstat(fd)
        if not stat.S_ISREG(before.st_mode) or signature(before) != seen:
            return None
        sha = hashlib.file_digest(file, "sha256").hexdigest()
        return sha if signature(os.fstat(fd)) == seen else None
