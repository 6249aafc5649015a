from pathlib import Path

import cv2
import numpy as np
import pytest
from beeagent.detection import Detections
from beeagent_models.augmentation.mixture import read_training_sets
from beeagent_models.datasets.dataset import Dataset, LabelledImage
from beeagent_models.evaluation.false_alarms import hardest_false_alarms, write_false_alarms
from beeagent_models.evaluation.measurement import Evaluation, measure
from beeagent_models.evaluation.operating_point import ThresholdChoice

Box = tuple[float, float, float, float]


def evaluated(folder: Path, *images: tuple[tuple[Box, float], ...], size: tuple[int, int] = (90, 60)) -> Evaluation:
    """Measure images without any box, with these detections in each, in pixels."""
    labelled, found = [], []
    for index, rows in enumerate(images):
        path = folder / f"{index}.png"
        assert cv2.imwrite(str(path), np.full((size[1], size[0], 3), 90, np.uint8))
        labelled.append(LabelledImage(path, *size, np.zeros((0, 4), np.float32), np.zeros(0, np.int64)))
        boxes = np.array([box for box, _ in rows], np.float32).reshape(-1, 4) / np.array(size * 2, np.float32)
        confidences = np.array([confidence for _, confidence in rows], np.float32)
        found.append(Detections(boxes.astype(np.float32), confidences, np.zeros(len(rows), np.int64), ("bee",)))
    dataset = Dataset("lawn", tuple(labelled), ("bee",))
    return measure(dataset, found, choice=ThresholdChoice(fixed=0.5))


HERE, THERE = (10.0, 10.0, 30.0, 30.0), (50.0, 20.0, 80.0, 50.0)


def test_the_strongest_detection_of_each_image_comes_in_order(tmp_path: Path) -> None:
    evaluation = evaluated(tmp_path, ((HERE, 0.4), (THERE, 0.3)), (), ((THERE, 0.9), (HERE, 0.8)))
    alarms = hardest_false_alarms([evaluation])
    assert [(alarm.image.path.name, round(alarm.confidence, 3)) for alarm in alarms] == [("2.png", 0.9), ("0.png", 0.4)]
    assert alarms[0].box == pytest.approx(np.array(THERE))
    assert len(hardest_false_alarms([evaluation], limit=1)) == 1


def test_the_false_alarms_are_a_dataset_to_train_on(tmp_path: Path) -> None:
    folder = tmp_path / "alarms"
    folder.mkdir()
    write_false_alarms([evaluated(tmp_path, ((HERE, 0.4),), (), ((THERE, 0.9),))], folder)
    (hard,) = read_training_sets(f"{folder / 'hard-negatives.manifest'}@0.5")
    assert (hard.weight, hard.dataset.labels) == (0.5, ("bee",))
    assert [image.path.resolve().name for image in hard.dataset.images] == ["2.png", "0.png"]
    assert not any(len(image.boxes) for image in hard.dataset.images)


@pytest.mark.parametrize(
    "box", [(0.0, 0.0, 90.0, 60.0), (0.0, 0.0, 0.0, 0.0), (89.5, 59.5, 90.0, 60.0), (0.0, 10.0, 90.0, 10.0)]
)
def test_boxes_at_the_edge_and_without_area_are_shown_too(tmp_path: Path, box: Box) -> None:
    write_false_alarms([evaluated(tmp_path, ((box, 0.9),))], tmp_path)
    sheet = cv2.imread(str(tmp_path / "false-alarms.jpg"))
    assert sheet is not None
    assert (np.abs(sheet.astype(int) - 90) < 12).all(axis=2).any()


def test_nothing_found_leaves_an_empty_list(tmp_path: Path) -> None:
    write_false_alarms([evaluated(tmp_path, (), ())], tmp_path)
    assert (tmp_path / "false-alarms.jsonl").read_text() == ""
    assert not (tmp_path / "false-alarms.jpg").exists()
