"""What people do, as the dice have it: to JSONs, by markers and words, in outputs/; and to clips: copies.py."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING

import copies
from world import LOOKS, PLACES, SEEDS, STEMS

from povwatch.service.requests import RequestSpool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from world import World

    Action = Callable[[World], Iterator[None] | None]

INVALID = [
    b"{",
    b'{"prompt": "hands"',
    b'{"prompt": 7}',
    b'{"prompt": "hands", "edge": {}, "sede": 1}',
    b'{"prompt": "hands", "edge": {"control_weight": 3}}',
    b'{"prompt": "hands", "depth": {"control_path": "../../etc/passwd"}}',
]


# -- JSONs


def asked_for(world: World) -> None:
    """A JSON that can be run, over whatever is there, or before povwatch wrote one."""
    path, seed, start = world.pick(world.clips), world.dice.choice(SEEDS), world.dice.random()
    if path:
        ours = {"povwatch": {"start": "now", "priority": seed % 7}} if start < 0.2 else {}
        world.put(world.spec_of(path), world.spec(path, seed=seed, **ours))


def edited(world: World) -> Iterator[None]:
    """As nano does: truncated, then written; now and then with a pause in between."""
    path, seed, pause = world.pick(world.clips), world.dice.choice(SEEDS), world.dice.randrange(3)
    if path is None:
        return
    spec = world.spec_of(path)
    if spec in world.busy or not (world.inputs / spec).exists():
        return
    world.busy.add(spec)
    world.texts[spec] = data = world.spec(path, seed=seed, prompt=f"hands, {seed}")
    with (world.inputs / spec).open("wb") as file:
        for _ in range(pause):
            yield
        file.write(data)
    world.busy.discard(spec)


def mistaken(world: World) -> None:
    path, text = world.pick(world.clips), world.dice.choice(INVALID)
    if path:
        world.put(world.spec_of(path), text)


def mended(world: World) -> None:
    """A JSON that cannot be run is put right."""
    wrong = {path for path in world.clips if world.texts.get(world.spec_of(path)) in INVALID}
    path, seed = world.pick(wrong), world.dice.choice(SEEDS)
    if path:
        world.put(world.spec_of(path), world.spec(path, seed=seed))


def touched(world: World) -> None:
    """Its date alone, or its layout."""
    path, anew = world.pick(world.clips), world.dice.random()
    spec = world.spec_of(path) if path else None
    if spec is None or spec in world.busy or not (world.inputs / spec).exists():
        return
    data = world.texts.get(spec)
    if data and data not in INVALID and anew < 0.5:
        world.put(spec, json.dumps(json.loads(data)).encode())
    else:
        (world.inputs / spec).touch()


def spec_deleted(world: World) -> None:
    path = world.pick(world.clips)
    if path and world.spec_of(path) not in world.busy:
        world.drop(world.spec_of(path))


def look_asked_for(world: World) -> None:
    """One more look of a clip, or another JSON for one."""
    path, look, seed = world.pick(world.clips), world.dice.choice(LOOKS), world.dice.choice(SEEDS)
    if path:
        world.put(world.look_of(path, look), world.spec(path, seed=seed, prompt=f"hands by {look}"))


def look_deleted(world: World) -> None:
    looks = {path for path in world.texts if path.endswith(tuple(f".{look}.json" for look in LOOKS))}
    if look := world.pick(looks):
        world.drop(look)


# -- markers and words


def marked(world: World) -> None:
    path, kind = world.pick(world.clips), world.dice.choice(["go", "go", "hold"])
    if path:
        world.put(f"{_base(world, path)}.{kind}", b"")


def unmarked(world: World) -> None:
    marks = {path for path in world.texts if path.endswith((".go", ".hold"))}
    if mark := world.pick(marks):
        world.drop(mark)


def word(world: World) -> None:
    """A verb, as the commands leave it in the spool; nobody waits for the answer."""
    path, verb = world.pick(world.was), world.dice.choice(["go", "go", "go", "retry", "retry", "hold", "cancel"])
    force = world.dice.random() < 0.2
    look = world.dice.choice(["", "", *(f"@{look}" for look in LOOKS)])
    if path and (world.daemon.state / "requests").is_dir():
        world.said[path].add(verb)
        RequestSpool(world.daemon.state).ask(
            verb, path + look, **({"force": True} if force and verb == "retry" else {})
        )


def paused(world: World) -> Iterator[None]:
    """`pause`, and after a while `resume`; each is answered first, however often the daemon dies meanwhile."""
    turns = world.dice.randrange(4, 15)
    if world.pausing:
        return
    world.pausing = True
    yield from _answered(world, "pause")
    since = time.time()
    for _ in range(turns):
        yield
    world.pauses.append((since, time.time()))
    yield from _answered(world, "resume")
    world.pausing = False


# -- outputs


def name_taken(world: World) -> None:
    """A file of somebody's where a result is to go."""
    path = world.pick(world.clips)
    if path is None:
        return
    base = _base(world, path)
    name = os.path.basename(base)  # noqa: PTH119
    _show(world, os.path.join(os.path.dirname(base), name, f"{name}_preview.mp4"), b"a film of mine")  # noqa: PTH118, PTH120


