"""How channels are folded down: names alone."""

from __future__ import annotations

import numpy as np
import pytest
from av.audio.layout import AudioLayout

from povwatch.media.channels import KEPT, ORDER, Fold, fold, target


def names_of(layout):
    return tuple(channel.name for channel in AudioLayout(layout).channels)


@pytest.mark.parametrize("layout", ["mono", "stereo", "5.1", "7.1", "22.2", "hexadecagonal", "7.1.4"])
def test_what_the_library_knows_is_left_to_it(layout):
    found = fold(names_of(layout))
    assert (AudioLayout(found.layout).name, found.matrix, found.said) == (layout, None, "")


def test_the_order_of_the_speakers_is_the_library_s():
    names = names_of("22.2")
    assert tuple(sorted(names, key=ORDER.index)) == names


def test_an_order_of_its_own_is_put_right():
    found = fold(("FC", "FL", "FR", "BL", "BR", "LFE"))
    assert AudioLayout(found.layout).name == "5.1"
    assert (np.array(found.matrix) @ [3, 1, 2, 5, 6, 4]).tolist() == [1, 2, 3, 4, 5, 6]
    assert not found.said


@pytest.mark.parametrize(("count", "layout"), [(1, "mono"), (2, "stereo"), (4, "4.0"), (6, "5.1"), (8, "7.1")])
def test_a_file_that_names_nothing_has_the_usual(count, layout):
    assert fold(("NONE",) * count) == Fold(layout, None)


def test_two_channels_of_one_name_stay_two():
    assert fold(("FL", "FL")) == Fold("stereo", None)


@pytest.mark.parametrize("names", [("NONE",) * 16, ("NONE",) * 10, ("USR7", "USR8", "USR9"), ("FL", "FL", "FR")])
def test_what_nobody_can_know_is_mixed_and_said(names):
    found = fold(names)
    mixed = np.array(found.matrix)
    assert (found.layout, mixed.shape) == ("stereo", (2, len(names)))
    assert mixed.sum(axis=1) == pytest.approx([1, 1]), "no louder than its channels"
    assert (mixed.sum(axis=0) > 0).all(), "nothing is left out"
    assert f"{len(names)} channels" in found.said


def test_ambisonic_sound_keeps_its_sides():
    found = fold(names_of("ambisonic 1"))
    left, right = np.array(found.matrix)
    assert left @ [1, 1, 0, 0] == 1, "a source at the left"
    assert right @ [1, 1, 0, 0] == 0
    assert "ambisonic" in found.said


def test_what_is_locked_to_the_head_goes_with_ambisonic_sound():
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
def test_the_result_has_the_most_channels_that_players_know(layouts, wanted):
    folds = [Fold(layout, None) for layout in layouts]
    found = target(folds, [AudioLayout(layout).nb_channels for layout in layouts])
    assert found == wanted
    assert found in KEPT
