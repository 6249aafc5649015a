"""Tiles cover the frame, overlap and are not shrunk too much; an object in several regions is one detection."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from beeagent.detection import (
    NO_TILES,
    Detections,
    Detector,
    DetectorOptions,
    ModelBundle,
    Region,
    Tiling,
    parse_tiling,
)
from beeagent.detection.tiling import frame_regions, merge_regions
from beeagent.errors import InputError
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from support.memory_bundle import bundle_of
from support.tiny_models import RED, painted, square_finder

_SIDES = st.integers(1, 4000)
_COUNTS = st.integers(1, 8)


@given(columns=_COUNTS, rows=_COUNTS)
def test_columns_and_rows_are_parsed(columns: int, rows: int) -> None:
    tiling = parse_tiling(f"{columns}x{rows}")
    assert tiling == Tiling(columns, rows)
    assert parse_tiling(str(tiling)) == tiling


def test_none_and_auto_are_parsed() -> None:
    assert parse_tiling("none") == NO_TILES == Tiling(1, 1)
    assert str(parse_tiling("auto")) == "auto"
    assert str(NO_TILES) == "none"


@pytest.mark.parametrize("text", ["", "2", "2x", "0x2", "9x1", "2x2x2", "-1x2", "2X2", "two", "2 x 2", "٢x٢", "100x1"])
def test_other_text_is_refused_with_the_allowed_values(text: str) -> None:
    with pytest.raises(InputError, match="allowed are none, auto, or columns and rows such as 3x2"):
        parse_tiling(text)


@given(text=st.text(max_size=12))
def test_no_text_breaks_the_parser(text: str) -> None:
    try:
        parsed = parse_tiling(text)
    except InputError:
        return
    assert parse_tiling(str(parsed)) == parsed


def test_without_tiles_the_only_region_is_the_frame() -> None:
    assert frame_regions(NO_TILES, frame=(1280, 720), model_input=(320, 320)) == (Region(0, 0, 1280, 720),)


@given(width=_SIDES, height=_SIDES, columns=_COUNTS, rows=_COUNTS)
def test_tiles_lie_within_the_frame_and_cover_it(width: int, height: int, columns: int, rows: int) -> None:
    whole, *tiles = frame_regions(Tiling(columns, rows), frame=(width, height), model_input=(320, 320))
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
    _, *tiles = frame_regions(Tiling(count, 1), frame=(side, 100), model_input=(320, 320))
    for one, two in itertools.pairwise(tiles):
        assert one.left + one.width - two.left >= 0.25 * one.width - 2


@given(width=st.integers(1, 3000), height=st.integers(1, 3000), inside=st.integers(300, 1000))
def test_auto_tiling_shrinks_at_most_by_two_with_minimum_tiles(width: int, height: int, inside: int) -> None:
    whole, *tiles = frame_regions(Tiling(None, None), frame=(width, height), model_input=(inside, inside))
    assert all(max(tile.width, tile.height) <= 2 * inside for tile in tiles)
    assert bool(tiles) == (max(whole.width, whole.height) > 2 * inside)


def test_auto_cuts_1280x720_into_three_by_two_tiles_for_a_320_pixel_model() -> None:
    _, *tiles = frame_regions(Tiling(None, None), frame=(1280, 720), model_input=(320, 320))
    assert {(tile.width, tile.height) for tile in tiles} == {(512, 412)}
    assert [(tile.left, tile.top) for tile in tiles] == [(x, y) for y in (0, 308) for x in (0, 384, 768)]


# Merging

_FRAME = (1200, 800)
_LABELS = ("bee", "wasp")


def _found(boxes: NDArray[np.float32], class_ids: list[int] | None = None, start: float = 0.9) -> Detections:
    confidences = np.linspace(start, start / 2, len(boxes), dtype=np.float32)
    ids = np.zeros(len(boxes), np.int64) if class_ids is None else np.array(class_ids, np.int64)
    return Detections(boxes.astype(np.float32).reshape(-1, 4), confidences, ids, _LABELS)


def _detections_in(region: Region, truth: NDArray[np.float32]) -> Detections:
    """Return the detections of a perfect detector in a region: the part of each box that is in it."""
    size = np.array([region.width, region.height] * 2, dtype=np.float32)
    inside = np.clip((truth - np.array([region.left, region.top] * 2)) / size, 0, 1)
    return _found(inside[(inside[:, 0] < inside[:, 2]) & (inside[:, 1] < inside[:, 3])])


@st.composite
def bees_apart(draw: st.DrawFn) -> NDArray[np.float32]:
    """Return boxes in pixels that do not overlap, none longer than the overlap of two tiles."""
    cells = draw(st.sets(st.tuples(st.integers(0, 11), st.integers(0, 7)), max_size=20))
    boxes = []
    for column, row in sorted(cells):
        width, height = draw(st.integers(12, 80)), draw(st.integers(12, 80))
        left = column * 100 + draw(st.integers(0, 100 - width))
        top = row * 100 + draw(st.integers(0, 100 - height))
        boxes.append((left, top, left + width, top + height))
    return np.array(boxes, dtype=np.float32).reshape(-1, 4)


def _rows(boxes: NDArray[np.float32]) -> list[tuple[float, ...]]:
    return sorted(tuple(float(value) for value in np.round(box, 1)) for box in boxes)


@settings(deadline=None)
@given(truth=bees_apart(), columns=st.integers(1, 3), rows=st.integers(1, 2), with_whole=st.booleans())
def test_each_bee_is_counted_once_wherever_the_tiles_meet(
    truth: NDArray[np.float32], columns: int, rows: int, *, with_whole: bool
) -> None:
    parts = frame_regions(Tiling(columns, rows), frame=_FRAME, model_input=(320, 320))
    if not with_whole and len(parts) > 1:
        parts = parts[1:]
    merged = merge_regions([_detections_in(part, truth) for part in parts], parts, frame=_FRAME)
    np.testing.assert_allclose(_rows(merged.boxes * np.array(_FRAME * 2)), _rows(truth), atol=0.2)
    assert (np.diff(merged.confidences) <= 0).all()


def test_two_boxes_of_one_region_are_never_merged() -> None:
    parts = (Region(0, 0, 100, 100), Region(50, 0, 100, 100))
    crowd = _found(np.array([[0.1, 0.1, 0.3, 0.3], [0.11, 0.1, 0.31, 0.3]], np.float32))
    merged = merge_regions([crowd, _found(np.zeros((0, 4), np.float32))], parts, frame=(150, 100))
    assert len(merged) == 2


def test_two_classes_at_one_place_are_not_merged() -> None:
    parts = (Region(0, 0, 100, 100), Region(0, 0, 100, 100))
    box = np.array([[0.1, 0.1, 0.3, 0.3]], np.float32)
    assert len(merge_regions([_found(box), _found(box, [1])], parts, frame=(100, 100))) == 2
    assert len(merge_regions([_found(box), _found(box, [0])], parts, frame=(100, 100))) == 1


def test_whole_boxes_are_preferred_to_cut_ones_and_then_more_confident_ones() -> None:
    left, right = Region(0, 0, 100, 100), Region(60, 0, 100, 100)
    weak, strong = np.array([[0.7, 0.4, 0.9, 0.6]]), np.array([[0.11, 0.4, 0.31, 0.6]])
    merged = merge_regions([_found(weak, start=0.5), _found(strong, start=0.8)], (left, right), frame=(160, 100))
    np.testing.assert_allclose(merged.boxes[:, 0] * 160, [71], atol=0.01)
    # The same bee from 85 to 105: the left tile shows three quarters of it, with more confidence.
    cut, whole = np.array([[0.85, 0.4, 1.0, 0.6]]), np.array([[0.25, 0.4, 0.45, 0.6]])
    merged = merge_regions([_found(cut, start=0.9), _found(whole, start=0.5)], (left, right), frame=(160, 100))
    np.testing.assert_allclose(merged.boxes[0, [0, 2]] * 160, [85, 105], atol=0.01)
    assert len(merged) == 1


def test_a_box_at_the_frames_own_edge_is_not_cut() -> None:
    left, right = Region(0, 0, 100, 100), Region(60, 0, 100, 100)
    # At the frame's left edge in the one; smaller and not overlapping by half in the other would be a second bee.
    at_edge, small = np.array([[0.0, 0.4, 0.7, 0.6]]), np.array([[0.02, 0.42, 0.09, 0.58]])
    merged = merge_regions([_found(at_edge), _found(small)], (left, right), frame=(160, 100))
    assert len(merged) == 2


def test_tiles_find_objects_too_small_in_the_whole_frame() -> None:
    bundle: ModelBundle = bundle_of(square_finder(), labels=("red",))
    squares = {RED: (300, 200, 320, 220)}
    frame = painted((512, 512), squares)
    options = DetectorOptions(threads=1, threshold=0.6)
    assert len(Detector(bundle, options).detect(frame)) == 0
    found = Detector(bundle, replace(options, tiling=Tiling(8, 8))).detect(frame)
    assert len(found) > 0
    middles = (found.boxes[:, :2] + found.boxes[:, 2:]) / 2 * 512
    assert ((middles > [295, 195]) & (middles < [325, 225])).all()
