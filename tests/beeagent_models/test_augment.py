import math
from pathlib import Path

import cv2
import numpy as np
import pytest
from beeagent_models.datasets.augment_cutouts import cut_out, ground_opacity, paste
from beeagent_models.datasets.augment_geometry import affine_matrix, cut_to_frame, transform_boxes, warp
from beeagent_models.datasets.augment_light import _shaded, vary_camera, vary_light
from beeagent_models.datasets.augment_scene import CUTOUT, GROUND, PHOTOGRAPH, SCENE, SceneComposer, Sizes
from beeagent_models.datasets.loader_store import PictureStore, StoredPicture, write_store
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

BLUE, BROWN = (190, 140, 40), (40, 60, 90)
NOTHING = np.zeros((0, 4), np.float32)
NO_IDS = np.zeros(0, np.int64)


def bee_on_blue(*, width: int = 160, height: int = 120, middle: tuple[int, int] = (80, 60)) -> NDArray[np.uint8]:
    picture = np.full((height, width, 3), BLUE, np.uint8)
    cv2.ellipse(picture, middle, (26, 12), 0, 0, 360, BROWN, -1)
    return picture


def store_with_everything(folder: Path) -> PictureStore:
    box = np.array([[50, 40, 110, 80]], np.float32)
    photograph = bee_on_blue()
    cutouts = [
        StoredPicture(cutout.pixels, NOTHING, np.array([cutout.class_id]), NOTHING, CUTOUT)
        for cutout in cut_out(photograph, box, np.array([0]))
    ]
    rng = np.random.default_rng(1)
    ground = cv2.resize(rng.integers(0, 255, (6, 8, 3), np.uint8), (320, 240))
    scene = ground.copy()
    cv2.circle(scene, (100, 100), 20, (0, 0, 0), -1)
    write_store(
        folder,
        [
            StoredPicture(photograph, box, np.array([0]), np.array([[0, 100, 160, 120]], np.float32), PHOTOGRAPH),
            *cutouts,
            StoredPicture(scene, np.array([[80, 80, 121, 121]], np.float32), np.array([0]), NOTHING, SCENE),
            StoredPicture(np.asarray(ground, np.uint8), NOTHING, NO_IDS, NOTHING, GROUND),
        ],
    )
    return PictureStore(folder)


@settings(deadline=None, max_examples=50)
@given(
    angle=st.floats(0, 2 * math.pi),
    scale=st.floats(0.3, 2),
    mirror=st.booleans(),
    axes=st.tuples(st.integers(12, 40), st.integers(12, 40)),
)
def test_the_box_of_a_turned_ellipse_encloses_it_closely(
    angle: float,
    scale: float,
    mirror: bool,  # noqa: FBT001 - given by hypothesis
    axes: tuple[int, int],
) -> None:
    picture = np.zeros((200, 200, 3), np.uint8)
    cv2.ellipse(picture, (100, 90), axes, 0, 0, 360, (255, 255, 255), -1)
    box = np.array([[100 - axes[0], 90 - axes[1], 101 + axes[0], 91 + axes[1]]], np.float32)
    matrix = affine_matrix(
        scale_x=scale, scale_y=scale, angle=angle, mirror=mirror, source=(100, 90), target=(120, 120)
    )
    turned = warp(picture, matrix, width=240, height=240, fill=(0, 0, 0))[..., 0] > 127
    xs, ys = np.flatnonzero(turned.any(0)), np.flatnonzero(turned.any(1))
    seen = [xs[0], ys[0], xs[-1] + 1, ys[-1] + 1]
    # What is seen is off by up to a pixel; the ellipse is drawn as a polygon, off in its own picture, which is scaled.
    np.testing.assert_allclose(transform_boxes(box, matrix)[0], seen, atol=1 + 1.3 * scale)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 3), st.booleans())
def test_quarter_turns_keep_boxes_exact(quarters: int, mirror: bool) -> None:  # noqa: FBT001 - given by hypothesis
    matrix = affine_matrix(
        scale_x=1, scale_y=1, angle=quarters * math.pi / 2, mirror=mirror, source=(30, 20), target=(30, 20)
    )
    box = np.array([[20, 15, 40, 25]], np.float32)
    expected = [20, 15, 40, 25] if quarters % 2 == 0 else [25, 10, 35, 30]
    np.testing.assert_allclose(transform_boxes(box, matrix)[0], expected, atol=1e-4)


def test_what_is_half_out_of_the_frame_is_kept_ignored_or_dropped() -> None:
    boxes = np.array([[-4, 0, 6, 10], [-6, 20, 4, 30], [-9.5, 40, 0.5, 50], [50, 50, 52, 52]], np.float32)
    kept, ids, ignored = cut_to_frame(boxes, np.arange(4), NOTHING, width=100, height=100, smallest=4)
    assert kept.tolist() == [[0, 0, 6, 10]]
    assert ids.tolist() == [0]
    assert ignored.tolist() == [[0, 20, 4, 30], [50, 50, 52, 52]]


def test_blue_is_ground_and_brown_is_not() -> None:
    opacity = ground_opacity(bee_on_blue())
    assert opacity[60, 80] == 1
    assert opacity[5, 5] == 0


@pytest.mark.parametrize("light", [0.25, 0.5, 1.0])
def test_a_bee_is_cut_out_along_its_outline_in_any_light(light: float) -> None:
    picture = (bee_on_blue() * light).astype(np.uint8)
    (cutout,) = cut_out(picture, np.array([[45, 40, 115, 80]], np.float32), np.array([7]))
    opaque = cutout.pixels[..., 3] > 128
    assert cutout.class_id == 7
    assert opaque.sum() == pytest.approx(math.pi * 26 * 12, rel=0.08)
    assert not opaque[:3].any()


