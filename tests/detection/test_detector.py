"""The detector: its input tensor, its detections, and the models that it refuses."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
from beeagent.detection import (
    Detections,
    Detector,
    DetectorOptions,
    Fit,
    FrameLayout,
    InputSpec,
    RawOutputs,
    Region,
    Tiling,
    input_transform,
)
from beeagent.errors import InputError
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import ArrayLike, NDArray
from support.memory_bundle import bundle_of
from support.tflite_graph import Graph
from support.tiny_models import (
    BLUE,
    GREEN,
    OUTPUTS,
    RED,
    InputType,
    Output,
    edge_finder,
    fixed_outputs,
    painted,
    square_finder,
)

LABELS = ("red", "green", "blue")


def detections_of(
    boxes: Sequence[Sequence[float]], scores: Sequence[float], classes: Sequence[float], options: DetectorOptions
) -> Detections:
    """Return the detections from these outputs of a model; boxes as top, left, bottom, right."""
    values: dict[str, ArrayLike] = {"boxes": [boxes], "scores": [scores], "classes": [classes], "count": [len(scores)]}
    model = fixed_outputs(values, {kind: Output(name=kind) for kind in OUTPUTS})
    detector = Detector(bundle_of(model), options)
    return detector.detect(np.zeros((20, 30, 3), dtype=np.uint8))


SQUARE = [0.25, 0.5, 0.75, 1.0]


def test_detections_are_sorted_by_confidence() -> None:
    found = detections_of([SQUARE] * 4, [0.6, 0.9, 0.7, 0.9], [0, 1, 2, 0], DetectorOptions())
    np.testing.assert_allclose(found.confidences, [0.9, 0.9, 0.7, 0.6])
    np.testing.assert_array_equal(found.class_ids, [1, 0, 2, 0])
    assert found.counts() == {"red": 2, "green": 1, "blue": 1}


def test_equal_confidences_keep_the_models_order() -> None:
    classes = [0, 1, 2, 1, 0, 2, 2] * 10
    scores = [0.75, 0.875, 0.75, 0.625, 0.875] * 14
    found = detections_of([SQUARE] * 70, scores, classes, DetectorOptions())
    expected = [
        id_
        for strength in (0.875, 0.75, 0.625)
        for id_, score in zip(classes, scores, strict=True)
        if score == strength
    ]
    np.testing.assert_array_equal(found.class_ids, expected)


@pytest.mark.parametrize(("threshold", "expected"), [(None, 2), (0.0, 3), (0.25, 3), (0.75, 1), (0.76, 0), (1.0, 0)])
def test_a_detection_counts_from_the_threshold_on(threshold: float | None, expected: int) -> None:
    """Without an option, the bundle's own threshold, here 0.5, holds. All are exact in binary."""
    found = detections_of([SQUARE] * 3, [0.25, 0.5, 0.75], [0, 0, 0], DetectorOptions(threshold=threshold))
    assert len(found) == expected


def test_only_the_wanted_classes_are_detected() -> None:
    options = DetectorOptions(classes=frozenset({"blue", "red"}))
    found = detections_of([SQUARE] * 3, [0.9, 0.8, 0.7], [0, 1, 2], options)
    assert [found.label(index) for index in range(len(found))] == ["red", "blue"]
    assert found.labels == LABELS


def test_a_wanted_class_that_the_model_does_not_have_is_refused() -> None:
    options = DetectorOptions(classes=frozenset({"red", "bee"}))
    with pytest.raises(InputError, match="no class 'bee': it has red, green, blue"):
        detections_of([SQUARE], [0.9], [0], options)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_detections_that_are_not_finite_are_left_out(bad: float) -> None:
    boxes = [SQUARE, [bad, 0.5, 0.75, 1.0], [0.25, 0.5, 0.75, bad], SQUARE, SQUARE, SQUARE]
    scores = [0.9, 0.9, 0.9, bad, 0.9, 0.8]
    classes = [0, 0, 0, 0, bad, 1]
    found = detections_of(boxes, scores, classes, DetectorOptions())
    np.testing.assert_allclose(found.confidences, [0.9, 0.8])
    np.testing.assert_array_equal(found.class_ids, [0, 1])
    np.testing.assert_allclose(found.boxes, [[0.5, 0.25, 1.0, 0.75]] * 2)


