from pathlib import Path

import cv2
import numpy as np
import pytest
from beeagent.detection import Detections
from beeagent.errors import InputError
from beeagent_models.datasets.dataset import LabelledImage
from beeagent_models.drawing import FALSE_ALARM, HIT, MISS, check_image_path, draw, draw_truth, write_image
from beeagent_models.evaluation.coco_metrics import ImageMatches
from numpy.typing import NDArray

GREY = 90


def grey(width: int = 800, height: int = 600) -> NDArray[np.uint8]:
    return np.full((height, width, 3), GREY, np.uint8)


def detections(*rows: tuple[float, float, float, float, float]) -> Detections:
    return Detections(
        boxes=np.array([row[:4] for row in rows], np.float32).reshape(-1, 4),
        confidences=np.array([row[4] for row in rows], np.float32),
        class_ids=np.zeros(len(rows), np.int64),
        labels=("bee",),
    )


def colour_at(pixels: NDArray[np.uint8], x: float, y: float) -> tuple[int, ...]:
    return tuple(int(value) for value in pixels[int(y), int(x)])


def test_boxes_are_drawn_where_they_are_and_the_image_is_left_alone() -> None:
    pixels = grey()
    drawn = draw(pixels, detections((0.25, 0.25, 0.75, 0.75, 0.9)))
    assert (pixels == GREY).all()
    assert drawn.shape == pixels.shape
    edge = colour_at(drawn, 200, 300)
    assert edge != (GREY, GREY, GREY)
    assert colour_at(drawn, 600, 300) == colour_at(drawn, 400, 450) == edge
    # Inside and well outside nothing changes.
    assert (drawn[180:420, 220:580] == GREY).all()
    assert (drawn[480:] == GREY).all()


@pytest.mark.parametrize("top", [0.0, 0.3])
def test_a_label_stands_within_the_image(top: float) -> None:
    with_label = draw(grey(), detections((0.4, top, 0.6, 0.9, 0.87)))
    line = colour_at(with_label, 320, 400)
    # The label's ground is a full patch of the box's colour.
    patch = (with_label == np.array(line)).all(axis=2)
    solid = cv2.erode(patch.astype(np.uint8), np.ones((5, 5), np.uint8))
    rows, columns = np.nonzero(solid)
    assert len(rows)
    assert abs(rows.min() - top * 600) < 40
    assert abs(columns.min() - 320) < 40


def test_nothing_found_draws_nothing() -> None:
    assert (draw(grey(), detections()) == GREY).all()


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((320, 240), (640, 480)),
        ((64, 64), (640, 640)),
        ((300, 200), (900, 600)),
        ((100, 700), (100, 700)),
        ((1, 1), (640, 640)),
    ],
)
def test_small_images_are_enlarged(size: tuple[int, int], expected: tuple[int, int]) -> None:
    drawn = draw(grey(*size), detections((0, 0, 1, 1, 0.5)))
    assert (drawn.shape[1], drawn.shape[0]) == expected


@pytest.mark.parametrize("size", [(40, 30), (320, 240), (1280, 720), (3840, 2160)])
def test_any_size_and_many_boxes_can_be_drawn(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(1)
    corners = rng.random((50, 2)) * 0.9
    rows = [(x, y, x + 0.1, y + 0.1, 0.5) for x, y in corners]
    assert (draw(grey(*size), detections(*rows)) != GREY).any()


def test_hits_misses_and_false_alarms_have_their_colours() -> None:
    image = LabelledImage(
        path=Path("a.png"),
        width=800,
        height=600,
        boxes=np.array([[80, 60, 240, 300], [400, 60, 560, 300]], np.float32),
        class_ids=np.zeros(2, np.int64),
    )
    found = detections((0.1, 0.1, 0.3, 0.5, 0.9), (0.1, 0.7, 0.3, 0.9, 0.6))
    matches = ImageMatches(
        scored=np.array([True, True]),
        hits=np.array([True, False]),
        matched_confidence=np.array([float(np.float32(0.9)), -1.0]),
        ignored=np.zeros(2, np.bool_),
    )
    drawn = draw_truth(grey(), image, found, matches, threshold=0.5)
    assert colour_at(drawn, 80, 200) == HIT.as_bgr()
    assert colour_at(drawn, 400, 200) == MISS.as_bgr()
    assert colour_at(drawn, 80, 480) == FALSE_ALARM.as_bgr()
    assert drawn.shape[0] > 600, "the counts stand below the image"

    stricter = draw_truth(grey(), image, found, matches, threshold=0.9)
    assert colour_at(stricter, 80, 200) == HIT.as_bgr()
    assert colour_at(stricter, 80, 480) == (GREY, GREY, GREY)

    strictest = draw_truth(grey(), image, found, matches, threshold=0.95)
    assert colour_at(strictest, 80, 200) == MISS.as_bgr()


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_an_image_is_written(tmp_path: Path, suffix: str) -> None:
    write_image(tmp_path / f"a{suffix}", grey())
    read = cv2.imread(str(tmp_path / f"a{suffix}"))
    assert read is not None
    assert np.abs(read.astype(int) - GREY).max() <= 2


def test_an_image_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    for name in ("a", "a.docx"):
        with pytest.raises(InputError, match=r"give a name that ends in \.png or \.jpg"):
            check_image_path(tmp_path / name)
    with pytest.raises(InputError, match="there is no folder"):
        check_image_path(tmp_path / "none" / "a.png")
    (tmp_path / "taken.png").mkdir()
    with pytest.raises(InputError, match="cannot be written: Is a directory"):
        write_image(tmp_path / "taken.png", grey())
