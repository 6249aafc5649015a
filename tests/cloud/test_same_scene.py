import numpy as np
from beeagent.cloud.second_opinion import is_same_scene
from beeagent.detection import Detections


def scene(*boxes: tuple[float, float, float, float], classes: tuple[int, ...] | None = None) -> Detections:
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


def test_same_boxes_in_any_order_are_the_same_scene() -> None:
    assert is_same_scene(scene(LEFT, RIGHT), scene(RIGHT, JITTERED))


def test_moved_new_missing_or_reclassified_boxes_are_not_the_same_scene() -> None:
    for other in (
        scene(MOVED, RIGHT),
        scene(LEFT),
        scene(LEFT, RIGHT, MOVED),
        scene(LEFT, RIGHT, classes=(0, 1)),
    ):
        assert not is_same_scene(scene(LEFT, RIGHT), other)


def test_a_box_matches_one_other_box_only() -> None:
    assert not is_same_scene(scene(LEFT, LEFT), scene(LEFT, RIGHT))


def test_two_frames_without_detections_are_the_same_scene() -> None:
    assert is_same_scene(scene(), scene())
