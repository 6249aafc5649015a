"""How a frame is placed in a model's input and how boxes find their way back."""

import math
from dataclasses import replace

import cv2
import numpy as np
import pytest
from beeagent.detection.geometry import Fit, Placement, lay_in, place
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

SIDES = st.integers(1, 8192)
FITS = st.sampled_from(list(Fit))


@st.composite
def placements(draw: st.DrawFn) -> Placement:
    return place(
        frame_width=draw(SIDES),
        frame_height=draw(SIDES),
        input_width=draw(SIDES),
        input_height=draw(SIDES),
        fit=draw(FITS),
    )


def boxes_within(low: float, high: float) -> st.SearchStrategy[NDArray[np.float32]]:
    corner = st.floats(low, high, width=32, allow_subnormal=False)
    return hnp.arrays(np.float32, st.tuples(st.integers(0, 5), st.just(4)), elements=corner)


@given(placements(), boxes_within(0, 1))
def test_boxes_survive_the_way_into_the_input_and_back(placement: Placement, boxes: NDArray[np.float32]) -> None:
    there_and_back = placement.to_frame(placement.to_input(boxes))
    assert there_and_back.dtype == np.float32
    # A letterboxed frame that covers a sliver of the input magnifies the rounding of float32 by input / covered.
    magnified = max(placement.input_width / placement.width, placement.input_height / placement.height)
    np.testing.assert_allclose(there_and_back, boxes, rtol=0, atol=4e-7 * magnified)


@given(placements(), boxes_within(-3, 3))
def test_boxes_over_the_frame_are_clipped_to_it(placement: Placement, boxes: NDArray[np.float32]) -> None:
    over_frame = placement.to_frame(boxes)
    assert over_frame.shape == boxes.shape
    assert (over_frame >= 0).all()
    assert (over_frame <= 1).all()
    # What lies within the frame is not moved by the clipping.
    inside = placement.to_input(over_frame)
    moved = np.abs(inside - boxes) > 1e-4
    at_an_edge = (over_frame == 0) | (over_frame == 1)
    assert (~moved | at_an_edge).all()


@given(placements())
def test_the_whole_frame_is_the_covered_part_of_the_input(placement: Placement) -> None:
    covered = placement.to_input(np.array([[0, 0, 1, 1]], dtype=np.float32))[0]
    size = np.array([placement.input_width, placement.input_height] * 2)
    expected = [
        placement.left,
        placement.top,
        placement.left + placement.width,
        placement.top + placement.height,
    ]
    np.testing.assert_allclose(covered * size, expected, rtol=0, atol=2e-3)


@given(SIDES, SIDES, SIDES, SIDES)
def test_a_letterboxed_frame_keeps_its_aspect_and_is_centred(
    frame_width: int, frame_height: int, input_width: int, input_height: int
) -> None:
    placed = place(
        frame_width=frame_width,
        frame_height=frame_height,
        input_width=input_width,
        input_height=input_height,
        fit=Fit.LETTERBOX,
    )
    assert placed.left >= 0
    assert placed.top >= 0
    assert placed.left + placed.width <= input_width
    assert placed.top + placed.height <= input_height
    assert placed.width == input_width or placed.height == input_height, "one side fills the input"
    # Within the half pixel of rounding, and never thinner than one.
    scale = min(input_width / frame_width, input_height / frame_height)
    assert abs(placed.width - max(1, frame_width * scale)) <= 0.5 + 1e-6
    assert abs(placed.height - max(1, frame_height * scale)) <= 0.5 + 1e-6
    right = input_width - placed.left - placed.width
    bottom = input_height - placed.top - placed.height
    assert right - placed.left in {0, 1}
    assert bottom - placed.top in {0, 1}


