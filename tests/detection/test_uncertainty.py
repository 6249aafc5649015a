from pathlib import Path

import numpy as np
import pytest
from beeagent.detection import (
    Detections,
    Fit,
    InputSpec,
    Manifest,
    Metrics,
    ModelBundle,
    Reliability,
    Threshold,
    UncertaintyRange,
    uncertainty_range,
)
from beeagent.detection.uncertainty import range_from_reliability
from beeagent.errors import InputError
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError


def detections(*confidences: float) -> Detections:
    count = len(confidences)
    return Detections(
        np.zeros((count, 4), np.float32), np.array(confidences, np.float32), np.zeros(count, np.int64), ("bee",)
    )


def bundle(reliability: Reliability | None, *, split: str = "validation") -> ModelBundle:
    manifest = Manifest(
        schema="beeagent.bundle/1",
        name="bees",
        version="1",
        licence="Apache-2.0",
        files={},
        input=InputSpec(width=320, height=320, fit=Fit.LETTERBOX),
        labels=["bee"],
        threshold=Threshold(value=0.4, chosen_by="test"),
        metrics=[
            Metrics(
                dataset="hive", split=split, ap=0.1, ap50=0.4, precision=0.6, recall=0.4, threshold=0.4,
                reliability=reliability,
            )
        ],
    )  # fmt: skip
    return ModelBundle(Path(), "bees", "0" * 64, b"", ("bee",), manifest.input, 0.4, manifest)


CURVE = Reliability(
    detections=[1000, 400, 100, 50, 40, 40, 30, 30, 50, 60], right=[5, 12, 9, 12, 20, 26, 22, 26, 46, 60]
)


@pytest.mark.parametrize(
    ("confidences", "unsure"),
    [((), False), ((0.9,), False), ((0.1,), False), ((0.9, 0.5, 0.1), True), ((0.3,), True), ((0.7,), True)],
)
def test_a_frame_is_unsure_if_a_confidence_is_in_the_range(confidences: tuple[float, ...], unsure: bool) -> None:  # noqa: FBT001
    assert UncertaintyRange(0.3, 0.7).contains_any(detections(*confidences)) == unsure


def test_range_excludes_almost_certain_confidences() -> None:
    unsure = uncertainty_range(bundle(CURVE), threshold=0.4)
    assert (unsure.low, unsure.high) == (0.3, 0.8)


def test_settings_come_before_the_validation() -> None:
    assert uncertainty_range(bundle(CURVE), threshold=0.4, low=0.2) == UncertaintyRange(0.2, 0.8)
    assert uncertainty_range(bundle(CURVE), threshold=0.4, high=0.6) == UncertaintyRange(0.3, 0.6)
    assert uncertainty_range(bundle(CURVE), threshold=0.4, low=0.9) == UncertaintyRange(0.9, 0.9)
    with pytest.raises(InputError, match=r"unsure_low is 0\.5 and unsure_high 0\.4"):
        uncertainty_range(bundle(CURVE), threshold=0.4, low=0.5, high=0.4)


@pytest.mark.parametrize("bundle_without", [bundle(None), bundle(CURVE, split="training")])
def test_without_a_validation_curve_the_range_is_around_the_threshold(bundle_without: ModelBundle) -> None:
    unsure = uncertainty_range(bundle_without, threshold=0.4)
    assert (unsure.low, unsure.high) == (0.2, 0.7)


def test_a_bin_of_few_detections_does_not_decide() -> None:
    # By itself, the bin from 0.3 would be almost always right, and that from 0.8 almost never.
    curve = Reliability(
        detections=[100, 100, 100, 1, 100, 100, 100, 100, 2, 200], right=[1] * 3 + [1] + [50] * 4 + [0, 199]
    )
    unsure = range_from_reliability(curve)
    assert unsure == UncertaintyRange(0.3, 0.9)


def test_no_detections_leave_every_confidence_unsure() -> None:
    assert range_from_reliability(Reliability(detections=[0] * 10, right=[0] * 10)) == UncertaintyRange(0.0, 1.0)


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=2, max_size=40))
def test_every_curve_has_a_range(bins: list[tuple[int, int]]) -> None:
    curve = Reliability(detections=[max(b) for b in bins], right=[min(b) for b in bins])
    unsure = range_from_reliability(curve)
    assert 0 <= unsure.low <= unsure.high <= 1


def test_a_curve_of_unequal_bins_is_refused() -> None:
    for right in ([1, 3], [1]):
        with pytest.raises(ValidationError, match="each bin"):
            Reliability(detections=[2, 2], right=right)


def test_at_least_keeps_detections_from_a_confidence_on() -> None:
    assert detections(0.9, 0.4, 0.3).at_least(0.4).confidences.tolist() == pytest.approx([0.9, 0.4])
