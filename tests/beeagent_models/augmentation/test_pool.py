from pathlib import Path

import cv2
import numpy as np
import pytest
from beeagent.errors import InputError
from beeagent_models.augmentation.mixture import TrainingSet
from beeagent_models.augmentation.pool import PoolOptions, pool_images
from beeagent_models.datasets.dataset import Dataset, LabelledImage
from PIL import Image

NO_BOXES = np.zeros((0, 4), np.float32)
SCENES = PoolOptions(scenes=3, backgrounds=2, scene_label=0, seed=5)
NOTHING_DRAWN = PoolOptions(scenes=0, backgrounds=0, scene_label=None, seed=0)


def no_progress(done: int, total: int) -> None:
    assert done <= total


def photographs(folder: Path, name: str, *, width: int, height: int) -> Dataset:
    path = folder / f"{name}.png"
    cv2.imwrite(str(path), np.full((height, width, 3), 90, np.uint8))
    box = np.array([[10, 10, 50, 40]], np.float32)
    return Dataset(name=name, images=(LabelledImage(path, width, height, box, np.array([0])),), labels=("bee",))


def test_the_same_seed_draws_the_same_pool() -> None:
    first, second = ([image.pixels for image in pool_images((), SCENES, no_progress)] for _ in range(2))
    assert len(first) == 5
    for here, there in zip(first, second, strict=True):
        np.testing.assert_array_equal(here, there)


def test_each_dataset_has_its_own_ignored_border_and_number(tmp_path: Path) -> None:
    sets = (
        TrainingSet(dataset=photographs(tmp_path, "ramp", width=200, height=100), ignored_border=(0, 0.1, 0, 0.2)),
        TrainingSet(dataset=photographs(tmp_path, "flowers", width=200, height=100)),
        TrainingSet(dataset=photographs(tmp_path, "nest", width=200, height=100), ignored_border=(0.5, 0, 0.25, 0)),
    )
    ramp, flowers, nest = pool_images(sets, NOTHING_DRAWN, no_progress)
    np.testing.assert_allclose(ramp.ignored, [[0, 0, 200, 10], [0, 80, 200, 100]])
    assert len(flowers.ignored) == 0
    np.testing.assert_allclose(nest.ignored, [[0, 0, 100, 100], [150, 0, 200, 100]])
    assert [image.source for image in (ramp, flowers, nest)] == [0, 1, 2]


def test_boxes_are_scaled_about_their_centres_within_the_image(tmp_path: Path) -> None:
    dataset = photographs(tmp_path, "tight", width=52, height=100)
    plain, scaled = (
        next(pool_images((TrainingSet(dataset=dataset, box_scale=factor),), NOTHING_DRAWN, no_progress))
        for factor in (1.0, 1.2)
    )
    np.testing.assert_allclose(plain.boxes, [[10, 10, 50, 40]])
    np.testing.assert_allclose(scaled.boxes, [[6, 7, 52, 43]], rtol=1e-6)


def test_a_large_photograph_is_stored_smaller_with_its_boxes(tmp_path: Path) -> None:
    (image,) = pool_images(
        (TrainingSet(dataset=photographs(tmp_path, "large", width=2560, height=1000)),), NOTHING_DRAWN, no_progress
    )
    assert image.pixels.shape == (500, 1280, 3)
    np.testing.assert_allclose(image.boxes, [[5, 5, 25, 20]])


@pytest.mark.parametrize("content", [b"no image", b""])
def test_an_image_that_cannot_be_decoded_is_named(tmp_path: Path, content: bytes) -> None:
    dataset = photographs(tmp_path, "bee", width=64, height=64)
    dataset.images[0].path.write_bytes(content)
    with pytest.raises(InputError, match=r"bee\.png"):
        list(pool_images((TrainingSet(dataset=dataset),), NOTHING_DRAWN, no_progress))


def test_an_image_of_another_size_than_its_labels_is_named(tmp_path: Path) -> None:
    dataset = photographs(tmp_path, "bee", width=64, height=64)
    cv2.imwrite(str(dataset.images[0].path), np.zeros((64, 65, 3), np.uint8))
    with pytest.raises(InputError, match=r"bee\.png: .*65x64"):
        list(pool_images((TrainingSet(dataset=dataset),), NOTHING_DRAWN, no_progress))


def test_a_photograph_with_an_orientation_is_stored_upright(tmp_path: Path) -> None:
    path = tmp_path / "phone.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6  # taken with the camera turned by a quarter
    Image.new("RGB", (60, 40), (200, 0, 0)).save(path, exif=exif)
    image = LabelledImage(path, 40, 60, np.array([[5, 5, 35, 50]], np.float32), np.array([0]))
    part = TrainingSet(dataset=Dataset(name="phone", images=(image,), labels=("bee",)))
    (stored,) = pool_images((part,), NOTHING_DRAWN, no_progress)
    assert stored.pixels.shape == (60, 40, 3)
