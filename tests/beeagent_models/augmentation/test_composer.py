from pathlib import Path

import cv2
import numpy as np
from bee_on_blue import BOX, bee_cutout, bee_on_blue
from beeagent_models.augmentation.composer import Composer, Mix, Sizes
from beeagent_models.augmentation.store import (
    BACKGROUND,
    CUTOUT,
    PHOTOGRAPH,
    SCENE,
    ImageStore,
    StoredImage,
    write_store,
)

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
