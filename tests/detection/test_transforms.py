"""Transforms from a frame to the model's input, and of boxes back to the frame."""

import math
from dataclasses import replace

import cv2
import numpy as np
import pytest
from beeagent.detection import Fit, InputTransform, input_transform, letterbox
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

SIDES = st.integers(1, 8192)
FITS = st.sampled_from(list(Fit))


@st.composite
def transforms(draw: st.DrawFn) -> InputTransform:
    return input_transform(
        frame_width=draw(SIDES),
        frame_height=draw(SIDES),
        input_width=draw(SIDES),
        input_height=draw(SIDES),
        fit=draw(FITS),
    )


def boxes_within(low: float, high: float) -> st.SearchStrategy[NDArray[np.float32]]:
    corner = st.floats(low, high, width=32, allow_subnormal=False)
    return hnp.arrays(np.float32, st.tuples(st.integers(0, 5), st.just(4)), elements=corner)


@given(transforms(), boxes_within(0, 1))
def test_boxes_converted_to_the_input_and_back_are_equal(transform: InputTransform, boxes: NDArray[np.float32]) -> None:
    there_and_back = transform.to_frame(transform.to_input(boxes))
    assert there_and_back.dtype == np.float32
    # A letterboxed frame that covers a sliver of the input magnifies the rounding of float32 by input / covered.
    magnified = max(transform.input_width / transform.width, transform.input_height / transform.height)
    np.testing.assert_allclose(there_and_back, boxes, rtol=0, atol=4e-7 * magnified)


@given(transforms(), boxes_within(-3, 3))
def test_boxes_over_the_frame_are_clipped_to_it(transform: InputTransform, boxes: NDArray[np.float32]) -> None:
    over_frame = transform.to_frame(boxes)
    assert over_frame.shape == boxes.shape
    assert (over_frame >= 0).all()
    assert (over_frame <= 1).all()
    # What lies within the frame is not moved by the clipping.
    inside = transform.to_input(over_frame)
    moved = np.abs(inside - boxes) > 1e-4
    at_an_edge = (over_frame == 0) | (over_frame == 1)
    assert (~moved | at_an_edge).all()


@given(transforms())
def test_the_whole_frame_is_the_covered_part_of_the_input(transform: InputTransform) -> None:
    covered = transform.to_input(np.array([[0, 0, 1, 1]], dtype=np.float32))[0]
    size = np.array([transform.input_width, transform.input_height] * 2)
    expected = [
        transform.left,
        transform.top,
        transform.left + transform.width,
        transform.top + transform.height,
    ]
    np.testing.assert_allclose(covered * size, expected, rtol=0, atol=2e-3)


@given(SIDES, SIDES, SIDES, SIDES)
def test_a_letterboxed_frame_keeps_its_aspect_and_is_centred(
    frame_width: int, frame_height: int, input_width: int, input_height: int
) -> None:
    transform = input_transform(
        frame_width=frame_width,
        frame_height=frame_height,
        input_width=input_width,
        input_height=input_height,
        fit=Fit.LETTERBOX,
    )
    assert transform.left >= 0
    assert transform.top >= 0
    assert transform.left + transform.width <= input_width
    assert transform.top + transform.height <= input_height
    assert transform.width == input_width or transform.height == input_height, "one side fills the input"
    # Within the half pixel of rounding, and never thinner than one.
    scale = min(input_width / frame_width, input_height / frame_height)
    assert abs(transform.width - max(1, frame_width * scale)) <= 0.5 + 1e-6
    assert abs(transform.height - max(1, frame_height * scale)) <= 0.5 + 1e-6
    right = input_width - transform.left - transform.width
    bottom = input_height - transform.top - transform.height
    assert right - transform.left in {0, 1}
    assert bottom - transform.top in {0, 1}


@given(SIDES, SIDES, SIDES, SIDES)
def test_a_frame_in_the_corner_is_a_letterboxed_one_moved_there(
    frame_width: int, frame_height: int, input_width: int, input_height: int
) -> None:
    corner, centred = (
        input_transform(
            frame_width=frame_width,
            frame_height=frame_height,
            input_width=input_width,
            input_height=input_height,
            fit=fit,
        )
        for fit in (Fit.CORNER, Fit.LETTERBOX)
    )
    assert corner == replace(centred, left=0, top=0)