@given(SIDES, SIDES, SIDES, SIDES)
def test_a_frame_in_the_corner_is_a_letterboxed_one_moved_there(
    frame_width: int, frame_height: int, input_width: int, input_height: int
) -> None:
    corner, centred = (
        place(
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
    placed = place(
        frame_width=frame_width,
        frame_height=frame_height,
        input_width=input_width,
        input_height=input_height,
        fit=Fit.STRETCH,
    )
    assert placed == Placement(input_width, input_height, 0, 0, input_width, input_height)


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
    placed = place(frame_width=frame[0], frame_height=frame[1], input_width=320, input_height=320, fit=Fit.LETTERBOX)
    assert placed == Placement(320, 320, *expected)


def test_a_box_through_a_letterbox_by_hand() -> None:
    """A 1280x720 frame covers rows 70 to 250 of 320: input row 160 is the middle, row 115 a quarter down."""
    placed = place(frame_width=1280, frame_height=720, input_width=320, input_height=320, fit=Fit.LETTERBOX)
    boxes = np.array([[0.25, 115 / 320, 0.5, 160 / 320], [0.0, 0.0, 1.0, 1.0]], dtype=np.float32)
    expected = np.array([[0.25, 0.25, 0.5, 0.5], [0.0, 0.0, 1.0, 1.0]])
    np.testing.assert_allclose(placed.to_frame(boxes), expected, atol=1e-6)


# Laying the pixels in


def area_average(pixels: NDArray[np.uint8], width: int, height: int) -> NDArray[np.float64]:
    """Scale by the definition: a new pixel is the mean of what it covers of the old ones, by covered area."""
    rows = _coverage(pixels.shape[0], height)
    columns = _coverage(pixels.shape[1], width)
    averaged: NDArray[np.float64] = np.einsum("yr,rcd,xc->yxd", rows, pixels.astype(np.float64), columns, optimize=True)
    return averaged


def _coverage(old: int, new: int) -> NDArray[np.float64]:
    """Give for each new cell, shape (new, old), the share that each old one has in it."""
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
def test_pixels_are_averaged_into_their_place_as_rgb(size: tuple[int, int], fit: Fit) -> None:
    frame = smooth_frame(*size)
    placed = place(frame_width=size[0], frame_height=size[1], input_width=320, input_height=320, fit=fit)
    laid = lay_in(frame, placed, fill=117)

    assert laid.shape == (320, 320, 3)
    assert laid.dtype == np.uint8
    content = laid[placed.top : placed.top + placed.height, placed.left : placed.left + placed.width]
    expected = area_average(frame[:, :, ::-1], placed.width, placed.height)
    # Growing, bilinear sampling blends what averaging repeats: a pixel of the frame apart at most.
    assert np.abs(content - expected).max() <= (2 if size[0] > 320 or size[1] > 320 else 6)
    around = np.ones((320, 320), dtype=bool)
    around[placed.top : placed.top + placed.height, placed.left : placed.left + placed.width] = False
    assert (laid[around] == 117).all()
    assert around.sum() == 320 * 320 - placed.width * placed.height


@pytest.mark.parametrize(
    ("size", "input_size"),
    [((1280, 720), (320, 320)), ((1920, 1080), (320, 320)), ((1920, 400), (320, 320)), ((400, 1920), (300, 300))],
)
@pytest.mark.parametrize("fit", list(Fit))
def test_fine_detail_is_averaged_and_not_sampled(size: tuple[int, int], input_size: tuple[int, int], fit: Fit) -> None:
    """White noise averages to grey, the more so the more pixels go into one; sampling would keep its contrast."""
    frame = np.random.default_rng(7).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    placed = place(
        frame_width=size[0], frame_height=size[1], input_width=input_size[0], input_height=input_size[1], fit=fit
    )
    laid = lay_in(frame, placed, fill=0)
    content = laid[placed.top : placed.top + placed.height, placed.left : placed.left + placed.width]
    contrast = float(content.astype(np.float64).std())
    averaged = float(area_average(frame, placed.width, placed.height).std())
    assert contrast < 1.5 * averaged


@pytest.mark.parametrize("fit", list(Fit))
@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1), (5000, 3), (2, 2000)])
def test_extreme_shapes_are_laid_in(size: tuple[int, int], fit: Fit) -> None:
    frame = np.full((size[1], size[0], 3), (10, 20, 30), dtype=np.uint8)
    placed = place(frame_width=size[0], frame_height=size[1], input_width=64, input_height=48, fit=fit)
    laid = lay_in(frame, placed, fill=200)
    rows = slice(placed.top, placed.top + placed.height)
    columns = slice(placed.left, placed.left + placed.width)
    assert (laid[rows, columns] == (30, 20, 10)).all()
    assert int((laid == (30, 20, 10)).all(axis=2).sum()) == placed.width * placed.height


def test_laying_in_leaves_the_frame_alone() -> None:
    frame = smooth_frame(320, 320)
    before = frame.copy()
    placed = place(frame_width=320, frame_height=320, input_width=320, input_height=320, fit=Fit.STRETCH)
    laid = lay_in(frame, placed, fill=0)
    laid[:] = 0
    np.testing.assert_array_equal(frame, before)


def test_a_frame_that_is_a_view_is_laid_in_as_its_copy_is() -> None:
    """Tiles are views into a frame, with rows that do not follow each other in memory."""
    frame = smooth_frame(800, 600)
    tile = frame[37:437, 101:701]
    placed = place(frame_width=600, frame_height=400, input_width=320, input_height=320, fit=Fit.LETTERBOX)
    np.testing.assert_array_equal(lay_in(tile, placed, fill=0), lay_in(tile.copy(), placed, fill=0))
    assert cv2.countNonZero(lay_in(tile, placed, fill=0)[:, :, 0]) > 0
