"""From a frame's pixels to `Detections`: the model bundle, the TFLite detector and its transforms.

Nothing here knows of brokers or messages. The names in `__all__` are imported on first use, since most of their modules
import OpenCV.
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
    "DEFAULT_MODEL", "LABELS_FILE", "MANIFEST_FILE", "MODEL_FILE", "NO_TILES", "Box", "Detection", "Detections",
    "Detector", "DetectorOptions", "DetectorPool", "Fit", "FrameLayout", "InputSpec", "InputTransform", "Manifest",
    "Metrics", "ModelBundle", "PreparedFrame", "RawOutputs", "Region", "Reliability", "Threshold", "Tiling",
    "UncertaintyRange", "box_areas", "bundled_models", "default_model", "input_transform", "intersection_areas",
    "iou", "letterbox", "load_probed_bundle", "padding_value", "parse_tiling", "read_labels", "resolve_model",
    "resolve_tiling", "runtime_name", "uncertainty_range",
]  # fmt: skip

if not TYPE_CHECKING:  # else a type checker would accept any name
    # Those that need NumPy alone come first.
    _MODULES = (
        "detections", "boxes", "interpreter", "bundle", "transforms", "tiling", "uncertainty", "probe", "detector",
        "pool",
    )  # fmt: skip

    def __getattr__(name):  # noqa: ANN001, ANN202 - not seen by type checkers
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module  # noqa: PLC0415 - not at import

        modules = (vars(import_module(f"{__name__}.{module}")) for module in _MODULES)
        value = globals()[name] = next(names[name] for names in modules if name in names)
        return value

    def __dir__():  # noqa: ANN202 - likewise
        return sorted({*globals(), *__all__})
