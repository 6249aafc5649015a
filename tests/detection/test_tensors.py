"""Recognition of boxes, classes, scores and count among the outputs, in any order and with any names."""

from collections.abc import Mapping
from itertools import permutations

import numpy as np
import pytest
from beeagent.detection import Detector, DetectorOptions
from beeagent.detection.tensors import dequantize
from beeagent.errors import InputError
from numpy.typing import ArrayLike
from support.memory_bundle import bundle_of
from support.tflite_graph import Quantization
from support.tiny_models import (
    BLUE,
    OUTPUTS,
    RED,
    Output,
    edge_finder,
    fixed_outputs,
    painted,
    square_finder,
)

ORDERS = pytest.mark.parametrize("order", list(permutations(OUTPUTS)), ids=" ".join)
FRAME = painted((128, 128), {RED: (16, 32, 32, 48), BLUE: (64, 64, 128, 96)})
RED_BOX, BLUE_BOX = [0.125, 0.25, 0.25, 0.375], [0.5, 0.5, 1.0, 0.75]


def assert_finds_red_and_blue(model: bytes) -> None:
    found = Detector(bundle_of(model), DetectorOptions(threads=1)).detect(FRAME)
    by_label = {found.label(index): index for index in range(len(found))}
    assert sorted(by_label) == ["blue", "red"]
    np.testing.assert_allclose(found.boxes[by_label["red"]], RED_BOX, atol=1 / 64)
    np.testing.assert_allclose(found.boxes[by_label["blue"]], BLUE_BOX, atol=1 / 64)
    np.testing.assert_allclose(found.confidences, [1, 1], atol=1e-5)


@ORDERS
def test_the_post_processing_op_decides_in_any_order(order: tuple[str, ...]) -> None:
    model = square_finder(classes=3, order=order)
    found = Detector(bundle_of(model), DetectorOptions(threads=1)).detect(painted((64, 64), {BLUE: (8, 0, 16, 8)}))
    assert [found.label(0), len(found)] == ["blue", 1]
    np.testing.assert_allclose(found.boxes, [[0.125, 0.0, 0.25, 0.125]], atol=1e-6)


@ORDERS
@pytest.mark.parametrize(
    "names",
    [
        {
            "boxes": "detection_boxes",
            "classes": "detection_classes",
            "scores": "detection_scores",
            "count": "num_detections",
        },
        {"boxes": "location", "classes": "category", "scores": "score", "count": "number of detections"},
        {"boxes": "out:Boxes", "classes": "Identity", "scores": "out:Confidence", "count": "x"},
    ],
    ids=lambda names: names["boxes"],
)
def test_names_of_tensors_decide_in_any_order(order: tuple[str, ...], names: Mapping[str, str]) -> None:
    assert_finds_red_and_blue(edge_finder(names=names, order=order))


@ORDERS
def test_names_of_a_signature_decide_in_any_order(order: tuple[str, ...]) -> None:
    signature = {"boxes": "boxes", "classes": "classes", "scores": "scores", "count": "num_boxes"}
    names = {kind: f"StatefulPartitionedCall:{index}" for index, kind in enumerate(OUTPUTS)}
    assert_finds_red_and_blue(edge_finder(names=names, signature=signature, order=order))


@ORDERS
def test_a_signature_comes_before_values(order: tuple[str, ...]) -> None:
    """Scores of 1 and 0 could be classes."""
    signature = {"boxes": "output_0", "classes": "classes", "scores": "scores", "count": "output_3"}
    model = fixed_outputs(
        VALUES | {"scores": [[1.0, 1.0, 0.0]]},
        {kind: Output(name=f"t{kind[1]}") for kind in order},
        signature=signature,
    )
    found = Detector(bundle_of(model), DetectorOptions()).detect(FRAME)
    assert [found.label(index) for index in range(len(found))] == ["blue", "red"]


@ORDERS
def test_outputs_without_names_are_recognised_by_values(order: tuple[str, ...]) -> None:
    assert_finds_red_and_blue(edge_finder(order=order))


@pytest.mark.parametrize("order", list(permutations(["boxes", "classes", "scores"])), ids=" ".join)
def test_a_model_may_leave_out_the_count(order: tuple[str, ...]) -> None:
    assert_finds_red_and_blue(edge_finder(order=order))