def overlay(world: World) -> None:
    """What another step of the pipeline keeps there."""
    place, stem, number = world.dice.choice(PLACES), world.dice.choice(STEMS), world.dice.randrange(1, 4)
    _show(world, os.path.join(place, stem, f"{number}_mano_overlay.mp4"), b"hands")  # noqa: PTH118


def result_moved(world: World) -> None:
    """Somebody takes a result, its contact sheet and its manifest out of outputs/: the names are free again."""
    draw = world.dice.random()
    found = sorted(file for file in world.outputs.rglob("*_preview*.json") if ".povwatch" not in file.parts)
    if not found:
        return
    manifest = found[int(draw * len(found))]
    to = world.aside / f"{world.counts['result_moved']}"
    to.mkdir()
    about = json.loads(manifest.read_bytes())
    film = manifest.with_name(about["output"]["file"])
    world.taken.add(str(film.relative_to(world.outputs)))
    manifest.rename(to / manifest.name)
    for file in [film, *([manifest.with_name(about["sheet"]["file"])] if "sheet" in about else [])]:
        if str(file.relative_to(world.outputs)) not in world.shown and file.exists():
            file.rename(to / file.name)


WEIGHTS: dict[Action, int] = {
    copies.moved_in: 12,
    copies.copied: 8,
    copies.broken_off: 6,
    copies.downloaded: 4,
    copies.folder_moved_in: 2,
    copies.no_video: 1,
    copies.deleted: 4,
    copies.renamed: 4,
    copies.folder_renamed: 1,
    copies.away_and_back: 3,
    asked_for: 12,
    edited: 4,
    mistaken: 4,
    mended: 5,
    touched: 4,
    spec_deleted: 2,
    look_asked_for: 8,
    look_deleted: 2,
    marked: 4,
    unmarked: 3,
    word: 12,
    paused: 4,
    name_taken: 2,
    overlay: 1,
    result_moved: 2,
}
"""How often each is done."""


# -- helpers


def _answered(world: World, verb: str) -> Iterator[None]:
    spool = RequestSpool(world.daemon.state)
    asked = spool.ask(verb, "")
    while spool.wait(asked, timeout=0.01) is None:
        yield


def _base(world: World, path: str) -> str:
    return world.spec_of(path).removesuffix(".json")


def _show(world: World, path: str, data: bytes) -> None:
    """Put a file of one's own into outputs/; nothing is there that it would replace."""
    to = world.outputs / path
    if path in world.shown or to.exists():
        return
    to.parent.mkdir(parents=True, exist_ok=True)
    part = world.aside / "part"
    part.write_bytes(data)
    world.shown[path] = data  # before it is there: somebody looks at outputs/ all the time
    try:
        os.link(part, to)
    except FileExistsError:
        del world.shown[path]
    part.unlink()
