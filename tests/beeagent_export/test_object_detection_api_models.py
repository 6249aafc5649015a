"""Export of real detectors of the Object Detection API, from `make_object_detection_api_model.py`.

Run with `-s` to see how far the agent's answers are from the SavedModel's own.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("tensorflow")

import typer
from beeagent_export.cli import export
from beeagent_export.object_detection_api.saved_model import load_saved_model
from numpy.typing import NDArray
from support.saved_model_answers import SavedModelDetector, agreement
from support.shared_data import shared_file
from typer.testing import CliRunner

pytestmark = pytest.mark.training

MODELS = "BEEAGENT_OBJECT_DETECTION_API_MODELS"
SIZES = {"d0": 256, "d1": 640}
THRESHOLD = 0.15
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Pair:
    """A SavedModel and the bundle exported from it."""

    name: str
    size: int
    saved_model: SavedModelDetector
    bundle: Path


@pytest.fixture(scope="module", params=list(SIZES))
def saved_model(request: pytest.FixtureRequest) -> tuple[Path, SavedModelDetector]:
    folder = Path(os.environ.get(MODELS, "")) / request.param
    if MODELS not in os.environ or not folder.is_dir():
        pytest.skip(f"needs {request.param} in the folder {MODELS}: see make_object_detection_api_model.py")
    return folder, SavedModelDetector(folder)


@pytest.fixture(scope="module", params=["float32", "int8"])
def pair(
    request: pytest.FixtureRequest,
    saved_model: tuple[Path, SavedModelDetector],
    tmp_path_factory: pytest.TempPathFactory,
) -> Pair:
    folder, detector = saved_model
    images = shared_file("ramp/output.manifest").parent / "images"
    bundle = tmp_path_factory.mktemp(folder.name) / request.param
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(export)
    arguments = [folder, "--out", bundle, "--calibrate", images, "--precision", request.param]
    result = CliRunner().invoke(app, [*map(str, arguments), "--calibration-images", "24"], catch_exceptions=False)
    print(result.output)  # noqa: T201 - figures for the reader
    return Pair(f"{folder.name} {request.param}", SIZES[folder.name], detector, bundle)


def images() -> list[Pixels]:
    folder = shared_file("ramp/output.manifest").parent / "images"
    paths = [*sorted(folder.iterdir())[5::26], shared_file("third_party/3898660.jpg")]
    return [np.asarray(cv2.imread(str(path)), dtype=np.uint8) for path in paths]


def as_input(pixels: Pixels, size: int) -> Pixels:
    """The middle square at the size of the input, which needs no scaling or padding."""
    height, width = pixels.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = pixels[top : top + side, left : left + side]
    return np.asarray(cv2.resize(square, (size, size), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def scaled(pixels: Pixels, size: int) -> Pixels:
    """The whole image, its longer side that of the input, which needs padding but no scaling."""
    factor = size / max(pixels.shape[:2])
    shape = (round(pixels.shape[1] * factor), round(pixels.shape[0] * factor))
    return np.asarray(cv2.resize(pixels, shape, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def untouched(pixels: Pixels, size: int) -> Pixels:
    """The whole image as from a camera."""
    del size
    return pixels


# From which overlap on two detections count as the same.
SAME = {"float32": 0.9, "int8": 0.5}


def test_heads_are_those_of_the_model(saved_model: tuple[Path, SavedModelDetector]) -> None:
    folder, detector = saved_model
    heads, architecture, _ = load_saved_model(folder, labels=None, input_size=None, fit=None)
    assert architecture == f"efficientdet-{folder.name}"
    for image in images():
        rgb = np.ascontiguousarray(as_input(image, heads.width)[..., ::-1])
        codes, scores = heads.run(heads.normalise(rgb))
        boxes, other_scores = detector.raw(rgb)
        assert np.ptp(other_scores) > 0.1
        decoded = heads.decode(codes)
        # Relative to the box where it is larger than the image, as some of a random network are.
        size = np.maximum(1.0, np.abs(boxes).max(axis=1, keepdims=True))
        score, box = np.abs(scores - other_scores).max(), (np.abs(decoded - boxes) / size).max()
        print(f"{folder.name}: {len(boxes)} anchors, scores differ by {score:.2e}, boxes by {box:.2e} at most")  # noqa: T201 - figures for the reader
        # Rounding that a chaotic network has made larger.
        assert score < 1e-3
        assert box < 1e-3


@pytest.mark.parametrize("prepare", [as_input, scaled, untouched])
def test_agent_and_saved_model_detect_the_same(pair: Pair, prepare: Callable[[Pixels, int], Pixels]) -> None:
    precision = pair.name.split()[1]
    same = SAME[precision]
    answers = [
        agreement(pair.saved_model, pair.bundle, prepare(image, pair.size), threshold=THRESHOLD, overlap=same)
        for image in images()
    ]
    wanted, found = sum(one.wanted for one in answers), sum(one.found for one in answers)
    worst = max(one.score_difference for one in answers)
    overlap = sum(one.mean_iou * one.found for one in answers) / max(1, found)
    print(  # noqa: T201 - figures for the reader
        f"{pair.name}, {prepare.__name__}: {found} of {wanted} found on {len(answers)} images with IoU above {same}, "
        f"scores differ by {worst:.5f} at most, IoU is {overlap:.4f} on average, "
        f"{min(one.smallest_iou for one in answers):.4f} at least"
    )
    assert wanted >= 20
    # A network of random weights is chaotic: other pixels, or other rounding, and it sees other things. So all but the
    # same network on the same pixels is for the reader to judge.
    if precision == "float32" and prepare is as_input:
        assert found >= 0.99 * wanted
        assert worst <= 1e-3
