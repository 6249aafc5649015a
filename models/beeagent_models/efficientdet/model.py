"""Builds the network."""

import keras
from beeagent.errors import InputError

from beeagent_models.efficientdet.backbone import build_backbone
from beeagent_models.efficientdet.config import EfficientDetConfig
from beeagent_models.efficientdet.heads import build_heads
from beeagent_models.efficientdet.pyramid import build_pyramid

_MIN_INPUT_SIZE = 32


def build_model(config: EfficientDetConfig, input_size: int | tuple[int, int] | None = None) -> keras.Model:
    """Build an EfficientDet-Lite with initial weights.

    The input is float32 (batch, height, width, 3): RGB, `(pixel - config.mean) / config.std`. The outputs are the box
    codes, float32 (batch, anchors, 4): ty, tx, th, tw for `decode_boxes`, and the class logits, float32 (batch,
    anchors, classes); a score is the sigmoid of its logit. The anchors are those of `anchor_boxes`.

    Args:
        config: architecture.
        input_size: side of the square input, or (height, width), in pixels; None for variable height and width. The
            weights do not depend on it.

    Raises:
        InputError: the input is smaller than 32 pixels.
    """
    height, width = (input_size, input_size) if isinstance(input_size, int | None) else input_size
    if min(height or _MIN_INPUT_SIZE, width or _MIN_INPUT_SIZE) < _MIN_INPUT_SIZE:
        raise InputError(f"input size {input_size}: give at least {_MIN_INPUT_SIZE} pixels")
    image = keras.Input((height, width, 3), name="image")
    levels = build_pyramid(config, build_backbone(config, image))
    return keras.Model(image, build_heads(config, levels), name=f"efficientdet_{config.name}")
