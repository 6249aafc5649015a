"""Measuring detectors on labelled images: COCO metrics, operating points, errors, calibration."""

from typing import TYPE_CHECKING

from beeagent import lazy_exports

if TYPE_CHECKING:
    from beeagent_models.evaluation.calibration import PlattScaling, fit_platt, reliability_curve
    from beeagent_models.evaluation.coco_metrics import MAX_DETECTIONS, ImageMatches, sizes_at_input
    from beeagent_models.evaluation.command import EvaluationOptions, run_evaluation
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
else:  # a type checker would accept any name
    __getattr__ = lazy_exports(
        __name__,
        {
            "calibration": ("PlattScaling", "fit_platt", "reliability_curve"),
            "coco_metrics": ("ImageMatches", "MAX_DETECTIONS", "sizes_at_input"),
            "command": ("EvaluationOptions", "run_evaluation"),
            "measurement": (
                "Evaluation",
                "evaluate",
                "measure",
                "refuse_unrelated",
                "refuse_without_boxes",
                "scored_detections",
            ),
            "operating_point": ("OperatingPoint", "ThresholdChoice", "choose_threshold"),
            "recording": ("figures_of", "threshold_of"),
        },
    )

__all__ = [
    "MAX_DETECTIONS",
    "Evaluation",
    "EvaluationOptions",
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
    "run_evaluation",
    "scored_detections",
    "sizes_at_input",
    "threshold_of",
]
