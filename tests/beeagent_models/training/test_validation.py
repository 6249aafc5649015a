from pathlib import Path

import cv2
import numpy as np
import pytest
from beeagent.errors import InputError
from beeagent_models.augmentation.geometry import Crop
from beeagent_models.datasets.dataset import Dataset, LabelledImage
from beeagent_models.efficientdet.anchors import anchor_boxes
from beeagent_models.efficientdet.config import config_for
from beeagent_models.training.matching import AnchorMatcher
from beeagent_models.training.validation import Predict, Validation
from numpy.typing import NDArray

CONFIG = config_for("lite0", labels=("wasp", "bee"), anchor_scale=1.5)
WIDTH, HEIGHT = 192, 128
BOX = np.array([[100, 60, 200, 120]], np.float32)


def dataset(folder: Path, *, images: int) -> Dataset:
    """Draw images of twice the input's height: letterboxed to 128x128, with 32 pixels on both sides."""
    found = []
    for number in range(images):
        path = folder / f"{number}.png"
        cv2.imwrite(str(path), np.full((256, 256, 3), number, np.uint8))
        found.append(LabelledImage(path, 256, 256, BOX, np.array([1])))
    return Dataset(name="drawn", images=tuple(found), labels=CONFIG.labels)


def network(*, shift: float, shapes: list[tuple[int, ...]]) -> Predict:
    """Answer with the bee's box at the input, moved to the right by a share of its width."""
    box = BOX / 2 + np.array([32, 0, 32, 0], np.float32)
    matches = AnchorMatcher(CONFIG, width=WIDTH, height=HEIGHT)(
        Crop(np.zeros((HEIGHT, WIDTH, 3), np.uint8), box, np.array([1]), np.zeros((0, 4), np.float32))
    )
    anchors = anchor_boxes(CONFIG, HEIGHT, WIDTH) * np.array([HEIGHT, WIDTH, HEIGHT, WIDTH], np.float32)
    left, top, right, bottom = box[0] + shift * (box[0, 2] - box[0, 0]) * np.array([1, 0, 1, 0])
    center, size = np.array([(top + bottom) / 2, (left + right) / 2]), np.array([bottom - top, right - left])
    codes = np.concatenate([(center - anchors[:, :2]) / anchors[:, 2:], np.log(size / anchors[:, 2:])], axis=1)
    logits = np.full((len(anchors), 2), -9.0)
    logits[matches == 0, 1] = 4.0

    def predict(images: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        shapes.append(images.shape)
        return np.stack([codes] * len(images)), np.stack([logits] * len(images))

    return predict


@pytest.mark.parametrize(("shift", "ap50", "ap75"), [(0.0, 1.0, 1.0), (0.25, 1.0, 0.0), (0.5, 0.0, 0.0)])
def test_ap_follows_the_overlap_of_boxes_mapped_back_to_the_images(
    tmp_path: Path, shift: float, ap50: float, ap75: float
) -> None:
    shapes: list[tuple[int, ...]] = []
    validation = Validation(dataset(tmp_path, images=17), CONFIG, width=WIDTH, height=HEIGHT)
    found = validation.measure(network(shift=shift, shapes=shapes))
    assert found == {"ap50": pytest.approx(ap50, abs=0.01), "ap75": pytest.approx(ap75, abs=0.01)}
    # One size of batch, so that the network is compiled once; the last is padded.
    assert shapes == [(16, HEIGHT, WIDTH, 3)] * 2


def test_a_network_that_finds_nothing_has_no_ap(tmp_path: Path) -> None:
    anchors = len(anchor_boxes(CONFIG, HEIGHT, WIDTH))
    validation = Validation(dataset(tmp_path, images=1), CONFIG, width=WIDTH, height=HEIGHT)
    nothing = np.zeros((16, anchors, 4)), np.full((16, anchors, 2), -9.0)
    assert validation.measure(lambda _images: nothing) == {"ap50": 0.0, "ap75": 0.0}


def test_an_image_that_cannot_be_decoded_is_named(tmp_path: Path) -> None:
    broken = dataset(tmp_path, images=1)
    broken.images[0].path.write_bytes(b"none")
    with pytest.raises(InputError, match=r"0\.png"):
        Validation(broken, CONFIG, width=WIDTH, height=HEIGHT)
