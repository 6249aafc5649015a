"""SavedModels of the TensorFlow 2 Object Detection API as a source: a small one built alike, and real ones.

The real ones are made by make_object_detection_api_model.py, and found by BEEAGENT_OBJECT_DETECTION_API_MODELS, a
folder of them.
"""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import typer
from beeagent.detection.bundle import load_bundle
from beeagent.detection.detections import Detections
from beeagent.detection.detector import Detector, DetectorOptions
from beeagent.detection.geometry import Fit
from beeagent.errors import InputError
from beeagent_export.cli import export
from beeagent_export.object_detection_api.label_map import read_labels
from beeagent_export.object_detection_api.pipeline_config import parse_pipeline_config
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from typer.testing import CliRunner

tf = pytest.importorskip("tensorflow")

# ruff: noqa: E402 - needs TensorFlow
from tiny_object_detection_api_model import SIDE, anchors, config_text, save_detector

REAL = os.environ.get("BEEAGENT_OBJECT_DETECTION_API_MODELS")


def draw_picture(seed: int, *, width: int, height: int) -> NDArray[np.uint8]:
    """Draw a BGR picture with smooth colours and some dark ellipses."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(40, 256, (6, 8, 3), dtype=np.uint8)
    pixels = np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), dtype=np.uint8)
    for _ in range(5):
        center = (int(rng.integers(width)), int(rng.integers(height)))
        axes = (int(rng.integers(width // 12, width // 6)), int(rng.integers(width // 20, width // 10)))
        cv2.ellipse(pixels, center, axes, float(rng.integers(180)), 0, 360, (20, 60, 90), thickness=-1)
    return pixels


def run(*arguments: object) -> str:
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(export)
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_detector(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give one of a single class: of several, TFLite's op takes the best of each box, and the API all of them."""
    return save_detector(tmp_path_factory.mktemp("single"), classes=1)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("square")
    for seed in range(12):
        cv2.imwrite(str(folder / f"{seed}.png"), draw_picture(seed, width=SIDE, height=SIDE))
    return folder


def own_answer(saved_model: Path, pixels: NDArray[np.uint8]) -> Callable[[float], list[tuple[list[float], float, int]]]:
    """Ask the SavedModel itself; gives boxes as left, top, right, bottom, scores and class ids above a score."""
    signature = tf.saved_model.load(str(saved_model)).signatures["serving_default"]
    answer = {key: value.numpy()[0] for key, value in signature(input_tensor=tf.constant(pixels[None])).items()}
    rows = zip(answer["detection_boxes"], answer["detection_scores"], answer["detection_classes"], strict=True)
    found = [(list(np.clip(box[[1, 0, 3, 2]], 0, 1)), float(score), int(kind) - 1) for box, score, kind in rows]
    return lambda least: [row for row in found if row[1] >= least]


def detect(bundle: Path, pixels: NDArray[np.uint8], *, least: float) -> Detections:
    detector = Detector(load_bundle(bundle), DetectorOptions(threads=1, threshold=least))
    return detector.detect(np.ascontiguousarray(pixels[..., ::-1]))


def test_the_exported_model_answers_as_the_saved_model_does(single: Path, tmp_path: Path) -> None:
    run(single, "--out", tmp_path / "bundle", "--precision", "float32", "--min-score", "0.01")
    for seed in range(3):
        rgb = np.ascontiguousarray(draw_picture(seed, width=SIDE, height=SIDE)[..., ::-1])
        wanted = own_answer(single / "saved_model", rgb)(0.3)
        found = detect(tmp_path / "bundle", rgb, least=0.3)
        assert 3 < len(wanted) < 100
        assert len(found) == len(wanted)
        np.testing.assert_allclose(found.confidences, [score for _, score, _ in wanted], atol=1e-4)
        np.testing.assert_allclose(found.boxes, [box for box, _, _ in wanted], atol=1e-3)
        assert found.class_ids.tolist() == [kind for *_, kind in wanted]
    assert load_bundle(tmp_path / "bundle").labels == ("bee",)


