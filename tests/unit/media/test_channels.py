"""How channels are folded down: names alone."""

from __future__ import annotations

import numpy as np
import pytest
from av.audio.layout import AudioLayout

from povwatch.media.channels import KEPT, ORDER, Fold, fold, target


def names_of(layout):
    return tuple(channel.name for channel in AudioLayout(layout).channels)


@pytest.mark.parametrize("layout", ["mono", "stereo", "5.1", "7.1", "22.2", "hexadecagonal", "7.1.4"])
def test_known_layouts_are_left_alone(layout):
    """A layout that FFmpeg knows is left to it, without a word."""
    found = fold(names_of(layout))
    assert (AudioLayout(found.layout).name, found.matrix, found.loss) == (layout, None, "")


def test_speaker_order_is_the_librarys():
    names = names_of("22.2")
    assert tuple(sorted(names, key=ORDER.index)) == names


def test_own_channel_order_is_put_right():
    """Channels in an order of the file's own come out in the layout's order, without a word."""
    found = fold(("FC", "FL", "FR", "BL", "BR", "LFE"))
    assert AudioLayout(found.layout).name == "5.1"
    assert (np.array(found.matrix) @ [3, 1, 2, 5, 6, 4]).tolist() == [1, 2, 3, 4, 5, 6]
    assert not found.loss


@pytest.mark.parametrize(("count", "layout"), [(1, "mono"), (2, "stereo"), (4, "4.0"), (6, "5.1"), (8, "7.1")])
def test_unnamed_channels_have_the_usual(count, layout):
    """Channels that are not named get the usual layout of that number."""
    assert fold(("NONE",) * count) == Fold(layout, None)


def test_two_channels_of_one_name_stay_two():
    assert fold(("FL", "FL")) == Fold("stereo", None)


@pytest.mark.parametrize("names", [("NONE",) * 16, ("NONE",) * 10, ("USR7", "USR8", "USR9"), ("FL", "FL", "FR")])
def test_unknown_channels_are_mixed(names):
    """Channels that nobody can know are mixed to stereo, none louder, none left out, and that is said."""
    found = fold(names)
    mixed = np.array(found.matrix)
    assert (found.layout, mixed.shape) == ("stereo", (2, len(names)))
    assert mixed.sum(axis=1) == pytest.approx([1, 1]), "no louder than its channels"
    assert (mixed.sum(axis=0) > 0).all(), "nothing is left out"
    assert f"{len(names)} channels" in found.loss


def test_ambisonic_sound_keeps_its_sides():
    """Ambisonic sound is mixed to stereo with left at the left, and that is said."""
    found = fold(names_of("ambisonic 1"))
    left, right = np.array(found.matrix)
    assert left @ [1, 1, 0, 0] == 1, "a source at the left"
    assert right @ [1, 1, 0, 0] == 0
    assert "ambisonic" in found.loss


def test_head_locked_goes_with_ambisonic():
    """Head-locked stereo is added to its own side of ambisonic sound."""
    left, right = np.array(fold((*names_of("ambisonic 1"), "FL", "FR")).matrix)
    assert (left[4], left[5], right[4], right[5]) == (1, 0, 0, 1)


@pytest.mark.parametrize(
    ("layouts", "wanted"),
    [
        (["stereo", "mono"], "stereo"),
        (["mono", "5.1(side)"], "5.1"),
        (["22.2"], "7.1"),
        (["6.1"], "7.1"),
        (["quad"], "quad"),
        (["octagonal"], "7.1"),
    ],
)
def test_result_layout_is_one_players_know(layouts, wanted):
    """The result has the most channels among those layouts that players know."""
    folds = [Fold(layout, None) for layout in layouts]
    found = target(folds, [AudioLayout(layout).nb_channels for layout in layouts])
    assert found == wanted
    assert found in KEPT