@given(SIDES, SIDES, SIDES, SIDES)
def test_a_stretched_frame_covers_the_input(
    frame_width: int, frame_height: int, input_width: int, input_height: int
) -> None:
    transform = input_transform(
        frame_width=frame_width,
        frame_height=frame_height,
        input_width=input_width,
        input_height=input_height,
        fit=Fit.STRETCH,
    )
    assert transform == InputTransform(input_width, input_height, 0, 0, input_width, input_height)


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        ((1280, 720), (0, 70, 320, 180)),
        ((720, 1280), (70, 0, 180, 320)),
        ((320, 320), (0, 0, 320, 320)),
        ((64, 48), (0, 40, 320, 240)),
        ((641, 480), (0, 40, 320, 240)),  # 239.6 rows
        ((1000, 997), (0, 0, 320, 319)),  # an odd rest: the larger half at the bottom
        ((8192, 1), (0, 159, 320, 1)),
        ((1, 8192), (159, 0, 1, 320)),
    ],
)
def test_letterbox_of_known_frames(frame: tuple[int, int], expected: tuple[int, int, int, int]) -> None:
    transform = input_transform(
        frame_width=frame[0], frame_height=frame[1], input_width=320, input_height=320, fit=Fit.LETTERBOX
    )
    assert transform == InputTransform(320, 320, *expected)


def test_a_letterboxed_box_computed_by_hand() -> None:
    """A 1280x720 frame covers rows 70 to 250 of 320: input row 160 is the middle, row 115 a quarter down."""
    transform = input_transform(
        frame_width=1280, frame_height=720, input_width=320, input_height=320, fit=Fit.LETTERBOX
    )
    boxes = np.array([[0.25, 115 / 320, 0.5, 160 / 320], [0.0, 0.0, 1.0, 1.0]], dtype=np.float32)
    expected = np.array([[0.25, 0.25, 0.5, 0.5], [0.0, 0.0, 1.0, 1.0]])
    np.testing.assert_allclose(transform.to_frame(boxes), expected, atol=1e-6)


# Pixels


def covered(transform: InputTransform) -> tuple[slice, slice]:
    """Return the rows and columns that the frame covers."""
    rows = slice(transform.top, transform.top + transform.height)
    return rows, slice(transform.left, transform.left + transform.width)


def area_average(pixels: NDArray[np.uint8], width: int, height: int) -> NDArray[np.float64]:
    """Scale by the definition: a new pixel is the mean of what it covers of the old ones, by covered area."""
    rows = _coverage(pixels.shape[0], height)
    columns = _coverage(pixels.shape[1], width)
    averaged: NDArray[np.float64] = np.einsum("yr,rcd,xc->yxd", rows, pixels.astype(np.float64), columns, optimize=True)
    return averaged


def _coverage(old: int, new: int) -> NDArray[np.float64]:
    """Return the share of each old cell in each new one, shape (new, old)."""
    edges = np.arange(new + 1) * old / new
    cells = np.arange(old)
    overlap = np.minimum(edges[1:, None], cells + 1) - np.maximum(edges[:-1, None], cells)
    share: NDArray[np.float64] = np.maximum(overlap, 0) * new / old
    return share


def smooth_frame(width: int, height: int) -> NDArray[np.uint8]:
    """Draw a BGR frame without fine detail, in which every place and channel has a value of its own."""
    x = (np.arange(width) + 0.5) / width
    y = ((np.arange(height) + 0.5) / height)[:, None]
    blue = 40 + 150 * np.broadcast_to(x, (height, width))
    green = 60 + 150 * np.broadcast_to(y, (height, width))
    red = 128 + 90 * np.sin(math.pi * 2 * x) * np.sin(math.pi * 2 * y)
    frame: NDArray[np.uint8] = np.stack([blue, green, red], axis=2).round().astype(np.uint8)
    return frame


