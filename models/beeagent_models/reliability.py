"""Whether confidence means precision: how often detections of each confidence are right."""

from dataclasses import dataclass

import numpy as np
from beeagent.detection import Reliability
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
