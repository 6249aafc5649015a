"""Third-party detection models, on images with known objects."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from beeagent.detection import Detections, Detector, DetectorOptions, ModelBundle, iou
from numpy.typing import NDArray
from support.shared_data import shared_file

COCO_SSD = "third_party/coco_ssd_mobilenet_v1_1.0_quant_2018_06_29.tflite"
PUBLISHED = [0.64, 0.61, 0.56]
LYING_CAT, CORGI = (0.07, 0.67, 0.37, 1.0), (0.52, 0.26, 0.76, 1.0)
"""Measured by hand in the image: left, top, right, bottom. The model takes the corgi for a cat."""


def image(name: str) -> NDArray[np.uint8]:
    pixels = cv2.imread(str(shared_file(name)))
    assert pixels is not None
    return pixels.astype(np.uint8, copy=False)


def cats(found: Detections) -> list[int]:
    return [index for index in range(len(found)) if found.label(index) == "cat"]


def test_coco_ssd_returns_its_published_detections() -> None:
    """They were computed from an image shrunk by plain bilinear sampling."""
    detector = Detector(ModelBundle.load(shared_file(COCO_SSD)), DetectorOptions(threshold=0.3))
    plain = cv2.resize(image("third_party/cats_and_dogs.jpg"), detector.input_size).astype(np.uint8)
    found = detector.detect(plain)
    assert cats(found)[:3] == [0, 1, 2], "the three strongest are cats"
    np.testing.assert_allclose(found.confidences[:3], PUBLISHED, atol=0.01)


def test_coco_ssd_finds_the_same_in_the_full_image() -> None:
    """The published scores were computed with another resizing method."""
    detector = Detector(ModelBundle.load(shared_file(COCO_SSD)), DetectorOptions(threshold=0.3))
    pixels = image("third_party/cats_and_dogs.jpg")
    found = detector.detect(pixels)
    plain = detector.detect(cv2.resize(pixels, detector.input_size).astype(np.uint8))
    assert cats(found)[:3] == [0, 1, 2]
    np.testing.assert_allclose(found.confidences[:3], PUBLISHED, atol=0.03)
    np.testing.assert_allclose(found.boxes[:3], plain.boxes[:3], atol=0.03)
    assert iou(found.boxes[0], np.array(LYING_CAT, np.float32)) > 0.8
    assert iou(found.boxes[1], np.array(CORGI, np.float32)) > 0.6


def test_coco_ssd_takes_the_labels_that_list_the_background(tmp_path: Path) -> None:
    """The label file of the original download has a line more than the one packed in, `???`, for the background."""
    packed = ModelBundle.load(shared_file(COCO_SSD))
    labels = tmp_path / "labelmap.txt"
    labels.write_text("\n".join(["???", *packed.labels]) + "\n", encoding="utf-8")
    found = Detector(ModelBundle.load(shared_file(COCO_SSD), labels=labels), DetectorOptions(threshold=0.5)).detect(
        image("third_party/cats_and_dogs.jpg")
    )
    assert [found.label(index) for index in range(len(found))] == ["cat", "cat", "cat"]


@pytest.mark.parametrize(
    ("frame", "car"),
    # The dark car at the right edge, measured by hand in the image.
    [("traffic_0001.bmp", (0.83, 0.56, 1.0, 0.75)), ("traffic_0002.bmp", (0.80, 0.56, 1.0, 0.75))],
)
def test_the_traffic_model_detects_the_car_at_the_right_edge(
    tmp_path: Path, frame: str, car: tuple[float, float, float, float]
) -> None:
    """It has two more inputs and two more outputs than usual."""
    labels = tmp_path / "labels.txt"
    labels.write_text("class 0\nclass 1\nclass 2\n", encoding="utf-8")
    bundle = ModelBundle.load(shared_file("third_party/traffic_model.tflite"), labels=labels)
    detector = Detector(bundle, DetectorOptions(threshold=0.2))
    pixels = image(f"third_party/{frame}")
    for _ in range(3):  # its state does not carry over from one frame to the next
        found = detector.detect(pixels)
        assert found.label(0) == "class 1"
        assert 0.36 <= found.confidences[0] <= 0.50
        assert iou(found.boxes[0], np.array(car, np.float32)) > 0.75
