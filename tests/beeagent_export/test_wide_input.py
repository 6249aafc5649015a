"""Export of a checkpoint with another input shape than in training."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("tensorflow")

import typer
from ai_edge_litert.interpreter import Interpreter
from beeagent.detection import Detections, Detector, DetectorOptions, ModelBundle, parse_tiling
from beeagent.errors import InputError
from beeagent_export.cli import export
from typer.testing import CliRunner

pytestmark = pytest.mark.training

WIDTH, HEIGHT = 256, 128
MIN_SCORE = 0.02


def run(*arguments: object) -> str:
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(export)
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def images(image_folder: Path) -> list[NDArray[np.uint8]]:
    return [np.asarray(cv2.imread(str(path)), np.uint8) for path in sorted(image_folder.iterdir())]


@pytest.fixture(scope="module")
def exported(checkpoint: Path, image_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Export the checkpoint, whose own size is 128x128, as int8 and float32 of another shape."""
    out = tmp_path_factory.mktemp("wide") / "bees-wide"
    output = run(
        checkpoint, "--input-size", f"{WIDTH}x{HEIGHT}", "--calibrate", image_folder, "--calibration-images", "8",
        "--precision", "int8", "--precision", "float32", "--min-score", MIN_SCORE, "--iou", "1", "--out", out,
    )  # fmt: skip
    return out, output


def detector_of(bundle: Path) -> Detector:
    return Detector(ModelBundle.load(bundle), DetectorOptions(threads=1, threshold=MIN_SCORE))


def network_finds(checkpoint: Path, detector: Detector, pixels: NDArray[np.uint8]) -> tuple[Any, Any]:
    """Run the network itself in Keras; return boxes in ratios of the frame and scores, strongest first."""
    from beeagent_models.efficientdet import anchor_boxes, decode_boxes, load_checkpoint  # noqa: PLC0415 - imports Keras

    model, config, _ = load_checkpoint(checkpoint, (HEIGHT, WIDTH))
    prepared = detector.prepare(pixels)
    codes, logits = model((prepared.tensors[0].astype(np.float32) - config.mean) / config.std)
    scores = 1 / (1 + np.exp(-np.asarray(logits)[0].max(axis=1)))
    boxes = decode_boxes(np.asarray(codes)[0], anchor_boxes(config, HEIGHT, WIDTH))
    order = np.argsort(-scores)[:20]
    return prepared.layout.transforms[0].to_frame(boxes[order]), scores[order]


def test_bundle_has_the_shape_in_all_files(exported: tuple[Path, str]) -> None:
    bundle, output = exported
    assert f"int8, {WIDTH}x{HEIGHT}, " in output
    manifest = json.loads((bundle / "manifest.json").read_text())
    assert (manifest["input"]["width"], manifest["input"]["height"]) == (WIDTH, HEIGHT)
    assert manifest["provenance"]["architecture"]["input_size"] == 128  # as it was trained
    assert f"{WIDTH}x{HEIGHT}" in bundle.with_name("bees-wide.report.html").read_text()
    assert f"{WIDTH} x {HEIGHT} pixels".encode() in (bundle / "model.tflite").read_bytes()
    (image,) = Interpreter(model_path=str(bundle / "model.tflite")).get_input_details()
    assert tuple(image["shape"]) == (1, HEIGHT, WIDTH, 3)
    assert ModelBundle.load(bundle).input == ModelBundle.load(bundle.with_name("bees-wide-float32")).input


def test_float_bundle_and_network_detect_the_same(
    exported: tuple[Path, str], checkpoint: Path, images: list[NDArray[np.uint8]]
) -> None:
    detector = detector_of(exported[0].with_name("bees-wide-float32"))
    for pixels in images[:4]:
        found = detector.detect(pixels)
        boxes, scores = network_finds(checkpoint, detector, pixels)
        # Some boxes lie in the letterbox alone; the agent leaves those out.
        inside = (boxes[:, 0] < boxes[:, 2]) & (boxes[:, 1] < boxes[:, 3])
        boxes, scores = boxes[inside], scores[inside]
        assert len(boxes) >= 3
        np.testing.assert_allclose(found.confidences[: len(scores)], scores, atol=1e-3)
        for box in boxes[:5]:
            assert np.abs(found.boxes - box).max(axis=1).min() < 2e-3


def test_parity_is_measured(exported: tuple[Path, str]) -> None:
    report = json.loads(exported[0].with_name("bees-wide.report.json").read_text())
    int8, float32 = (variant["parity"] for variant in report["variants"])
    assert 0 < int8["score_difference"] < 0.2
    for image in int8["images"]:
        assert image["strongest_converted"] == pytest.approx(image["strongest_source"], abs=0.06)
    assert float32["score_difference"] < 1e-4
    assert float32["smallest_iou"] > 0.999


def test_tiles_of_a_wide_input(exported: tuple[Path, str]) -> None:
    """Auto takes no more tiles along a side than that side of the input needs."""
    bundle = ModelBundle.load(exported[0])
    detector = Detector(bundle, DetectorOptions(threads=1, threshold=MIN_SCORE, tiling=parse_tiling("auto")))
    prepared = detector.prepare(np.full((720, 1280, 3), 127, np.uint8))
    across = {region.left for region in prepared.layout.regions[1:]}
    down = {region.top for region in prepared.layout.regions[1:]}
    assert (len(across), len(down)) == (3, 4)  # of 512 and 222 pixels: no more than twice the input's
    assert all(tensor.shape == (1, HEIGHT, WIDTH, 3) for tensor in prepared.tensors)
    assert isinstance(detector.detect(np.full((720, 1280, 3), 127, np.uint8)), Detections)


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ("640x360", r"--input-size is 640x360: .* not a multiple of 32, .*: give 640x352 or 640x384"),
        ("100", r"--input-size is 100x100: .*give 96x96 or 128x128"),
        ("640", None),
        ("wide", r"--input-size is 'wide': give WIDTHxHEIGHT"),
        ("4096x64", r"--input-size is '4096x64': allowed are 64 to 2048"),
    ],
)
def test_sizes_that_the_weights_do_not_fit_are_refused(
    size: str, message: str | None, checkpoint: Path, tmp_path: Path
) -> None:
    arguments = (checkpoint, "--precision", "float32", "--input-size", size, "--out", tmp_path / "bees")
    if message is None:
        run(*arguments)
        assert ModelBundle.load(tmp_path / "bees").input is not None
        return
    with pytest.raises(InputError, match=message):
        run(*arguments)
    assert not list(tmp_path.iterdir())


def test_own_size_needs_no_alignment(tmp_path: Path) -> None:
    """A network trained at such a size has learned its rounding."""
    from beeagent_models.efficientdet import build_model, config_for, save_checkpoint  # noqa: PLC0415 - imports Keras

    config = config_for("lite0", labels=("bee",), input_size=100)
    save_checkpoint(tmp_path / "checkpoint.npz", build_model(config), config, {})
    for name, options in (("default", ()), ("named", ("--input-size", "100"))):
        run(tmp_path / "checkpoint.npz", "--precision", "float32", *options, "--out", tmp_path / name)
        spec = ModelBundle.load(tmp_path / name).input
        assert spec is not None
        assert (spec.width, spec.height) == (100, 100)
