"""The whole network."""

import keras
from beeagent.errors import InputError

from beeagent_models.efficientdet.backbone import build_backbone
from beeagent_models.efficientdet.config import EfficientDetConfig
from beeagent_models.efficientdet.heads import build_heads
from beeagent_models.efficientdet.pyramid import build_pyramid

_SMALLEST_INPUT = 32


def build_model(config: EfficientDetConfig, input_size: int | tuple[int, int] | None = None) -> keras.Model:
    """Build an EfficientDet-Lite with fresh weights.

    Its input is float32 (batch, height, width, 3): RGB, `(pixel - config.mean) / config.std`. Its outputs are
    the box codes, float32 (batch, anchors, 4): ty, tx, th, tw as `decode_boxes` reads them, and the class logits,
    float32 (batch, anchors, classes); a score is the sigmoid of its logit. `anchor_boxes` gives the anchors.

    Args:
        config: the architecture.
        input_size: side of the square input, or (height, width), in pixels; None leaves them open, to be fixed by
            each batch. The weights are the same for every size.

    Raises:
        InputError: the input is smaller than 32 pixels.
    """
    height, width = (input_size, input_size) if isinstance(input_size, int | None) else input_size
    if min(height or _SMALLEST_INPUT, width or _SMALLEST_INPUT) < _SMALLEST_INPUT:
        raise InputError(f"input size {input_size}: give at least {_SMALLEST_INPUT} pixels")
    image = keras.Input((height, width, 3), name="image")
    levels = build_pyramid(config, build_backbone(config, image))
    return keras.Model(image, build_heads(config, levels), name=f"efficientdet_{config.name}")
