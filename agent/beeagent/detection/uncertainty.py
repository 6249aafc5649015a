"""Of which frames a model is unsure."""

from dataclasses import dataclass

import numpy as np

from beeagent.detection.bundle import ModelBundle, Reliability
from beeagent.detection.detections import Detections
from beeagent.errors import InputError

_ALMOST_NEVER = 0.1
_ALMOST_ALWAYS = 0.9


@dataclass(frozen=True, slots=True)
class Band:
    """The confidences, 0 to 1, at which a detection may be right or wrong.

    Attributes:
        low: below, a detection is almost always wrong.
        high: above, it is almost always right.

    Raises:
        InputError: not 0 <= low <= high <= 1.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        if not 0 <= self.low <= self.high <= 1:
            raise InputError(
                f"unsure_low is {self.low:g} and unsure_high {self.high:g}: give 0 <= unsure_low <= unsure_high <= 1"
            )

    def holds(self, detections: Detections) -> bool:
        """Say whether a frame is unsure: a detection's confidence lies in the band, its ends included.

        The detections must reach down to `low`: where the threshold from which a detection counts is higher, the
        detector has to be run with `low` as its threshold, and what is published cut by `Detections.from_confidence`.
        """
        # The ends in the confidences' own type: 0.3 from the settings and 0.3 from the model are the same.
        low, high = np.float32(self.low), np.float32(self.high)
        return bool(np.any((detections.confidences >= low) & (detections.confidences <= high)))


def chosen_band(bundle: ModelBundle, *, threshold: float, low: float | None = None, high: float | None = None) -> Band:
    """Choose the band: what is given, and for what is not, what the bundle's validation shows.

    A bundle whose manifest tells how often detections were right (`Metrics.reliability`, of the split `validation`)
    gives `band_of_reliability`. Without that, the band reaches from the threshold half of the way down to 0 and half
    of the way up to 1, for on both sides of the threshold the model is least sure, and no more is known.

    Args:
        bundle: the model.
        threshold: confidence from which a detection counts, 0 to 1.
        low: what the user set; None for the default.
        high: likewise.

    Raises:
        InputError: low is above high.
    """
    curves = [m.reliability for m in (bundle.manifest.metrics if bundle.manifest else ()) if m.split == "validation"]
    curve = next((curve for curve in curves if curve is not None), None)
    default = Band(threshold / 2, (1 + threshold) / 2) if curve is None else band_of_reliability(curve)
    if low is None:
        low = default.low if high is None else min(default.low, high)
    if high is None:
        high = max(default.high, low)
    return Band(low, high)


def band_of_reliability(curve: Reliability) -> Band:
    """Find the band in how often detections of each confidence were right.

    The share of right detections is first made to rise with confidence (isotonic regression, weighted by the number
    of detections), so that a bin of three detections does not decide. `low` is then the upper edge of the last bin
    with a share of 0.1 at most, `high` the lower edge of the first with 0.9 at least. Where no bin is almost always
    wrong, the band begins with the first bin that has detections; where none is almost always right, it ends at 1.
    """
    count = len(curve.detections)
    filled = [i for i in range(count) if curve.detections[i]]
    if not filled:
        return Band(0.0, 1.0)
    shares = _rising_shares([(curve.right[i], curve.detections[i]) for i in filled])
    wrong = [i for i, share in zip(filled, shares, strict=True) if share <= _ALMOST_NEVER]
    right = [i for i, share in zip(filled, shares, strict=True) if share >= _ALMOST_ALWAYS]
    low = (wrong[-1] + 1) / count if wrong else filled[0] / count
    high = right[0] / count if right else 1.0
    return Band(min(low, high), high)


def _rising_shares(bins: list[tuple[int, int]]) -> list[float]:
    """Pool neighbours that violate the order, until the shares rise. Each bin is (right, of how many)."""
    blocks: list[tuple[int, int, int]] = []  # right, of how many, in how many bins
    for right, number in bins:
        block = (right, number, 1)
        while blocks and blocks[-1][0] * block[1] >= block[0] * blocks[-1][1]:
            before = blocks.pop()
            block = (before[0] + block[0], before[1] + block[1], before[2] + block[2])
        blocks.append(block)
    return [right / number for right, number, width in blocks for _ in range(width)]