def test_boxes_are_clipped_and_those_without_area_are_left_out() -> None:
    boxes = [
        [-0.5, 0.5, 0.5, 2.0],  # reaches out at the top and the right
        [0.2, 1.1, 0.4, 1.3],  # outside
        [0.5, 0.5, 0.5, 0.75],  # no height
        [0.75, 0.5, 0.25, 0.75],  # upside down
    ]
    found = detections_of(boxes, [0.9] * 4, [0] * 4, DetectorOptions())
    np.testing.assert_allclose(found.boxes, [[0.5, 0.0, 1.0, 0.5]])


def test_confidences_are_within_their_range() -> None:
    """Dequantized scores may be a step above one."""
    found = detections_of([SQUARE], [1.004], [0], DetectorOptions())
    np.testing.assert_array_equal(found.confidences, [1.0])


@pytest.mark.parametrize("class_id", [3, 300, -1])
def test_a_class_without_a_label_is_an_error_at_start(class_id: int) -> None:
    with pytest.raises(InputError, match=f"returned class {class_id}, but there are only 3 labels"):
        detections_of([SQUARE], [0.9], [class_id], DetectorOptions())


finite_or_not = st.floats(width=32) | st.floats(-0.5, 1.5, width=32)


@given(
    boxes=hnp.arrays(np.float32, (4, 4), elements=finite_or_not),
    scores=hnp.arrays(np.float32, 4, elements=finite_or_not),
    classes=hnp.arrays(np.float32, 4, elements=st.sampled_from([0.0, 1.0, 2.0, np.nan, np.inf])),
    threshold=st.floats(0, 1),
    fit=st.sampled_from(list(Fit)),
    size=st.tuples(st.integers(1, 3000), st.integers(1, 3000)),
)
def test_any_outputs_become_valid_detections(  # noqa: PLR0913 - all that varies
    *,
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
    classes: NDArray[np.float32],
    threshold: float,
    fit: Fit,
    size: tuple[int, int],
) -> None:
    detector = ANY_DETECTOR
    detector.threshold = threshold
    transform = input_transform(frame_width=size[0], frame_height=size[1], input_width=64, input_height=64, fit=fit)
    layout = FrameLayout(size, (Region(0, 0, *size),), (transform,))
    found = detector.decode([RawOutputs(boxes, classes, scores)], layout)
    assert found.boxes.dtype == np.float32
    assert np.isfinite(found.boxes).all()
    assert ((found.boxes >= 0) & (found.boxes <= 1)).all()
    assert (found.boxes[:, 0] < found.boxes[:, 2]).all()
    assert (found.boxes[:, 1] < found.boxes[:, 3]).all()
    assert (np.diff(found.confidences) <= 0).all()
    assert ((found.confidences >= 0) & (found.confidences <= 1)).all()
    assert (found.confidences >= np.float32(threshold)).all()
    assert np.isin(found.class_ids, [0, 1, 2]).all()


ANY_DETECTOR = Detector(bundle_of(edge_finder()), DetectorOptions(threads=1))


# Labels against classes


@pytest.mark.parametrize("classes", [1, 2, 3, 90, 300])
@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize("listed", ["", "???", "background", "__background__"])
def test_labels_name_the_classes_whether_or_not_the_background_is_among_them(
    classes: int,
    background: bool,  # noqa: FBT001 - a test's parameter
    listed: str,
) -> None:
    model = square_finder(classes=classes, background=background)
    names = (*LABELS, *(f"class {index}" for index in range(3, classes)))[:classes]
    labels = (listed, *names) if listed else names
    colour = (RED, GREEN, BLUE)[min(classes, 3) - 1]
    found = Detector(bundle_of(model, labels=labels), DetectorOptions()).detect(
        painted((64, 64), {colour: (8, 16, 16, 24)})
    )
    assert [found.label(index) for index in range(len(found))] == [names[min(classes, 3) - 1]]
    np.testing.assert_allclose(found.boxes, [[0.125, 0.25, 0.25, 0.375]], atol=1e-6)
    if not background:
        assert found.labels == labels


