"""AdamW with a smaller step for what is already trained."""

from typing import Any

import keras
from keras import ops

from beeagent_models.efficientdet.backbone import backbone_layers
from beeagent_models.training.options import TrainingOptions


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


def make_optimizer(model: keras.Model, options: TrainingOptions) -> SlowBackboneAdamW:
    """Make the optimizer of a run: warm-up, then a cosine down to a hundredth of the learning rate.

    Args:
        model: what will be trained.
        options: of the run.
    """
    warmup_steps = min(options.warmup_steps, options.steps // 2)
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0 if warmup_steps else options.learning_rate,
        decay_steps=options.steps - warmup_steps,
        alpha=0.01,
        warmup_target=options.learning_rate if warmup_steps else None,
        warmup_steps=warmup_steps,
    )
    optimizer = SlowBackboneAdamW(
        slow_paths=frozenset(weight.path for layer in backbone_layers(model) for weight in layer.weights),
        slow_factor=options.backbone_factor,
        learning_rate=schedule,
        weight_decay=options.weight_decay,
        global_clipnorm=options.gradient_norm,
        use_ema=True,
        ema_momentum=options.ema_momentum,
        name="adamw",
    )
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer
