"""Containers whose structure lies: every one gets a verdict in words, soon, and none an exception."""

from __future__ import annotations

import functools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import hostile
from support import made_containers as made
from support.examining import examine_bytes

LIES = {
    "a chunk past all files": hostile.film(hostile.samples(2**64 - 1, 100, uniform=False)),
    "a chunk past all files, all samples of one size": hostile.film(hostile.samples(2**64 - 1, 100, uniform=True)),
    "a fragment without end": hostile.fragment_without_end(),
    "boxes within boxes": hostile.nested(5000),
    "an index past all files": hostile.far_index(),
}


@pytest.mark.parametrize("data", LIES.values(), ids=LIES)
def test_lying_container_is_damaged(data):
    """A container whose structure lies is incomplete, with a printable reason, and raises nothing."""
    report = examine_bytes(data)
    assert not report.complete
    assert report.why.isprintable()


@functools.cache
def films() -> tuple[bytes, ...]:
    return (
        made.video(frames=6, sound="aac"),
        made.video(frames=6, movflags="frag_keyframe+empty_moov"),
        made.video("matroska", frames=6),
        made.streamed("webm", "libvpx"),
        made.video("avi", "mpeg4", frames=6),
        made.open_dml(2),
    )


NUMBERS = st.sampled_from([0, 1, 7, 8, 2**15, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1])
"""Where arithmetic breaks."""

NAMES = st.sampled_from(
    [
        *b"moov trak mdia minf stbl stsd stco co64 stsc stsz stz2 moof mdat sidx mvex mfra cmov hdlr free".split(),
        *b"RIFF LIST hdrl strl strh strf indx ix00 idx1 movi 00dc".split(),
        *(b"\x18\x53\x80\x67", b"\x1f\x43\xb6\x75", b"\x16\x54\xae\x6b", b"\xa3\x81\x81\x81", b"\x01" + b"\xff" * 7),
    ]
)
"""What the walkers look for."""

number = st.builds(
    lambda value, width, order: (value % 256**width).to_bytes(width, order),
    NUMBERS,
    st.sampled_from([1, 2, 4, 8]),
    st.sampled_from(["big", "little"]),
)
edit = st.tuples(st.floats(0, 1, exclude_max=True), number | NAMES | st.binary(max_size=8), st.booleans())


@settings(max_examples=400, deadline=None)
@given(st.integers(0, 5), st.lists(edit, min_size=1, max_size=6), st.booleans())
def test_wrong_numbers_get_a_verdict(which, edits, front):
    """Numbers and names written over, or pushed in between, mostly where the structure is."""
    data = bytearray(films()[which])
    for share, junk, push in edits:
        at = int(share * (min(len(data), 1200) if front else len(data)))
        data[at : at if push else at + len(junk)] = junk
    assert examine_bytes(bytes(data)).why
