from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from beeagent.detection import Fit, box_areas, input_transform, intersection_areas, letterbox
from beeagent.errors import InputError
from beeagent_models.augmentation.composer import Composer, Mix, Sizes
from beeagent_models.augmentation.geometry import Crop
from beeagent_models.augmentation.store import (
    BACKGROUND,
    CUTOUT,
    PHOTOGRAPH,
    SCENE,
    ImageStore,
    StoredImage,
    write_store,
)
from support.bee_on_blue import BOX, bee_cutout, bee_on_blue

NO_BOXES = np.zeros((0, 4), np.float32)
NO_IDS = np.zeros(0, np.int64)


def store_with_everything(folder: Path) -> ImageStore:
    photograph = bee_on_blue()
    cutout = StoredImage(bee_cutout().pixels, NO_BOXES, np.array([0]), NO_BOXES, CUTOUT, 0)
    rng = np.random.default_rng(1)
    background = cv2.resize(rng.integers(0, 255, (6, 8, 3), np.uint8), (320, 240))
    scene = background.copy()
    cv2.circle(scene, (100, 100), 20, (0, 0, 0), -1)
    write_store(
        folder,
        [
            StoredImage(photograph, BOX, np.array([0]), np.array([[0, 100, 160, 120]], np.float32), PHOTOGRAPH, 0),
            cutout,
            StoredImage(scene, np.array([[80, 80, 121, 121]], np.float32), np.array([0]), NO_BOXES, SCENE),
            StoredImage(np.asarray(background, np.uint8), NO_BOXES, NO_IDS, NO_BOXES, BACKGROUND),
        ],
    )
    return ImageStore(folder)


def test_composed_images_are_decided_by_the_seed_and_hold_their_boxes(tmp_path: Path) -> None:
    composer = Composer(store_with_everything(tmp_path), Mix(weights=(1.0,), synthetic=0.3, pasted=0.2, sizes=Sizes()))
    boxes = 0
    for seed in range(60):
        crop = composer.compose(np.random.default_rng(seed), width=128, height=128)
        again = composer.compose(np.random.default_rng(seed), width=128, height=128)
        np.testing.assert_array_equal(crop.pixels, again.pixels)
        np.testing.assert_array_equal(crop.boxes, again.boxes)
        assert crop.pixels.shape == (128, 128, 3)
        assert len(crop.boxes) == len(crop.class_ids)
        assert ((crop.boxes >= 0) & (crop.boxes <= 128)).all()
        assert (crop.boxes[:, :2] < crop.boxes[:, 2:]).all()
        boxes += len(crop.boxes)
    assert boxes > 60


def test_some_images_of_cutouts_are_crowds(tmp_path: Path) -> None:
    composer = Composer(store_with_everything(tmp_path), Mix(weights=(1.0,), synthetic=0.0, pasted=1.0, sizes=Sizes()))
    crops = [composer.compose(np.random.default_rng(seed), width=256, height=256) for seed in range(60)]
    crowds = [crop for crop in crops if len(crop.boxes) > 12]
    assert 8 < len(crowds) < 40
    overlapping = 0
    for crop in crowds:
        shared = intersection_areas(crop.boxes[:, None], crop.boxes[None]) / box_areas(crop.boxes)[:, None]
        np.fill_diagonal(shared, 0)
        overlapping += int((shared > 0.1).any())
    assert overlapping > len(crowds) / 2


def gray_photograph(source: int, value: int) -> StoredImage:
    pixels = np.full((64, 64, 3), value, np.uint8)
    return StoredImage(pixels, np.array([[20, 20, 44, 44]], np.float32), np.array([0]), NO_BOXES, PHOTOGRAPH, source)


def test_photographs_are_drawn_by_the_weights_of_their_datasets(tmp_path: Path) -> None:
    # However many images a dataset has: one, ten and three.
    counts = (1, 10, 3)
    write_store(
        tmp_path, [gray_photograph(source, 60 * (1 + source)) for source in range(3) for _ in range(counts[source])]
    )
    mix = Mix(weights=(2.0, 1.0, 5.0), synthetic=0.0, pasted=0.0, sizes=Sizes(), augmented=False)
    composer, rng = Composer(ImageStore(tmp_path), mix), np.random.default_rng(1)
    drawn = [int(composer.compose(rng, width=64, height=64).pixels[32, 32, 0]) // 60 - 1 for _ in range(800)]
    shares = np.bincount(drawn, minlength=3) / len(drawn)
    np.testing.assert_allclose(shares, [0.25, 0.125, 0.625], atol=0.05)


def test_the_kinds_of_images_are_drawn_by_their_shares(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    composer = Composer(store_with_everything(tmp_path), Mix(weights=(1.0,), synthetic=0.5, pasted=0.3, sizes=Sizes()))
    drawn: list[str] = []

    def noted(name: str) -> Callable[..., Crop]:
        method = getattr(composer, name)

        def note(*given: object, **more: object) -> Crop:
            drawn.append(name)
            crop: Crop = method(*given, **more)
            return crop

        return note

    for name in ("_paste_cutouts", "_around_object", "_photograph"):
        monkeypatch.setattr(composer, name, noted(name))
    rng, firsts = np.random.default_rng(2), []
    for _ in range(400):
        drawn.clear()
        composer._part(rng, width=64, height=64)
        # A cut-out is pasted onto a background, which is a piece around nothing: it comes last.
        firsts.append("_photograph" if drawn[0] == "_photograph" else drawn[-1])
    shares = [firsts.count(name) / 400 for name in ("_around_object", "_paste_cutouts", "_photograph")]
    np.testing.assert_allclose(shares, [0.5, 0.3, 0.2], atol=0.08)


def test_without_augmentation_images_are_letterboxed_as_the_agent_does_it(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pixels = cv2.resize(rng.integers(0, 255, (9, 12, 3), np.uint8), (240, 180))
    box = np.array([[60, 45, 120, 90]], np.float32)
    write_store(tmp_path, [StoredImage(np.asarray(pixels, np.uint8), box, np.array([0]), NO_BOXES, PHOTOGRAPH, 0)])
    mix = Mix(weights=(1.0,), synthetic=0.0, pasted=0.0, sizes=Sizes(), augmented=False)
    crop = Composer(ImageStore(tmp_path), mix).compose(rng, width=160, height=160)
    placement = input_transform(frame_width=240, frame_height=180, input_width=160, input_height=160, fit=Fit.LETTERBOX)
    expected = letterbox(np.asarray(pixels, np.uint8), placement, padding=127)[..., ::-1]
    np.testing.assert_allclose(crop.boxes, [[40, 50, 80, 80]])
    inside = slice(placement.top + 1, placement.top + placement.height - 1)
    assert np.abs(crop.pixels[inside].astype(int) - expected[inside]).mean() < 3


def test_share_of_a_missing_source_is_refused(tmp_path: Path) -> None:
    write_store(tmp_path, [gray_photograph(0, 90)])
    with pytest.raises(InputError, match="nothing to compose images from"):
        Composer(ImageStore(tmp_path), Mix(weights=(1.0,), synthetic=1.0, pasted=0.0, sizes=Sizes()))