# Outputs of which the values are given. All three labels occur: red, green and blue.
BOXES = [[0.25, 0.125, 0.5, 0.375], [0.0, 0.5, 0.25, 1.0], [0.5, 0.5, 0.75, 0.625]]
VALUES: dict[str, ArrayLike] = {
    "boxes": [BOXES],
    "classes": [[2, 0, 1]],
    "scores": [[0.9, 0.8, 0.7]],
    "count": [3],
}
RATIOS = Quantization(1 / 240, -120)
SMALL_NUMBERS = Quantization(0.0392157, -128)
"""As a converter chooses it for 0 to 10: the whole numbers lie between two steps."""


@pytest.mark.parametrize(
    "types",
    [
        {},
        {"boxes": ("float16", None), "scores": ("float16", None), "classes": ("float16", None)},
        {"classes": ("int32", None), "count": ("int32", None)},
        {"classes": ("int64", None), "count": ("int64", None)},
        {"boxes": ("int8", RATIOS), "scores": ("int8", RATIOS)},
        {
            "boxes": ("int8", RATIOS),
            "scores": ("int8", RATIOS),
            "classes": ("int8", SMALL_NUMBERS),
            "count": ("int8", SMALL_NUMBERS),
        },
        {"boxes": ("uint8", Quantization(1 / 250, 2)), "scores": ("uint8", Quantization(1 / 256, 0))},
    ],
    ids=["float32", "float16", "int32 ids", "int64 ids", "int8", "int8 throughout", "uint8"],
)
@pytest.mark.parametrize("order", [OUTPUTS, OUTPUTS[::-1], ("scores", "boxes", "count", "classes")], ids=" ".join)
def test_outputs_of_any_type_are_read(
    types: Mapping[str, tuple[str, Quantization | None]], order: tuple[str, ...]
) -> None:
    outputs = {}
    for kind in order:
        dtype, quantization = types.get(kind, ("float32", None))
        outputs[kind] = Output(name=f"my_{kind}", dtype=dtype, quantization=quantization)
    found = Detector(bundle_of(fixed_outputs(VALUES, outputs)), DetectorOptions()).detect(FRAME)
    assert [found.label(index) for index in range(len(found))] == ["blue", "red", "green"]
    expected = np.array(BOXES)[:, [1, 0, 3, 2]]
    np.testing.assert_allclose(found.boxes, expected, atol=0.0021)
    np.testing.assert_allclose(found.confidences, [0.9, 0.8, 0.7], atol=0.0021)
    assert found.boxes.dtype == np.float32
    assert found.class_ids.dtype == np.int64


@pytest.mark.parametrize("dtype", ["float32", "int32"])
def test_a_count_ends_the_detections(dtype: str) -> None:
    outputs = {kind: Output(name=kind) for kind in OUTPUTS} | {"count": Output(name="count", dtype=dtype)}
    model = fixed_outputs(VALUES | {"count": [2]}, outputs)
    found = Detector(bundle_of(model), DetectorOptions()).detect(FRAME)
    assert [found.label(index) for index in range(len(found))] == ["blue", "red"]


@pytest.mark.parametrize(("count", "expected"), [(0, 0), (-1, 0), (3, 3), (1000, 3), (np.inf, 3), (np.nan, 0)])
def test_a_count_out_of_range_is_harmless(count: float, expected: int) -> None:
    model = fixed_outputs(VALUES | {"count": [count]}, {kind: Output(name=kind) for kind in OUTPUTS})
    assert len(Detector(bundle_of(model), DetectorOptions()).detect(FRAME)) == expected


@ORDERS
@pytest.mark.parametrize("count_shape", [(), (1,), (1, 1)])
def test_a_single_detection_is_read_by_names(order: tuple[str, ...], count_shape: tuple[int, ...]) -> None:
    """With one detection, classes, scores and count have the same shape."""
    values: dict[str, ArrayLike] = {
        "boxes": [[[0.25, 0.5, 0.5, 0.75]]],
        "classes": [[1]],
        "scores": [[0.6]],
        "count": np.ones(count_shape),
    }
    model = fixed_outputs(values, {kind: Output(name=f"detection_{kind}") for kind in order})
    found = Detector(bundle_of(model), DetectorOptions()).detect(FRAME)
    assert [found.label(0), len(found)] == ["green", 1]
    np.testing.assert_allclose(found.boxes, [[0.5, 0.25, 0.75, 0.5]])
    np.testing.assert_allclose(found.confidences, [0.6])


