import numpy as np
from beeagent.cloud.duplicates import show_the_same
from beeagent.detection import Detections


def seen(*boxes: tuple[float, float, float, float], classes: tuple[int, ...] | None = None) -> Detections:
    count = len(boxes)
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.linspace(0.9, 0.5, count, dtype=np.float32),
        np.array(classes or [0] * count, np.int64),
        ("bee", "wasp"),
    )


LEFT = (0.1, 0.1, 0.2, 0.2)
JITTERED = (0.102, 0.099, 0.201, 0.201)
MOVED = (0.15, 0.1, 0.25, 0.2)
RIGHT = (0.7, 0.7, 0.9, 0.9)


def test_the_same_boxes_in_the_same_places_in_any_order() -> None:
    assert show_the_same(seen(LEFT, RIGHT), seen(RIGHT, JITTERED))


def test_what_moved_came_went_or_is_another_class_is_not_the_same() -> None:
    for other in (seen(MOVED, RIGHT), seen(LEFT), seen(LEFT, RIGHT, MOVED), seen(LEFT, RIGHT, classes=(0, 1))):
        assert not show_the_same(seen(LEFT, RIGHT), other)


def test_a_box_is_the_like_of_one_other_only() -> None:
    assert not show_the_same(seen(LEFT, LEFT), seen(LEFT, RIGHT))


def test_nothing_is_the_same_as_nothing() -> None:
    assert show_the_same(seen(), seen())
