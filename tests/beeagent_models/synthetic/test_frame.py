"""Random images for training."""

import numpy as np
import pytest
from beeagent.camera.synthetic.bee import draw_bee, random_look
from beeagent_models.synthetic import random_background, random_scene_frame
from beeagent_models.synthetic.frame import random_pose
from hypothesis import given, settings
from hypothesis import strategies as st


@settings(max_examples=20, deadline=None)
@given(st.integers(33, 400), st.integers(33, 300), st.integers(0, 2**32 - 1))
def test_boxes_lie_within_image_of_any_size(width: int, height: int, seed: int) -> None:
    frame = random_scene_frame(np.random.default_rng(seed), width=width, height=height)

    assert frame.pixels.shape == (height, width, 3)
    assert frame.pixels.dtype == np.uint8
    assert frame.boxes.dtype == np.float32
    assert frame.boxes.shape[1:] == (4,)
    assert (frame.boxes >= 0).all()
    assert (frame.boxes <= (width, height, width, height)).all()
    assert ((frame.boxes[:, 2:] - frame.boxes[:, :2]).max(axis=1, initial=8) >= 8).all()


def test_same_seed_draws_identical_image() -> None:
    first, second, other = (
        random_scene_frame(np.random.default_rng(seed), width=160, height=120) for seed in (5, 5, 6)
    )

    np.testing.assert_array_equal(first.pixels, second.pixels)
    np.testing.assert_array_equal(first.boxes, second.boxes)
    assert (first.pixels != other.pixels).any()


def test_images_differ_in_bees_and_light() -> None:
    frames = [random_scene_frame(np.random.default_rng([1, k]), width=320, height=240) for k in range(45)]

    counts = [len(frame.boxes) for frame in frames]
    sides = np.concatenate(
        [(frame.boxes[:, 2:] - frame.boxes[:, :2]).max(axis=1) for frame in frames if len(frame.boxes)]
    )
    light = [frame.pixels.mean() for frame in frames]
    assert min(counts) == 0
    assert 15 <= max(counts) <= 35
    assert sides.min() < 12
    assert sides.max() > 50
    assert np.ptp(light) > 60


def test_bees_stand_out_from_the_background() -> None:
    """The centres of boxes differ from their surroundings more than the rest of an image."""
    inside, outside = [], []
    for k in range(30):
        frame = random_scene_frame(np.random.default_rng([2, k]), width=320, height=240)
        grey = frame.pixels.mean(axis=2)
        boxed = np.zeros(grey.shape, dtype=bool)
        for left, top, right, bottom in frame.boxes.astype(int):
            boxed[top:bottom, left:right] = True
            inside.append(grey[top:bottom, left:right].std())
        if not boxed.all():
            rows, columns = np.nonzero(~boxed)
            for pick in range(0, len(rows), 4001):
                y, x = rows[pick], columns[pick]
                if not boxed[y : y + 20, x : x + 20].any():
                    outside.append(grey[y : y + 20, x : x + 20].std())

    assert np.median(inside) > 1.5 * np.median(outside)


def test_background_has_requested_size_and_texture() -> None:
    for k in range(12):
        image = random_background(np.random.default_rng(k), width=90, height=70)

        assert image.shape == (70, 90, 3)
        assert image.dtype == np.uint8
        assert image.std() > 0.5


def test_too_small_image_is_refused() -> None:
    with pytest.raises(ValueError, match="size is 640x15: give at least 16 pixels"):
        random_scene_frame(np.random.default_rng(0), width=640, height=15)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.booleans())
def test_bee_in_any_pose_is_visible_within_its_box(
    seed: int,
    flying: bool,  # noqa: FBT001 (hypothesis gives it)
) -> None:
    rng = np.random.default_rng(seed)
    sprite = draw_bee(random_look(rng), random_pose(rng, flying=flying), length=50, rng=rng)

    alpha = sprite.paint[..., 3]
    assert (alpha[sprite.solid >= 96] > 8).all()
    # A highlight may be brighter than its surface; nothing shines where nothing is.
    assert not sprite.paint[alpha == 0].any()
