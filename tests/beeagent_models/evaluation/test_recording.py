import hashlib
import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from beeagent.detection import Detector, DetectorOptions, ModelBundle, uncertainty_range
from beeagent.errors import InputError
from beeagent_models.datasets.dataset import Dataset, LabelledImage
from beeagent_models.evaluation.measurement import Evaluation, evaluate, measure
from beeagent_models.evaluation.operating_point import ThresholdChoice
from beeagent_models.evaluation.recording import record_evaluations
from support import tiny_models

SIDE = 64


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """Return a bundle with a real model that detects red areas, and threshold 0.4."""
    files = {
        "model.tflite": tiny_models.edge_finder(size=SIDE, names={kind: kind for kind in tiny_models.OUTPUTS}),
        "labels.txt": b"bee\ngreen\nblue\n",
    }
    folder = tmp_path / "bundle"
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    manifest = {
        "schema": "beeagent.bundle/1",
        "name": "red",
        "version": "1",
        "licence": "Apache-2.0",
        "files": {name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
        "input": {"width": SIDE, "height": SIDE, "fit": "stretch"},
        "labels": ["bee", "green", "blue"],
        "threshold": {"value": 0.4, "chosen_by": "by hand"},
        "provenance": {"command": "none"},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def evaluation_of(bundle: ModelBundle, folder: Path, choice: ThresholdChoice, *, name: str = "garden") -> Evaluation:
    pixels = np.full((SIDE, SIDE, 3), 40, np.uint8)
    pixels[16:48, 16:48] = (0, 0, 255)
    path = folder / "red.png"
    assert cv2.imwrite(str(path), pixels)
    box = np.array([[16, 16, 48, 48]], np.float32)
    image = LabelledImage(path=path, width=SIDE, height=SIDE, boxes=box, class_ids=np.zeros(1, np.int64))
    dataset = Dataset(name=name, images=(image,), labels=("bee",))
    return evaluate(Detector(bundle, DetectorOptions(threads=1, threshold=0.001)), dataset, choice=choice)


def test_figures_and_threshold_are_written_and_the_bundle_stays_sound(bundle: Path, tmp_path: Path) -> None:
    loaded = ModelBundle.load(bundle)
    evaluation = evaluation_of(loaded, tmp_path, ThresholdChoice())
    record_evaluations(loaded, [evaluation], split="validation")
    recorded = ModelBundle.load(bundle)
    assert recorded.manifest is not None
    (figures,) = recorded.manifest.metrics
    assert (figures.dataset, figures.split) == ("garden", "validation")
    assert (figures.ap, figures.ap50, figures.precision, figures.recall) == (1, 1, 1, 1)
    # One bee found with all confidence, and no green nor blue: the band of the second opinion comes from that.
    assert figures.reliability is not None
    assert (figures.reliability.detections[-1], figures.reliability.right[-1]) == (1, 1)
    assert sum(figures.reliability.detections) == 1
    assert uncertainty_range(recorded, threshold=recorded.threshold).high == 0.95
    assert recorded.threshold == figures.threshold == round(evaluation.point.threshold, 4)
    assert recorded.manifest.threshold.chosen_by == "best F1 (validation)"
    assert recorded.manifest.provenance == {"command": "none"}
    assert sorted(path.name for path in bundle.iterdir()) == ["labels.txt", "manifest.json", "model.tflite"]


def test_the_bundles_own_threshold_keeps_its_origin(bundle: Path, tmp_path: Path) -> None:
    loaded = ModelBundle.load(bundle)
    choice = ThresholdChoice(fixed=loaded.threshold, fixed_by="the bundle's")
    record_evaluations(loaded, [evaluation_of(loaded, tmp_path, choice)], split="test")
    recorded = ModelBundle.load(bundle).manifest
    assert recorded is not None
    assert (recorded.threshold.value, recorded.threshold.chosen_by) == (0.4, "by hand")
    assert [entry.split for entry in recorded.metrics] == ["test"]


def test_a_second_evaluation_replaces_the_first_of_the_same_data_alone(bundle: Path, tmp_path: Path) -> None:
    for name, split in (("garden", "validation"), ("roof", "validation"), ("garden", "test"), ("garden", "validation")):
        loaded = ModelBundle.load(bundle)
        record_evaluations(loaded, [evaluation_of(loaded, tmp_path, ThresholdChoice(), name=name)], split=split)
    recorded = ModelBundle.load(bundle).manifest
    assert recorded is not None
    kept = [(entry.dataset, entry.split) for entry in recorded.metrics]
    assert kept == [("roof", "validation"), ("garden", "test"), ("garden", "validation")]


def test_a_bare_model_has_nowhere_to_record(bundle: Path, tmp_path: Path) -> None:
    bare = ModelBundle.load(bundle / "model.tflite", labels=bundle / "labels.txt")
    with pytest.raises(InputError, match="--record needs a bundle"):
        record_evaluations(bare, [evaluation_of(bare, tmp_path, ThresholdChoice())], split="test")


def test_several_datasets_are_recorded_at_the_threshold_of_the_first(bundle: Path, tmp_path: Path) -> None:
    loaded = ModelBundle.load(bundle)
    first = evaluation_of(loaded, tmp_path, ThresholdChoice(), name="garden")
    second = evaluation_of(loaded, tmp_path, ThresholdChoice(fixed=first.point.threshold), name="roof")
    record_evaluations(loaded, [first, second], split="validation")
    recorded = ModelBundle.load(bundle).manifest
    assert recorded is not None
    assert [entry.dataset for entry in recorded.metrics] == ["garden", "roof"]
    assert recorded.threshold.chosen_by == "best F1 (validation)"


def test_figures_without_the_small_objects_are_not_recorded(bundle: Path, tmp_path: Path) -> None:
    loaded = ModelBundle.load(bundle)
    evaluation = replace(evaluation_of(loaded, tmp_path, ThresholdChoice()), min_size=8)
    with pytest.raises(InputError, match="leave out --min-size"):
        record_evaluations(loaded, [evaluation], split="validation")
    manifest = ModelBundle.load(bundle).manifest
    assert manifest is not None
    assert manifest.metrics == []


def test_images_without_a_box_are_recorded_by_their_false_alarms(bundle: Path, tmp_path: Path) -> None:
    loaded = ModelBundle.load(bundle)
    garden = evaluation_of(loaded, tmp_path, ThresholdChoice(fixed=0.4))
    empty = tuple(
        replace(image, boxes=image.boxes[:0], class_ids=image.class_ids[:0]) for image in garden.dataset.images
    )
    lawn = measure(
        replace(garden.dataset, name="lawn", images=empty), garden.detections, choice=ThresholdChoice(fixed=0.4)
    )
    record_evaluations(loaded, [garden, lawn], split="validation")
    manifest = ModelBundle.load(bundle).manifest
    assert manifest is not None
    first, second = manifest.metrics
    assert first.false_alarms_per_image is None
    assert (second.ap, second.precision, second.reliability) == (None, None, None)
    assert second.false_alarms_per_image == 1
