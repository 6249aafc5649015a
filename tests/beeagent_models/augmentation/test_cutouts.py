import math

import cv2
import numpy as np
import pytest
from beeagent_models.augmentation.cutouts import blue_background_opacity, cut_out
from support.bee_on_blue import bee_on_blue


def test_blue_is_background_and_brown_is_object() -> None:
    opacity = blue_background_opacity(bee_on_blue())
    assert opacity[60, 80] == 1
    assert opacity[5, 5] == 0


@pytest.mark.parametrize("light", [0.25, 0.5, 1.0])
def test_a_bee_is_cut_out_along_its_outline_in_any_light(light: float) -> None:
    image = (bee_on_blue() * light).astype(np.uint8)
    (cutout,) = cut_out(image, np.array([[45, 40, 115, 80]], np.float32), np.array([7]))
    opaque = cutout.pixels[..., 3] > 128
    assert cutout.class_id == 7
    assert opaque.sum() == pytest.approx(math.pi * 26 * 12, rel=0.08)
    assert not opaque[:3].any()


def test_a_bee_cut_by_its_box_or_the_edge_is_not_cut_out() -> None:
    image = bee_on_blue()
    assert not list(cut_out(image, np.array([[70, 50, 90, 70]], np.float32), np.array([0])))
    assert not list(cut_out(image, np.array([[0, 0, 159, 119]], np.float32), np.array([0])))


def flower_bee(*, contrast: float = 1.0) -> np.ndarray:
    """Draw a dark bee of 80x44 pixels on green, blotched leaves."""
    rng = np.random.default_rng(4)
    blotches = rng.normal(0, 9, (12, 16, 3)).astype(np.float32)
    leaves = cv2.resize(blotches, (240, 180)) + np.array([70, 150, 90], np.float32)
    bee = np.zeros((180, 240), np.float32)
    cv2.ellipse(bee, (120, 90), (40, 22), 0, 0, 360, 1.0, -1)
    bee = cv2.GaussianBlur(bee, (0, 0), 0.8)[..., None] * contrast
    image = leaves + bee * (np.array([25, 55, 110], np.float32) - leaves) + rng.normal(0, 2, leaves.shape)
    return np.clip(image, 0, 255).astype(np.uint8)


FLOWER_BOX = np.array([[78, 66, 162, 114]], np.float32)


def test_a_bee_on_leaves_is_cut_out_along_its_outline() -> None:
    (cutout,) = cut_out(flower_bee(), FLOWER_BOX, np.array([3]))
    opaque = cutout.pixels[..., 3] > 128
    assert cutout.class_id == 3
    assert opaque.shape == (48, 84)
    wanted = np.zeros((48, 84), np.uint8)
    cv2.ellipse(wanted, (42, 24), (40, 22), 0, 0, 360, 1, -1)
    assert (opaque & (wanted > 0)).sum() / (opaque | (wanted > 0)).sum() > 0.93


@pytest.mark.parametrize(
    ("image", "boxes"),
    [
        (flower_bee(contrast=0.0), FLOWER_BOX),  # nothing there
        (np.full((180, 240, 3), 90, np.uint8), FLOWER_BOX),  # one colour
        (flower_bee(), np.array([[60, 20, 200, 170]], np.float32)),  # far too loose: the extent does not agree
        (flower_bee(), np.array([[112, 84, 128, 96]], np.float32)),  # too small for GrabCut
        (flower_bee(), np.array([[78, 66, 162, 114], [110, 60, 180, 120]], np.float32)),  # overlapped by a neighbour
        (flower_bee()[:, 79:], np.array([[0, 66, 83, 114]], np.float32)),  # cut off by the edge
    ],
)
def test_object_like_its_background_is_not_cut_out(image: np.ndarray, boxes: np.ndarray) -> None:
    assert not list(cut_out(image, boxes, np.zeros(len(boxes), np.int64)))
