"""Boxes of a real TFLite model, against the positions of painted objects."""

from functools import cache

import numpy as np
import pytest
from beeagent.detection import Detector, DetectorOptions, Fit, InputSpec
from hypothesis import given, settings
from hypothesis import strategies as st
from support.memory_bundle import bundle_of
from support.tiny_models import BLUE, FLOAT32, GREEN, INT8, RED, UINT8, InputType, edge_finder, painted, square_finder

Rectangle = tuple[int, int, int, int]
INPUT_TYPES = pytest.mark.parametrize("input_type", [UINT8, INT8, FLOAT32], ids=lambda kind: kind.dtype)


def spec_for(input_type: InputType, fit: Fit, size: tuple[int, int] = (64, 64)) -> InputSpec:
    return InputSpec(width=size[0], height=size[1], fit=fit, mean=input_type.mean, std=input_type.std)


@cache
def edge_detector(fit: Fit, input_type: InputType = UINT8) -> Detector:
    bundle = bundle_of(edge_finder(input_type=input_type), spec=spec_for(input_type, fit))
    return Detector(bundle, DetectorOptions(threads=1))


@st.composite
def scenes(draw: st.DrawFn) -> tuple[tuple[int, int], Rectangle, Rectangle]:
    """Draw a frame's size and two rectangles in it, one in its left and one in its right half, at any height."""
    width, height = draw(st.integers(40, 900)), draw(st.integers(40, 900))
    # At least five pixels of the model's input, so that their middle keeps its colour: 64 pixels for the longer side.
    least = max(4, -(-max(width, height) * 5 // 64))
    width, height = max(width, 2 * least + 2), max(height, least + 1)
    half = width // 2

    def span(low: int, high: int) -> tuple[int, int]:
        start = draw(st.integers(low, high - least))
        return start, draw(st.integers(start + least, high))

    (left, right), (top, bottom) = span(0, half), span(0, height)
    (other_left, other_right), (other_top, other_bottom) = span(half, width), span(0, height)
    return (width, height), (left, top, right, bottom), (other_left, other_top, other_right, other_bottom)


@settings(max_examples=80)
@given(scenes(), st.sampled_from(list(Fit)))
def test_boxes_enclose_the_painted_objects(scene: tuple[tuple[int, int], Rectangle, Rectangle], fit: Fit) -> None:
    size, red, blue = scene
    detector = edge_detector(fit)
    frame = painted(size, {RED: red, BLUE: blue})
    found = detector.detect(frame)

    assert sorted(found.label(index) for index in range(len(found))) == ["blue", "red"]
    placed = detector.prepare(frame).layout.transforms[0]
    # A frame is known to the model to a pixel of its input.
    pixel = np.array([1 / placed.width, 1 / placed.height] * 2)
    for index in range(len(found)):
        rectangle = red if found.label(index) == "red" else blue
        expected = np.array(rectangle) / [*size, *size]
        assert (np.abs(found.boxes[index] - expected) <= 1.01 * pixel).all(), found.label(index)


@INPUT_TYPES
@pytest.mark.parametrize("fit", list(Fit))
@pytest.mark.parametrize("size", [(1280, 720), (720, 1280), (641, 479), (64, 64), (50, 31), (1919, 300)])
def test_every_input_type_finds_the_same_boxes(size: tuple[int, int], fit: Fit, input_type: InputType) -> None:
    width, height = size
    green = (width // 5, height // 4, width // 2, height * 2 // 3)
    frame = painted(size, {GREEN: green})
    detector = edge_detector(fit, input_type)
    found = detector.detect(frame)
    placed = detector.prepare(frame).layout.transforms[0]
    assert [found.label(index) for index in range(len(found))] == ["green"]
    pixel = np.array([1 / placed.width, 1 / placed.height] * 2)
    assert (np.abs(found.boxes[0] - np.array(green) / [width, height, width, height]) <= 1.01 * pixel).all()


@INPUT_TYPES
def test_boxes_of_the_post_processing_op_are_exact_where_cells_align(input_type: InputType) -> None:
    """Stretched, the 8x4 cells of a 64x48 input are 80x75 pixels of a 640x300 frame."""
    model = square_finder(size=(64, 48), cells=(8, 4), classes=3, input_type=input_type)
    detector = Detector(bundle_of(model, spec=spec_for(input_type, Fit.STRETCH, (64, 48))), DetectorOptions(threads=1))
    found = detector.detect(painted((640, 300), {RED: (80, 75, 160, 150), BLUE: (560, 225, 640, 300)}))
    assert [found.label(index) for index in range(2)] == ["red", "blue"]
    assert len(found) == 2
    np.testing.assert_allclose(found.boxes, [[0.125, 0.25, 0.25, 0.5], [0.875, 0.75, 1.0, 1.0]], atol=1e-6)
    np.testing.assert_allclose(found.confidences, [1, 1], atol=0.03)  # the edge pixels are blended


def test_letterboxed_cells_come_back_in_ratios_of_the_frame() -> None:
    """A 640x320 frame covers rows 16 to 48 of a 64x64 input: cell rows 2 to 5, each a quarter of the frame's height."""
    model = square_finder(classes=3)
    detector = Detector(bundle_of(model, spec=spec_for(UINT8, Fit.LETTERBOX)), DetectorOptions())
    found = detector.detect(painted((640, 320), {GREEN: (160, 80, 240, 160)}))
    assert len(found) == 1
    assert found.label(0) == "green"
    np.testing.assert_allclose(found.boxes[0], [0.25, 0.25, 0.375, 0.5], atol=1e-6)


@settings(max_examples=60)
@given(
    colour=st.tuples(st.integers(0, 255), st.integers(0, 255), st.integers(0, 255)),
    kind=st.sampled_from(
        [
            UINT8,
            INT8,
            FLOAT32,
            InputType("float32", 127.0, 128.0),
            InputType("float32", 0.0, 255.0),
            InputType("float32", 0.0, 1.0),
            InputType("int8", 128.0, 255.0),
        ]
    ),
)
def test_pixels_reach_the_model_as_normalised_rgb(colour: tuple[int, int, int], kind: InputType) -> None:
    """The score is a known function of the colour: wrong channels or a wrong normalisation give another."""
    blue, green, red = colour
    frame = np.full((33, 47, 3), colour, dtype=np.uint8)
    found = colour_detector(kind).detect(frame)
    strength = {"red": red - green - blue, "green": green - red - blue, "blue": blue - red - green}
    label, most = max(strength.items(), key=lambda item: item[1])
    if most < 4:  # the model gives no score below 0.01
        return
    assert len(found) > 0
    assert {found.label(index) for index in range(len(found))} == {label}
    np.testing.assert_allclose(found.confidences, most / 255, atol=1e-3)


@cache
def colour_detector(kind: InputType) -> Detector:
    model = square_finder(cells=(2, 2), classes=3, input_type=kind)
    return Detector(bundle_of(model, spec=spec_for(kind, Fit.STRETCH)), DetectorOptions(threads=1, threshold=0.0))


@pytest.mark.parametrize("input_type", [UINT8, FLOAT32], ids=lambda kind: kind.dtype)
def test_a_bare_model_is_fed_as_most_models_expect(input_type: InputType) -> None:
    """Stretched; uint8 unchanged, float32 from -1 to 1."""
    detector = Detector(bundle_of(square_finder(classes=3, input_type=input_type)), DetectorOptions())
    found = detector.detect(painted((800, 80), {RED: (100, 10, 200, 20)}))
    assert [found.label(0), len(found)] == ["red", 1]
    np.testing.assert_allclose(found.boxes[0], [0.125, 0.125, 0.25, 0.25], atol=1e-6)
    np.testing.assert_allclose(found.confidences, [1], atol=0.03)  # the edge pixels are blended


@pytest.mark.parametrize("mean", [0.0, 100.0, 127.5, 255.0])
def test_letterbox_padding_is_the_mean_colour(mean: float) -> None:
    kind = InputType("float32", mean, 64.0)
    detector = Detector(
        bundle_of(square_finder(classes=3, input_type=kind), spec=spec_for(kind, Fit.LETTERBOX)), DetectorOptions()
    )
    prepared = detector.prepare(np.zeros((32, 64, 3), dtype=np.uint8))
    assert prepared.tensors[0].shape == (1, 64, 64, 3)
    np.testing.assert_allclose(prepared.tensors[0][0, :16], 0, atol=0.5 / 64)
    np.testing.assert_allclose(prepared.tensors[0][0, 48:], 0, atol=0.5 / 64)
    np.testing.assert_allclose(prepared.tensors[0][0, 16:48], -mean / 64, atol=1e-6)
