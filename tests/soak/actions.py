"""What people do to inputs/ and outputs/, one at a time, as the dice have it. A long one goes on from turn to turn."""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING

from world import PLACES, STEMS

from povwatch.spool import Spool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from world import Content, World

    Action = Callable[[World], Iterator[None] | None]

SEEDS = [1, 2, 3, 100, 100, 201, 202, 203, 301, 302, 303]
"""What JSONs ask for; tests/engines/tempers.py says what each does."""

INVALID = [
    b"{",
    b'{"prompt": "hands"',
    b'{"prompt": 7}',
    b'{"prompt": "hands", "edge": {}, "sede": 1}',
    b'{"prompt": "hands", "edge": {"control_weight": 3}}',
    b'{"prompt": "hands", "depth": {"control_path": "../../etc/passwd"}}',
]


# -- clips come


def moved_in(world: World) -> None:
    """Whole, by a rename; over whatever is there."""
    content, path = _new(world)
    if path in world.busy:
        return
    part = world.made / "moved"
    shutil.copyfile(content.file, part)
    to = _made(world, path)
    world.came(path, content)
    part.rename(to)


def copied(world: World) -> Iterator[None]:
    """As cp does: under its final name, bit by bit, with pauses."""
    yield from _copy(world, *_new(world))


def broken_off(world: World) -> Iterator[None]:
    """A copy that ends in the midst of it; often done again later, sometimes deleted."""
    content, path = _new(world)
    then, share = world.dice.random(), world.dice.uniform(0.1, 0.9)
    if path in world.busy:
        return
    yield from _copy(world, content, path, share)
    for _ in range(world.dice.randrange(2, 15)):
        yield
    if path in world.busy:
        return
    if then < 0.7:
        yield from _copy(world, content, path)
    elif then < 0.9 and path in world.odd:
        (world.inputs / path).unlink()
        world.left(path)


def downloaded(world: World) -> Iterator[None]:
    """As browsers do: under another name, then renamed."""
    content, path = _new(world)
    if path in world.busy:
        return
    world.busy.add(path)
    part = _made(world, f"{path}.part")
    data = content.file.read_bytes()
    with part.open("wb") as file:
        for at in range(0, len(data), len(data) // 3 + 1):
            file.write(data[at : at + len(data) // 3 + 1])
            file.flush()
            yield
    world.came(path, content)
    part.rename(world.inputs / path)
    world.busy.discard(path)


def folder_moved_in(world: World) -> None:
    """A folder with clips, and a JSON of its own for one of them."""
    name = f"day {world.dice.randrange(1000)}"
    folder = world.made / name
    count, seed = world.dice.randrange(1, 4), world.dice.choice(SEEDS)
    drops = [world.content() for _ in range(count)]
    if folder.exists() or (world.inputs / name).exists():
        return
    folder.mkdir()
    for n, content in enumerate(drops):
        path = f"{name}/{STEMS[n]}{content.suffix}"
        shutil.copyfile(content.file, world.made / path)
        world.came(path, content)
        if n == 0:
            world.texts[f"{name}/{STEMS[n]}.json"] = text = world.spec(path, seed=seed)
            (folder / f"{STEMS[n]}.json").write_bytes(text)
    folder.rename(world.inputs / name)


def no_video(world: World) -> None:
    """Something else under a clip's name."""
    path = os.path.join(world.dice.choice(PLACES), f"notes {world.dice.randrange(9)}.mp4")  # noqa: PTH118
    if path not in world.busy and path not in world.clips:
        _made(world, path).write_text("I am a letter, and no film.\n" * 50)
        world.spoilt(path)


# -- clips go


def deleted(world: World) -> None:
    if path := world.pick(world.clips | world.odd):
        (world.inputs / path).unlink()
        world.left(path)


def renamed(world: World) -> None:
    """To another name, or back to one that it had; its JSON stays."""
    path = world.pick(world.clips)
    place, stem = world.dice.choice(PLACES), world.dice.choice(STEMS)
    if path is None:
        return
    to = os.path.join(place, stem + os.path.splitext(path)[1])  # noqa: PTH118, PTH122
    if to in world.busy or to == path:
        return
    content = world.contents[world.clips[path]]
    there = _made(world, to)
    world.came(to, content)
    world.left(path)
    (world.inputs / path).rename(there)


def away_and_back(world: World) -> Iterator[None]:
    """Moved out of inputs/, and after a while back to the very name."""
    path, pause = world.pick(world.clips), world.dice.randrange(1, 30)
    if path is None:
        return
    content = world.contents[world.clips[path]]
    out = world.made / f"away-{world.counts['away_and_back']}"
    world.busy.add(path)
    world.left(path)
    (world.inputs / path).rename(out)
    for _ in range(pause):
        yield
    world.came(path, content)
    out.rename(_made(world, path))
    world.busy.discard(path)


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
    if path and (world.daemon.state / "requests").is_dir():
        world.said[path].add(verb)
        Spool(world.daemon.state).ask(verb, path, **({"force": True} if force and verb == "retry" else {}))


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
    """Somebody takes a result and its manifest out of outputs/: the names are free again."""
    draw = world.dice.random()
    found = sorted(file for file in world.outputs.rglob("*_preview*.json") if ".povwatch" not in file.parts)
    if not found:
        return
    manifest = found[int(draw * len(found))]
    to = world.aside / f"{world.counts['result_moved']}"
    to.mkdir()
    film = manifest.with_name(json.loads(manifest.read_bytes())["output"]["file"])
    manifest.rename(to / manifest.name)
    if str(film.relative_to(world.outputs)) not in world.shown and film.exists():
        film.rename(to / film.name)


WEIGHTS: dict[Action, int] = {
    moved_in: 12,
    copied: 8,
    broken_off: 6,
    downloaded: 4,
    folder_moved_in: 2,
    no_video: 1,
    deleted: 4,
    renamed: 4,
    away_and_back: 3,
    asked_for: 12,
    edited: 4,
    mistaken: 4,
    mended: 5,
    touched: 4,
    spec_deleted: 2,
    marked: 4,
    unmarked: 3,
    word: 12,
    name_taken: 2,
    overlay: 1,
    result_moved: 2,
}
"""How often each is done."""


# -- helpers


def _new(world: World) -> tuple[Content, str]:
    content = world.content()
    return content, world.name_for(content)


def _made(world: World, path: str) -> Path:
    to = world.inputs / path
    to.parent.mkdir(parents=True, exist_ok=True)
    return to


def _copy(world: World, content: Content, path: str, share: float = 1.0) -> Iterator[None]:
    """Copy so much of it, over whatever is there."""
    turns = world.dice.randrange(1, 8)
    if path in world.busy:
        return
    world.busy.add(path)
    data = content.file.read_bytes()
    data = data[: int(len(data) * share)]
    world.clips.pop(path, None)
    with _made(world, path).open("wb") as file:
        for n in range(turns):
            file.write(data[n * len(data) // turns : (n + 1) * len(data) // turns])
            file.flush()
            if n < turns - 1:
                yield
    if share == 1:
        world.came(path, content)
    else:
        world.spoilt(path)
    world.busy.discard(path)


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
