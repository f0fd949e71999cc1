"""How clips come into inputs/, and go. A long one goes on from turn to turn."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from world import PLACES, SEEDS, STEMS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from world import Content, World

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
    """A copy that ends in the middle of it; often done again later, sometimes deleted."""
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
    world.said[to] |= world.said[path] & {"go", "hold"}  # it goes along, as what its JSON says does
    (world.inputs / path).rename(there)


def folder_renamed(world: World) -> None:
    """A folder and all in it: its clips, their JSONs, and what povwatch put beside them."""
    days = {path.split("/")[0] for path in world.clips if path.startswith("day ")}
    day, to = world.pick(days), f"day {world.dice.randrange(1000, 2000)}"
    if day is None or (world.inputs / to).exists() or any(path.startswith(f"{day}/") for path in world.busy):
        return
    for path in [path for path in world.clips if path.startswith(f"{day}/")]:
        world.came(to + path.removeprefix(day), world.contents[world.clips[path]])
        world.left(path)
    for path in [path for path in world.texts if path.startswith(f"{day}/")]:
        world.texts[to + path.removeprefix(day)] = world.texts.pop(path)
    (world.inputs / day).rename(world.inputs / to)
    world.moved_days.add(to)


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
