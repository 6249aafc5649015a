"""What several regions show of the same thing is one detection; what they show of two things is two."""

import numpy as np
from beeagent.detection.bundle import ModelBundle
from beeagent.detection.detections import Detections
from beeagent.detection.detector import DetectorOptions
from beeagent.detection.merging import merge
from beeagent.detection.tiled import TiledDetector
from beeagent.detection.tiles import NO_TILES, Region, Tiling, regions
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from support.memory_bundle import bundle_of
from support.tiny_models import RED, painted, square_finder

_FRAME = (1200, 800)
_LABELS = ("bee", "wasp")


def _found(boxes: NDArray[np.float32], class_ids: list[int] | None = None, start: float = 0.9) -> Detections:
    confidences = np.linspace(start, start / 2, len(boxes), dtype=np.float32)
    ids = np.zeros(len(boxes), np.int64) if class_ids is None else np.array(class_ids, np.int64)
    return Detections(boxes.astype(np.float32).reshape(-1, 4), confidences, ids, _LABELS)


def _seen_in(region: Region, truth: NDArray[np.float32]) -> Detections:
    """Give what a detector that misses nothing finds in a region: of each box, the part that lies in it."""
    size = np.array([region.width, region.height] * 2, dtype=np.float32)
    inside = np.clip((truth - np.array([region.left, region.top] * 2)) / size, 0, 1)
    return _found(inside[(inside[:, 0] < inside[:, 2]) & (inside[:, 1] < inside[:, 3])])


@st.composite
def bees_apart(draw: st.DrawFn) -> NDArray[np.float32]:
    """Give boxes that do not overlap, none longer than what two tiles share; in pixels of the frame."""
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
def test_each_bee_is_counted_once_wherever_the_seams_lie(
    truth: NDArray[np.float32], columns: int, rows: int, *, with_whole: bool
) -> None:
    parts = regions(Tiling(columns, rows), frame=_FRAME, model_input=(320, 320))
    if not with_whole and len(parts) > 1:
        parts = parts[1:]
    merged = merge([_seen_in(part, truth) for part in parts], parts, frame=_FRAME)
    np.testing.assert_allclose(_rows(merged.boxes * np.array(_FRAME * 2)), _rows(truth), atol=0.2)
    assert (np.diff(merged.confidences) <= 0).all()


def test_two_boxes_of_one_region_are_never_taken_for_one() -> None:
    parts = (Region(0, 0, 100, 100), Region(50, 0, 100, 100))
    crowd = _found(np.array([[0.1, 0.1, 0.3, 0.3], [0.11, 0.1, 0.31, 0.3]], np.float32))
    merged = merge([crowd, _found(np.zeros((0, 4), np.float32))], parts, frame=(150, 100))
    assert len(merged) == 2


def test_two_classes_at_one_place_stay_two() -> None:
    parts = (Region(0, 0, 100, 100), Region(0, 0, 100, 100))
    box = np.array([[0.1, 0.1, 0.3, 0.3]], np.float32)
    assert len(merge([_found(box), _found(box, [1])], parts, frame=(100, 100))) == 2
    assert len(merge([_found(box), _found(box, [0])], parts, frame=(100, 100))) == 1


def test_the_stronger_of_two_whole_ones_wins_and_a_whole_one_over_a_cut_one() -> None:
    left, right = Region(0, 0, 100, 100), Region(60, 0, 100, 100)
    weak, strong = np.array([[0.7, 0.4, 0.9, 0.6]]), np.array([[0.11, 0.4, 0.31, 0.6]])
    merged = merge([_found(weak, start=0.5), _found(strong, start=0.8)], (left, right), frame=(160, 100))
    np.testing.assert_allclose(merged.boxes[:, 0] * 160, [71], atol=0.01)
    # The same bee from 85 to 105: the left tile shows three quarters of it, with more confidence.
    cut, whole = np.array([[0.85, 0.4, 1.0, 0.6]]), np.array([[0.25, 0.4, 0.45, 0.6]])
    merged = merge([_found(cut, start=0.9), _found(whole, start=0.5)], (left, right), frame=(160, 100))
    np.testing.assert_allclose(merged.boxes[0, [0, 2]] * 160, [85, 105], atol=0.01)
    assert len(merged) == 1


def test_a_box_at_the_frames_own_edge_is_not_cut() -> None:
    left, right = Region(0, 0, 100, 100), Region(60, 0, 100, 100)
    # At the frame's left edge in the one; smaller and not overlapping by half in the other would be a second bee.
    at_edge, small = np.array([[0.0, 0.4, 0.7, 0.6]]), np.array([[0.02, 0.42, 0.09, 0.58]])
    merged = merge([_found(at_edge), _found(small)], (left, right), frame=(160, 100))
    assert len(merged) == 2


def test_tiles_find_what_is_too_small_in_the_whole_frame() -> None:
    bundle: ModelBundle = bundle_of(square_finder(), labels=("red",))
    squares = {RED: (300, 200, 320, 220)}
    frame = painted((512, 512), squares)
    options = DetectorOptions(threads=1, threshold=0.6)
    assert len(TiledDetector(bundle, options, NO_TILES).detect(frame)) == 0
    found = TiledDetector(bundle, options, Tiling(8, 8)).detect(frame)
    assert len(found) > 0
    middles = (found.boxes[:, :2] + found.boxes[:, 2:]) / 2 * 512
    assert ((middles > [295, 195]) & (middles < [325, 225])).all()
