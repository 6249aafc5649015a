"""Optimizer (Muon for pyramid and heads, AdamW for the rest) and learning-rate schedule."""

import math
from typing import Any

import keras
from keras import ops

from beeagent_models.efficientdet.backbone import backbone_layers
from beeagent_models.training.options import TrainingOptions

Tensor = Any

# AdamW's learning rate relative to Muon's, whose updates have the norm of an orthogonal matrix.
_ADAM_FACTOR = 0.1
# Relative to the peak.
_FINAL_LEARNING_RATE = 0.01
# Span of the moving average of the weights, as a share of the steps so far.
_AVERAGING_SPAN = 0.05
# Matrices with a shorter side are trained by AdamW: there is little to orthogonalise.
_MIN_RANK = 8


@keras.saving.register_keras_serializable(package="beeagent")
class MuonAdamW(keras.optimizers.Optimizer):  # type: ignore[misc]  # Keras ships no types
    """Muon (Jordan et al., "Muon: An optimizer for hidden layers", 2024) for some variables, AdamW for the others.

    Unlike Keras' own Muon, it also treats kernels of 1x1 convolutions as matrices, and the span of its moving average
    of the weights grows with the run instead of being fixed, which suits short runs.

    Args:
        muon_paths: paths of the variables that Muon trains: kernels of 1x1 convolutions.
        factors: factors on the learning rate of other variables, by path.
        decay: weight decay of kernels, decoupled and relative to the learning rate.
        **options: options of `keras.optimizers.Optimizer`.
    """

    def __init__(
        self,
        *,
        muon_paths: frozenset[str],
        factors: dict[str, float],
        decay: float,
        **options: Any,  # noqa: ANN401 - the base class's
    ) -> None:
        super().__init__(**options)
        self._muon_paths, self._factors, self._decay = muon_paths, factors, decay
        self._momenta: list[Any] = []
        self._squares: list[Any] = []
        self._factor_of: list[float] = []
        self._averages: list[Any] = []

    def build(self, variables: list[Any]) -> None:
        """Create the optimizer's variables."""
        if self.built:
            return
        super().build(variables)
        self._momenta = [self.add_variable_from_reference(v, name="momentum") for v in variables]
        self._squares = [
            None if v.path in self._muon_paths else self.add_variable_from_reference(v, name="square")
            for v in variables
        ]
        self._factor_of = [self._factors.get(v.path, 1.0) for v in variables]
        self._averages = [self.add_variable_from_reference(v, name="average") for v in variables]

    @property
    def averages(self) -> list[Any]:
        """Moving averages of the variables, in the order of `build`."""
        return self._averages

    def update_step(self, gradient: Tensor, variable: Any, learning_rate: Tensor) -> None:  # noqa: ANN401
        """Update one variable."""
        index = self._get_variable_index(variable)
        rate = ops.cast(learning_rate, variable.dtype)
        gradient = ops.cast(gradient, variable.dtype)
        if self._squares[index] is None:
            update = self._muon(gradient, self._momenta[index])
        else:
            rate = rate * (_ADAM_FACTOR * self._factor_of[index])
            update = self._adam(gradient, self._momenta[index], self._squares[index])
        if self._decay and len(variable.shape) > 1:
            update = update + self._decay * ops.convert_to_tensor(variable)
        self.assign_sub(variable, rate * update)
        average, steps = self._averages[index], ops.cast(self.iterations + 1, variable.dtype)
        share = 1 / ops.maximum(_AVERAGING_SPAN * steps, 1.0)
        self.assign_add(average, share * (ops.convert_to_tensor(variable) - ops.convert_to_tensor(average)))

    def _muon(self, gradient: Tensor, momentum: Any) -> Tensor:  # noqa: ANN401
        self.assign(momentum, 0.95 * ops.convert_to_tensor(momentum) + gradient)
        nesterov = gradient + 0.95 * ops.convert_to_tensor(momentum)
        inputs, outputs = nesterov.shape[-2:]
        matrix = ops.reshape(nesterov, (inputs, outputs))
        update = orthogonalise(matrix) * math.sqrt(max(1.0, outputs / inputs))
        return ops.reshape(update, nesterov.shape)

    def _adam(self, gradient: Tensor, momentum: Any, square: Any) -> Tensor:  # noqa: ANN401
        step = ops.cast(self.iterations + 1, gradient.dtype)
        self.assign(momentum, 0.9 * ops.convert_to_tensor(momentum) + 0.1 * gradient)
        self.assign(square, 0.999 * ops.convert_to_tensor(square) + 0.001 * ops.square(gradient))
        mean = ops.convert_to_tensor(momentum) / (1 - ops.power(0.9, step))
        spread = ops.sqrt(ops.convert_to_tensor(square) / (1 - ops.power(0.999, step)))
        return mean / (spread + 1e-7)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        own = {"muon_paths": sorted(self._muon_paths), "factors": self._factors, "decay": self._decay}
        return {**super().get_config(), **own}


