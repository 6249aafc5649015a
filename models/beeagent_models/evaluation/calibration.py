"""Whether confidence means precision, and Platt scaling, which makes it so."""

from dataclasses import dataclass

import numpy as np
from beeagent.detection import Reliability
from beeagent.errors import InputError
from numpy.typing import NDArray

_BINS = 20
"""An end of the uncertainty range is then known to 0.05, and a bin of a few hundred images holds more than chance."""


@dataclass(frozen=True, slots=True)
class ReliabilityCurve:
    """Confidence beside precision, at IoU 0.5. Of n bins of equal width from 0 to 1, bin i holds i/n up to (i + 1)/n.

    Attributes:
        detections: int64, shape (n,): number of detections in each bin.
        right: int64, shape (n,): how many of them matched an object.
        confidence: float64, shape (n,): sum of the confidences in each bin.
    """

    detections: NDArray[np.int64]
    right: NDArray[np.int64]
    confidence: NDArray[np.float64]

    @property
    def error(self) -> float | None:
        """Expected calibration error, 0 to 1; None without a detection.

        The mean difference of mean confidence and precision in a bin, weighted by its detections: Guo et al., "On
        Calibration of Modern Neural Networks", ICML 2017; for detection, where precision takes the place of accuracy,
        Küppers et al., "Multivariate Confidence Calibration for Object Detection", CVPR Workshops 2020.
        """
        total = int(self.detections.sum())
        return float(np.abs(self.confidence - self.right).sum()) / total if total else None

    def for_manifest(self) -> Reliability:
        """Return the counts as a manifest takes them."""
        return Reliability(detections=self.detections.tolist(), right=self.right.tolist())


def reliability_curve(
    confidences: NDArray[np.floating], right: NDArray[np.bool_], *, bins: int = _BINS
) -> ReliabilityCurve:
    """Count detections, and the right ones among them, by confidence.

    Args:
        confidences: shape (n,), 0 to 1, of all detections in all images, weak ones too.
        right: bool, shape (n,): whether the detection matched an object.
        bins: of equal width from 0 to 1, at least 2; a confidence of 1 belongs to the last.
    """
    values = confidences.astype(np.float64)
    places = np.minimum((values * bins).astype(np.int64), bins - 1)
    return ReliabilityCurve(
        detections=np.bincount(places, minlength=bins).astype(np.int64),
        right=np.bincount(places[right], minlength=bins).astype(np.int64),
        confidence=np.bincount(places, weights=values, minlength=bins).astype(np.float64),
    )


_ITERATIONS = 100
_TINY = 1e-6
"""Distance from 0 and 1 at which confidences are cut, so that their logits stay finite."""


@dataclass(frozen=True, slots=True)
class PlattScaling:
    """`sigmoid(scale * logit + bias)` instead of `sigmoid(logit)`.

    Attributes:
        scale: more than 0, so that the order of detections stays.
        bias: added to the scaled logit.
    """

    scale: float
    bias: float

    def apply(self, confidences: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the calibrated confidences, 0 to 1, of the same shape."""
        return _sigmoid(self.scale * _logit(confidences) + self.bias)


def fit_platt(confidences: NDArray[np.floating], right: NDArray[np.bool_]) -> PlattScaling:
    """Fit scale and bias by logistic regression: Newton's method with step halving, and Platt's targets.

    The detections must come from images that were not trained on: on those trained on, a network is right too often.

    Args:
        confidences: shape (n,), 0 to 1, of detections; weak ones too, for they show where the model is wrong.
        right: bool, shape (n,): whether the detection matched an object.

    Raises:
        InputError: nothing, or everything, is right, or confidence does not rise with precision.
    """
    positives, negatives = int(right.sum()), int((~right).sum())
    if not positives or not negatives:
        raise InputError(
            f"confidence cannot be calibrated: {positives} of {len(right)} detections are right, and both right and "
            "wrong ones are needed; give more labelled images"
        )
    logits = _logit(confidences)
    # Not 1 and 0, so that a few detections in perfect order do not lead to an infinite scale (Platt, section 2.2).
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
            "confidence cannot be calibrated: on these images, detections of higher confidence are not right more often"
        )
    return PlattScaling(scale, bias)


def _loss(logits: NDArray[np.float64], targets: NDArray[np.float64]) -> float:
    """Return the cross entropy."""
    return float((np.logaddexp(0, logits) - targets * logits).sum())


def _logit(confidences: NDArray[np.floating]) -> NDArray[np.float64]:
    values = np.clip(confidences.astype(np.float64), _TINY, 1 - _TINY)
    return np.asarray(np.log(values) - np.log1p(-values))


def _sigmoid(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.exp(-np.logaddexp(0, -logits)))
