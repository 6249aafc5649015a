"""From a frame's pixels to `Detections`: the model bundle, the TFLite detector and its transforms.

Nothing here knows of brokers or messages. The names below are imported when they are first used: what needs only the
form of detections does not load OpenCV.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from beeagent.detection.boxes import box_areas, intersection_areas, iou
    from beeagent.detection.bundle import (
        DEFAULT_MODEL,
        LABELS_FILE,
        MANIFEST_FILE,
        MODEL_FILE,
        InputSpec,
        Manifest,
        Metrics,
        ModelBundle,
        Reliability,
        Threshold,
        bundled_models,
        default_model,
        read_labels,
        resolve_model,
    )
    from beeagent.detection.detections import Box, Detection, Detections
    from beeagent.detection.detector import Detector, DetectorOptions, FrameLayout, PreparedFrame, RawOutputs
    from beeagent.detection.interpreter import runtime_name
    from beeagent.detection.pool import DetectorPool
    from beeagent.detection.probe import load_probed_bundle
    from beeagent.detection.tiling import NO_TILES, Region, Tiling, parse_tiling, resolve_tiling
    from beeagent.detection.transforms import Fit, InputTransform, input_transform, letterbox, padding_value
    from beeagent.detection.uncertainty import UncertaintyRange, uncertainty_range

__all__ = [
    "DEFAULT_MODEL",
    "LABELS_FILE",
    "MANIFEST_FILE",
    "MODEL_FILE",
    "NO_TILES",
    "Box",
    "Detection",
    "Detections",
    "Detector",
    "DetectorOptions",
    "DetectorPool",
    "Fit",
    "FrameLayout",
    "InputSpec",
    "InputTransform",
    "Manifest",
    "Metrics",
    "ModelBundle",
    "PreparedFrame",
    "RawOutputs",
    "Region",
    "Reliability",
    "Threshold",
    "Tiling",
    "UncertaintyRange",
    "box_areas",
    "bundled_models",
    "default_model",
    "input_transform",
    "intersection_areas",
    "iou",
    "letterbox",
    "load_probed_bundle",
    "padding_value",
    "parse_tiling",
    "read_labels",
    "resolve_model",
    "resolve_tiling",
    "runtime_name",
    "uncertainty_range",
]

if not TYPE_CHECKING:  # or a type checker would take any name for one of the package's
    _MODULES = {
        "boxes": ("box_areas", "intersection_areas", "iou"),
        "bundle": (
            "DEFAULT_MODEL", "LABELS_FILE", "MANIFEST_FILE", "MODEL_FILE", "InputSpec", "Manifest", "Metrics",
            "ModelBundle", "Reliability", "Threshold", "bundled_models", "default_model", "read_labels",
            "resolve_model",
        ),
        "detections": ("Box", "Detection", "Detections"),
        "detector": ("Detector", "DetectorOptions", "FrameLayout", "PreparedFrame", "RawOutputs"),
        "interpreter": ("runtime_name",),
        "pool": ("DetectorPool",),
        "probe": ("load_probed_bundle",),
        "tiling": ("NO_TILES", "Region", "Tiling", "parse_tiling", "resolve_tiling"),
        "transforms": ("Fit", "InputTransform", "input_transform", "letterbox", "padding_value"),
        "uncertainty": ("UncertaintyRange", "uncertainty_range"),
    }  # fmt: skip

    def __getattr__(name):  # noqa: ANN001, ANN202 - not seen by type checkers
        for module, names in _MODULES.items():
            if name in names:
                from importlib import import_module  # noqa: PLC0415 - not at import

                value = globals()[name] = getattr(import_module(f"{__name__}.{module}"), name)
                return value
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__():  # noqa: ANN202 - likewise
        return sorted({*globals(), *__all__})
