"""Evaluation of detectors on labelled images: COCO metrics, operating points, errors, calibration."""

from beeagent_models.evaluation.calibration import PlattScaling, fit_platt, reliability_curve
from beeagent_models.evaluation.coco_metrics import MAX_DETECTIONS, ImageMatches, sizes_at_input
from beeagent_models.evaluation.measurement import (
    Evaluation,
    evaluate,
    measure,
    refuse_unrelated,
    refuse_without_boxes,
    scored_detections,
)
from beeagent_models.evaluation.operating_point import OperatingPoint, ThresholdChoice, choose_threshold
from beeagent_models.evaluation.recording import figures_of, threshold_of

__all__ = [
    "MAX_DETECTIONS",
    "Evaluation",
    "ImageMatches",
    "OperatingPoint",
    "PlattScaling",
    "ThresholdChoice",
    "choose_threshold",
    "evaluate",
    "figures_of",
    "fit_platt",
    "measure",
    "refuse_unrelated",
    "refuse_without_boxes",
    "reliability_curve",
    "scored_detections",
    "sizes_at_input",
    "threshold_of",
]
