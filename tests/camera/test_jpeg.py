import cv2
import numpy as np
import pytest
from beeagent.camera import encode_jpeg
from hypothesis import given, settings
from hypothesis import strategies as st


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def decoded(jpeg: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)


@pytest.mark.parametrize(
    ("shape", "longest", "expected"),
    [
        ((720, 1280), 640, (360, 640)),
        ((1280, 720), 640, (640, 360)),
        ((100, 60), 640, (100, 60)),
        ((1, 900), 9, (1, 9)),
    ],
)
def test_image_is_shrunk_to_the_longest_side_and_never_enlarged(
    shape: tuple[int, int], longest: int, expected: tuple[int, int]
) -> None:
    assert decoded(encode_jpeg(noise(*shape), longest_side=longest, quality=80)).shape[:2] == expected


def test_colours_are_unchanged() -> None:
    blue = np.full((64, 64, 3), (250, 20, 20), np.uint8)
    assert np.abs(decoded(encode_jpeg(blue, longest_side=64, quality=90)).astype(int) - blue).max() < 10


@settings(max_examples=20)
@given(st.integers(1000, 30_000), st.integers(1, 100))
def test_jpeg_fits_any_limit(limit: int, quality: int) -> None:
    jpeg = encode_jpeg(noise(120, 160), longest_side=160, quality=quality, max_bytes=limit)
    assert len(jpeg) <= limit
    assert decoded(jpeg).size


def test_quality_is_reduced_before_size() -> None:
    best = encode_jpeg(noise(120, 160), longest_side=160, quality=95)
    assert decoded(encode_jpeg(noise(120, 160), longest_side=160, quality=95, max_bytes=len(best) - 1)).shape == (
        120,
        160,
        3,
    )
