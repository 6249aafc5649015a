import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("tensorflow")

from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from beeagent_export.heads import BoxScales, RawHeads
from beeagent_export.postprocess import PostProcessOptions, append_postprocess
from support.raw_heads import convert_as_they_are, free_heads

pytestmark = pytest.mark.training

COUNT, CLASSES = 120, 3
SCALES = BoxScales(y=10.0, x=9.0, height=5.0, width=4.0)


def run(model: bytes, images: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    outputs = Interpreter(model_content=model).get_signature_runner("serving_default")(images=images)
    return {name: output[0] for name, output in outputs.items()}


def random_rows(seed: int) -> NDArray[np.float32]:
    """Box codes of moderate size and scores from 0 to 1, no two alike."""
    rng = np.random.default_rng(seed)
    scores = rng.permutation(np.linspace(0, 1, COUNT * CLASSES)).reshape(COUNT, CLASSES) ** 2
    return np.concatenate([rng.normal(0, 0.5, (COUNT, 4)), scores], axis=1).astype(np.float32)


def as_images(rows: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    images = np.zeros(size * size * 3, dtype=np.float32)
    images[: rows.size] = rows.ravel()
    return images.reshape(1, size, size, 3)


def overlap(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    height = min(one[2], other[2]) - max(one[0], other[0])
    width = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(0.0, height) * max(0.0, width)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return float(shared / (sum(areas) - shared))


def expected(
    rows: NDArray[np.float32], heads: RawHeads, options: PostProcessOptions
) -> list[tuple[float, int, NDArray[np.float64]]]:
    """Work out score, class and box of the detections: the textbook's greedy NMS, all classes together."""
    found = []
    for row, anchor in zip(rows.astype(np.float64), heads.anchors.astype(np.float64), strict=True):
        scales = heads.box_scales
        y = row[0] / scales.y * anchor[2] + anchor[0]
        x = row[1] / scales.x * anchor[3] + anchor[1]
        height = np.exp(row[2] / scales.height) * anchor[2]
        width = np.exp(row[3] / scales.width) * anchor[3]
        box = np.array([y - height / 2, x - width / 2, y + height / 2, x + width / 2])
        found.append((float(row[4:].max()), int(row[4:].argmax()), box))
    found.sort(key=lambda detection: -detection[0])
    kept: list[tuple[float, int, NDArray[np.float64]]] = []
    for detection in found:
        clear = all(overlap(detection[2], other[2]) <= options.iou_threshold for other in kept)
        if detection[0] >= options.score_threshold and clear:
            kept.append(detection)
    return kept[: options.max_detections]


@pytest.mark.parametrize(
    ("options", "scales"),
    [
        (PostProcessOptions(), BoxScales()),
        (PostProcessOptions(score_threshold=0.6), BoxScales()),
        (PostProcessOptions(iou_threshold=0.1, score_threshold=0.0), BoxScales()),
        (PostProcessOptions(max_detections=7), BoxScales()),
        (PostProcessOptions(), SCALES),
    ],
)
def test_op_matches_manual_decoding_and_suppression(options: PostProcessOptions, scales: BoxScales) -> None:
    heads, size = free_heads(count=COUNT, classes=CLASSES, seed=0, box_scales=scales)
    model = append_postprocess(convert_as_they_are(heads), heads, options)
    for seed in range(5):
        rows = random_rows(seed)
        outputs = run(model, as_images(rows, size))
        wanted = expected(rows, heads, options)
        assert int(outputs["num_detections"]) == len(wanted)
        assert 3 <= len(wanted) < COUNT
        np.testing.assert_allclose(outputs["detection_scores"][: len(wanted)], [w[0] for w in wanted], atol=1e-6)
        np.testing.assert_array_equal(outputs["detection_classes"][: len(wanted)], [w[1] for w in wanted])
        np.testing.assert_allclose(outputs["detection_boxes"][: len(wanted)], [w[2] for w in wanted], atol=1e-5)


def test_decode_agrees_with_the_op() -> None:
    heads, size = free_heads(count=COUNT, classes=CLASSES, seed=4, box_scales=SCALES)
    options = PostProcessOptions(max_detections=COUNT, score_threshold=0.0, iou_threshold=1.0)
    model = append_postprocess(convert_as_they_are(heads), heads, options)
    rows = random_rows(11)
    boxes = heads.decode(rows[:, :4])[np.argsort(-rows[:, 4:].max(axis=1))]
    np.testing.assert_allclose(run(model, as_images(rows, size))["detection_boxes"], boxes, atol=1e-5)


def test_model_has_the_standard_interface() -> None:
    heads, size = free_heads(count=COUNT, classes=CLASSES, seed=0)
    model = append_postprocess(convert_as_they_are(heads), heads, PostProcessOptions())
    interpreter = Interpreter(model_content=model)
    assert interpreter.get_signature_list() == {
        "serving_default": {
            "inputs": ["images"],
            "outputs": ["detection_boxes", "detection_classes", "detection_scores", "num_detections"],
        }
    }
    assert [tuple(details["shape"]) for details in interpreter.get_input_details()] == [(1, size, size, 3)]
    outputs = interpreter.get_output_details()
    assert [tuple(details["shape"]) for details in outputs] == [(1, 100, 4), (1, 100), (1, 100), (1,)]
    assert {details["dtype"] for details in outputs} == {np.float32}


def test_constants_are_aligned_to_16_bytes() -> None:
    heads, _ = free_heads(count=COUNT, classes=CLASSES, seed=0)
    model = append_postprocess(convert_as_they_are(heads), heads, PostProcessOptions())
    content = np.frombuffer(model, dtype=np.uint8)
    tree = schema.Model.GetRootAs(content)
    data = [tree.Buffers(index).DataAsNumpy() for index in range(tree.BuffersLength())]
    offsets = [
        array.__array_interface__["data"][0] - content.__array_interface__["data"][0]
        for array in data
        if isinstance(array, np.ndarray) and array.size
    ]
    assert len(offsets) >= 2
    assert [offset % 16 for offset in offsets] == [0] * len(offsets)


@pytest.mark.parametrize(
    "values", [{"max_detections": 0}, {"score_threshold": 1.1}, {"score_threshold": -0.1}, {"iou_threshold": 0.0}]
)
def test_options_out_of_range_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="out of range"):
        PostProcessOptions(**values)  # type: ignore[arg-type]  # wrong on purpose
