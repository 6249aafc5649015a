"""Box head and class head of the network."""

import math
from typing import Any

import keras

from beeagent_models.efficientdet.config import EfficientDetConfig
from beeagent_models.efficientdet.pyramid import batch_norm

# Initial object probability of the class head (Lin et al., "Focal Loss", 2017, section 3.3).
_PRIOR_PROBABILITY = 0.01


def build_heads(config: EfficientDetConfig, levels: list[Any]) -> tuple[Any, Any]:
    """Apply the box head and the class head to the levels of the pyramid.

    Convolutions are shared by all levels; each level has its own batch normalisation.

    Returns:
        Keras tensors: box codes (batch, anchors, 4) as ty, tx, th, tw, and class logits (batch, anchors, classes).
    """
    classes = len(config.labels)
    prior = keras.initializers.Constant(-math.log((1 - _PRIOR_PROBABILITY) / _PRIOR_PROBABILITY))
    return (
        _head(config, levels, name="box", values=4, bias="zeros"),
        _head(config, levels, name="class", values=classes, bias=prior),
    )


def scale_class_logits(model: keras.Model, *, scale: float, bias: float) -> None:
    """Apply a scale and a bias to all class logits by changing the weights of the class head's last layer.

    The layer is linear, so both are folded into its pointwise kernel and bias; the architecture stays the same.

    Args:
        model: model from `build_model`; changed in place.
        scale: factor above 0, so that the order of scores stays the same.
        bias: bias added to every logit.
    """
    layer = model.get_layer("class_predict")
    depthwise, pointwise, offset = layer.get_weights()
    layer.set_weights([depthwise, pointwise * scale, offset * scale + bias])


def _head(config: EfficientDetConfig, levels: list[Any], *, name: str, values: int, bias: Any) -> Any:  # noqa: ANN401 - Keras
    convolutions = [
        keras.layers.SeparableConv2D(config.bifpn_width, 3, padding="same", name=f"{name}_conv{index + 1}")
        for index in range(config.head_repeats)
    ]
    predict = keras.layers.SeparableConv2D(
        config.anchors_per_cell * values,
        3,
        padding="same",
        pointwise_initializer=keras.initializers.RandomNormal(stddev=0.01),
        bias_initializer=bias,
        name=f"{name}_predict",
    )
    outputs = []
    for number, level in zip(range(config.min_level, config.max_level + 1), levels, strict=True):
        x = level
        for index, convolution in enumerate(convolutions):
            x = batch_norm(f"{name}_level{number}_norm{index + 1}")(convolution(x))
            x = keras.layers.ReLU(6.0, name=f"{name}_level{number}_relu6_{index + 1}")(x)
        outputs.append(keras.layers.Reshape((-1, values), name=f"{name}_level{number}")(predict(x)))
    return keras.layers.Concatenate(axis=1, name=f"{name}_outputs")(outputs)
