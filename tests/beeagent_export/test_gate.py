"""Release gate: every precision is compared with the float source, and not released if it lost too much."""

import base64
import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import typer
from beeagent.detection import Detections, Detector, DetectorOptions, ModelBundle, uncertainty_range
from beeagent.errors import BeeagentError, InputError
from beeagent_export.cli import export
from beeagent_export.report import Column, report_page
from beeagent_models.evaluation.calibration import PlattScaling
from typer.testing import CliRunner

pytest.importorskip("tensorflow")

pytestmark = pytest.mark.training

PRECISIONS = ("int8", "dynamic", "float16", "float32")


def run(*arguments: object) -> str:
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(export)
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def labelled(checkpoint: Path, image_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Label the images with what the float network finds in them, so that it is right by definition."""
    folder = tmp_path_factory.mktemp("labelled")
    run(checkpoint, "--precision", "float32", "--out", folder / "truth")
    bundle = ModelBundle.load(folder / "truth")
    detector = Detector(bundle, DetectorOptions(threads=1, threshold=0.3))
    lines = []
    for image in sorted(image_folder.iterdir()):
        pixels = np.asarray(cv2.imread(str(image)), np.uint8)
        height, width = pixels.shape[:2]
        found = detector.detect(pixels)
        boxes = [
            {
                "class_id": int(class_id), "left": float(box[0] * width), "top": float(box[1] * height),
                "width": float((box[2] - box[0]) * width), "height": float((box[3] - box[1]) * height),
            }
            for box, class_id in zip(found.boxes[:8], found.class_ids, strict=False)
        ]  # fmt: skip
        line = {
            "source-ref": image.name,
            "bees": {"image_size": [{"width": width, "height": height, "depth": 3}], "annotations": boxes},
            "bees-metadata": {
                "class-map": {"0": "bee", "1": "wasp"}, "type": "groundtruth/object-detection",
                "human-annotated": "no", "objects": [],
            },
        }  # fmt: skip
        (folder / image.name).write_bytes(image.read_bytes())
        lines.append(json.dumps(line))
    (folder / "output.manifest").write_text("\n".join(lines) + "\n")
    return folder / "output.manifest"


@pytest.fixture(scope="module")
def measured(checkpoint: Path, image_folder: Path, labelled: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("measured")
    words = [word for precision in PRECISIONS for word in ("--precision", precision)]
    out = run(checkpoint, *words, "--calibrate", image_folder, "--validate", labelled, "--max-drop", 60,
              "--out", folder / "bees")  # fmt: skip
    assert f"report: {folder / 'bees.report.html'}" in out
    return folder


def test_agent_runs_the_bundle_of_each_precision(measured: Path, image_folder: Path) -> None:
    names = {"bees", "bees-dynamic", "bees-float16", "bees-float32"}
    assert {path.name for path in measured.iterdir()} == names | {"bees.report.json", "bees.report.html"}
    pixels = np.asarray(cv2.imread(str(image_folder / "image3.png")), np.uint8)
    strongest = {}
    for name in names:
        bundle = ModelBundle.load(measured / name)
        assert bundle.name == name
        found = Detector(bundle, DetectorOptions(threads=1, threshold=0.05)).detect(pixels)
        strongest[name] = float(found.confidences[0])
    assert strongest["bees-float16"] == pytest.approx(strongest["bees-float32"], abs=0.01)
    assert strongest["bees"] == pytest.approx(strongest["bees-float32"], abs=0.1)


def test_the_report_measures_source_and_variants_alike(measured: Path) -> None:
    report: dict[str, Any] = json.loads((measured / "bees.report.json").read_text())
    assert report["refused"] is None
    source, variants = report["source"], {variant["variant"]: variant for variant in report["variants"]}
    assert list(variants) == list(PRECISIONS)
    assert source["ap50"] > 0.5
    assert variants["float32"]["ap"] == pytest.approx(source["ap"], abs=1e-3)
    assert variants["float32"]["ap_drop"] == pytest.approx(0, abs=0.1)
    for variant in variants.values():
        assert variant["ap_drop"] == pytest.approx((source["ap"] - variant["ap"]) * 100)
        assert variant["milliseconds"] > 0
        assert variant["parity"]["images"]
        assert {"threshold", "precision", "recall"} <= set(variant)
    sizes = {precision: variant["size"] for precision, variant in variants.items()}
    assert sizes["int8"] < sizes["float16"] < sizes["float32"]


def test_the_threshold_and_the_band_come_from_the_validation(measured: Path) -> None:
    report = json.loads((measured / "bees.report.json").read_text())
    manifest = json.loads((measured / "bees" / "manifest.json").read_text())
    assert manifest["threshold"]["chosen_by"].startswith("best F1, on ")
    assert manifest["threshold"]["value"] == pytest.approx(report["variants"][0]["threshold"], abs=1e-4)
    (metrics,) = manifest["metrics"]
    assert metrics["split"] == "validation"
    assert sum(metrics["reliability"]["detections"]) > 0
    bundle = ModelBundle.load(measured / "bees")
    band = uncertainty_range(bundle, threshold=bundle.threshold)
    assert (band.low, band.high) != (bundle.threshold / 2, (1 + bundle.threshold) / 2)


def test_calibrated_confidence_is_in_the_model_itself(
    checkpoint: Path, image_folder: Path, labelled: Path, tmp_path: Path
) -> None:
    out = run(checkpoint, "--precision", "float32", "--calibrate-confidence", labelled, "--validate", labelled,
              "--precision-floor", 0.5, "--certainty", 0.9, "--out", tmp_path / "bees")  # fmt: skip
    assert f"confidence calibrated on {labelled.parent.name}: 12 images" in out
    manifest = json.loads((tmp_path / "bees" / "manifest.json").read_text())
    calibration = manifest["provenance"]["confidence_calibration"]
    assert calibration["expected_calibration_error_after"] < calibration["expected_calibration_error_before"]
    assert (calibration["dataset"], calibration["images"]) == (labelled.parent.name, 12)
    assert manifest["threshold"]["chosen_by"].startswith("best recall with precision >= 0.5 (90 % certain), on ")
    # The device's detector gives the confidences of the model as it was, scaled, in the same places.
    scaling = PlattScaling(calibration["scale"], calibration["bias"])
    pixels = np.asarray(cv2.imread(str(image_folder / "image3.png")), np.uint8)
    before, after = (
        Detector(ModelBundle.load(bundle), DetectorOptions(threads=1, threshold=0.3)).detect(pixels)
        for bundle in (labelled.parent / "truth", tmp_path / "bees")
    )
    count = min(len(before), len(after))
    assert count > 3
    assert scaling.apply(before.confidences[:count]) == pytest.approx(after.confidences[:count], abs=1e-3)
    assert before.boxes[:count] == pytest.approx(after.boxes[:count], abs=1e-3)


def test_confidence_is_calibrated_only_where_it_can_be(checkpoint: Path, labelled: Path, tmp_path: Path) -> None:
    command = ("--precision", "float32", "--calibrate-confidence", labelled, "--out", tmp_path / "bees")
    with pytest.raises(InputError, match="give --validate DATA, or --threshold"):
        run(checkpoint, *command)
    with pytest.raises(InputError, match="is a folder: leave it out"):
        run(checkpoint.parent, *command, "--validate", labelled)
    assert not (tmp_path / "bees").exists()


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.images: list[str] = []
        self.links: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        given = dict(attrs)
        if tag == "img":
            self.images.append(given["src"] or "")
        self.links += [value or "" for name, value in attrs if name in {"href", "src"}]

    def handle_data(self, data: str) -> None:
        self.text += data


def read_page(text: str) -> _Page:
    page = _Page()
    page.feed(text)
    page.close()
    return page


def test_page_shows_every_model_on_every_image_self_contained(measured: Path) -> None:
    page = read_page((measured / "bees.report.html").read_text())
    assert len(page.images) == 8 * (1 + len(PRECISIONS))
    assert all(link.startswith("data:image/jpeg;base64,") for link in page.links)
    content = np.frombuffer(base64.b64decode(page.images[0].partition(",")[2]), np.uint8)
    assert np.asarray(cv2.imdecode(content, cv2.IMREAD_COLOR)).shape[1] == 480
    assert page.tags.count("tr") == 2 + len(PRECISIONS)
    for word in ("float source", "int8", "float16", "AP lost", "image0.png"):
        assert word in page.text


def test_names_cannot_break_the_page() -> None:
    evil = "<script>alert('x')</script> & \""
    nothing = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64), ("bee",))
    text = report_page(
        title=evil, lines=[evil], rejection=evil, header=[evil], rows=[[evil]],
        images=[(evil, np.zeros((8, 8, 3), np.uint8))],
        columns=[Column(title=evil, threshold=0.5, detections=[nothing])],
    )  # fmt: skip
    page = read_page(text)
    assert "script" not in page.tags
    assert page.text.count("alert('x')") == 8


def test_precision_with_too_much_loss_is_reported_and_not_released(
    checkpoint: Path, labelled: Path, tmp_path: Path
) -> None:
    black = tmp_path / "black"
    black.mkdir()
    cv2.imwrite(str(black / "black.png"), np.zeros((64, 64, 3), np.uint8))  # ranges that nothing real has
    with pytest.raises(BeeagentError, match=r"no bundle is written: .*int8 lost \d+\.\d\d .*, but --max-drop is 0.5"):
        run(checkpoint, "--precision", "int8", "--precision", "float32", "--calibrate", black, "--validate", labelled,
            "--out", tmp_path / "out" / "bees")  # fmt: skip
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"bees.report.json", "bees.report.html"}
    report = json.loads((tmp_path / "out" / "bees.report.json").read_text())
    assert report["variants"][0]["ap_drop"] > 0.5
    assert "int8 lost" in report["refused"]
    assert "no bundle is written" in read_page((tmp_path / "out" / "bees.report.html").read_text()).text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--precision", "int8", "--precision", "int8"], "--precision has duplicates"),
        (["--max-drop", "-1"], "--max-drop is -1.0: give points of AP, 0 or more"),
        (["--precision-floor", "0.9"], "needs labelled images: give --validate"),
        (["--validate", "missing"], "missing: there is no such file or folder"),
        (["--validate", "LABELLED", "--threshold", "0.5", "--recall-floor", "0.5"], "exclude each other"),
        (["--validate", "WRONG"], "has boxes labelled hornet, but the classes of the model are bee, wasp"),
        (["--calibrate", "UNREADABLE"], "remove it from the dataset"),
    ],
)
def test_mismatch_is_reported_and_leaves_no_files(  # noqa: PLR0913, PLR0917 - fixtures
    options: list[str], message: str, checkpoint: Path, labelled: Path, image_folder: Path, tmp_path: Path
) -> None:
    wrong = tmp_path / "wrong"
    wrong.mkdir()
    (wrong / "output.manifest").write_text(labelled.read_text().replace('"bee"', '"hornet"'))
    for image in image_folder.iterdir():
        (wrong / image.name).write_bytes(image.read_bytes())
    unreadable = tmp_path / "unreadable"
    unreadable.mkdir()
    (unreadable / "a.png").write_bytes(b"none")
    places = {"LABELLED": labelled, "WRONG": wrong / "output.manifest", "UNREADABLE": unreadable}
    words = [str(places.get(word, word)) for word in options]
    calibrate = [] if "--calibrate" in options else ["--calibrate", image_folder]
    with pytest.raises(InputError, match=message):
        run(checkpoint, *calibrate, *words, "--out", tmp_path / "out" / "bees")
    assert not (tmp_path / "out").exists()
