"""The whole command, on a checkpoint of the real architecture at a small size."""

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import typer
from beeagent.detection import Detections, Detector, DetectorOptions, ModelBundle
from beeagent.errors import InputError
from beeagent_export.cli import export
from typer.testing import CliRunner

pytest.importorskip("tensorflow")

pytestmark = pytest.mark.training

LABELS = ("bee", "wasp")
SIZE = 128


def run(*arguments: object) -> str:
    """Run the command in this process; errors come out as they would reach the command line's end."""
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(export)
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@dataclass(frozen=True)
class Exported:
    """The checkpoint as a float32 and as an int8 bundle, and the output of the latter export."""

    float32: Path
    int8: Path
    stdout: str
    stderr: str


@pytest.fixture(scope="module")
def exported(checkpoint: Path, image_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    folder = tmp_path_factory.mktemp("exported")
    # fmt: off
    common = (
        str(checkpoint), "--calibrate", str(image_folder), "--calibration-images", "8", "--name", "test-bees",
        "--model-version", "3.1", "--licence", "Apache-2.0", "--min-score", "0.02",
    )
    # fmt: on
    run(*common, "--precision", "float32", "--out", folder / "float32")
    # As a program, for what native libraries print would not go through Python.
    program = "import typer; from beeagent_export.cli import export; typer.run(export)"
    command = [sys.executable, "-c", program, *common, "--out", str(folder / "int8")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return Exported(folder / "float32", folder / "int8", done.stdout, done.stderr)


def report_of(bundle: Path) -> Path:
    return bundle.with_name(f"{bundle.name}.report.json")


def detect(bundle: Path, image: Path) -> Detections:
    pixels = np.asarray(cv2.imread(str(image)), dtype=np.uint8)
    return Detector(ModelBundle.load(bundle), DetectorOptions(threads=1, threshold=0.02)).detect(pixels)


def overlaps(boxes: Any, others: Any) -> Any:  # noqa: ANN401 - NumPy arrays (n, 4) and (m, 4), giving (n, m)
    top_left = np.maximum(boxes[:, None, :2], others[None, :, :2])
    bottom_right = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    shared = np.prod(np.clip(bottom_right - top_left, 0, None), axis=2)
    areas = [np.prod(array[:, 2:] - array[:, :2], axis=1) for array in (boxes, others)]
    return shared / (areas[0][:, None] + areas[1][None] - shared)


def test_int8_and_float_detect_the_same(exported: Exported, image_folder: Path) -> None:
    """A few detections may differ: of two anchors with similar scores, either may suppress the other."""
    strong = found = 0
    for image in sorted(image_folder.iterdir()):
        exact, quantized = detect(exported.float32, image), detect(exported.int8, image)
        assert quantized.confidences[0] == pytest.approx(exact.confidences[0], abs=0.05)
        overlap = overlaps(exact.boxes[:5], quantized.boxes)
        same_class = exact.class_ids[:5, None] == quantized.class_ids[None]
        same_score = np.abs(exact.confidences[:5, None] - quantized.confidences[None]) < 0.1
        strong += len(overlap)
        found += int(((overlap > 0.6) & same_class & same_score).any(axis=1).sum())
    assert strong == 60
    assert found >= 0.8 * strong


def test_float_bundle_is_the_network_itself(exported: Exported) -> None:
    parity = json.loads(report_of(exported.float32).read_text())["variants"][0]["parity"]
    assert parity["score_difference"] < 1e-4
    assert parity["box_difference"] < 1e-3
    assert parity["smallest_iou"] > 0.999
    assert parity["seen_in_calibration"] is False


def test_int8_parity_is_reported(exported: Exported) -> None:
    report = json.loads(report_of(exported.int8).read_text())["variants"][0]
    parity = report["parity"]
    assert report["files"] == json.loads((exported.int8 / "manifest.json").read_text())["files"]
    # Eight of the twelve images calibrate; the others are new to the model.
    assert parity["seen_in_calibration"] is False
    assert len(parity["images"]) == 4
    for key in ("score_difference", "box_difference"):
        assert parity[key] == max(image[key] for image in parity["images"])
        assert parity[key] > 0
    assert parity["score_difference"] < 0.1
    assert parity["smallest_iou"] > 0.5
    assert all(abs(image["strongest_source"] - image["strongest_converted"]) < 0.05 for image in parity["images"])
    assert all(image["strongest_source"] > 0.3 for image in parity["images"])


def test_manifest_records_the_export(exported: Exported, checkpoint: Path, tmp_path: Path) -> None:
    text = (exported.int8 / "manifest.json").read_text()
    manifest = json.loads(text)
    assert [manifest[key] for key in ("name", "version", "licence")] == ["test-bees", "3.1", "Apache-2.0"]
    assert manifest["input"] == {"width": SIZE, "height": SIZE, "fit": "letterbox", "mean": 127.0, "std": 128.0}
    assert manifest["labels"] == list(LABELS)
    assert manifest["threshold"] == {"value": 0.5, "chosen_by": "default, not chosen on any data"}
    provenance = manifest["provenance"]
    assert provenance["training"] == {"seed": 1}
    assert provenance["checkpoint"]["file"] == checkpoint.name
    assert provenance["export"]["precision"] == "int8"
    assert provenance["export"]["calibration"]["images"] == 8
    assert provenance["export"]["postprocess"]["score_threshold"] == 0.02
    assert str(tmp_path.parent) not in text


def test_int8_is_int8_from_image_to_heads(exported: Exported) -> None:
    from ai_edge_litert.interpreter import (  # noqa: PLC0415 - may not be there
        Interpreter,
        OpResolverType,
    )

    interpreter = Interpreter(
        model_path=str(exported.int8 / "model.tflite"),
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    (image,) = interpreter.get_input_details()
    assert image["dtype"] == np.uint8
    assert image["quantization"] == (pytest.approx(1 / 128), 127)
    names = [operation["op_name"] for operation in interpreter._get_ops_details()]
    # One conversion at each end, none between: every other op computes in int8.
    assert names.count("QUANTIZE") == 1
    assert names.count("DEQUANTIZE") == 2
    assert names[-1] == "TFLite_Detection_PostProcess"
    kernels = [
        interpreter._get_tensor_details(int(operation["inputs"][1]), 0)
        for operation in interpreter._get_ops_details()
        if operation["op_name"] == "CONV_2D"
    ]
    assert {kernel["dtype"] for kernel in kernels} == {np.int8}
    assert all(len(kernel["quantization_parameters"]["scales"]) == kernel["shape"][0] for kernel in kernels)


def test_command_prints_only_the_created_files(exported: Exported) -> None:
    assert exported.stderr == ""
    made, compared, where = exported.stdout.splitlines()
    assert made.startswith(f"{exported.int8}: test-bees 3.1, int8, {SIZE}x{SIZE}, ")
    assert compared.startswith("compared with its source on 4 images: maximum score difference ")
    unmeasured = "AP was not measured: give labelled images with --validate"
    assert where == f"report: {exported.int8}.report.html; {unmeasured}"
    reports = {f"{name}.report.{kind}" for name in ("int8", "float32") for kind in ("json", "html")}
    assert {path.name for path in exported.int8.parent.iterdir()} == {"int8", "float32", *reports}


def test_listing_the_command_loads_nothing_heavy() -> None:
    source = "import sys, beeagent_export.cli; print(*sorted({m.split('.')[0] for m in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True).stdout.split()
    assert not {"tensorflow", "keras", "numpy", "cv2", "ai_edge_litert", "flatbuffers"} & set(loaded)


def refuse(message: str, out: Path, *arguments: object) -> None:
    """Run the command and expect one matching error line, and no new files."""
    out.parent.mkdir(exist_ok=True)
    before = sorted(out.parent.rglob("*"))
    with pytest.raises(InputError, match=message) as caught:
        run("--out", out, *arguments)
    assert "\n" not in str(caught.value)
    assert sorted(out.parent.rglob("*")) == before


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.npz", r"source .*missing\.npz does not exist"),
        ("cut.npz", r"cut\.npz: truncated or not a checkpoint"),
        ("text.npz", r"text\.npz: truncated or not a checkpoint"),
        ("saved", r"has no pipeline.config beside it"),
        ("model.keras", r"is a Keras model file"),
        ("model.tflite", r"is already a TFLite model"),
        ("bundle", r"is already a model bundle"),
        ("folder", r"is a folder without a SavedModel: give a checkpoint"),
    ],
)
def test_unusable_sources_are_refused(
    name: str, message: str, checkpoint: Path, image_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "cut.npz").write_bytes(checkpoint.read_bytes()[:100_000])
    for folder, file in (("saved", "saved_model.pb"), ("bundle", "manifest.json"), ("folder", "something")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / file).write_bytes(b"")
    for file in ("text.npz", "model.keras", "model.tflite"):
        (tmp_path / file).write_text("not what its name says")
    refuse(message, tmp_path / "out" / "bees", tmp_path / name, "--calibrate", image_folder)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], r"int8 needs --calibrate"),
        (["--calibrate", "missing"], r"images .*missing do not exist"),
        (["--calibrate", "empty"], r"empty contains no image"),
        (["--precision", "int4"], r"--precision is 'int4': choose one of int8, dynamic, float16, float32"),
        (["--precision", "float32", "--fit", "crop"], r"--fit is 'crop': choose one of letterbox, corner, stretch"),
        (["--precision", "float32", "--name", "my bees"], r"--name is 'my bees'"),
        (["--precision", "float32", "--model-version", ""], r"--model-version is ''"),
        (["--precision", "float32", "--report", "empty"], r"report .*empty is a folder"),
        (["--precision", "float32", "--report", "file/report.json"], r"report .* cannot be written: .*file is not"),
        (["--precision", "float32", "--out", "file/bees"], r"bundle .* cannot be written: .*file is not"),
    ],
)
def test_unusable_options_are_refused(
    options: list[str], message: str, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_bytes(b"")
    refuse(message, tmp_path / "out" / "bees", checkpoint, *options)


def test_an_output_that_is_taken_is_refused(
    exported: Exported, checkpoint: Path, image_folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(exported.int8, tmp_path / "out" / "bees")
    (tmp_path / "out" / "diary").mkdir()
    arguments = (checkpoint, "--calibrate", image_folder)
    refuse(r"exists: give another --out, or --force", tmp_path / "out" / "bees", *arguments)
    refuse(r"exists and is not a model bundle", tmp_path / "out" / "diary", *arguments, "--force")


@pytest.mark.parametrize("name", ["lite1", pytest.param("lite4", marks=pytest.mark.slow)])
def test_the_larger_networks_are_exported_as_well(name: str, image_folder: Path, tmp_path: Path) -> None:
    from beeagent_models.efficientdet import build_model, config_for, save_checkpoint  # noqa: PLC0415 - imports Keras

    config = config_for(name, labels=("bee",), input_size=64)
    save_checkpoint(tmp_path / "checkpoint.npz", build_model(config), config, {})
    run(tmp_path / "checkpoint.npz", "--precision", "float32", "--out", tmp_path / "bees", "--calibrate", image_folder)
    report = json.loads(report_of(tmp_path / "bees").read_text())
    assert report["architecture"] == f"efficientdet-{name}"
    assert report["variants"][0]["parity"]["score_difference"] < 1e-4
    assert ModelBundle.load(tmp_path / "bees").input.width == 64
