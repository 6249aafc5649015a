"""AdamW with a smaller step for what is already trained."""

from typing import Any

import keras
from keras import ops

from beeagent_models.efficientdet.backbone import backbone_layers


@keras.saving.register_keras_serializable(package="beeagent")
class SlowBackboneAdamW(keras.optimizers.AdamW):  # type: ignore[misc]  # Keras ships no types
    """AdamW whose learning rate is multiplied by a factor for some variables.

    Args:
        slow_paths: paths of the variables with the smaller step.
        slow_factor: that factor.
        **options: of AdamW.
    """

    def __init__(self, *, slow_paths: frozenset[str], slow_factor: float, **options: Any) -> None:  # noqa: ANN401 - AdamW's
        super().__init__(**options)
        self._slow_paths, self._slow_factor = slow_paths, slow_factor
        self._slow_indices: frozenset[int] = frozenset()

    def build(self, variables: list[Any]) -> None:
        """Make the optimizer's own variables."""
        super().build(variables)
        self._slow_indices = frozenset(i for i, variable in enumerate(variables) if variable.path in self._slow_paths)

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:  # noqa: ANN401 - tensors
        """Update one variable."""
        if self._get_variable_index(variable) in self._slow_indices:
            learning_rate = ops.multiply(learning_rate, self._slow_factor)
        super().update_step(gradient, variable, learning_rate)

    def get_config(self) -> dict[str, Any]:
        """Give the arguments of the constructor."""
        return {**super().get_config(), "slow_paths": sorted(self._slow_paths), "slow_factor": self._slow_factor}


def make_optimizer(
    model: keras.Model,
    *,
    steps: int,
    warmup_steps: int,
    learning_rate: float,
    backbone_factor: float,
    weight_decay: float,
    gradient_norm: float,
    ema_momentum: float,
) -> SlowBackboneAdamW:
    """Make the optimizer of a run: warm-up, then a cosine down to a hundredth of the learning rate.

    Args:
        model: what will be trained.
        steps: of the whole run.
        warmup_steps: over which the learning rate rises from 0.
        learning_rate: the highest, of the pyramid and the heads.
        backbone_factor: on the learning rate of the backbone.
        weight_decay: of kernels.
        gradient_norm: the norm of all gradients together is clipped to this.
        ema_momentum: of the moving average of the weights.
    """
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0,
        decay_steps=max(1, steps - warmup_steps),
        alpha=0.01,
        warmup_target=learning_rate,
        warmup_steps=warmup_steps,
    )
    optimizer = SlowBackboneAdamW(
        slow_paths=frozenset(weight.path for layer in backbone_layers(model) for weight in layer.weights),
        slow_factor=backbone_factor,
        learning_rate=schedule,
        weight_decay=weight_decay,
        global_clipnorm=gradient_norm,
        use_ema=True,
        ema_momentum=ema_momentum,
        name="adamw",
    )
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer
