"""The EfficientDet-Lite network in `keras.ops`: configuration, backbone, BiFPN, heads, anchors, box coding.

Independent of datasets, training and TFLite. Keras is imported on the first use of the network: configuration and
anchors do not need it in loader processes and in evaluation.
"""

from typing import TYPE_CHECKING

from beeagent import lazy_exports

from beeagent_models.efficientdet.anchors import anchor_boxes, decode_boxes, encode_boxes
from beeagent_models.efficientdet.config import EfficientDetConfig, config_for

if TYPE_CHECKING:
    from beeagent_models.efficientdet.backbone import load_backbone_weights
    from beeagent_models.efficientdet.checkpoint import halve_checkpoint, load_checkpoint, read_config, save_checkpoint
    from beeagent_models.efficientdet.heads import scale_class_logits
    from beeagent_models.efficientdet.model import build_model
else:  # a type checker would accept any name
    __getattr__ = lazy_exports(
        __name__,
        {
            "backbone": ("load_backbone_weights",),
            "checkpoint": ("halve_checkpoint", "load_checkpoint", "read_config", "save_checkpoint"),
            "heads": ("scale_class_logits",),
            "model": ("build_model",),
        },
    )

__all__ = [
    "EfficientDetConfig",
    "anchor_boxes",
    "build_model",
    "config_for",
    "decode_boxes",
    "encode_boxes",
    "halve_checkpoint",
    "load_backbone_weights",
    "load_checkpoint",
    "read_config",
    "save_checkpoint",
    "scale_class_logits",
]