def test_int8_stays_near(tiny: Path, pictures: Path, tmp_path: Path) -> None:
    out = run(tiny / "saved_model", "--labels", tiny / "label_map.pbtxt", "--calibrate", pictures,
              "--calibration-pictures", "9", "--out", tmp_path / "bundle", "--min-score", "0.01")  # fmt: skip
    assert "int8, 64x64" in out
    rgb = np.ascontiguousarray(draw_picture(1, width=SIDE, height=SIDE)[..., ::-1])
    wanted = own_answer(tiny / "saved_model", rgb)(0.5)[0]
    found = detect(tmp_path / "bundle", rgb, least=0.3)
    assert found.confidences[0] == pytest.approx(wanted[1], abs=0.05)


def test_anchors_and_normalisation_come_from_the_model(tiny: Path) -> None:
    from beeagent_export.object_detection_api.graph import cut_saved_model  # noqa: PLC0415 - imports TensorFlow
    from beeagent_export.object_detection_api.pipeline_config import read_pipeline_config  # noqa: PLC0415

    scales = read_pipeline_config(tiny / "pipeline.config").box_scales
    cut = cut_saved_model(tiny / "saved_model", box_scales=scales)
    np.testing.assert_allclose(cut.anchors, anchors(), atol=1e-5)
    np.testing.assert_allclose(cut.gain * 255, [1 / 0.229, 1 / 0.224, 1 / 0.225], rtol=1e-4)
    np.testing.assert_allclose(cut.offset, [-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225], rtol=1e-4)


def broken(tiny: Path, folder: Path, **files: str | None) -> Path:
    """Copy the model, and write or remove some of its files."""
    shutil.copytree(tiny, folder)
    for name, text in files.items():
        path = folder / {"config": "pipeline.config", "labels": "label_map.pbtxt"}[name]
        path.unlink() if text is None else path.write_text(text)
    return folder


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"config": None}, r"has no pipeline.config beside it"),
        ({"config": "model { ssd {"}, r"pipeline.config: is no text of a protocol buffer"),
        ({"config": "model { faster_rcnn { num_classes: 1 } }"}, r"the feature extractor is 'not given'"),
        (
            {"config": config_text().replace("efficientnet-b0_bifpn", "mobilenet_v2_fpn")},
            r"extractor is 'ssd_mobilenet_v2_fpn_keras': only EfficientDet can be exported",
        ),
        ({"config": config_text().replace("SIGMOID", "SOFTMAX")}, r"score_converter is not SIGMOID"),
        ({"config": config_text().replace("64", "128")}, r"takes 64x64 pixels .* says 128x128"),
        ({"config": config_text(scale=3.0)}, r"decodes its boxes otherwise than pipeline.config says"),
        ({"config": config_text(classes=3)}, r"label_map.pbtxt name 2 classes, but the model tells 3 apart"),
        ({"labels": None}, r"the names of the model's 2 classes are not known: give --labels"),
        ({"labels": "item { id: 1 name: 'a' } item { id: 3 name: 'b' }"}, r"has the ids 1, 3: they must be 1 to 2"),
        ({"labels": "item { id: 1 name: 'a' } item { id: 2 name: 'a' }"}, r"name a class twice"),
    ],
)
def test_what_does_not_fit_is_told_in_a_line_and_nothing_is_left(
    tiny: Path, tmp_path: Path, files: dict[str, str | None], message: str
) -> None:
    source = broken(tiny, tmp_path / "source", **files)
    with pytest.raises(InputError, match=message):
        run(source, "--out", tmp_path / "bundle", "--precision", "float32")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source"]


def test_a_saved_model_that_is_cut_short_is_told(tiny: Path, tmp_path: Path) -> None:
    source = broken(tiny, tmp_path / "source")
    data = source / "saved_model" / "variables" / "variables.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:100])
    with pytest.raises(InputError, match=r"cannot be loaded: .*; export it anew"):
        run(source, "--out", tmp_path / "bundle", "--precision", "float32")
    (source / "saved_model" / "saved_model.pb").write_bytes(b"none")
    with pytest.raises(InputError, match=r"cannot be loaded"):
        run(source, "--out", tmp_path / "bundle", "--precision", "float32")


def test_another_saved_model_is_refused_by_what_it_lacks(tiny: Path, tmp_path: Path) -> None:
    source = broken(tiny, tmp_path / "source")
    shutil.rmtree(source / "saved_model")
    other = tf.Module()
    other.answer = tf.function(lambda x: {"y": x * 2}, input_signature=[tf.TensorSpec([1, 4], tf.float32)])
    tf.saved_model.save(other, str(source / "saved_model"), signatures=other.answer)
    with pytest.raises(InputError, match=r"no signature serving_default .* of other SavedModels none can be exported"):
        run(source, "--out", tmp_path / "bundle", "--precision", "float32")


def test_another_input_size_is_refused(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--input-size is 128, but a SavedModel's is fixed: 64x64"):
        run(tiny, "--out", tmp_path / "bundle", "--precision", "float32", "--input-size", "128")


def test_a_fixed_shape_is_stretched_to() -> None:
    text = config_text().replace(
        "keep_aspect_ratio_resizer { min_dimension: 64 max_dimension: 64 pad_to_max_dimension: true }",
        "fixed_shape_resizer { height: 128 width: 256 }",
    )
    config = parse_pipeline_config(text, where="x")
    assert (config.width, config.height, config.fit) == (256, 128, Fit.STRETCH)
    with pytest.raises(InputError, match="without pad_to_max_dimension has no fixed input size"):
        parse_pipeline_config(config_text().replace("pad_to_max_dimension: true", ""), where="x")


@given(st.text())
def test_any_text_is_understood_or_refused(text: str) -> None:
    with pytest.raises(InputError):
        parse_pipeline_config(text, where="x")


@given(names=st.lists(st.text("abc é'\\\"\n", min_size=1, max_size=6), min_size=1, max_size=5, unique=True))
def test_label_maps_are_read_whatever_the_names(names: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("labels") / "map.pbtxt"
    quoted = ["".join(f"\\{byte:03o}" for byte in name.encode()) for name in names]
    path.write_text("".join(f'item: < id: {n}, name: "{text}" >\n' for n, text in enumerate(quoted, 1)))
    assert read_labels(path, classes=len(names)) == tuple(names)


@pytest.mark.parametrize("name", ["d0", "d1"])
@pytest.mark.timeout(900)
def test_real_models_answer_as_they_did(name: str, tmp_path: Path) -> None:
    if REAL is None or not (Path(REAL) / name).is_dir():
        pytest.skip("BEEAGENT_OBJECT_DETECTION_API_MODELS names no folder with this model; see the module's docstring")
    labels = tmp_path / "labels.txt"
    labels.write_text("bee\n")
    source = Path(REAL) / name
    run(source, "--labels", labels, "--out", tmp_path / "bundle", "--precision", "float32", "--min-score", "0.001")
    side = load_bundle(tmp_path / "bundle").input.width
    rgb: NDArray[Any] = np.ascontiguousarray(draw_picture(1, width=side, height=side)[..., ::-1])
    wanted = own_answer(source / "saved_model", rgb)(0.0)[:20]
    found = detect(tmp_path / "bundle", rgb, least=0.001)
    assert len(found) >= len(wanted) > 0
    np.testing.assert_allclose(found.confidences[: len(wanted)], [score for _, score, _ in wanted], atol=2e-3)
    for box, score, _ in wanted:
        close = np.abs(found.boxes - np.array(box)).max(axis=1) < 0.01
        assert np.any(close & (np.abs(found.confidences - score) < 2e-3)), (box, score)
