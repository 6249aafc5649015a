"""EfficientNet-Lite backbone of plain convolutions with biases.

The ImageNet weights have their batch normalisation folded into the kernels, so the backbone has none. It needs a small
learning rate, and quantizes without further folding.
"""

import math
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from beeagent.errors import InputError

from beeagent_models.efficientdet.config import EfficientDetConfig

_STEM_CHANNELS = 32


@dataclass(frozen=True, slots=True)
class _Stage:
    """One row of Table 1 in Tan and Le, "EfficientNet" (2019)."""

    repeats: int
    kernel: int
    stride: int
    expansion: int
    channels: int


_STAGES = (
    _Stage(1, 3, 1, 1, 16),
    _Stage(2, 3, 2, 6, 24),
    _Stage(2, 5, 2, 6, 40),
    _Stage(3, 3, 2, 6, 80),
    _Stage(3, 5, 1, 6, 112),
    _Stage(4, 5, 2, 6, 192),
    _Stage(1, 3, 1, 6, 320),
)
# In the ImageNet network, activations between blocks have a standard deviation near 5 and kernels a size near 0.01; the
# equal step sizes of the optimizer would soon destroy them. Projections are linear, so dividing them and multiplying
# the following expansions by the same power of two does not change the function.
_STREAM_SCALE = 4.0
# The last stages at strides 8, 16 and 32.
_FEATURE_STAGES = (2, 4, 6)


def build_backbone(config: EfficientDetConfig, image: Any) -> list[Any]:  # noqa: ANN401 - a Keras tensor has no type
    """Apply the backbone to a Keras input.

    Args:
        config: architecture, with the width and depth coefficients.
        image: Keras tensor (batch, height, width, 3), normalised RGB.

    Returns:
        The feature maps at strides 8, 16 and 32 (levels 3, 4 and 5).
    """
    features = []
    x = _convolution(image, "stem", _STEM_CHANNELS, kernel=3, stride=2)
    x = keras.layers.ReLU(6.0, name="stem_relu6")(x)
    for index, stage in enumerate(_STAGES):
        outer = index in (0, len(_STAGES) - 1)  # the Lite series scales neither the stem nor these stages' depth
        repeats = stage.repeats if outer else math.ceil(stage.repeats * config.depth_coefficient)
        channels = _round_channels(stage.channels * config.width_coefficient)
        for repeat in range(repeats):
            x = _block(
                x,
                f"stage{index + 1}_block{repeat + 1}",
                stage=stage,
                stride=stage.stride if repeat == 0 else 1,
                channels=channels,
            )
        if index in _FEATURE_STAGES:
            features.append(x)
    return features


def backbone_layers(model: keras.Model) -> list[keras.layers.Layer]:
    """Return the convolutions of a model's backbone, in the order of the network."""
    return [
        layer for layer in model.layers if layer.name == "stem" or (layer.name.startswith("stage") and layer.weights)
    ]


def load_backbone_weights(model: keras.Model, config: EfficientDetConfig, path: Path) -> int:
    """Load ImageNet weights with folded batch normalisation into the backbone.

    The file has one kernel and one bias per layer, with the keys `NN_conv_w`, `NN_conv_b` (kernels output, height,
    width, input) or `NN_dw_w`, `NN_dw_b` (kernels 1, height, width, channel), numbered in the order of the network; the
    layers of the classifier are ignored. Its stem expects `RGB - 127`, so the kernel of the stem is multiplied by
    `config.std`, and the activations between blocks are scaled down.

    Returns:
        The number of layers loaded.

    Raises:
        InputError: the file cannot be read, or its layers do not match the backbone.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"backbone weights {path}: not a readable .npz file ({error})") from None
    kernels = sorted(key for key in arrays if key.endswith("_w"))
    layers = backbone_layers(model)
    if len(kernels) < len(layers):
        raise InputError(f"backbone weights {path}: {len(kernels)} layers, but {config.name} has {len(layers)}")
    for index, (layer, key) in enumerate(zip(layers, kernels, strict=False)):
        kernel = arrays[key].transpose(1, 2, 3, 0)
        bias = arrays.get(f"{key[:-2]}_b")
        if index == 0:
            kernel = kernel * config.std
        elif layer.name.endswith("_expand"):
            kernel = kernel * _STREAM_SCALE
        elif bias is not None and layer.name.endswith("_project"):
            kernel, bias = kernel / _STREAM_SCALE, bias / _STREAM_SCALE
        shapes = [tuple(weight.shape) for weight in layer.weights]
        if bias is None or shapes != [kernel.shape, bias.shape]:
            raise InputError(f"backbone weights {path}: layer {key} does not fit {config.name}'s {layer.name}")
        layer.set_weights([kernel, bias])
    return len(layers)


def _block(x: Any, name: str, *, stage: _Stage, stride: int, channels: int) -> Any:  # noqa: ANN401 - Keras tensors
    """Apply an inverted residual block: expansion, depthwise convolution, projection."""
    source, inputs = x, x.shape[-1]
    if stage.expansion != 1:
        x = _convolution(x, f"{name}_expand", inputs * stage.expansion)
        x = keras.layers.ReLU(6.0, name=f"{name}_expand_relu6")(x)
    x = keras.layers.DepthwiseConv2D(
        stage.kernel, strides=stride, padding="same", depthwise_initializer="he_normal", name=f"{name}_depthwise"
    )(x)
    x = keras.layers.ReLU(6.0, name=f"{name}_depthwise_relu6")(x)
    x = _convolution(x, f"{name}_project", channels)
    if stride == 1 and inputs == channels:
        x = keras.layers.Add(name=f"{name}_add")([x, source])
    return x


def _convolution(x: Any, name: str, channels: int, *, kernel: int = 1, stride: int = 1) -> Any:  # noqa: ANN401 - Keras tensors
    return keras.layers.Conv2D(
        channels, kernel, strides=stride, padding="same", kernel_initializer="he_normal", name=name
    )(x)


def _round_channels(channels: float) -> int:
    """Round to a multiple of 8 that is at least 90 % of the value (Howard et al., "MobileNets")."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded
