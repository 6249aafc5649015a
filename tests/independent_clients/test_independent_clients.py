"""Independent runtimes run the bundled models unchanged and detect the same as the agent.

Each client has an environment of its own, named by a variable; CI makes both:
    BEEAGENT_MEDIAPIPE_PYTHON        a Python with mediapipe
    BEEAGENT_TFLITE_RUNTIME_PYTHON   a Python 3.11 with tflite-runtime 2.14, numpy 1 and OpenCV
"""

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from beeagent.detection import Detections, Detector, DetectorOptions, ModelBundle, bundled_models
from beeagent_models.synthetic import random_scene_frame

HERE = Path(__file__).parent
LEAST = 0.3
# What two runtimes may round otherwise in int8: two steps of the class logits, which the calibration of confidence has
# stretched by half (0.09 in score was seen), and a pixel of the box.
SCORE, SIDE = 0.1, 0.02


@pytest.fixture(scope="module", params=bundled_models().values(), ids=list(bundled_models()))
def bundle(request: pytest.FixtureRequest) -> Path:
    folder: Path = request.param
    return folder


@pytest.fixture(scope="module")
def images(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Draw scenes of just the model's input size, so that no client has anything to resize."""
    spec = ModelBundle.load(bundle).input
    assert spec is not None
    folder = tmp_path_factory.mktemp("scenes")
    paths = []
    for seed in range(6):
        scene = random_scene_frame(np.random.default_rng(seed), width=spec.width, height=spec.height)
        paths.append(folder / f"{seed}.png")
        cv2.imwrite(str(paths[-1]), scene.pixels)
    return paths


def answers(variable: str, client: str, bundle: Path, images: Sequence[Path]) -> list[list[dict[str, Any]]]:
    python = os.environ.get(variable)
    if python is None:
        pytest.skip(f"{variable} names no Python to run this client with; see the module's docstring")
    command = [python, str(HERE / client), str(bundle / "model.tflite"), *map(str, images)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]


def own(bundle: Path, images: Sequence[Path]) -> list[Detections]:
    detector = Detector(ModelBundle.load(bundle), DetectorOptions(threads=1, threshold=LEAST - SCORE))
    return [detector.detect(np.asarray(cv2.imread(str(path)), np.uint8)) for path in images]


def alike(found: Sequence[dict[str, Any]], ours: Detections) -> None:
    """Every one of theirs is among ours, and every one of ours that is well above the threshold among theirs."""
    boxes = np.array([one["box"] for one in found], np.float32).reshape(-1, 4)
    scores = np.array([one["score"] for one in found], np.float32)
    near = (np.abs(np.clip(boxes, 0, 1)[:, None] - ours.boxes[None]).max(axis=2) < SIDE) & (
        np.abs(scores[:, None] - ours.confidences[None]) < SCORE
    )
    assert near.any(axis=1).all()
    assert near.any(axis=0)[ours.confidences >= LEAST + SCORE].all()


@pytest.mark.timeout(400)
def test_mediapipe_and_agent_detect_the_same(bundle: Path, images: list[Path]) -> None:
    theirs = answers("BEEAGENT_MEDIAPIPE_PYTHON", "mediapipe_client.py", bundle, images)
    assert sum(map(len, theirs)) >= 10
    assert {one["label"] for found in theirs for one in found} == {"bee"}
    for found, ours in zip(theirs, own(bundle, images), strict=True):
        alike(found, ours)


@pytest.mark.timeout(400)
def test_tflite_runtime_and_agent_detect_the_same(bundle: Path, images: list[Path]) -> None:
    theirs = answers("BEEAGENT_TFLITE_RUNTIME_PYTHON", "tflite_runtime_client.py", bundle, images)
    assert sum(map(len, theirs)) >= 10
    for found, ours in zip(theirs, own(bundle, images), strict=True):
        alike(found, ours)