@pytest.mark.parametrize("classes", [1, 3, 90])
@pytest.mark.parametrize("listed", ["unlabeled", "BG", "N/A", "none", "person", "???", "wasp"])
def test_the_background_that_a_model_scores_may_have_any_name(classes: int, listed: str) -> None:
    names = tuple(f"class {index}" for index in range(classes))
    for labels in (names, (listed, *names)):
        detector = Detector(
            bundle_of(square_finder(classes=classes, background=True), labels=labels), DetectorOptions()
        )
        colour = (RED, GREEN, BLUE)[min(classes, 3) - 1]
        found = detector.detect(painted((64, 64), {colour: (8, 16, 16, 24)}))
        assert [found.label(index) for index in range(len(found))] == [names[min(classes, 3) - 1]]


@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize("first", ["???", "background", "bee"])
def test_a_class_may_have_the_name_of_the_background(background: bool, first: str) -> None:  # noqa: FBT001 - likewise
    """As many labels as classes: then none of them is the background's."""
    model = square_finder(classes=2, background=background)
    found = Detector(bundle_of(model, labels=(first, "wasp")), DetectorOptions()).detect(
        painted((64, 64), {RED: (8, 16, 16, 24)})
    )
    assert [found.label(index) for index in range(len(found))] == [first]


@pytest.mark.parametrize(("classes", "labels"), [(1, 2), (3, 1), (3, 4), (90, 92), (300, 1)])
def test_labels_that_do_not_match_the_outputs_are_refused(classes: int, labels: int) -> None:
    with pytest.raises(InputError, match=f"distinguishes {classes} classes.* there are {labels} labels"):
        Detector(
            bundle_of(square_finder(classes=classes), labels=[f"l{index}" for index in range(labels)]),
            DetectorOptions(),
        )


# Inputs


def test_a_recurrent_models_state_is_held_at_zero() -> None:
    """Its state is quantized, with a zero point that is not 0; the scores would rise from frame to frame."""
    detector = Detector(bundle_of(square_finder(classes=3, state=True)), DetectorOptions(threads=1))
    frame = painted((64, 64), {BLUE: (8, 0, 16, 8), GREEN: (32, 32, 40, 40)}, grey=0)
    for _ in range(4):
        found = detector.detect(frame)
        np.testing.assert_allclose(found.confidences, [1, 1], atol=1e-5)
        assert found.counts() == {"green": 1, "blue": 1}
        assert len(detector.detect(np.zeros((64, 64, 3), dtype=np.uint8))) == 0


def image_model(*shapes: Sequence[int], dtype: str = "uint8", any_size: Sequence[int] = ()) -> bytes:
    """Build a model that ignores its inputs."""
    graph = Graph()
    inputs = [graph.tensor(shape, name=f"in{i}", dtype=dtype, any_size=any_size) for i, shape in enumerate(shapes)]
    values: dict[str, ArrayLike] = {"boxes": np.zeros((1, 2, 4)), "classes": [[0, 1]], "scores": [[0.25, 0.5]]}
    outputs = []
    for name, value in values.items():
        shape = np.shape(value)
        outputs.append(graph.operator("ABS", [graph.constant(value)], shape, name=name))
    return graph.build(inputs, outputs)


@pytest.mark.parametrize("shapes", [[(1, 8, 8, 1)], [(1, 8, 8)], [(2, 8, 8, 3)], [(1, 3, 8, 8)], [(1, 8, 8, 3)] * 2])
def test_a_model_without_one_image_input_is_refused(shapes: list[tuple[int, ...]]) -> None:
    with pytest.raises(InputError, match="needs one image input"):
        Detector(bundle_of(image_model(*shapes)), DetectorOptions())


@pytest.mark.parametrize("dtype", ["int32", "float16", "int8"])
def test_an_image_of_an_unusual_type_is_refused(dtype: str) -> None:
    """An int8 input without quantization has no defined meaning."""
    with pytest.raises(InputError, match=f"takes its image as {dtype}"):
        Detector(bundle_of(image_model((1, 8, 8, 3), dtype=dtype)), DetectorOptions())


def test_a_model_for_any_batch_runs_and_one_for_any_size_is_refused() -> None:
    model = image_model((1, 8, 8, 3), any_size=[0])
    assert Detector(bundle_of(model), DetectorOptions()).input_size == (8, 8)
    with pytest.raises(InputError, match="images of any size"):
        Detector(bundle_of(image_model((1, 1, 1, 3), any_size=[0, 1, 2])), DetectorOptions())


