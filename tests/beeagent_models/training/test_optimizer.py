import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

keras = pytest.importorskip("keras")

from beeagent_models.efficientdet.backbone import backbone_layers  # noqa: E402 - only where Keras is
from beeagent_models.efficientdet.config import config_for  # noqa: E402 - likewise
from beeagent_models.efficientdet.model import build_model  # noqa: E402 - likewise
from beeagent_models.training.optimizer import (  # noqa: E402 - likewise
    MuonAdamW,
    build_optimizer,
    learning_rate,
    orthogonalise,
)
from beeagent_models.training.options import TrainingOptions  # noqa: E402 - likewise

pytestmark = pytest.mark.training


def options(**changes: object) -> TrainingOptions:
    return TrainingOptions(sets=(), labels=("bee",), out=Path("run"), **changes)  # type: ignore[arg-type]  # any of them


def array(variable: object) -> NDArray[np.float32]:
    return np.asarray(keras.ops.convert_to_numpy(variable))


@settings(deadline=None, max_examples=30)
@given(
    sides=st.sampled_from([(8, 8), (8, 64), (64, 8), (64, 88), (112, 64)]),
    scale=st.floats(1e-4, 1e4),
    seed=st.integers(0, 1000),
)
def test_orthogonalising_brings_singular_values_near_one_and_keeps_directions(
    sides: tuple[int, int], scale: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    left, _ = np.linalg.qr(rng.normal(size=(sides[0], min(sides))))
    right, _ = np.linalg.qr(rng.normal(size=(sides[1], min(sides))))
    values = rng.uniform(0.1, 1, min(sides))
    matrix = (scale * (left * values) @ right.T).astype(np.float32)
    found = array(orthogonalise(keras.ops.convert_to_tensor(matrix)))
    assert found.shape == sides
    singular = np.linalg.svd(found, compute_uv=False)
    assert singular.min() > 0.6
    assert singular.max() < 1.3
    # The same singular vectors: it is diagonal between them.
    inner = left.T @ found @ right
    np.testing.assert_allclose(inner - np.diag(np.diag(inner)), 0, atol=0.02)


def test_muon_takes_the_matrices_of_pyramid_and_heads_alone() -> None:
    network = build_model(config_for("lite0", labels=("bee",)))
    optimizer = build_optimizer(network, options(backbone_factor=0.3))
    backbone = {weight.path for layer in backbone_layers(network) for weight in layer.weights}
    paths = {variable.path: variable for variable in network.trainable_variables}
    muon = optimizer._muon_paths
    assert muon
    assert muon.isdisjoint(backbone)
    for path in muon:
        assert tuple(paths[path].shape)[:2] == (1, 1)
        assert min(tuple(paths[path].shape)[2:]) >= 8
        assert "_predict" not in path
    rest = [v for path, v in paths.items() if path not in muon and path not in backbone and len(v.shape) == 4]
    assert any("_predict" in variable.path for variable in rest)
    # What is left are depthwise kernels and the predicting layers.
    assert all("_predict" in v.path or tuple(v.shape)[:2] != (1, 1) for v in rest)
    assert optimizer._factors == dict.fromkeys(backbone, 0.3)


def variables(**shapes: tuple[int, ...]) -> list[object]:
    rng = np.random.default_rng(0)
    return [keras.Variable(rng.normal(size=shape).astype(np.float32), name=name) for name, shape in shapes.items()]


def test_muon_step_is_orthogonal_and_adam_step_is_scaled() -> None:
    matrix, vector, slow = trained = variables(matrix=(1, 1, 16, 32), vector=(5,), slow=(5,))
    before = [array(variable).copy() for variable in trained]
    optimizer = MuonAdamW(muon_paths=frozenset({matrix.path}), factors={slow.path: 0.25}, decay=0.0, learning_rate=0.01)
    optimizer.build(trained)
    rng = np.random.default_rng(1)
    gradients = [keras.ops.convert_to_tensor(rng.normal(size=value.shape).astype(np.float32)) for value in before]
    optimizer.apply(gradients, trained)
    step = (before[0] - array(matrix)).reshape(16, 32)
    singular = np.linalg.svd(step, compute_uv=False) / (0.01 * math.sqrt(2))
    assert singular.min() > 0.3
    assert singular.max() < 1.3
    # The first step of Adam has the sign of the gradient and the size of the rate.
    np.testing.assert_allclose(before[1] - array(vector), 0.001 * np.sign(array(gradients[1])), rtol=1e-3)
    np.testing.assert_allclose(before[2] - array(slow), 0.00025 * np.sign(array(gradients[2])), rtol=1e-3)


def test_decay_takes_its_share_off_kernels_and_leaves_biases() -> None:
    kernel, bias = trained = variables(kernel=(3, 3, 4, 1), bias=(4,))
    before = [array(variable).copy() for variable in trained]
    optimizer = MuonAdamW(muon_paths=frozenset(), factors={}, decay=0.5, learning_rate=1.0)
    optimizer.build(trained)
    optimizer.apply([keras.ops.zeros_like(variable) for variable in trained], trained)
    np.testing.assert_allclose(array(kernel), before[0] * (1 - 0.1 * 0.5), rtol=1e-5)
    np.testing.assert_array_equal(array(bias), before[1])


def test_the_average_covers_a_twentieth_of_the_steps_so_far() -> None:
    (counter,) = trained = [keras.Variable(np.zeros(1, np.float32), name="counter")]
    optimizer = MuonAdamW(muon_paths=frozenset(), factors={}, decay=0.0, learning_rate=1.0)
    optimizer.build(trained)
    for step in range(1, 401):
        optimizer.apply([-keras.ops.ones(1)], trained)
        if step == 20:
            np.testing.assert_allclose(array(optimizer.averages[0]), array(counter))
    # Adam moves the counter by 0.1 a step. An average over a span of n steps is about n steps behind.
    behind = float((array(counter) - array(optimizer.averages[0]))[0]) / 0.1
    assert 0.8 * 20 <= behind <= 1.2 * 20


def test_the_learning_rate_rises_to_its_peak_then_falls_to_a_hundredth() -> None:
    given_options = options(peak_learning_rate=0.03, warmup_steps=200)
    rates = [learning_rate(step, steps=5000, options=given_options) for step in range(5000)]
    np.testing.assert_allclose(rates[:200], 0.03 * np.arange(1, 201) / 200)
    assert max(rates) == rates[200] == pytest.approx(0.03)
    assert set(rates[200:4000]) == {0.03}
    assert (np.diff(rates[3999:]) < 0).all()
    assert rates[4499] == pytest.approx(0.03 * 0.505, rel=1e-3)  # in the middle of the fall
    assert rates[-1] == pytest.approx(0.0003, rel=0.01)


@pytest.mark.parametrize("steps", [1, 3, 4, 40])
def test_the_warm_up_of_a_short_run_is_a_quarter_of_it(steps: int) -> None:
    rates = [learning_rate(step, steps=steps, options=options(peak_learning_rate=1.0)) for step in range(steps)]
    assert int(np.argmax(rates)) == max(0, steps // 4 - 1)
    assert max(rates) == pytest.approx(1.0)
    assert min(rates) > 0
