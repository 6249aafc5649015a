"""Calibration of confidences: reliability curve, expected calibration error, and Platt scaling."""

from dataclasses import dataclass

import numpy as np
from beeagent.detection import Reliability
from beeagent.errors import InputError
from numpy.typing import NDArray

_BINS = 20
"""Bins of 0.05: with a few hundred images, they are narrow enough and have enough detections."""


@dataclass(frozen=True, slots=True)
class ReliabilityCurve:
    """Precision at IoU 0.5 by confidence, in n bins of equal width from 0 to 1.

    Attributes:
        detections: int64, shape (n,): number of detections in each bin.
        right: int64, shape (n,): number of true positives in each bin.
        confidence: float64, shape (n,): sum of the confidences in each bin.
    """

    detections: NDArray[np.int64]
    right: NDArray[np.int64]
    confidence: NDArray[np.float64]

    @property
    def error(self) -> float | None:
        """Expected calibration error, 0 to 1; None without a detection.

        It is the absolute difference of mean confidence and precision in a bin, averaged over the detections: Guo et
        al., "On Calibration of Modern Neural Networks", ICML 2017; for detectors, with precision in place of accuracy,
        Küppers et al., "Multivariate Confidence Calibration for Object Detection", CVPR Workshops 2020.
        """
        total = int(self.detections.sum())
        return float(np.abs(self.confidence - self.right).sum()) / total if total else None

    def for_manifest(self) -> Reliability:
        """Return the counts as in a manifest."""
        return Reliability(detections=self.detections.tolist(), right=self.right.tolist())


def reliability_curve(
    confidences: NDArray[np.floating], right: NDArray[np.bool_], *, bins: int = _BINS
) -> ReliabilityCurve:
    """Count detections and true positives by confidence.

    Args:
        confidences: shape (n,), 0 to 1: confidences of all detections in all images, without a threshold.
        right: bool, shape (n,): True for true positives.
        bins: number of bins of equal width from 0 to 1, at least 2; a confidence of 1 is in the last bin.
    """
    values = confidences.astype(np.float64)
    indices = np.minimum((values * bins).astype(np.int64), bins - 1)
    return ReliabilityCurve(
        detections=np.bincount(indices, minlength=bins).astype(np.int64),
        right=np.bincount(indices[right], minlength=bins).astype(np.int64),
        confidence=np.bincount(indices, weights=values, minlength=bins).astype(np.float64),
    )


_ITERATIONS = 100
_EPSILON = 1e-6
"""Minimum distance of confidences from 0 and 1, so that their logits are finite."""


@dataclass(frozen=True, slots=True)
class PlattScaling:
    """`sigmoid(scale * logit + bias)` instead of `sigmoid(logit)`.

    Attributes:
        scale: factor above 0, so that the order of detections stays the same.
        bias: added to the scaled logit.
    """

    scale: float
    bias: float

    def apply(self, confidences: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the calibrated confidences, 0 to 1, of the same shape."""
        return _sigmoid(self.scale * _logit(confidences) + self.bias)


def fit_platt(confidences: NDArray[np.floating], right: NDArray[np.bool_]) -> PlattScaling:
    """Fit scale and bias by logistic regression: Newton's method with step halving, and Platt's targets.

    The detections must be of images that were not trained on, where precision is not optimistic.

    Args:
        confidences: shape (n,), 0 to 1: confidences of the detections, including low ones with their false positives.
        right: bool, shape (n,): True for true positives.

    Raises:
        InputError: all or none of the detections are true positives, or precision does not increase with confidence.
    """
    positives, negatives = int(right.sum()), int((~right).sum())
    if not positives or not negatives:
        raise InputError(
            f"confidence cannot be calibrated: {positives} of {len(right)} detections are true positives, but both "
            "true and false positives are needed; give more labelled images"
        )
    logits = _logit(confidences)
    # Instead of 1 and 0, so that the scale stays finite for separable detections (Platt, section 2.2).
    targets = np.where(right, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    parameters = np.array([0.0, np.log((positives + 1) / (negatives + 1))])
    features = np.stack([logits, np.ones_like(logits)], axis=1)
    loss = _loss(features @ parameters, targets)
    for _ in range(_ITERATIONS):
        predicted = _sigmoid(features @ parameters)
        gradient = features.T @ (predicted - targets)
        if np.abs(gradient).max() <= 1e-9 * len(right):
            break
        curvature = features.T @ (features * (predicted * (1 - predicted))[:, None]) + 1e-12 * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        size = 1.0
        while size > 1e-10 and _loss(features @ (parameters - size * step), targets) > loss:
            size /= 2
        parameters = parameters - size * step
        loss = _loss(features @ parameters, targets)
    scale, bias = (float(value) for value in parameters)
    if not scale > 0:
        raise InputError(
            "confidence cannot be calibrated: on these images, precision does not increase with confidence; give other "
            "labelled images, or train longer"
        )
    return PlattScaling(scale, bias)


def _loss(logits: NDArray[np.float64], targets: NDArray[np.float64]) -> float:
    """Return the cross entropy."""
    return float((np.logaddexp(0, logits) - targets * logits).sum())


def _logit(confidences: NDArray[np.floating]) -> NDArray[np.float64]:
    values = np.clip(confidences.astype(np.float64), _EPSILON, 1 - _EPSILON)
    return np.asarray(np.log(values) - np.log1p(-values))


def _sigmoid(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.exp(-np.logaddexp(0, -logits)))