def test_a_manifest_with_another_size_is_refused() -> None:
    spec = InputSpec(width=320, height=64, fit=Fit.LETTERBOX)
    with pytest.raises(InputError, match="takes images of 64x64, but its manifest says 320x64"):
        Detector(bundle_of(square_finder(classes=3), spec=spec), DetectorOptions())


def test_width_and_height_are_not_confused() -> None:
    model = square_finder(size=(96, 32), cells=(6, 2), classes=3)
    detector = Detector(bundle_of(model, spec=InputSpec(width=96, height=32, fit=Fit.STRETCH)), DetectorOptions())
    assert detector.input_size == (96, 32)
    assert detector.prepare(np.zeros((10, 10, 3), dtype=np.uint8)).tensors[0].shape == (1, 32, 96, 3)
    found = detector.detect(painted((192, 64), {RED: (160, 0, 192, 32)}))
    np.testing.assert_allclose(found.boxes, [[5 / 6, 0, 1, 0.5]], atol=1e-6)


@pytest.mark.parametrize("threads", [0, -1, 65])
def test_threads_out_of_range_are_refused(threads: int) -> None:
    with pytest.raises(InputError, match=f"threads is {threads}: allowed are 1 to 64"):
        DetectorOptions(threads=threads)


@pytest.mark.parametrize("threshold", [-0.01, 1.01, float("nan"), float("inf")])
def test_a_threshold_out_of_range_is_refused(threshold: float) -> None:
    with pytest.raises(InputError, match="allowed are 0 to 1"):
        DetectorOptions(threshold=threshold)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_threads_do_not_change_the_detections(threads: int) -> None:
    found = Detector(bundle_of(edge_finder()), DetectorOptions(threads=threads)).detect(
        painted((100, 100), {RED: (25, 50, 50, 100)})
    )
    np.testing.assert_allclose(found.boxes, [[0.25, 0.5, 0.5, 1.0]], atol=1 / 64)


