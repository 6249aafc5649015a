"""An exported model with a rectangular input: three runtimes detect the painted objects."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("tensorflow")

from beeagent.detection import Detector, DetectorOptions, InputSpec, Manifest, ModelBundle, Threshold
from beeagent_export.bundle import bundle_files, hashes, write_bundle
from beeagent_export.conversion import Precision, convert_heads
from beeagent_export.metadata import ModelDescription, add_metadata
from beeagent_export.postprocess import PostProcessOptions, append_postprocess
from support.raw_heads import grid_heads
from support.tiny_models import BLUE, GREEN, RED, painted

pytestmark = pytest.mark.training

HERE = Path(__file__).parent
WIDTH, HEIGHT = 640, 384
COLUMNS, ROWS = 10, 4
CELL = (WIDTH // COLUMNS, HEIGHT // ROWS)
COLOURS = {"red": RED, "green": GREEN, "blue": BLUE}
# Column and row of each colour's cell, by image.
SCENES = (
    {"red": (0, 0), "green": (9, 0), "blue": (9, 3)},
    {"red": (0, 3), "green": (3, 1), "blue": (8, 2)},
    {"green": (6, 3)},
)

Found = list[tuple[str, list[float]]]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("painted")
    paths = []
    for number, scene in enumerate(SCENES):
        squares = {
            COLOURS[label]: (column * CELL[0], row * CELL[1], (column + 1) * CELL[0], (row + 1) * CELL[1])
            for label, (column, row) in scene.items()
        }
        paths.append(folder / f"{number}.png")
        cv2.imwrite(str(paths[-1]), painted((WIDTH, HEIGHT), squares))
    return paths


@pytest.fixture(scope="module")
def bundle(images: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Export int8 by the steps that `beeagent export` takes."""
    heads = grid_heads(size=(WIDTH, HEIGHT), cells=(COLUMNS, ROWS))
    calibration = [np.asarray(cv2.imread(str(path)), np.uint8)[..., ::-1] for path in images]
    converted = convert_heads(heads, precision=Precision.INT8, calibration=calibration)
    description = ModelDescription(
        name="squares",
        description="Finds squares.",
        version="1",
        licence="Apache-2.0",
        labels=heads.labels,
        width=WIDTH,
        height=HEIGHT,
        mean=heads.mean,
        std=heads.std,
        largest_input=255.0,
        smallest_input=0.0,
        score_threshold=0.5,
    )
    model = add_metadata(append_postprocess(converted, heads, PostProcessOptions()), description)
    files = bundle_files(model, heads.labels)
    manifest = Manifest(
        name="squares",
        version="1",
        licence="Apache-2.0",
        files=hashes(files),
        input=InputSpec(width=WIDTH, height=HEIGHT, fit=heads.fit, mean=heads.mean, std=heads.std),
        labels=list(heads.labels),
        threshold=Threshold(value=0.5, chosen_by="test"),
    )
    out = tmp_path_factory.mktemp("bundle") / "squares"
    write_bundle(out, manifest, files, force=False)
    return out


def agent(bundle: Path, images: list[Path]) -> list[Found]:
    detector = Detector(ModelBundle.load(bundle), DetectorOptions(threads=1))
    detections = [detector.detect(np.asarray(cv2.imread(str(path)), np.uint8)) for path in images]
    return [
        [(found.label(index), list(map(float, box))) for index, box in enumerate(found.boxes)] for found in detections
    ]


def client(variable: str, script: str) -> Callable[[Path, list[Path]], list[Found]]:
    def run(bundle: Path, images: list[Path]) -> list[Found]:
        python = os.environ.get(variable)
        if python is None:
            pytest.skip(f"{variable} names no Python to run this client with; see test_independent_clients.py")
        command = [python, str(HERE / script), str(bundle / "model.tflite"), *map(str, images)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
        assert done.returncode == 0, done.stderr
        answers = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
        return [[(_label(one["label"]), one["box"]) for one in answer] for answer in answers]

    return run


def _label(label: Any) -> str:  # noqa: ANN401 - a name, or what stands for it
    return label if isinstance(label, str) else tuple(COLOURS)[label]


@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    "runtime",
    [
        pytest.param(agent, id="agent"),
        pytest.param(client("BEEAGENT_MEDIAPIPE_PYTHON", "mediapipe_client.py"), id="mediapipe"),
        pytest.param(client("BEEAGENT_TFLITE_RUNTIME_PYTHON", "tflite_runtime_client.py"), id="tflite-runtime"),
    ],
)
def test_wide_model_detects_painted_objects(
    runtime: Callable[[Path, list[Path]], list[Found]], bundle: Path, images: list[Path]
) -> None:
    for scene, found in zip(SCENES, runtime(bundle, images), strict=True):
        assert sorted(label for label, _ in found) == sorted(scene)
        for label, box in found:
            column, row = scene[label]
            truth = [column / COLUMNS, row / ROWS, (column + 1) / COLUMNS, (row + 1) / ROWS]
            np.testing.assert_allclose(box, truth, atol=1.5 / HEIGHT)
