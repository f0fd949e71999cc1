"""Coverage-guided fuzzing of the code that reads unchecked files.

`fuzz.py TARGET CORPUS [libFuzzer's options]`; script/fuzz calls it.
Any exception that is no verdict ends it, and libFuzzer keeps the input.
"""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path

import atheris  # type: ignore[import-not-found]

with atheris.instrument_imports(include=["povwatch"]):
    from support.examining import examine_bytes

    from povwatch.container.signature import HEAD, classify
    from povwatch.core.errors import SpecInvalid
    from povwatch.core.layout import shown
    from povwatch.ops.rebuild.outputs import parse as manifest_of
    from povwatch.service.log import one_line
    from povwatch.service.requests import _parse
    from povwatch.spec.parse import Label, named_clip, parse, renamed
    from povwatch.spec.problems import explain

from support import hostile
from support import made_containers as made
from support.spec_texts import text


def spec(data: bytes) -> None:
    """A JSON is a spec, or all its faults are listed in printable lines."""
    found = None
    try:
        parse(data, clip_name=b"clip.mp4", file="clip.json")
    except SpecInvalid as error:
        found = error
    if found:
        assert found.problems
        assert all(line.isprintable() for line in explain(found).splitlines())


def containers(data: bytes) -> None:
    """A file gets exactly one verdict."""
    report = examine_bytes(data)
    assert report.why.isprintable()
    assert not (report.complete and report.not_video)


def requests(data: bytes) -> None:
    """A request can be read, or is refused."""
    with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError):
        _parse(data, "0")


def manifests(data: bytes) -> None:
    """A manifest is usable, or gives a reason, or is not ours; a JSON may be renamed."""
    made = manifest_of(data, file=b"clip_aug.json")
    assert not isinstance(made, str) or one_line(made).isprintable()
    named_clip(data)
    renamed(data, Label(b"clip.mp4", b"clip"), Label("\u624b.mp4".encode(), b"b"))


def names(data: bytes) -> None:
    """Any bytes can be shown on one line, in UTF-8."""
    for line in (shown(data), one_line(data.decode("utf-8", "surrogateescape"))):
        assert line.isprintable()
        line.encode()
    classify(data[:HEAD])


TARGETS = {
    spec: [text(), text(edge={"control_weight": 0.5, "control_path": "a.mp4"}), b'{"a": [1, {"b": null}]}'],
    containers: [
        made.video(frames=4, sound="aac"),
        made.video(frames=4, movflags="frag_keyframe+empty_moov+global_sidx"),
        made.video("matroska", frames=4),
        made.streamed("webm", "libvpx"),
        made.video("avi", "mpeg4", frames=4),
        made.open_dml(2),
        hostile.film(hostile.samples(40, 10, uniform=True)),
        hostile.fragment_without_end(),
        hostile.far_index(),
    ],
    manifests: [text(), json.dumps({"povwatch": {}, "job": 1, "source": {"path_hex": "61"}}).encode()],
    requests: [json.dumps({"verb": "go", "clip": "a.mp4", "options": {"force": True}}).encode()],
    names: [b"clip.mp4", "手\u202e".encode(), b"\xff\n\x1b[31m"],
}
"""The targets, and their first inputs."""


def main() -> None:
    """Fuzz one target, for as long as libFuzzer's options say."""
    target, folder = sys.argv[1], Path(sys.argv[2])
    (function,) = [function for function in TARGETS if function.__name__ == target]
    folder.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(TARGETS[function]):
        (folder / f"seed-{number}").write_bytes(seed)
    atheris.Setup([sys.argv[0], *sys.argv[2:]], function)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