def orthogonalise(matrix: Tensor) -> Tensor:
    """Orthogonalise a matrix approximately with five Newton-Schulz steps (coefficients: Jordan et al., 2024).

    Args:
        matrix: float32, shape (m, n).

    Returns:
        float32, shape (m, n), with singular values of about 0.7 to 1.2.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    wide = matrix.shape[0] <= matrix.shape[1]
    x = matrix if wide else ops.transpose(matrix)
    x = x / (ops.sqrt(ops.sum(ops.square(x))) + 1e-7)
    for _ in range(5):
        gram = ops.matmul(x, ops.transpose(x))
        x = a * x + ops.matmul(b * gram + c * ops.matmul(gram, gram), x)
    return x if wide else ops.transpose(x)


def build_optimizer(model: keras.Model, options: TrainingOptions) -> MuonAdamW:
    """Build the optimizer for the trainable variables of a detector network.

    Args:
        model: network from `build_model`.
        options: options of the run.

    Raises:
        ValueError: the model has no backbone.
    """
    backbone = {weight.path for layer in backbone_layers(model) for weight in layer.weights}
    if not backbone:  # the backbone would be trained with the learning rate of the heads
        raise ValueError(f"{model.name} has no backbone at its top level: pass the network itself")
    return MuonAdamW(
        muon_paths=frozenset(v.path for v in model.trainable_variables if _is_matrix(v) and v.path not in backbone),
        factors=dict.fromkeys(backbone, options.backbone_factor),
        decay=options.weight_decay,
        learning_rate=options.peak_learning_rate,
        global_clipnorm=options.gradient_norm,
        name="muon_adamw",
    )


def learning_rate(step: int, *, steps: int, options: TrainingOptions) -> float:
    """Return the learning rate of a step: linear warm-up, constant peak, linear cooldown to a hundredth of the peak.

    Until the cooldown over the last fifth, a run can still be extended. The results are as good as with a cosine
    schedule of the same length (Hägele et al., "Scaling Laws and Compute-Optimal Training Beyond Fixed Training
    Durations", 2024).

    Args:
        step: number of the step, from 0.
        steps: number of steps of the run.
        options: options of the run, with peak and warm-up.
    """
    warmup = min(options.warmup_steps, steps // 4)
    if step < warmup:
        return options.peak_learning_rate * (step + 1) / warmup
    cooldown = first_cooldown_step(steps)
    progress = max(0, step + 1 - cooldown) / max(1, steps - cooldown)
    return options.peak_learning_rate * (1 - (1 - _FINAL_LEARNING_RATE) * min(1.0, progress))


def first_cooldown_step(steps: int) -> int:
    """Return the first step of the cooldown in a run of `steps` steps."""
    return steps - steps // 5


def min_steps(done: int) -> int:
    """Return the minimum length of a run whose cooldown begins after `done` steps."""
    return 5 * (done - 1) // 4 + 1


def _is_matrix(variable: Any) -> bool:  # noqa: ANN401 - a Keras variable has no type
    shape = tuple(variable.shape)
    # AdamW for the prediction layers: orthogonalised updates would disturb the scale of their outputs.
    return len(shape) == 4 and shape[:2] == (1, 1) and min(shape[2:]) >= _MIN_RANK and "_predict" not in variable.path
