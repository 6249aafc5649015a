"""BiFPN, the bidirectional feature pyramid (Tan et al., "EfficientDet", 2020)."""

from typing import Any

import keras
from keras import ops

from beeagent_models.efficientdet.config import EfficientDetConfig

# Low enough for runs of a few hundred steps: the statistics have to follow the weights.
BATCH_NORM_MOMENTUM = 0.97
BATCH_NORM_EPSILON = 1e-3


@keras.saving.register_keras_serializable(package="beeagent")
class UpsampleLike(keras.layers.Layer):  # type: ignore[misc]  # Keras ships no types
    """Nearest-neighbour upsampling by 2, cropped to the height and width of another feature map.

    With 'same' padding, sizes are rounded up, so the upsampled map may have one row or column too many.
    """

    def call(self, inputs: list[Any]) -> Any:  # noqa: ANN401 - a Keras tensor has no type
        """Upsample `small` to the size of `like`, for inputs `[small, like]` of (batch, height, width, channels)."""
        small, like = inputs
        doubled = ops.repeat(ops.repeat(small, 2, axis=1), 2, axis=2)
        height, width = ops.shape(like)[1], ops.shape(like)[2]
        return doubled[:, :height, :width, :]

    def compute_output_shape(self, input_shape: list[tuple[int | None, ...]]) -> tuple[int | None, ...]:
        """Return the output shape for the two input shapes."""
        small, like = input_shape
        return (small[0], like[1], like[2], small[3])


def build_pyramid(config: EfficientDetConfig, features: list[Any]) -> list[Any]:
    """Apply the feature pyramid to the backbone's feature maps.

    Args:
        config: architecture, with levels, width and repeats.
        features: Keras tensors, the feature maps from `min_level` on.

    Returns:
        One Keras tensor of `bifpn_width` channels per level, finest first.
    """
    levels = list(features)
    for level in range(config.min_level + len(features), config.max_level + 1):
        x = levels[-1]
        if x.shape[-1] != config.bifpn_width:
            x = _match_channels(x, f"level{level}", config.bifpn_width)
        levels.append(keras.layers.MaxPooling2D(3, 2, "same", name=f"level{level}_pool")(x))
    for cell in range(config.bifpn_repeats):
        levels = _cell(config, levels, f"bifpn{cell + 1}")
    return levels


def _cell(config: EfficientDetConfig, levels: list[Any], name: str) -> list[Any]:
    """Apply one BiFPN cell: top-down pass, then bottom-up pass."""
    width, numbers = config.bifpn_width, range(config.min_level, config.max_level + 1)
    top = len(levels) - 1

    def laterals(suffix: str) -> list[Any]:
        return [
            x if x.shape[-1] == width else _match_channels(x, f"{name}_level{number}_{suffix}", width)
            for number, x in zip(numbers, levels, strict=True)
        ]

    down_inputs = laterals("down_lateral")
    down = {top: down_inputs[top]}
    for index in range(top - 1, -1, -1):
        node = f"{name}_level{numbers[index]}_down"
        upsampled = UpsampleLike(name=f"{node}_upsample")([down[index + 1], down_inputs[index]])
        down[index] = _fuse([down_inputs[index], upsampled], node, width)
    # As published, the bottom-up pass has its own channel matching of the inner levels.
    up_inputs = down_inputs if all(x.shape[-1] == width for x in levels[1:top]) else _up_laterals(levels, name, config)
    out = [down[0]]
    for index in range(1, top + 1):
        node = f"{name}_level{numbers[index]}_up"
        pooled = keras.layers.MaxPooling2D(3, 2, "same", name=f"{node}_pool")(out[-1])
        inputs = [up_inputs[index], pooled] if index == top else [up_inputs[index], down[index], pooled]
        out.append(_fuse(inputs, node, width))
    return out


def _up_laterals(levels: list[Any], name: str, config: EfficientDetConfig) -> list[Any]:
    width = config.bifpn_width
    return [
        x
        if x.shape[-1] == width or number == config.min_level
        else _match_channels(x, f"{name}_level{number}_up_lateral", width)
        for number, x in zip(range(config.min_level, config.max_level + 1), levels, strict=True)
    ]


def _fuse(inputs: list[Any], name: str, width: int) -> Any:  # noqa: ANN401 - a Keras tensor has no type
    x = keras.layers.Add(name=f"{name}_add")(inputs)
    x = keras.layers.ReLU(6.0, name=f"{name}_relu6")(x)
    x = keras.layers.SeparableConv2D(width, 3, padding="same", name=f"{name}_conv")(x)
    return batch_norm(f"{name}_norm")(x)


def _match_channels(x: Any, name: str, width: int) -> Any:  # noqa: ANN401 - a Keras tensor has no type
    return batch_norm(f"{name}_norm")(keras.layers.Conv2D(width, 1, padding="same", name=f"{name}_conv")(x))


def batch_norm(name: str) -> keras.layers.Layer:
    """Return a batch normalisation with the network's momentum and epsilon."""
    return keras.layers.BatchNormalization(momentum=BATCH_NORM_MOMENTUM, epsilon=BATCH_NORM_EPSILON, name=name)
