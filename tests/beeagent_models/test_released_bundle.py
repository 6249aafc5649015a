"""The released models reach the figures in their manifests."""

import json
import os
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import pytest
from beeagent.detection import Detector, DetectorOptions, ModelBundle, bundled_models
from beeagent_models.datasets.dataset import Dataset
from beeagent_models.datasets.reading import read_dataset
from beeagent_models.datasets.split import split_manifest
from beeagent_models.datasets.synthesize import synthesize
from beeagent_models.evaluation.measurement import Evaluation, evaluate
from beeagent_models.evaluation.operating_point import ThresholdChoice

REPOSITORY = Path(__file__).parents[2]
HIVE = Path(os.environ.get("BEEAGENT_SHARED_DATA", REPOSITORY.parent / "shared" / "data")) / "hive"


EACH_BUNDLE = pytest.mark.parametrize("folder", bundled_models().values(), ids=list(bundled_models()))


def measured_on(dataset: Dataset, folder: Path) -> Evaluation:
    bundle = ModelBundle.load(folder)
    detector = Detector(bundle, DetectorOptions(threshold=0.001))
    choice = ThresholdChoice(fixed=bundle.threshold)
    return evaluate(detector, dataset, choice=choice, input_size=detector.input_size)


def half_for_the_test(folder: Path) -> Dataset:
    """Return the photographs that the threshold was not chosen on: see the model card."""
    split_manifest(HIVE / "output.manifest", out=folder, fraction=0.5, seed=0, by_series=True)
    lines = (folder / "test.manifest").read_text().splitlines()
    names = {json.loads(line)["source-ref"].rpartition("/")[2] for line in lines}
    dataset = read_dataset(HIVE)
    return replace(dataset, images=tuple(image for image in dataset.images if image.path.name in names))


@EACH_BUNDLE
def test_it_finds_the_bees_of_synthetic_scenes(folder: Path, tmp_path: Path) -> None:
    # Not the seed of any training run.
    date = datetime(2026, 5, 4, tzinfo=timezone.utc)
    manifest = synthesize(tmp_path / "set", frames=12, width=640, height=480, seed=424_242, created_at=date)
    evaluation = measured_on(read_dataset(manifest), folder)
    assert evaluation.curve.truths > 30
    # A model that has learned nothing, or whose coordinates are mixed up, comes near 0. Wrong colours hardly show in
    # drawn scenes; the photographs below tell them at once.
    assert evaluation.metrics.ap50 > 0.4


@EACH_BUNDLE
@pytest.mark.skipif(not HIVE.is_dir(), reason=f"the photographs are not at {HIVE}")
def test_released_model_reaches_the_figures_in_its_manifest(folder: Path, tmp_path: Path) -> None:
    recorded = [
        entry for entry in json.loads((folder / "manifest.json").read_text())["metrics"] if entry["dataset"] == "hive"
    ]
    assert recorded
    evaluation = measured_on(half_for_the_test(tmp_path), folder)
    for entry in recorded:
        # Runtimes and processors differ in the last bit of a confidence or a coordinate.
        assert evaluation.metrics.ap == pytest.approx(entry["ap"], abs=0.01)
        assert evaluation.metrics.ap50 == pytest.approx(entry["ap50"], abs=0.01)
        assert evaluation.point.threshold == pytest.approx(entry["threshold"], abs=1e-4)
        assert evaluation.point.precision == pytest.approx(entry["precision"], abs=0.02)
        assert evaluation.point.recall == pytest.approx(entry["recall"], abs=0.02)
