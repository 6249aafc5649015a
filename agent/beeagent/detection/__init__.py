"""Object detection: model bundles, the TFLite detector, tiles and regions.

This package does not depend on messages or transports. The names in `__all__` are imported on first use, since most of
their modules import OpenCV.
"""

from typing import TYPE_CHECKING

from beeagent import lazy_exports

if TYPE_CHECKING:
    from beeagent.detection.advice import (
        ModelAdvice,
        ModelMeasurement,
        advise,
        input_scale,
        measure_models,
        size_advice,
    )
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
    from beeagent.detection.masks import NO_MASKS, Masks, inside_polygon
    from beeagent.detection.pool import DetectorPool
    from beeagent.detection.probe import load_probed_bundle
    from beeagent.detection.regions import RegionOptions
    from beeagent.detection.tiling import NO_TILES, Region, Tiling, parse_tiling, resolve_tiling
    from beeagent.detection.transforms import Fit, InputTransform, input_transform, letterbox, padding_value
    from beeagent.detection.uncertainty import UncertaintyRange, uncertainty_range
else:  # `__getattr__` would make a type checker accept any name
    __getattr__ = lazy_exports(
        __name__,
        {
            "advice": ("ModelAdvice", "ModelMeasurement", "advise", "input_scale", "measure_models", "size_advice"),
            "boxes": ("box_areas", "intersection_areas", "iou"),
            "bundle": (
                "DEFAULT_MODEL",
                "LABELS_FILE",
                "MANIFEST_FILE",
                "MODEL_FILE",
                "InputSpec",
                "Manifest",
                "Metrics",
                "ModelBundle",
                "Reliability",
                "Threshold",
                "bundled_models",
                "default_model",
                "read_labels",
                "resolve_model",
            ),
            "detections": ("Box", "Detection", "Detections"),
            "detector": ("Detector", "DetectorOptions", "FrameLayout", "PreparedFrame", "RawOutputs"),
            "interpreter": ("runtime_name",),
            "masks": ("NO_MASKS", "Masks", "inside_polygon"),
            "pool": ("DetectorPool",),
            "probe": ("load_probed_bundle",),
            "regions": ("RegionOptions",),
            "tiling": ("NO_TILES", "Region", "Tiling", "parse_tiling", "resolve_tiling"),
            "transforms": ("Fit", "InputTransform", "input_transform", "letterbox", "padding_value"),
            "uncertainty": ("UncertaintyRange", "uncertainty_range"),
        },
    )

__all__ = [
    "DEFAULT_MODEL", "LABELS_FILE", "MANIFEST_FILE", "MODEL_FILE", "NO_MASKS", "NO_TILES", "Box", "Detection",
    "Detections", "Detector", "DetectorOptions", "DetectorPool", "Fit", "FrameLayout", "InputSpec", "InputTransform",
    "Manifest", "Masks", "Metrics", "ModelAdvice", "ModelBundle", "ModelMeasurement", "PreparedFrame", "RawOutputs",
    "Region", "RegionOptions", "Reliability", "Threshold", "Tiling", "UncertaintyRange", "advise", "box_areas",
    "bundled_models", "default_model", "input_scale", "input_transform", "inside_polygon", "intersection_areas", "iou",
    "letterbox", "load_probed_bundle", "measure_models", "padding_value", "parse_tiling", "read_labels",
    "resolve_model", "resolve_tiling", "runtime_name", "size_advice", "uncertainty_range",
]  # fmt: skip
