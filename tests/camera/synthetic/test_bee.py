"""A drawn bee and the transformations of its sprite."""

import math

import cv2
import numpy as np
import pytest
from beeagent.camera.synthetic.bee import draw_bee, random_look
from beeagent.camera.synthetic.canvas import BeePose
from beeagent.camera.synthetic.sprite import Sprite, over_shadow, shadow_of, smeared, trimmed, turned
from hypothesis import given, settings
from hypothesis import strategies as st


def some_bee(length: float = 80, *, pose: BeePose | None = None, seed: int = 0) -> Sprite:
    rng = np.random.default_rng(seed)
    return draw_bee(random_look(rng), pose or BeePose(), length=length, rng=rng)


def extent(mask: np.ndarray) -> tuple[int, int, int, int]:
    left, top, width, height = cv2.boundingRect(mask.astype(np.uint8))
    return left, top, left + width, top + height


@pytest.mark.parametrize("length", [20, 60, 150])
def test_bee_has_the_requested_length(length: int) -> None:
    left, _, right, _ = extent(some_bee(length).solid >= 128)

    assert right - left == pytest.approx(length, rel=0.06, abs=2)


def test_legs_and_antennae_lie_outside_the_box() -> None:
    sprite = some_bee(pose=BeePose(wing_angle=(0.05, 0.05)))

    shown, boxed = extent(sprite.paint[..., 3] > 128), extent(sprite.solid >= 96)

    assert shown[2] - boxed[2] > 3, "the antennae lie ahead of the box"
    assert boxed[1] - shown[1] > 3, "the legs lie on both sides of it"
    assert shown[3] - boxed[3] > 3


def test_wings_lie_within_the_box() -> None:
    folded, spread = (some_bee(pose=BeePose(wing_angle=(angle, angle))).solid for angle in (0.1, 1.5))

    assert np.ptp(extent(spread >= 96)[1::2]) > 1.5 * np.ptp(extent(folded >= 96)[1::2])


@settings(max_examples=30, deadline=None)
@given(st.floats(-math.pi, math.pi), st.floats(0.6, 1.2), st.floats(0.6, 1.2))
def test_turned_keeps_centre_and_area(heading: float, along: float, across: float) -> None:
    sprite = Sprite(paint=np.full((21, 41, 4), 255, dtype=np.uint8), solid=np.full((21, 41), 255, dtype=np.uint8))

    result = turned(sprite, heading=heading, stretch=(along, across))

    alpha = np.ascontiguousarray(result.paint[..., 3])
    moments = cv2.moments(alpha)
    centre = (moments["m10"] / moments["m00"], moments["m01"] / moments["m00"])
    height, width = result.solid.shape
    assert centre == pytest.approx(((width - 1) / 2, (height - 1) / 2), abs=0.1)
    assert moments["m00"] / 255 == pytest.approx(21 * 41 * along * across, rel=0.05)


def test_turned_by_quarter_points_down() -> None:
    paint = np.zeros((21, 41, 4), dtype=np.uint8)
    paint[10, 35] = 255

    result = turned(Sprite(paint=paint, solid=paint[..., 3]), heading=math.pi / 2)

    moments = cv2.moments(np.ascontiguousarray(result.paint[..., 3]))
    height, width = result.solid.shape
    assert moments["m10"] / moments["m00"] - (width - 1) / 2 == pytest.approx(0, abs=0.01)
    assert moments["m01"] / moments["m00"] - (height - 1) / 2 == pytest.approx(15, abs=0.01)


def test_shadow_falls_at_its_offset() -> None:
    sprite = Sprite(paint=np.full((20, 20, 4), 255, dtype=np.uint8), solid=np.full((20, 20), 255, dtype=np.uint8))

    shadow = shadow_of(sprite, softness=0, strength=0.5)
    both = over_shadow(sprite, shadow, (12, 5))

    centre = both.solid.shape[1] // 2, both.solid.shape[0] // 2
    assert both.paint[centre[1], centre[0]].tolist() == [255, 255, 255, 255]
    assert both.paint[centre[1] + 5, centre[0] + 17].tolist() == [0, 0, 0, 128]
    assert both.paint[centre[1] - 9, centre[0] + 17].tolist() == [0, 0, 0, 0]
    assert extent(both.solid) == (centre[0] - 10, centre[1] - 10, centre[0] + 10, centre[1] + 10)


def test_smeared_keeps_the_box() -> None:
    sprite = some_bee()

    smear = smeared(sprite, along=20, across=0)

    assert np.count_nonzero(smear.solid) == np.count_nonzero(sprite.solid)
    assert np.ptp(extent(smear.paint[..., 3] > 0)[::2]) > np.ptp(extent(sprite.paint[..., 3] > 0)[::2]) + 10


def test_trimmed_keeps_the_centre() -> None:
    paint = np.zeros((30, 50, 4), dtype=np.uint8)
    paint[10:15, 20:45] = 200

    result = trimmed(Sprite(paint=paint, solid=paint[..., 3]))

    assert result.solid.shape == (10, 40)
    assert extent(result.solid) == (15, 0, 40, 5)
