import numpy as np
from beeagent_models.augmentation.geometry import Crop
from beeagent_models.efficientdet.anchors import anchor_boxes
from beeagent_models.efficientdet.config import config_for
from beeagent_models.training.matching import IGNORED, NO_OBJECT, AnchorMatcher, match_anchors
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

NO_BOXES = np.zeros((0, 4), np.float32)
CONFIG = config_for("lite0", labels=("bee", "wasp"), anchor_scale=2.0)


def boxes(*rows: tuple[float, float, float, float]) -> NDArray[np.float32]:
    return np.array(rows, np.float32).reshape(-1, 4)


def test_overlap_decides() -> None:
    anchors = boxes((0, 0, 10, 10), (0, 0, 10, 20), (0, 0, 10, 22), (50, 50, 60, 60))
    # Intersection over union with the object: 1, 0.5, 0.4545 and 0.
    assert match_anchors(anchors, boxes((0, 0, 10, 10)), NO_BOXES).tolist() == [0, 0, IGNORED, NO_OBJECT]


def test_an_anchor_answers_for_the_object_it_overlaps_most() -> None:
    anchors = boxes((0, 0, 10, 10), (3, 0, 13, 10))
    objects = boxes((4, 0, 14, 10), (0, 0, 10, 10))
    assert match_anchors(anchors, objects, NO_BOXES).tolist() == [1, 0]


def test_an_object_that_fits_no_anchor_gets_its_best() -> None:
    anchors = boxes((0, 0, 100, 100), (200, 0, 300, 100))
    assert match_anchors(anchors, boxes((10, 10, 20, 20)), NO_BOXES).tolist() == [0, NO_OBJECT]


def test_two_objects_on_one_best_anchor_both_keep_one() -> None:
    anchors = boxes((0, 0, 10, 10), (2, 0, 12, 10))
    objects = boxes((0, 0, 10, 10), (0.2, 0, 10.2, 10))
    assert sorted(match_anchors(anchors, objects, NO_BOXES).tolist()) == [0, 1]


def test_background_in_a_region_of_unlabelled_objects_does_not_count() -> None:
    anchors = boxes((0, 0, 10, 10), (6, 0, 16, 10), (20, 0, 30, 10))
    found = match_anchors(anchors, boxes((20, 0, 30, 10)), boxes((0, 0, 10, 40), (18, 0, 40, 40)))
    assert found.tolist() == [IGNORED, NO_OBJECT, 0]


def test_without_objects_everything_is_background() -> None:
    assert (match_anchors(boxes((0, 0, 10, 10)), NO_BOXES, NO_BOXES) == NO_OBJECT).all()


places = st.tuples(st.floats(0, 150), st.floats(0, 150), st.floats(5, 100), st.floats(5, 100))


@settings(deadline=None, max_examples=50)
@given(st.lists(places, min_size=1, max_size=12, unique_by=lambda place: (round(place[0] / 30), round(place[1] / 30))))
def test_every_object_has_an_anchor_near_it(found: list[tuple[float, float, float, float]]) -> None:
    objects = boxes(*[(x, y, min(x + w, 256), min(y + h, 192)) for x, y, w, h in found])
    crop = Crop(np.zeros((192, 256, 3), np.uint8), objects, np.zeros(len(objects), np.int64), NO_BOXES)
    matches = AnchorMatcher(CONFIG, width=256, height=192)(crop)
    anchors = anchor_boxes(CONFIG, 192, 256) * np.float32([192, 256, 192, 256])
    assert matches.shape == (len(anchors),)
    assert set(range(len(objects))) <= set(matches) <= {IGNORED, NO_OBJECT, *range(len(objects))}
    positive = matches >= 0
    matched = objects[matches[positive]]
    low, high = anchors[positive, :2] - anchors[positive, 2:] / 2, anchors[positive, :2] + anchors[positive, 2:] / 2
    shared = np.minimum(high, matched[:, 3:1:-1]) - np.maximum(low, matched[:, 1::-1])
    assert (shared > 0).all()  # no anchor is responsible for what is elsewhere
