import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from beeagent.detection import Detector, DetectorOptions, Fit, InputSpec, ModelBundle
from beeagent.errors import InputError
from beeagent_models.datasets.dataset import Dataset, LabelledImage
from beeagent_models.evaluation.error_breakdown import ErrorKind
from beeagent_models.evaluation.measurement import Evaluation, evaluate, refuse_without_boxes
from beeagent_models.evaluation.operating_point import ThresholdChoice
from beeagent_models.evaluation.report import check_plot_path, evaluation_tables, plot_curves
from PIL import Image
from rich.console import Console
from support import tiny_models
from support.memory_bundle import bundle_of

SIDE = 64


def red_image(path: Path, box: tuple[int, int, int, int] | None, strength: int = 255) -> Path:
    pixels = np.full((SIDE, SIDE, 3), 40, np.uint8)
    if box is not None:
        left, top, right, bottom = box
        pixels[top:bottom, left:right] = (0, 0, strength)
    assert cv2.imwrite(str(path), pixels)
    return path


def labelled(path: Path, *boxes: tuple[int, int, int, int]) -> LabelledImage:
    return LabelledImage(
        path=path,
        width=SIDE,
        height=SIDE,
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        class_ids=np.zeros(len(boxes), np.int64),
    )


@pytest.fixture
def detector(tmp_path: Path) -> Detector:
    """Return a real TFLite model that detects red areas exactly, with the label bee."""
    (tmp_path / "red.tflite").write_bytes(
        tiny_models.edge_finder(size=SIDE, names={kind: kind for kind in tiny_models.OUTPUTS})
    )
    (tmp_path / "labels.txt").write_text("bee\ngreen\nblue\n")
    bundle = ModelBundle.load(tmp_path / "red.tflite", labels=tmp_path / "labels.txt")
    return Detector(bundle, DetectorOptions(threads=1, threshold=0.001))


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """Return a detected bee, a missed bee with a weaker false alarm elsewhere, and an empty image."""
    return Dataset(
        name="red things",
        labels=("bee",),
        images=(
            labelled(red_image(tmp_path / "found.png", (8, 16, 40, 48)), (8, 16, 40, 48)),
            labelled(red_image(tmp_path / "alarm.png", (32, 32, 60, 60), strength=204), (0, 0, 16, 16)),
            labelled(red_image(tmp_path / "empty.png", None)),
        ),
    )