@pytest.mark.parametrize("fit", list(Fit))
@pytest.mark.parametrize(
    "size", [(1280, 720), (720, 1280), (1281, 721), (640, 640), (320, 320), (333, 257), (100, 80), (1920, 400)]
)
def test_pixels_are_averaged_and_converted_to_rgb(size: tuple[int, int], fit: Fit) -> None:
    frame = smooth_frame(*size)
    transform = input_transform(frame_width=size[0], frame_height=size[1], input_width=320, input_height=320, fit=fit)
    padded = letterbox(frame, transform, padding=117)

    assert padded.shape == (320, 320, 3)
    assert padded.dtype == np.uint8
    content = padded[covered(transform)]
    expected = area_average(frame[:, :, ::-1], transform.width, transform.height)
    # Growing, bilinear sampling blends what averaging repeats: a pixel of the frame apart at most.
    assert np.abs(content - expected).max() <= (2 if size[0] > 320 or size[1] > 320 else 6)
    around = np.ones((320, 320), dtype=bool)
    around[covered(transform)] = False
    assert (padded[around] == 117).all()
    assert around.sum() == 320 * 320 - transform.width * transform.height


@pytest.mark.parametrize(
    ("size", "input_size"),
    [((1280, 720), (320, 320)), ((1920, 1080), (320, 320)), ((1920, 400), (320, 320)), ((400, 1920), (300, 300))],
)
@pytest.mark.parametrize("fit", list(Fit))
def test_fine_detail_is_averaged_and_not_sampled(size: tuple[int, int], input_size: tuple[int, int], fit: Fit) -> None:
    """White noise averages to grey, the more so the more pixels go into one; sampling would keep its contrast."""
    frame = np.random.default_rng(7).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    transform = input_transform(
        frame_width=size[0], frame_height=size[1], input_width=input_size[0], input_height=input_size[1], fit=fit
    )
    padded = letterbox(frame, transform, padding=0)
    content = padded[covered(transform)]
    contrast = float(content.astype(np.float64).std())
    averaged = float(area_average(frame, transform.width, transform.height).std())
    assert contrast < 1.5 * averaged


@pytest.mark.parametrize("fit", list(Fit))
@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1), (5000, 3), (2, 2000)])
def test_extreme_shapes_are_resized(size: tuple[int, int], fit: Fit) -> None:
    frame = np.full((size[1], size[0], 3), (10, 20, 30), dtype=np.uint8)
    transform = input_transform(frame_width=size[0], frame_height=size[1], input_width=64, input_height=48, fit=fit)
    padded = letterbox(frame, transform, padding=200)
    assert (padded[covered(transform)] == (30, 20, 10)).all()
    assert int((padded == (30, 20, 10)).all(axis=2).sum()) == transform.width * transform.height


def test_letterbox_does_not_change_the_frame() -> None:
    frame = smooth_frame(320, 320)
    before = frame.copy()
    transform = input_transform(frame_width=320, frame_height=320, input_width=320, input_height=320, fit=Fit.STRETCH)
    padded = letterbox(frame, transform, padding=0)
    padded[:] = 0
    np.testing.assert_array_equal(frame, before)


def test_a_view_is_resized_as_its_copy_is() -> None:
    """Tiles are views into a frame, with rows that do not follow each other in memory."""
    frame = smooth_frame(800, 600)
    tile = frame[37:437, 101:701]
    transform = input_transform(frame_width=600, frame_height=400, input_width=320, input_height=320, fit=Fit.LETTERBOX)
    np.testing.assert_array_equal(letterbox(tile, transform, padding=0), letterbox(tile.copy(), transform, padding=0))
    assert cv2.countNonZero(letterbox(tile, transform, padding=0)[:, :, 0]) > 0


@pytest.mark.parametrize("size", [(320, 320), (800, 600), (40, 30)])
def test_rgb_and_bgr_pixels_of_an_image_become_the_same_input(size: tuple[int, int]) -> None:
    bgr = smooth_frame(*size)
    transform = input_transform(
        frame_width=size[0], frame_height=size[1], input_width=320, input_height=320, fit=Fit.LETTERBOX
    )
    expected = letterbox(bgr, transform, padding=127)
    for rgb in (bgr[:, :, ::-1], bgr[:, :, ::-1].copy()):
        np.testing.assert_array_equal(letterbox(rgb, transform, padding=127, channels="rgb"), expected)
