"""`beeagent adapt`, end to end: a drawn dataset, a thin network, the real training, export and detector."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("tensorflow")

from beeagent.detection import Detections, Detector, DetectorOptions, ModelBundle
from beeagent.errors import InputError
from beeagent_export import adapt_command, adaptation
from beeagent_export.adaptation import Adaptation, AdaptationOptions, Comparison
from beeagent_models.datasets.dataset import Dataset, LabelledImage
from beeagent_models.efficientdet.checkpoint import read_archive
from beeagent_models.evaluation.measurement import Evaluation, measure
from beeagent_models.evaluation.operating_point import ThresholdChoice

pytestmark = pytest.mark.training

SCRIPT = Path(__file__).with_name("adaptation_script.py")
DEADLINE = 1200
SERIES = ("a", "b", "c")
STEPS = 160


def start(*arguments: object) -> subprocess.Popen[str]:
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "KERAS_BACKEND": "tensorflow",
    }
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


def finish(*arguments: object) -> tuple[int, str, str]:
    with start(*arguments) as process:
        output, errors = process.communicate(timeout=DEADLINE)
    return process.returncode, output, errors


def draw_dataset(folder: Path) -> Path:
    """Draw images with three dark ellipses each, in series of six on one ground, and label them as COCO does."""
    rng = np.random.default_rng(0)
    images: list[dict[str, object]] = []
    annotations: list[dict[str, object]] = []
    (folder / "images").mkdir(parents=True)
    for series in SERIES:
        ground = rng.integers(150, 230, 3)
        for number in range(6):
            pixels = (ground + rng.integers(0, 15, (120, 160, 3))).astype(np.uint8)
            for column in range(3):
                x, y = int(rng.integers(20, 30)) + 45 * column, int(rng.integers(20, 100))
                a, b = int(rng.integers(10, 14)), int(rng.integers(7, 10))
                cv2.ellipse(pixels, (x, y), (a, b), 0, 0, 360, (20, 60, 90), -1)
                box = {"bbox": [x - a, y - b, 2 * a, 2 * b], "area": 4 * a * b, "iscrowd": 0}
                ids = {"id": len(annotations) + 1, "image_id": len(images) + 1, "category_id": 1}
                annotations.append({**ids, **box})
            name = f"images/{series}-{number}.png"
            cv2.imwrite(str(folder / name), pixels)
            images.append({"id": len(images) + 1, "file_name": name, "width": 160, "height": 120})
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "bee"}]}
    (folder / "coco.json").write_text(json.dumps(content))
    return folder / "coco.json"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_dataset(tmp_path_factory.mktemp("mine"))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("base") / "checkpoint.float16.npz"
    code, _, errors = finish("--make-base", path)
    assert code == 0, errors
    return path


@pytest.mark.timeout(3 * DEADLINE)
def test_adaptation_is_resumed_after_a_kill_and_released_where_better(tmp_path: Path, data: Path, base: Path) -> None:
    out, run = tmp_path / "models" / "mine", tmp_path / "models" / "mine.run"
    command = ("adapt", "--data", data, "--base", base, "--out", out, "--steps", STEPS, "--held-back", 0.67)
    command = (*command, "--input-size", "192x128")
    deadline = time.monotonic() + DEADLINE
    with start(*command) as process:
        while not (run / "state.npz").exists() and process.poll() is None and time.monotonic() < deadline:
            # Looks again soon, and leaves the processor to the run meanwhile.
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.02)
        process.send_signal(signal.SIGKILL)
    resumed_from = int(read_archive(run / "state.npz")[0]["step"])
    assert 0 < resumed_from < STEPS

    code, output, errors = finish(*command)
    assert code == 0, errors
    assert json.loads((run / "training.json").read_text())["steps_done"] == STEPS
    report = json.loads((tmp_path / "models" / "mine.report.json").read_text())
    trained, held_back = ({name.partition("-")[0] for name in report[part]} for part in ("train", "held_back"))
    assert not trained & held_back
    assert trained | held_back == set(SERIES)
    for model, folder in zip(report["models"], (out, out.with_name("mine-192x128")), strict=True):
        assert model["adapted"]["ap50"] > model["base"]["ap50"]
        assert model["released"] == folder.name
        bundle = ModelBundle.load(folder)
        assert bundle.threshold == pytest.approx(model["adapted"]["threshold"], abs=1e-4)
        assert (bundle.input.width, bundle.input.height) == tuple(model["input"])
        pixels = np.full((120, 160, 3), 200, np.uint8)
        Detector(bundle, DetectorOptions(threads=1)).detect(pixels)
    assert "base 128x128" in output
    assert "adapted 192x128" in output
    assert "from 2 series that are not trained on" in errors

    code, _, errors = finish(*command)
    assert code == 2
    assert f"the bundle {out} exists" in errors


@pytest.mark.parametrize(("given", "few", "floor"), [(None, 36, 0.9), (None, 37, None), (0.95, 37, 0.95)])
def test_few_held_back_boxes_get_the_threshold_of_the_best_f1(  # noqa: PLR0913, PLR0917 - fixtures
    tmp_path: Path,
    data: Path,
    base: Path,
    monkeypatch: pytest.MonkeyPatch,
    given: float | None,
    few: int,
    floor: float | None,
) -> None:
    monkeypatch.setattr(adaptation, "FEW_BOXES", few)
    options = AdaptationOptions(
        data=(str(data),), base=base, out=tmp_path / "mine", held_back=0.67, precision_floor=given
    )
    one = Adaptation(options)
    assert one.held_back_boxes == 36
    assert one.choice.precision_floor == floor


@pytest.mark.timeout(2 * DEADLINE)
def test_model_that_is_not_better_is_not_released(tmp_path: Path, data: Path, base: Path) -> None:
    # One step leaves the untrained base as it is: neither finds anything.
    out = tmp_path / "mine"
    code, output, errors = finish("adapt", "--data", data, "--base", base, "--out", out, "--steps", 1)
    assert code == 1
    assert f"{out} is not released: its AP50 is 0.000, the base has 0.000" in errors
    assert "Traceback" not in errors
    assert {path.name for path in tmp_path.iterdir()} == {"mine.run", "mine.report.json"}
    assert json.loads((tmp_path / "mine.report.json").read_text())["models"][0]["released"] is None
    assert "adapted 128x128" in output


def evaluation(*confidences: float, threshold: float) -> Evaluation:
    """Measure detections that lie exactly on the first of two boxes, the second, and so on, of a single image."""
    boxes = np.array([[0, 0, 40, 40], [60, 60, 100, 100], [0, 60, 40, 100]], np.float32)[: len(confidences)]
    image = LabelledImage(Path("a.png"), 100, 100, boxes[:2], np.zeros(len(boxes[:2]), np.int64))
    found = Detections(boxes / 100, np.array(confidences, np.float32), np.zeros(len(boxes), np.int64), ("bee",))
    dataset = Dataset("mine", (image,), ("bee",))
    return measure(dataset, [found], choice=ThresholdChoice(fixed=threshold))


@pytest.mark.parametrize(
    ("base", "adapted", "objection"),
    [
        ((0.4, 0.4, 0.9), (0.9, 0.8, 0.1), None),
        ((0.9, 0.8, 0.1), (0.9, 0.8, 0.1), "its AP50 is 1.000, the base has 1.000"),
        ((0.9, 0.8, 0.1), (0.4, 0.4, 0.9), "its AP50 is 0.6.., the base has 1.000"),
        # Above the threshold, the base has both objects and a false alarm, the adapted model nothing.
        ((0.9, 0.8, 0.95), (0.4, 0.3, 0.1), "its F1 at the threshold is 0.000, the base has 0.800"),
    ],
)
def test_better_is_a_higher_ap50_and_no_lower_f1(
    base: tuple[float, ...], adapted: tuple[float, ...], objection: str | None
) -> None:
    measured = (evaluation(*confidences, threshold=0.5) for confidences in (base, adapted))
    found = Comparison((128, 128), Path("mine"), *measured, variant=None).objection  # type: ignore[misc,arg-type]
    assert found is objection is None or re.fullmatch(str(objection), str(found))


def run_adapt(data: str, out: Path, **changes: object) -> None:
    options = AdaptationOptions(data=(data,), out=out, minutes=1.0, steps=1, **changes)  # type: ignore[arg-type]
    adapt_command.run_adapt(options, verbose=False)


def test_errors_are_one_line_and_leave_nothing_behind(
    tmp_path: Path, data: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adaptation, "default_model", lambda: tmp_path)  # a package without the checkpoint
    out = tmp_path / "mine"
    coco = json.loads(data.read_text())
    wasps, empty = (data.with_name(name) for name in ("wasps.json", "empty.json"))
    wasps.write_text(json.dumps({**coco, "categories": [{"id": 1, "name": "wasp"}]}))
    empty.write_text(json.dumps({**coco, "annotations": coco["annotations"][:3]}))
    (tmp_path / "other").mkdir()
    for changes, source, message in (
        ({}, data, "give it with --base"),
        ({"base": tmp_path / "none.npz"}, data, r"none\.npz: no such file"),
        ({"base": data}, data, "not a checkpoint"),
        ({"base": base, "input_sizes": ((130, 128),)}, data, "not a multiple of 32"),
        ({"base": base, "held_back": 1.0}, data, "fraction to hold back is 1"),
        ({"base": base}, wasps, "label 'wasp' is not among the detector's"),
        ({"base": base}, empty, "(held-back|training) images has a box"),
        ({"base": base, "out": tmp_path / "other"}, data, "exists and is not a model bundle"),
        ({"base": base, "out": Path()}, data, "is not a valid bundle folder"),
        ({"base": base, "out": tmp_path / "my bees"}, data, "--name is 'my bees'"),
        ({"base": base, "run": data / "run"}, data, "is not a folder"),
    ):
        with pytest.raises(InputError, match=message) as caught:
            run_adapt(str(source), changes.pop("out", out), **changes)  # type: ignore[arg-type]  # a path
        assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["other"]
