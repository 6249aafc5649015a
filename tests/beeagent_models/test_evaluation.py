import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import tiny_models
from beeagent.detection.bundle import InputSpec, load_bundle
from beeagent.detection.detections import Detections
from beeagent.detection.detector import Detector, DetectorOptions
from beeagent.detection.geometry import Fit
from beeagent.errors import InputError
from beeagent_models.datasets.dataset import Dataset, LabelledImage
from beeagent_models.evaluation import Evaluation, evaluate, measure
from beeagent_models.evaluation_report import check_plot_path, evaluation_table, plot_curve
from beeagent_models.operating_point import ThresholdChoice
from memory_bundle import bundle_of
from PIL import Image
from rich.console import Console

SIDE = 64


def red_picture(path: Path, box: tuple[int, int, int, int] | None, strength: int = 255) -> Path:
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
    """Give a real TFLite model that finds the red of a picture, exactly, and calls it a bee."""
    (tmp_path / "red.tflite").write_bytes(
        tiny_models.edge_finder(size=SIDE, names={kind: kind for kind in tiny_models.OUTPUTS})
    )
    (tmp_path / "labels.txt").write_text("bee\ngreen\nblue\n")
    bundle = load_bundle(tmp_path / "red.tflite", labels=tmp_path / "labels.txt")
    return Detector(bundle, DetectorOptions(threads=1, threshold=0.001))


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """Give one bee found, one missed with a weaker false alarm elsewhere, and an empty picture."""
    return Dataset(
        name="red things",
        labels=("bee",),
        images=(
            labelled(red_picture(tmp_path / "found.png", (8, 16, 40, 48)), (8, 16, 40, 48)),
            labelled(red_picture(tmp_path / "alarm.png", (32, 32, 60, 60), strength=204), (0, 0, 16, 16)),
            labelled(red_picture(tmp_path / "empty.png", None)),
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
    assert evaluation.found[0].boxes * (frame * 2) == pytest.approx(np.array([[32, 0, 64, 32]]), abs=1e-3)
    assert evaluation.metrics.ap_by_size["small"] == evaluation.metrics.ap == pytest.approx(1)


def test_a_real_model_is_measured(detector: Detector, dataset: Dataset) -> None:
    looked_at: list[int] = []
    evaluation = evaluate(
        detector, dataset, choice=ThresholdChoice(), input_size=(SIDE, SIDE), progress=lambda: looked_at.append(1)
    )
    # Precision 1 up to recall 1/2: 51 of the 101 samples.
    assert evaluation.metrics.ap50 == evaluation.metrics.ap == pytest.approx(51 / 101)
    assert [len(found) for found in evaluation.found] == [1, 1, 0]
    assert evaluation.found[0].boxes[0] * SIDE == pytest.approx([8, 16, 40, 48], abs=1e-4)
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


def test_the_table_tells_the_figures(evaluation: Evaluation) -> None:
    console = Console(width=100)
    with console.capture() as capture:
        console.print(evaluation_table(evaluation))
    text = capture.get()
    rows = {line.strip().split("  ")[0]: line for line in text.splitlines()}
    assert "red things: 3 pictures, 2 boxes" in text
    assert "50.5 %" in rows["AP50"]
    assert "0.5000" in rows["threshold"]
    assert "given" in rows["threshold"]
    assert "50.0 %" in rows["precision"]
    assert "1 hits, 1 false alarms" in rows["precision"]
    assert "1 missed" in rows["recall"]


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_the_curve_is_drawn(evaluation: Evaluation, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"curve{suffix}"
    check_plot_path(path)
    plot_curve(evaluation, path)
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


def test_a_picture_that_cannot_be_decoded_is_named(detector: Detector, dataset: Dataset) -> None:
    path = dataset.images[1].path
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(InputError, match=r"alarm\.png: the picture cannot be decoded"):
        evaluate(detector, dataset, choice=ThresholdChoice())


def test_a_picture_that_was_exchanged_is_named(detector: Detector, dataset: Dataset) -> None:
    cv2.imwrite(str(dataset.images[0].path), np.zeros((32, 64, 3), np.uint8))
    with pytest.raises(InputError, match=r"found\.png: is 64x32, not 64x64"):
        evaluate(detector, dataset, choice=ThresholdChoice())


def test_without_a_label_in_common_nothing_is_measured(detector: Detector, dataset: Dataset) -> None:
    looked_at: list[int] = []
    ants = Dataset(name="ants", labels=("ant",), images=dataset.images)
    with pytest.raises(InputError, match="ants is labelled ant, but the model knows bee, blue, green: "):
        evaluate(detector, ants, choice=ThresholdChoice(), progress=lambda: looked_at.append(1))
    assert len(looked_at) <= 1


def test_without_a_box_there_is_nothing_to_measure(dataset: Dataset) -> None:
    empty = Dataset(name="empty", labels=("bee",), images=dataset.images[2:])
    nothing = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64), labels=("bee",))
    with pytest.raises(InputError, match="empty: not one of its 1 pictures has a box"):
        measure(empty, [nothing], choice=ThresholdChoice())
