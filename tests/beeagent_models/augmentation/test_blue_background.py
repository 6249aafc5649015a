from pathlib import Path

import cv2
import numpy as np
import pytest
from beeagent.errors import InputError
from beeagent_models.augmentation.blue_background import find_unlabelled, tighten_boxes
from beeagent_models.augmentation.mixture import TrainingSet
from beeagent_models.augmentation.pool import PoolOptions, pool_images
from beeagent_models.datasets.dataset import Dataset, LabelledImage
from numpy.typing import NDArray

BLUE, GREY, BROWN = (190, 140, 40), (120, 120, 120), (40, 60, 90)


def board(*middles: tuple[int, int], background: tuple[int, int, int] = BLUE) -> NDArray[np.uint8]:
    """Draw bees of 52x24 pixels."""
    image = np.full((240, 320, 3), background, np.uint8)
    for middle in middles:
        cv2.ellipse(image, middle, (26, 12), 0, 0, 360, BROWN, -1)
    return image


def dataset(folder: Path, pixels: NDArray[np.uint8], *boxes: tuple[float, float, float, float]) -> Dataset:
    path = folder / "board.png"
    cv2.imwrite(str(path), pixels)
    array = np.array(boxes, np.float32)
    image = LabelledImage(path, pixels.shape[1], pixels.shape[0], array, np.zeros(len(boxes), np.int64))
    return Dataset(name="boards", images=(image,), labels=("bee",))


def test_a_loose_box_is_drawn_in_to_its_object(tmp_path: Path) -> None:
    (image,) = tighten_boxes(dataset(tmp_path, board((100, 60)), (60, 36, 140, 84))).images
    np.testing.assert_allclose(image.boxes, [[74, 48, 127, 73]], atol=1.5)


def test_others_are_drawn_in_as_much_and_stay_at_the_edge_of_the_image(tmp_path: Path) -> None:
    pixels = board((100, 60))
    pixels[120:] = GREY  # an area without contrast
    boxes = (60, 36, 140, 84), (200, 140, 280, 188), (0, 150, 80, 240)
    (image,) = tighten_boxes(dataset(tmp_path, pixels, *boxes)).images
    np.testing.assert_allclose(image.boxes[1], [214, 152, 267, 176], atol=2)
    assert image.boxes[2][[0, 3]].tolist() == [0, 240]
    assert image.boxes[2][2] < 75
    assert image.boxes[2][1] > 155


def test_without_a_blue_background_nothing_changes(tmp_path: Path) -> None:
    grey = dataset(tmp_path, board((100, 60), background=GREY), (60, 36, 140, 84))
    assert tighten_boxes(grey) is grey
    assert len(find_unlabelled(board((100, 60), background=GREY), grey.images[0].boxes)) == 0


def test_objects_without_a_box_are_found_and_walls_are_none() -> None:
    pixels = board((100, 60), (220, 60), (220, 160))
    pixels[:, :30] = (230, 230, 230)
    cv2.line(pixels, (127, 60), (160, 40), BROWN, 2)  # a leg
    found = find_unlabelled(pixels, np.array([[70, 45, 130, 75], [190, 145, 250, 175]], np.float32))
    np.testing.assert_allclose(found, [[194, 48, 247, 73]], atol=2)
    assert len(find_unlabelled(pixels, np.zeros((0, 4), np.float32))) == 0


def test_a_pool_ignores_them_on_a_blue_background_alone(tmp_path: Path) -> None:
    boards = dataset(tmp_path, board((100, 60), (220, 160)), (70, 45, 130, 75))
    options = PoolOptions(scenes=0, backgrounds=0, scene_label=0, seed=0)
    for blue_background, ignored in ((False, 0), (True, 1)):
        part = TrainingSet(dataset=boards, blue_background=blue_background)
        photograph = next(iter(pool_images((part,), options, lambda _done, _total: None)))
        assert len(photograph.ignored) == ignored


def test_an_image_that_cannot_be_decoded_is_named(tmp_path: Path) -> None:
    boards = dataset(tmp_path, board((100, 60)), (70, 45, 130, 75))
    boards.images[0].path.write_bytes(b"none")
    with pytest.raises(InputError, match=r"board\.png"):
        tighten_boxes(boards)
