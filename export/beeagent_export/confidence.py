"""Calibration of confidence before an export: fitted to what the source finds in images it was not trained on."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from beeagent_models.datasets import Dataset
from beeagent_models.evaluation import PlattScaling, ThresholdChoice, fit_platt, reliability_curve, scored_detections

from beeagent_export.conversion import Precision, convert_heads
from beeagent_export.heads import RawHeads
from beeagent_export.measurement import measure_model
from beeagent_export.options import ExportOptions
from beeagent_export.postprocess import append_postprocess

_MIN_SCORE = 0.01
"""From which confidence on detections are fitted: below, there are thousands of no consequence in each image."""


@dataclass(frozen=True, slots=True)
class ConfidenceCalibration:
    """How confidence was calibrated.

    Attributes:
        scaling: of the class logits.
        dataset: name of the data.
        images: how many.
        detections: how many, of confidence 0.01 or more.
        error_before: expected calibration error, 0 to 1.
        error_after: with the scaling applied, on the same detections.
    """

    scaling: PlattScaling
    dataset: str
    images: int
    detections: int
    error_before: float
    error_after: float

    def to_json(self) -> dict[str, Any]:
        """Return what the manifest says of it."""
        return {
            "scale": round(self.scaling.scale, 6),
            "bias": round(self.scaling.bias, 6),
            "dataset": self.dataset,
            "images": self.images,
            "detections": self.detections,
            "expected_calibration_error_before": round(self.error_before, 4),
            "expected_calibration_error_after": round(self.error_after, 4),
        }

    def in_words(self) -> str:
        """Return a line for the user."""
        return (
            f"confidence calibrated on {self.dataset}: {self.images} images, {self.detections} detections; "
            f"class logits times {self.scaling.scale:.3f} plus {self.scaling.bias:.3f}; "
            f"expected calibration error {self.error_before:.3f} before, {self.error_after:.3f} after"
        )


def calibrate_confidence(
    heads: RawHeads, options: ExportOptions, data: Dataset, *, step: Callable[[], object]
) -> ConfidenceCalibration:
    """Fit scale and bias of the class logits to what the float source finds.

    Args:
        heads: the source.
        options: of the export.
        data: labelled images that were not trained on.
        step: called after each of them.

    Raises:
        InputError: confidence cannot be calibrated on these images.
    """
    postprocess = replace(options.postprocess, score_threshold=min(_MIN_SCORE, options.postprocess.score_threshold))
    model = append_postprocess(convert_heads(heads, precision=Precision.FLOAT32), heads, postprocess)
    any_choice = replace(options, choice=ThresholdChoice())
    evaluation = measure_model(model, heads, any_choice, shown=(), validation=data, step=step).evaluation
    if evaluation is None:
        raise RuntimeError("labelled images were given, but not measured")
    confidences, right = scored_detections(evaluation.found, evaluation.metrics.matches)
    scaling = fit_platt(confidences, right)
    before = reliability_curve(confidences, right).error
    after = reliability_curve(scaling.apply(confidences), right).error
    return ConfidenceCalibration(
        scaling=scaling,
        dataset=data.name,
        images=len(data.images),
        detections=len(confidences),
        error_before=before or 0.0,
        error_after=after or 0.0,
    )
