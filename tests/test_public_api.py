"""Names and signatures of the public API. A change here needs a line in the changelog."""

import inspect
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import beeagent
import beeagent.detection
import pytest
from beeagent import (
    Agent,
    Detection,
    Detections,
    Detector,
    Frame,
    InputError,
    ModelBundle,
    Settings,
    open_camera,
)


def signature(function: Callable[..., Any]) -> str:
    """Return names, kinds and defaults of the parameters: how annotations are printed depends on the version."""
    found = inspect.signature(function)
    bare = [parameter.replace(annotation=inspect.Parameter.empty) for parameter in found.parameters.values()]
    return str(inspect.Signature(bare))


def members(of: type) -> set[str]:
    return {name for name in dir(of) if not name.startswith("_") and name not in dir(Exception)}


def test_names_are_pinned() -> None:
    assert beeagent.__all__ == [
        "Agent",
        "Detection",
        "Detections",
        "Detector",
        "Frame",
        "InputError",
        "ModelBundle",
        "Settings",
        "open_camera",
    ]
    assert set(beeagent.__all__) <= set(dir(beeagent))


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (
            Detector.load,
            "(model=None, *, labels=None, threshold=None, tiles=None, classes=None, threads=2)",
        ),
        (Detector, "(bundle, options=None)"),
        (Detector.detect, "(self, image, *, channels='bgr')"),
        (Detector.detect_stream, "(self, frames, *, max_inference_rate=None)"),
        (Detector.prepare, "(self, pixels, *, channels='bgr', regions=None)"),
        (Detector.infer, "(self, prepared, *, on_inference=None)"),
        (Detector.decode, "(self, raw, layout)"),
        (Detector.decode_regions, "(self, raw, layout, *, threshold=None)"),
        (Detection, "(label, confidence, box)"),
        (Detections, "(boxes, confidences, class_ids, labels)"),
        (Detections.at_least, "(self, confidence)"),
        (Detections.counts, "(self)"),
        (Detections.label, "(self, index)"),
        (Detections.to_supervision, "(self, frame_size)"),
        (Detections.xyxy, "(self, frame_size)"),
        (Frame, "(pixels, captured_at, captured_ns, index, name=None, position_s=None)"),
        (InputError, "(message)"),
        (ModelBundle, "(path, name, sha256, model, labels, input, threshold, manifest)"),
        (ModelBundle.load, "(model=None, *, labels=None)"),
        (open_camera, "(address, *, size=None, fps=None, max_rate=None, realtime=False)"),
    ],
    ids=lambda value: getattr(value, "__qualname__", ""),
)
def test_signatures_are_pinned(function: Callable[..., Any], expected: str) -> None:
    assert signature(function) == expected


@pytest.mark.parametrize(
    ("of", "expected"),
    [
        (Detection, {"label", "confidence", "box"}),
        (
            Detections,
            {"boxes", "confidences", "class_ids", "labels", "at_least", "counts", "label", "to_supervision", "xyxy"},
        ),
        (
            Detector,
            {
                "load",
                "detect",
                "detect_stream",
                "prepare",
                "infer",
                "decode",
                "decode_regions",
                "feed",
                "input_size",
                "interpreter",
            },
        ),
        (
            Frame,
            {"pixels", "captured_at", "captured_ns", "index", "name", "position_s", "width", "height", "size", "at_s"},
        ),
        (InputError, set()),
        (
            ModelBundle,
            {"path", "name", "sha256", "model", "labels", "input", "threshold", "manifest", "load", "identity"},
        ),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_members_are_pinned(of: type, expected: set[str]) -> None:
    assert members(of) == expected


def test_agent_runs_and_stops_with_settings() -> None:
    parameters = inspect.signature(Agent).parameters
    assert next(iter(parameters.values())).annotation is Settings
    assert {"run", "stop", "close"} <= members(Agent)


def test_import_loads_nothing_heavy() -> None:
    """The command line depends on it: it starts in a fraction of the time that NumPy and OpenCV take to load."""
    program = (
        "import sys; before = set(sys.modules); import beeagent; print(set(sys.modules) - before); "
        "from beeagent.detection import Detections; print('cv2' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["{'beeagent'}", "False"]


def test_version_matches_changelog_and_component_guide() -> None:
    root = Path(__file__).parents[1]
    newest = re.search(r"^## ([\d.]+) ", (root / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert newest is not None
    assert newest[1] == beeagent.__version__
    guide = (root / "deploy/greengrass/README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"io\.beeagent\.Agent[-=/](\d+\.\d+\.\d+)", guide)) == {beeagent.__version__}


@pytest.mark.parametrize("package", [beeagent, beeagent.detection], ids=lambda package: package.__name__)
def test_each_exported_name_exists_and_no_other(package: ModuleType) -> None:
    for name in package.__all__:
        assert getattr(package, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'detektor'"):
        _ = package.detektor
