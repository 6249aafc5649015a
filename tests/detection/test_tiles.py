"""A frame is cut into tiles that cover it, overlap, and are not shrunk more than they may be."""

import itertools

import pytest
from beeagent.detection.tiles import NO_TILES, Region, Tiling, parse_tiling, regions
from beeagent.errors import InputError
from hypothesis import given
from hypothesis import strategies as st

_SIDES = st.integers(1, 4000)
_COUNTS = st.integers(1, 8)


@given(columns=_COUNTS, rows=_COUNTS)
def test_what_is_written_is_understood(columns: int, rows: int) -> None:
    tiling = parse_tiling(f"{columns}x{rows}")
    assert tiling == Tiling(columns, rows)
    assert parse_tiling(str(tiling)) == tiling


def test_none_and_auto_are_understood() -> None:
    assert parse_tiling("none") == NO_TILES == Tiling(1, 1)
    assert str(parse_tiling("auto")) == "auto"
    assert str(NO_TILES) == "none"


@pytest.mark.parametrize("text", ["", "2", "2x", "0x2", "9x1", "2x2x2", "-1x2", "2X2", "two", "2 x 2", "٢x٢", "100x1"])
def test_anything_else_is_refused_with_what_is_allowed(text: str) -> None:
    with pytest.raises(InputError, match="allowed are none, auto, or columns and rows such as 3x2"):
        parse_tiling(text)


@given(text=st.text(max_size=12))
def test_no_text_breaks_the_parser(text: str) -> None:
    try:
        parsed = parse_tiling(text)
    except InputError:
        return
    assert parse_tiling(str(parsed)) == parsed


def test_without_tiles_the_whole_frame_is_looked_at() -> None:
    assert regions(NO_TILES, frame=(1280, 720), model_input=(320, 320)) == (Region(0, 0, 1280, 720),)


@given(width=_SIDES, height=_SIDES, columns=_COUNTS, rows=_COUNTS)
def test_tiles_lie_within_the_frame_and_cover_it(width: int, height: int, columns: int, rows: int) -> None:
    whole, *tiles = regions(Tiling(columns, rows), frame=(width, height), model_input=(320, 320))
    assert whole == Region(0, 0, width, height)
    assert len(tiles) == (0 if columns == rows == 1 else columns * rows)
    for tile in tiles:
        assert tile.width >= 1
        assert tile.height >= 1
        assert 0 <= tile.left <= width - tile.width
        assert 0 <= tile.top <= height - tile.height
    for spans, side in (
        ({(tile.left, tile.width) for tile in tiles}, width),
        ({(tile.top, tile.height) for tile in tiles}, height),
    ):
        reached = 0
        for start, length in sorted(spans):
            assert start <= reached
            reached = start + length
        assert not spans or reached == side


@given(side=st.integers(400, 4000), count=st.integers(2, 8))
def test_neighbours_share_a_quarter_of_a_tile(side: int, count: int) -> None:
    _, *tiles = regions(Tiling(count, 1), frame=(side, 100), model_input=(320, 320))
    for one, two in itertools.pairwise(tiles):
        assert one.left + one.width - two.left >= 0.25 * one.width - 2


@given(width=st.integers(1, 3000), height=st.integers(1, 3000), inside=st.integers(300, 1000))
def test_auto_shrinks_no_tile_by_more_than_two_and_takes_no_tile_more_than_needed(
    width: int, height: int, inside: int
) -> None:
    whole, *tiles = regions(Tiling(None, None), frame=(width, height), model_input=(inside, inside))
    assert all(max(tile.width, tile.height) <= 2 * inside for tile in tiles)
    assert bool(tiles) == (max(whole.width, whole.height) > 2 * inside)


def test_auto_gives_a_1280x720_camera_three_by_two_tiles_for_a_320_pixel_model() -> None:
    _, *tiles = regions(Tiling(None, None), frame=(1280, 720), model_input=(320, 320))
    assert {(tile.width, tile.height) for tile in tiles} == {(512, 412)}
    assert [(tile.left, tile.top) for tile in tiles] == [(x, y) for y in (0, 308) for x in (0, 384, 768)]