@ORDERS
def test_a_single_detection_is_read_through_the_post_processing_op(order: tuple[str, ...]) -> None:
    model = square_finder(classes=3, order=order, max_detections=1)
    found = Detector(bundle_of(model), DetectorOptions()).detect(painted((64, 64), {BLUE: (8, 0, 16, 8)}))
    assert [found.label(0), len(found)] == ["blue", 1]
    np.testing.assert_allclose(found.boxes, [[0.125, 0.0, 0.25, 0.125]], atol=1e-6)


def test_four_detections_are_not_taken_for_a_box() -> None:
    values: dict[str, ArrayLike] = {
        "boxes": [[[0.0, 0.0, 0.5, 0.5]] * 4],
        "classes": [[0, 1, 2, 0]],
        "scores": [[0.9, 0.8, 0.7, 0.6]],
        "count": [4],
    }
    model = fixed_outputs(values, {kind: Output(name=f"t{kind[1]}") for kind in reversed(OUTPUTS)})
    found = Detector(bundle_of(model), DetectorOptions()).detect(FRAME)
    np.testing.assert_array_equal(found.class_ids, [0, 1, 2, 0])
    assert (found.boxes == [0, 0, 0.5, 0.5]).all()


@pytest.mark.parametrize("first", [True, False])
def test_further_outputs_are_ignored(first: bool) -> None:  # noqa: FBT001 - a test's parameter
    further: dict[str, ArrayLike] = {
        "state": np.zeros((1, 3, 3, 8)),
        "raw_boxes": np.zeros((1, 7, 4)),  # a name that could be boxes, beside the real ones
        "embedding": np.zeros((1, 3)),
    }
    names = {
        **{kind: Output(name=f"detection_{kind}") for kind in OUTPUTS},
        "state": Output(name="lstm_c"),
        "raw_boxes": Output(name="anchors"),
        "embedding": Output(name="embedding"),
    }
    order = [*further, *OUTPUTS] if first else [*OUTPUTS, *further]
    model = fixed_outputs({**VALUES, **further}, {kind: names[kind] for kind in order})
    found = Detector(bundle_of(model), DetectorOptions()).detect(FRAME)
    assert [found.label(index) for index in range(len(found))] == ["blue", "red", "green"]


@pytest.mark.parametrize(
    "values",
    [
        {"scores": [[0.0, 0.0, 0.0]], "classes": [[0, 0, 0]]},  # no detections, whatever the image
        {"scores": [[0.9, 0.8, 0.7]], "classes": [[0.1, 0.2, 0.3]]},
    ],
)
def test_outputs_that_cannot_be_distinguished_are_refused(values: dict[str, ArrayLike]) -> None:
    model = fixed_outputs(VALUES | values, {kind: Output(name=f"t{kind[1]}") for kind in OUTPUTS})
    with pytest.raises(InputError, match="cannot be distinguished") as caught:
        Detector(bundle_of(model), DetectorOptions())
    assert "model.tflite" in str(caught.value)


@pytest.mark.parametrize(
    "kept",
    [["scores"], ["boxes"], ["boxes", "scores"], ["classes", "scores", "count"], ["boxes", "classes", "count"]],
    ids=" ".join,
)
def test_a_model_without_the_usual_outputs_is_refused(kept: list[str]) -> None:
    model = fixed_outputs(VALUES, {kind: Output(name=kind) for kind in kept})
    with pytest.raises(InputError, match="not a detection model of the usual kind"):
        Detector(bundle_of(model), DetectorOptions())


def test_two_outputs_that_could_both_be_the_boxes_are_refused() -> None:
    outputs = {kind: Output(name=f"t{kind[1]}") for kind in OUTPUTS} | {"more": Output(name="more")}
    model = fixed_outputs(VALUES | {"more": np.zeros((1, 5, 4))}, outputs)
    with pytest.raises(InputError, match="2 could be the boxes"):
        Detector(bundle_of(model), DetectorOptions())


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32"])
def test_integers_are_dequantized_as_the_format_defines(dtype: str) -> None:
    """TFLite's quantization: real value = (integer - zero point) * scale."""
    stored = np.array([[0, 1, 100]], dtype=dtype)
    given = dequantize(stored, (0.5, -3))
    assert given.dtype == np.float32
    np.testing.assert_array_equal(given, [[1.5, 2.0, 51.5]])
    np.testing.assert_array_equal(dequantize(stored, (0.0, 0)), [[0, 1, 100]])
