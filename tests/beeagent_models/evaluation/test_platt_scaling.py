import math

import numpy as np
import pytest
from beeagent.errors import InputError
from beeagent_models.evaluation.calibration import PlattScaling, fit_platt, reliability_curve
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

scales, biases, seeds = st.floats(0.3, 3), st.floats(-2, 2), st.integers(0, 1_000_000)


def sigmoid(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-logits)))


def drawn(
    scale: float, bias: float, seed: int, *, count: int = 20_000
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Draw confidences of a model, and whether its detections are right, so that `scale` and `bias` calibrate it."""
    rng = np.random.default_rng(seed)
    logits = rng.uniform(-4, 4, count)
    right = rng.uniform(size=count) < sigmoid(scale * logits + bias)
    return sigmoid(logits).astype(np.float32), right


@settings(max_examples=25, deadline=None)
@given(scales, biases, seeds)
def test_the_scaling_that_made_the_detections_is_found(scale: float, bias: float, seed: int) -> None:
    fitted = fit_platt(*drawn(scale, bias, seed))
    # Five standard errors or more, at any scale and bias drawn.
    assert fitted.scale == pytest.approx(scale, abs=0.06 + 0.08 * scale)
    assert fitted.bias == pytest.approx(bias, abs=0.15 + 0.08 * scale)


@settings(max_examples=25, deadline=None)
@given(scales, biases, seeds)
def test_calibrated_confidence_is_precision(scale: float, bias: float, seed: int) -> None:
    confidences, right = drawn(scale, bias, seed)
    calibrated = fit_platt(confidences, right).apply(confidences)
    # The mean of all is exact where logistic regression is at its minimum; Platt's targets shift it by 1 in n.
    assert calibrated.mean() == pytest.approx(right.mean(), abs=1e-3)
    error = reliability_curve(calibrated, right).error
    assert error is not None
    assert error < 0.025
    # Detections keep their order.
    order = np.argsort(confidences, kind="stable")
    assert (np.diff(calibrated[order]) >= 0).all()


@settings(max_examples=25, deadline=None)
@given(scales, biases, seeds)
def test_a_calibrated_model_stays_as_it_is(scale: float, bias: float, seed: int) -> None:
    confidences, right = drawn(scale, bias, seed)
    again = fit_platt(fit_platt(confidences, right).apply(confidences), right)
    assert (again.scale, again.bias) == pytest.approx((1, 0), abs=2e-2)


def test_scaling_worked_out_by_hand() -> None:
    scaling = PlattScaling(scale=2, bias=-1)
    logit = math.log(0.8 / 0.2)
    assert scaling.apply(np.array([0.8])) == pytest.approx([1 / (1 + math.exp(1 - 2 * logit))])
    assert PlattScaling(1, 0).apply(np.array([0.0, 0.25, 1.0])) == pytest.approx([0, 0.25, 1], abs=1e-5)


def test_a_few_detections_in_perfect_order_do_not_lead_to_certainty() -> None:
    fitted = fit_platt(np.array([0.9, 0.8, 0.3, 0.2]), np.array([True, True, False, False]))
    assert math.isfinite(fitted.scale)
    assert fitted.apply(np.array([0.9]))[0] < 0.9


@pytest.mark.parametrize("right", [[True] * 4, [False] * 4, []])
def test_right_and_wrong_detections_are_needed(right: list[bool]) -> None:
    with pytest.raises(InputError, match=f"{sum(right)} of {len(right)} detections are true positives"):
        fit_platt(np.linspace(0.1, 0.9, len(right)), np.array(right, np.bool_))


def test_confidence_that_falls_with_precision_is_refused() -> None:
    with pytest.raises(InputError, match="precision does not increase with confidence"):
        fit_platt(np.array([0.9, 0.8, 0.3, 0.2]), np.array([False, False, True, True]))
