"""The uncertainty range: the confidences at which a model's detections may be right or wrong."""

from dataclasses import dataclass

import numpy as np

from beeagent.detection.bundle import ModelBundle, Reliability
from beeagent.detection.detections import Detections
from beeagent.errors import InputError

_ALMOST_ALWAYS_WRONG = 0.1
_ALMOST_ALWAYS_RIGHT = 0.9


@dataclass(frozen=True, slots=True)
class UncertaintyRange:
    """The confidences, 0 to 1, at which a detection may be right or wrong.

    Attributes:
        low: lower end; below it, a detection is almost always wrong.
        high: upper end; above it, a detection is almost always right.

    Raises:
        InputError: not 0 <= low <= high <= 1.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        if not 0 <= self.low <= self.high <= 1:
            raise InputError(
                f"unsure_low is {self.low:g} and unsure_high {self.high:g}: set 0 <= unsure_low <= unsure_high <= 1"
            )

    def contains_any(self, detections: Detections) -> bool:
        """Return True if the confidence of any detection is in the range, including both ends.

        The detections must include those down to `low`: if the threshold is higher, run the detector with the threshold
        `low`, and filter the published detections with `Detections.at_least`.
        """
        # Compare in the type of the confidences, so that 0.3 in the settings equals 0.3 from the model.
        low, high = np.float32(self.low), np.float32(self.high)
        return bool(np.any((detections.confidences >= low) & (detections.confidences <= high)))


def uncertainty_range(
    bundle: ModelBundle, *, threshold: float, low: float | None = None, high: float | None = None
) -> UncertaintyRange:
    """Return the uncertainty range of a model.

    Ends that are not set are derived from the reliability of the split `validation` (`Metrics.reliability`; see
    `range_from_reliability`). If the bundle has none, the range extends from the threshold half of the way to 0 and to
    1, since the model is least sure near the threshold.

    Args:
        bundle: the model.
        threshold: minimum confidence of a detection, 0 to 1.
        low: low end set by the user; None for the default.
        high: high end set by the user; None for the default.

    Raises:
        InputError: `low` is above `high`, or an end is not within 0 to 1.
    """
    curves = [m.reliability for m in (bundle.manifest.metrics if bundle.manifest else ()) if m.split == "validation"]
    curve = next((curve for curve in curves if curve is not None), None)
    default = UncertaintyRange(threshold / 2, (1 + threshold) / 2) if curve is None else range_from_reliability(curve)
    if low is None:
        low = default.low if high is None else min(default.low, high)
    if high is None:
        high = max(default.high, low)
    return UncertaintyRange(low, high)


def range_from_reliability(curve: Reliability) -> UncertaintyRange:
    """Derive the range from the number of correct detections at each confidence.

    Isotonic regression, weighted by the number of detections, first makes the ratio of correct detections rise with the
    confidence, so that a bin with few detections has little influence. `low` is then the upper edge of the last bin
    with a ratio of at most 0.1, `high` the lower edge of the first with at least 0.9. If no bin has a ratio of at most
    0.1, the range begins at the first bin with detections; if none has at least 0.9, it ends at 1.
    """
    count = len(curve.detections)
    filled = [i for i in range(count) if curve.detections[i]]
    if not filled:
        return UncertaintyRange(0.0, 1.0)
    ratios = _rising_ratios([(curve.right[i], curve.detections[i]) for i in filled])
    wrong = [i for i, ratio in zip(filled, ratios, strict=True) if ratio <= _ALMOST_ALWAYS_WRONG]
    right = [i for i, ratio in zip(filled, ratios, strict=True) if ratio >= _ALMOST_ALWAYS_RIGHT]
    low = (wrong[-1] + 1) / count if wrong else filled[0] / count
    high = right[0] / count if right else 1.0
    return UncertaintyRange(min(low, high), high)


def _rising_ratios(bins: list[tuple[int, int]]) -> list[float]:
    """Pool adjacent violators until the ratios rise. Each bin is (right, total)."""
    blocks: list[tuple[int, int, int]] = []  # right, total, number of bins
    for right, total in bins:
        block = (right, total, 1)
        while blocks and blocks[-1][0] * block[1] >= block[0] * blocks[-1][1]:
            before = blocks.pop()
            block = (before[0] + block[0], before[1] + block[1], before[2] + block[2])
        blocks.append(block)
    return [right / total for right, total, width in blocks for _ in range(width)]
