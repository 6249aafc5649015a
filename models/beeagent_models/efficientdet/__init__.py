"""The EfficientDet-Lite network in `keras.ops`: configuration, backbone, BiFPN, heads, anchors, box coding.

Nothing here knows of data sets, training loops or TFLite.
"""

from beeagent_models.efficientdet.anchors import anchor_boxes, decode_boxes, encode_boxes
from beeagent_models.efficientdet.backbone import load_backbone_weights
from beeagent_models.efficientdet.checkpoint import load_checkpoint, save_checkpoint
from beeagent_models.efficientdet.config import EfficientDetConfig, config_for
from beeagent_models.efficientdet.model import build_model

__all__ = [
    "EfficientDetConfig",
    "anchor_boxes",
    "build_model",
    "config_for",
    "decode_boxes",
    "encode_boxes",
    "load_backbone_weights",
    "load_checkpoint",
    "save_checkpoint",
]