def test_a_bee_cut_by_its_box_or_the_edge_is_not_cut_out() -> None:
    picture = bee_on_blue()
    assert not list(cut_out(picture, np.array([[70, 50, 90, 70]], np.float32), np.array([0])))
    assert not list(cut_out(picture, np.array([[0, 0, 159, 119]], np.float32), np.array([0])))


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10_000))
def test_the_box_of_a_pasted_bee_is_what_can_be_seen_of_it(seed: int) -> None:
    (cutout,) = cut_out(bee_on_blue(), np.array([[45, 40, 115, 80]], np.float32), np.array([0]))
    # Without shadows, light would be all that is left to change the ground outside the box.
    ground = np.full((128, 128, 3), 255, np.uint8)
    box = paste(np.random.default_rng(seed), ground, cutout.pixels, center=(64, 64), size=50)
    assert box is not None
    left, top, right, bottom = (int(value) for value in box)
    assert 0 < left < right < 128
    assert 0 < top < bottom < 128
    inside = ground[top:bottom, left:right].min(-1)
    # A brown bee is the darkest thing, whatever light it is pasted in, and it reaches from edge to edge.
    assert inside.min() < 180
    assert (inside.min(0) < 250).all()
    assert (inside.min(1) < 250).all()


def test_pasting_beyond_the_picture_leaves_it_as_it_is() -> None:
    (cutout,) = cut_out(bee_on_blue(), np.array([[45, 40, 115, 80]], np.float32), np.array([0]))
    ground = np.full((64, 64, 3), 200, np.uint8)
    paste(np.random.default_rng(0), ground, cutout.pixels, center=(500, 500), size=40)
    assert (ground == 200).all()


@pytest.mark.parametrize("vary", [vary_light, vary_camera])
def test_light_and_camera_change_values_and_nothing_else(vary: object) -> None:
    assert callable(vary)
    picture = bee_on_blue()
    results = [vary(np.random.default_rng(seed), picture.copy()) for seed in range(40)]
    assert all(result.shape == picture.shape and result.dtype == np.uint8 for result in results)
    assert sum(not np.array_equal(result, picture) for result in results) > 25
    np.testing.assert_array_equal(vary(np.random.default_rng(3), picture.copy()), results[3])


def test_composed_pictures_are_decided_by_the_seed_and_hold_their_boxes(tmp_path: Path) -> None:
    composer = SceneComposer(store_with_everything(tmp_path), synthetic_fraction=0.4, sizes=Sizes())
    boxes = 0
    for seed in range(60):
        crop = composer.compose(np.random.default_rng(seed), size=128)
        again = composer.compose(np.random.default_rng(seed), size=128)
        np.testing.assert_array_equal(crop.pixels, again.pixels)
        np.testing.assert_array_equal(crop.boxes, again.boxes)
        assert crop.pixels.shape == (128, 128, 3)
        assert len(crop.boxes) == len(crop.class_ids)
        assert ((crop.boxes >= 0) & (crop.boxes <= 128)).all()
        assert (crop.boxes[:, :2] < crop.boxes[:, 2:]).all()
        boxes += len(crop.boxes)
    assert boxes > 60


def test_boxes_stay_on_their_objects_through_crop_and_turn(tmp_path: Path) -> None:
    """A white disc on black, composed at any turn and scale: its box still holds it."""
    picture = np.zeros((240, 320, 3), np.uint8)
    cv2.circle(picture, (120, 90), 25, (255, 255, 255), -1)
    box = np.array([[95, 65, 146, 116]], np.float32)
    write_store(tmp_path, [StoredPicture(picture, box, np.array([0]), NOTHING, SCENE)])
    composer = SceneComposer(PictureStore(tmp_path), synthetic_fraction=1.0, sizes=Sizes(smallest=20, largest=60))
    checked = 0
    for seed in range(40):
        crop = composer._crop(np.random.default_rng(seed), SCENE, 40, width=128, height=128)
        disc = np.all(crop.pixels > 200, axis=-1)
        if len(crop.boxes) != 1 or min(crop.boxes[0, :2]) < 1 or max(crop.boxes[0, 2:]) > 127:
            continue
        left, top, right, bottom = crop.boxes[0]
        middle = disc[int(top) : math.ceil(bottom), int(left) : math.ceil(right)]
        if (~disc).mean() < 0.5:  # the random fill is as bright as the disc
            continue
        assert middle.mean() == pytest.approx(math.pi / 4, abs=0.13)
        checked += 1
    assert checked > 15


def test_some_pasted_objects_are_half_hidden_and_their_box_is_of_what_is_seen() -> None:
    box = np.array([[50, 40, 110, 80]], np.float32)
    (cutout,) = cut_out(bee_on_blue(), box, np.array([0]))
    shares = []
    for seed in range(60):
        ground = np.full((200, 200, 3), 255, np.uint8)
        pasted = paste(np.random.default_rng(seed), ground, cutout.pixels, center=(100, 100), size=80)
        assert pasted is not None
        shares.append(float(np.prod(pasted[2:] - pasted[:2])) / 80**2)
    hidden = sum(share < 0.6 * max(shares) for share in shares)
    assert 3 <= hidden <= 40


def test_a_shadow_darkens_one_side_of_a_straight_edge_and_leaves_the_other() -> None:
    white = np.full((64, 64, 3), 200, np.uint8)
    for seed in range(20):
        shaded = _shaded(np.random.default_rng(seed), white)
        assert shaded.max() == 200
        assert 60 <= shaded.min() <= 150