def test_preparing_and_decoding_overlap_with_inference() -> None:
    """Threads prepare, decode and infer at once, each another frame; detections are those of a sequential run."""
    kind = InputType("float32", 127.5, 127.5)
    model = edge_finder(input_type=kind)
    detector = Detector(bundle_of(model), DetectorOptions(threads=1))
    rng = np.random.default_rng(3)
    frames = []
    for _ in range(60):
        width, height = (int(side) for side in rng.integers(60, 400, 2))
        left, top = int(rng.integers(0, width // 2)), int(rng.integers(0, height // 2))
        colour = (RED, GREEN, BLUE)[int(rng.integers(3))]
        frames.append(painted((width, height), {colour: (left, top, left + width // 3, top + height // 3)}))
    expected = [detector.detect(frame) for frame in frames]
    assert all(len(found) == 1 for found in expected)

    inferring = threading.Lock()  # `infer` is for one thread at a time; nothing else is guarded

    def one(index: int) -> Detections:
        prepared = detector.prepare(frames[index])
        with inferring:
            raw = detector.infer(prepared)
        return detector.decode(raw, prepared.layout)

    with ThreadPoolExecutor(max_workers=4) as pool:
        answers = list(pool.map(one, list(range(60)) * 3))
    for index, found in enumerate(answers):
        np.testing.assert_array_equal(found.boxes, expected[index % 60].boxes)
        np.testing.assert_array_equal(found.class_ids, expected[index % 60].class_ids)


def test_raw_outputs_outlive_the_next_inference() -> None:
    detector = Detector(bundle_of(edge_finder()), DetectorOptions(threads=1))
    first = detector.prepare(painted((64, 64), {RED: (0, 0, 32, 32)}))
    second = detector.prepare(painted((64, 64), {BLUE: (32, 32, 64, 64)}))
    raw = detector.infer(first)
    detector.infer(second)
    found = detector.decode(raw, first.layout)
    assert found.label(0) == "red"
    np.testing.assert_allclose(found.boxes, [[0, 0, 0.5, 0.5]], atol=1 / 64)


# `Detector.load` and `Detector.detect`


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A bare model that detects red, green and blue squares, with its labels beside it."""
    (tmp_path / "squares.tflite").write_bytes(square_finder(classes=3))
    (tmp_path / "labels.txt").write_text("\n".join(LABELS), encoding="utf-8")
    return tmp_path / "squares.tflite"


RED_AND_BLUE = painted((64, 64), {RED: (8, 16, 16, 24), BLUE: (32, 32, 40, 40)})


def test_default_and_bundled_models_are_loaded_by_name() -> None:
    assert Detector.load().input_size == Detector.load("bees-lite0").input_size == (320, 320)
    assert Detector.load("bees-lite0", threshold=0.25).threshold == 0.25


def test_a_bare_model_is_loaded_with_its_labels(bare: Path) -> None:
    detector = Detector.load(str(bare), labels=bare.parent / "labels.txt", classes=["blue"], threads=1)
    assert [detection.label for detection in detector.detect(RED_AND_BLUE)] == ["blue"]
    assert detector.threshold == 0.5


def test_a_bare_model_is_probed_before_it_is_loaded(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modules = bare.parent / "modules" / "ai_edge_litert"
    modules.mkdir(parents=True)
    (modules / "__init__.py").touch()
    crash = "import os, signal\ndef Interpreter(**_):\n    os.kill(os.getpid(), signal.SIGSEGV)\n"
    (modules / "interpreter.py").write_text(crash, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(modules.parent))
    with pytest.raises(InputError, match="crashes the TFLite runtime"):
        Detector.load(bare, labels=bare.parent / "labels.txt")


def test_tiles_of_load_are_those_of_the_command_line(bare: Path) -> None:
    load = partial(Detector.load, bare, labels=bare.parent / "labels.txt", threads=1)
    whole, tiled = load(), load(tiles="2x2")
    assert [len(one.prepare(RED_AND_BLUE).tensors) for one in (whole, tiled)] == [1, 5]
    assert set(tiled.detect(RED_AND_BLUE).counts()) == {"red", "blue"}
    with pytest.raises(InputError, match="tiles is '2'"):
        load(tiles="2")


@pytest.mark.parametrize("as_path", [str, Path])
def test_an_image_file_is_detected_as_its_pixels(as_path: Callable[[Path], str | Path], tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "image.png"), RED_AND_BLUE)
    detector = Detector(bundle_of(square_finder(classes=3)))
    assert list(detector.detect(as_path(tmp_path / "image.png"))) == list(detector.detect(RED_AND_BLUE))
    # A file has the order of its format, whatever is said of arrays.
    assert list(detector.detect(tmp_path / "image.png", channels="rgb")) == list(detector.detect(RED_AND_BLUE))


def test_the_order_of_channels_decides_between_red_and_blue() -> None:
    detector = Detector(bundle_of(square_finder(classes=3)), DetectorOptions(tiling=Tiling(1, 1)))
    rgb = RED_AND_BLUE[:, :, ::-1]
    assert list(detector.detect(rgb, channels="rgb")) == list(detector.detect(RED_AND_BLUE, channels="bgr"))
    swapped = detector.detect(rgb)
    assert {detection.label: detection.box for detection in swapped} == {
        {"red": "blue", "blue": "red"}[detection.label]: detection.box for detection in detector.detect(RED_AND_BLUE)
    }


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (np.zeros((8, 8), np.uint8), r"uint8 of shape \(8, 8\): pass uint8 of shape \(height, width, 3\)"),
        (np.zeros((8, 8, 4), np.uint8), r"of shape \(8, 8, 4\)"),
        (np.zeros((8, 8, 3), np.float32), "the image is float32"),
        (np.zeros((0, 8, 3), np.uint8), "not empty"),
        ([[1, 2, 3]], "the image is a list: pass a path"),
        ("missing.png", r"missing\.png: cannot be read: No such file"),
        (__file__, "is not a"),
    ],
)
def test_an_image_that_cannot_be_used_is_refused(image: NDArray[np.uint8], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        ANY_DETECTOR.detect(image)


def test_an_unknown_order_of_channels_is_refused() -> None:
    with pytest.raises(InputError, match="channels is 'rgba': allowed are bgr and rgb"):
        ANY_DETECTOR.detect(RED_AND_BLUE, channels="rgba")  # type: ignore[arg-type]  # on purpose
