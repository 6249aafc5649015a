"""The aiming aid: sharpness decreases with blur, not with darkness or noise; exposure and sizes have descriptions."""

from datetime import datetime, timezone

import cv2
import numpy as np
import pytest
from beeagent.camera import Frame
from beeagent.detection import size_advice
from beeagent.web.aim import measure_aim, object_sizes
from numpy.typing import NDArray
from support.page_client import detections

Image = NDArray[np.uint8]


@pytest.fixture(scope="module")
def sharp() -> Image:
    """A frame full of edges of all directions and sizes."""
    random = np.random.default_rng(1)
    image = np.full((720, 1280, 3), 120, np.uint8)
    for _ in range(300):
        x, y, size = (int(value) for value in random.integers((0, 0, 10), (1280, 720, 90)))
        colour = [int(value) for value in random.integers(30, 220, 3)]
        cv2.ellipse(image, (x, y), (size, size // 2), float(random.integers(0, 180)), 0, 360, colour, -1)
    return image


def _blurred(image: Image, sigma: float) -> Image:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.uint8)


def _noisy(image: Image, sigma: float) -> Image:
    noise = np.random.default_rng(2).normal(0, sigma, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def test_sharpness_falls_with_blur(sharp: Image) -> None:
    values = [measure_aim(sharp).sharpness, *(measure_aim(_blurred(sharp, sigma)).sharpness for sigma in (2, 4, 8))]
    assert values == sorted(values, reverse=True)
    assert all(0 <= value <= 1 for value in values)
    assert measure_aim(sharp).sharpness_text == "sharp"
    assert measure_aim(_blurred(sharp, 8)).sharpness_text.startswith("out of focus")


def test_sharpness_rises_neither_with_noise_nor_contrast(sharp: Image) -> None:
    blurred = _blurred(sharp, 6)
    value = measure_aim(blurred).sharpness
    assert measure_aim(_noisy(blurred, 6)).sharpness < value + 0.1
    assert measure_aim((sharp * 0.4).astype(np.uint8)).sharpness == pytest.approx(
        measure_aim(sharp).sharpness, abs=0.05
    )


def test_blur_along_one_axis_counts(sharp: Image) -> None:
    moved = np.asarray(cv2.blur(sharp, (25, 1)), np.uint8)
    assert measure_aim(moved).sharpness < measure_aim(sharp).sharpness - 0.2


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (2, 2), (3000, 10)])
def test_frame_without_edges_or_of_odd_size_is_not_sharp(size: tuple[int, int]) -> None:
    aim = measure_aim(np.full((*size, 3), 128, np.uint8))
    assert (aim.sharpness, aim.mean_luma, aim.exposure_text) == (0, 128, "good")


@pytest.mark.parametrize(
    ("luma", "text"), [(20, "too dark"), (230, "too bright"), (0, "too dark"), (255, "too bright"), (128, "good")]
)
def test_exposure_in_words(luma: int, text: str) -> None:
    assert measure_aim(np.full((48, 64, 3), luma, np.uint8)).exposure_text.startswith(text)


def test_black_and_white_parts_are_too_much_contrast() -> None:
    image = np.full((40, 40, 3), 128, np.uint8)
    image[:10], image[-10:] = 0, 255
    aim = measure_aim(image)
    assert aim.exposure_text.startswith("too much contrast")
    assert (aim.dark, aim.bright) == (0.25, 0.25)


def test_sizes_are_medians_of_what_counts() -> None:
    recent = [
        (detections([0.9, 0.8, 0.2]), (160, 80)),
        (detections([0.3]), (1600, 800)),
        (detections([0.9]), (320, 160)),
    ]
    assert object_sizes(recent, threshold=0.5, input_scale=lambda frame: 320 / frame[0]) == (40.0, 80.0)
    assert object_sizes([], threshold=0.5, input_scale=lambda _: 1.0) == (None, None)


def test_advice_follows_the_size() -> None:
    assert size_advice(None) is None
    assert "move the camera closer" in str(size_advice(9.0))
    assert "better if the camera is closer" in str(size_advice(20.0))
    assert str(size_advice(40.0)).endswith("large enough")


def test_read_only_frame_is_measured() -> None:
    pixels = np.zeros((20, 20, 3), np.uint8)
    pixels.flags.writeable = False
    frame = Frame(pixels, datetime.now(timezone.utc), 0, 0)
    assert measure_aim(frame.pixels).dark == 1
