from pathlib import Path

import numpy as np
import pytest
from beeagent.detection.bundle import InputSpec, Manifest, Metrics, ModelBundle, Reliability, Threshold
from beeagent.detection.detections import Detections
from beeagent.detection.geometry import Fit
from beeagent.detection.uncertainty import Band, band_of_reliability, chosen_band
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
def test_a_frame_is_unsure_when_a_confidence_lies_in_the_band(confidences: tuple[float, ...], unsure: bool) -> None:  # noqa: FBT001
    assert Band(0.3, 0.7).holds(detections(*confidences)) == unsure


def test_the_band_begins_and_ends_where_detections_are_almost_always_wrong_and_right() -> None:
    band = chosen_band(bundle(CURVE), threshold=0.4)
    assert (band.low, band.high) == (0.3, 0.8)


def test_what_is_set_comes_before_what_was_measured() -> None:
    assert chosen_band(bundle(CURVE), threshold=0.4, low=0.2) == Band(0.2, 0.8)
    assert chosen_band(bundle(CURVE), threshold=0.4, high=0.6) == Band(0.3, 0.6)
    assert chosen_band(bundle(CURVE), threshold=0.4, low=0.9) == Band(0.9, 0.9)
    with pytest.raises(InputError, match=r"unsure_low is 0\.5 and unsure_high 0\.4"):
        chosen_band(bundle(CURVE), threshold=0.4, low=0.5, high=0.4)


@pytest.mark.parametrize("unknowing", [bundle(None), bundle(CURVE, split="training")])
def test_without_a_validation_curve_the_band_lies_around_the_threshold(unknowing: ModelBundle) -> None:
    band = chosen_band(unknowing, threshold=0.4)
    assert (band.low, band.high) == (0.2, 0.7)


def test_a_bin_of_few_detections_does_not_decide() -> None:
    # By itself, the bin from 0.3 would be almost always right, and that from 0.8 almost never.
    curve = Reliability(
        detections=[100, 100, 100, 1, 100, 100, 100, 100, 2, 200], right=[1] * 3 + [1] + [50] * 4 + [0, 199]
    )
    band = band_of_reliability(curve)
    assert band == Band(0.3, 0.9)


def test_no_detections_leave_every_confidence_unsure() -> None:
    assert band_of_reliability(Reliability(detections=[0] * 10, right=[0] * 10)) == Band(0.0, 1.0)


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=2, max_size=40))
def test_every_curve_gives_a_band(bins: list[tuple[int, int]]) -> None:
    curve = Reliability(detections=[max(b) for b in bins], right=[min(b) for b in bins])
    band = band_of_reliability(curve)
    assert 0 <= band.low <= band.high <= 1


def test_a_curve_that_does_not_fit_together_is_refused() -> None:
    for right in ([1, 3], [1]):
        with pytest.raises(ValidationError, match="each bin"):
            Reliability(detections=[2, 2], right=right)


def test_detections_are_cut_at_a_confidence() -> None:
    assert detections(0.9, 0.4, 0.3).from_confidence(0.4).confidences.tolist() == pytest.approx([0.9, 0.4])