@pytest.mark.parametrize(("width", "height"), [(192, 64), (96, 192)])
def test_model_with_a_rectangular_input_is_measured(width: int, height: int, tmp_path: Path) -> None:
    """On a frame that is shrunk to half and letterboxed, so that what is red fills a cell of the model's grid."""
    frame = (2 * width, height)
    pixels = np.full((frame[1], frame[0], 3), 40, np.uint8)
    pixels[:32, 32:64] = (0, 0, 255)
    assert cv2.imwrite(str(tmp_path / "red.png"), pixels)
    image = LabelledImage(
        path=tmp_path / "red.png",
        width=frame[0],
        height=frame[1],
        boxes=np.array([(32, 0, 64, 32)], np.float32),
        class_ids=np.zeros(1, np.int64),
    )
    model = tiny_models.square_finder(size=(width, height), cells=(width // 16, height // 16))
    spec = InputSpec(width=width, height=height, fit=Fit.LETTERBOX)
    detector = Detector(bundle_of(model, labels=["bee"], spec=spec), DetectorOptions(threads=1, threshold=0.5))
    dataset = Dataset(name="red things", labels=("bee",), images=(image,))
    evaluation = evaluate(detector, dataset, choice=ThresholdChoice(), input_size=detector.input_size)
    assert evaluation.detections[0].boxes * (frame * 2) == pytest.approx(np.array([[32, 0, 64, 32]]), abs=1e-3)
    assert evaluation.metrics.ap_by_size["16-32"] == evaluation.metrics.ap == pytest.approx(1)


def test_a_real_model_is_measured(detector: Detector, dataset: Dataset) -> None:
    looked_at: list[int] = []
    evaluation = evaluate(
        detector, dataset, choice=ThresholdChoice(), input_size=(SIDE, SIDE), progress=lambda: looked_at.append(1)
    )
    # Precision 1 up to recall 1/2: 51 of the 101 samples.
    assert evaluation.metrics.ap50 == evaluation.metrics.ap == pytest.approx(51 / 101)
    assert [len(found) for found in evaluation.detections] == [1, 1, 0]
    assert evaluation.detections[0].boxes[0] * SIDE == pytest.approx([8, 16, 40, 48], abs=1e-4)
    assert evaluation.curve.thresholds == pytest.approx([1, 0.8], abs=0.01)
    assert evaluation.point.threshold == pytest.approx(0.9, abs=0.01)
    assert (evaluation.point.precision, evaluation.point.recall) == (1, 0.5)
    assert len(looked_at) == 3
    assert evaluation.seconds is not None
    assert evaluation.seconds.shape == (3,)


@pytest.fixture
def evaluation(detector: Detector, dataset: Dataset) -> Evaluation:
    return evaluate(detector, dataset, choice=ThresholdChoice(fixed=0.5), input_size=(SIDE, SIDE))


def test_figures_have_a_json_form(evaluation: Evaluation) -> None:
    figures = json.loads(json.dumps(evaluation.to_json()))
    assert figures["ap50"] == pytest.approx(51 / 101)
    assert (figures["images"], figures["boxes"], figures["labels"]) == (3, 2, ["bee"])
    assert (figures["threshold"], figures["threshold_chosen_by"]) == (0.5, "given")
    assert (figures["precision"], figures["recall"]) == (0.5, 0.5)
    assert (figures["true_positives"], figures["false_positives"], figures["false_negatives"]) == (1, 1, 1)
    assert figures["curve"]["precision"] == [1, 0.5]
    assert figures["curve"]["recall"] == [0.5, 0.5]
    assert figures["milliseconds_per_image"]["median"] > 0
    # Of two detections, that of confidence 0.8 is wrong.
    calibration = figures["calibration"]
    assert calibration["expected_calibration_error"] == pytest.approx(0.4, abs=0.01)
    assert calibration["expected_calibration_error_from_threshold"] == calibration["expected_calibration_error"]
    assert (sum(calibration["detections"]), sum(calibration["right"])) == (2, 1)
    assert [value for value in calibration["mean_confidence"] if value] == pytest.approx([0.8, 1], abs=0.01)


def test_undefined_figures_of_images_without_a_box_are_null(detector: Detector, dataset: Dataset) -> None:
    images = (labelled(dataset.images[0].path), labelled(dataset.images[2].path))
    garden = Dataset(name="flowers", labels=("bee",), images=images)
    evaluation = evaluate(detector, garden, choice=ThresholdChoice(fixed=0.5), input_size=(SIDE, SIDE))
    figures = json.loads(json.dumps(evaluation.to_json(), allow_nan=False))
    for name in ("ap", "ap50", "ap75", "precision", "recall", "f1", "best_f1", "recall_at_precision"):
        assert figures[name] is None, name
    assert (figures["boxes"], figures["images_without_boxes"]) == (0, 2)
    assert figures["false_alarms_per_image_without_boxes"] == 0.5
    assert figures["errors"]["background"] == 1
    assert [row["errors"]["background"] for row in figures["by_size"]] == [0, 0, 0, 1, 0]


def test_images_without_a_label_are_measured_by_all_that_is_found(detector: Detector, dataset: Dataset) -> None:
    images = (labelled(dataset.images[0].path),)
    evaluation = evaluate(detector, Dataset("ground", images, labels=()), choice=ThresholdChoice(fixed=0.5))
    assert evaluation.false_alarms_per_image == 1


def test_only_images_without_a_box_have_false_alarms_per_image(evaluation: Evaluation) -> None:
    # The false alarm of the second image is not on one without a box.
    assert evaluation.images_without_boxes == 1
    assert evaluation.false_alarms_per_image == 0


def test_recall_at_a_precision(detector: Detector, dataset: Dataset, evaluation: Evaluation) -> None:
    point = evaluation.at_precision(0.99)
    assert point is not None
    assert (point.precision, point.recall) == (1, 0.5)
    only_wrong = Dataset(name="wrong", labels=("bee",), images=dataset.images[1:2])
    assert evaluate(detector, only_wrong, choice=ThresholdChoice(fixed=0.5)).at_precision(0.9) is None
    figures = evaluation.to_json()
    assert figures["recall_at_precision"]["0.9"]["recall"] == figures["best_f1"]["f1"] * 0.75 == 0.5


def test_figures_by_size_are_those_at_the_models_input(detector: Detector, dataset: Dataset) -> None:
    # The objects are 32 and 16 px in the image.
    evaluation = evaluate(detector, dataset, choice=ThresholdChoice(fixed=0.5), input_size=(SIDE // 2, SIDE))
    by_size = {row.size: row for row in evaluation.by_size}
    assert [row.boxes for row in by_size.values()] == [0, 1, 1, 0, 0]
    assert (by_size["16-32"].ap50, by_size["16-32"].recall) == pytest.approx((1, 1))
    assert by_size["8-16"].ap50 == by_size["8-16"].recall == 0
    assert by_size["<8"].recall is None
    assert sum(row.errors[ErrorKind.MISSED] for row in by_size.values()) == 1


def test_min_size_excludes_small_objects(detector: Detector, dataset: Dataset) -> None:
    evaluation = evaluate(detector, dataset, choice=ThresholdChoice(fixed=0.5), input_size=(SIDE, SIDE), min_size=20)
    assert (evaluation.curve.truths, evaluation.left_out) == (1, 1)
    assert (evaluation.point.recall, evaluation.point.precision) == (1, 0.5)
    assert [row.boxes for row in evaluation.by_size] == [0, 0, 0, 1, 0]
    # Its image is still not one without a bee.
    assert evaluation.images_without_boxes == 1


def printed(*evaluations: Evaluation) -> str:
    console = Console(width=80)
    with console.capture() as capture:
        console.print(evaluation_tables(evaluations))
    return capture.get()


def rows_of(text: str) -> dict[str, str]:
    return {line.strip().split("  ")[0]: line for line in text.splitlines()}


def test_table_has_the_figures(evaluation: Evaluation) -> None:
    text = printed(evaluation)
    rows = rows_of(text)
    assert "red things" in text
    assert "3" in rows["images"]
    assert re.search(r"^boxes +2$", text, re.MULTILINE)
    assert "50.5 %" in rows["AP50"]
    assert "0.5000" in rows["threshold"]
    assert "threshold: given" in text
    assert "50.0 %" in rows["precision"]
    assert "66.7 % at 0.90" in rows["best F1"]
    assert "50.0 % at 0.90" in rows["recall at P >= 0.99"]
    assert "0.000" in rows["alarms/image w/o box"]
    assert "0.40" in rows["calibration error"]
    assert rows["0.8 to 0.9"].split() == ["0.8", "to", "0.9", "0.0", "%", "of", "1"]
    assert rows["all"].split() == ["all", "2", "50.5", "%", "50.5", "%", "50.0", "%", "1", "0", "0", "1"]


def test_each_dataset_has_its_own_column(detector: Detector, dataset: Dataset, evaluation: Evaluation) -> None:
    flowers = Dataset(name="flowers", labels=("bee",), images=(labelled(dataset.images[0].path),))
    other = evaluate(detector, flowers, choice=ThresholdChoice(fixed=0.5), input_size=(SIDE, SIDE))
    text = printed(evaluation, other)
    rows = rows_of(text)
    assert rows["AP50"].split() == ["AP50", "50.5", "%", "-"]
    assert rows["alarms/image w/o box"].split()[-2:] == ["0.000", "1.000"]
    assert all(len(line) <= 80 for line in text.splitlines())


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_the_curve_is_drawn(evaluation: Evaluation, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"curve{suffix}"
    check_plot_path(path)
    plot_curves([evaluation], path)
    content = path.read_bytes()
    if suffix == ".png":
        with Image.open(path) as image:
            assert len(set(image.convert("L").tobytes())) > 10
    elif suffix == ".svg":
        assert b"</svg>" in content
    else:
        assert content.startswith(b"%PDF")


def test_a_plot_that_cannot_be_written_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"must end in \.png, \.svg, \.pdf"):
        check_plot_path(tmp_path / "curve.gif")
    with pytest.raises(InputError, match="there is no folder"):
        check_plot_path(tmp_path / "none" / "curve.png")


def test_an_image_that_cannot_be_decoded_is_named(detector: Detector, dataset: Dataset) -> None:
    path = dataset.images[1].path
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(InputError, match=r"alarm\.png: is not an image, or is damaged"):
        evaluate(detector, dataset, choice=ThresholdChoice())


def test_an_image_that_was_exchanged_is_named(detector: Detector, dataset: Dataset) -> None:
    cv2.imwrite(str(dataset.images[0].path), np.zeros((32, 64, 3), np.uint8))
    with pytest.raises(InputError, match=r"found\.png: is 64x32, not 64x64"):
        evaluate(detector, dataset, choice=ThresholdChoice())


def test_without_a_label_in_common_nothing_is_measured(detector: Detector, dataset: Dataset) -> None:
    looked_at: list[int] = []
    ants = Dataset(name="ants", labels=("ant",), images=dataset.images)
    with pytest.raises(InputError, match="ants is labelled ant, but the classes of the model are bee, blue, green: "):
        evaluate(detector, ants, choice=ThresholdChoice(), progress=lambda: looked_at.append(1))
    assert len(looked_at) <= 1


def test_a_dataset_without_a_box_is_refused_where_one_is_needed(dataset: Dataset) -> None:
    empty = Dataset(name="empty", labels=("bee",), images=dataset.images[2:])
    with pytest.raises(InputError, match="empty: none of its 1 images has a box"):
        refuse_without_boxes(empty)
    refuse_without_boxes(dataset)
