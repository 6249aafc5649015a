"""The trainable Keras model: network, normalisation and losses."""

from typing import Any

import keras
import numpy as np
from beeagent.errors import InputError
from keras import ops
from numpy.typing import NDArray

from beeagent_models.efficientdet.anchors import anchor_boxes
from beeagent_models.efficientdet.backbone import backbone_layers, load_backbone_weights
from beeagent_models.efficientdet.checkpoint import load_checkpoint
from beeagent_models.efficientdet.config import EfficientDetConfig, config_for
from beeagent_models.efficientdet.model import build_model
from beeagent_models.training.losses import box_loss, focal_loss
from beeagent_models.training.matching import IGNORED
from beeagent_models.training.options import TrainingOptions

Tensor = Any


class DetectorModel(keras.Model):  # type: ignore[misc]  # Keras ships no types
    """A detector network with normalisation and losses.

    The input is uint8 images (batch, height, width, 3), RGB; the targets are `matches`, `boxes` and `class_ids` of a
    `loader.Batch`.

    Args:
        network: network from `build_model`.
        config: configuration of the network.
        width: width of the training images in pixels.
        height: height of the training images in pixels.
        box_weight: weight of the box loss relative to the class loss.
    """

    def __init__(
        self, network: keras.Model, config: EfficientDetConfig, *, width: int, height: int, box_weight: float
    ) -> None:
        super().__init__(name="detector")
        self.network, self._config, self._box_weight = network, config, box_weight
        self._anchors = anchor_boxes(config, height, width) * np.array([height, width, height, width], np.float32)
        self._box_mean, self._class_mean = keras.metrics.Mean(name="box"), keras.metrics.Mean(name="class")

    def call(self, images: Tensor, training: bool | None = None) -> Tensor:  # noqa: FBT001 - Keras passes it by name
        """Return box codes and class logits as in `build_model`."""
        pixels = ops.cast(images, "float32")
        return self.network((pixels - self._config.mean) / self._config.std, training=training)

    def compute_loss(
        self,
        x: Tensor = None,  # noqa: ARG002 - the signature is Keras'
        y: Tensor = None,
        y_pred: Tensor = None,
        sample_weight: Tensor = None,  # noqa: ARG002
        training: bool = True,  # noqa: ARG002, FBT001, FBT002
    ) -> Tensor:
        """Return the class loss plus the weighted box loss."""
        matches, boxes, class_ids = y
        codes, logits = (ops.cast(output, "float32") for output in y_pred)
        box_targets, class_targets = anchor_targets(self._anchors, matches, boxes, class_ids)
        box, classes = box_loss(box_targets, codes), focal_loss(class_targets, logits)
        self._box_mean.update_state(box)
        self._class_mean.update_state(classes)
        return classes + self._box_weight * box


def anchor_targets(
    anchors: NDArray[np.float32], matches: Tensor, boxes: Tensor, class_ids: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the targets of `box_loss` and `focal_loss`.

    Args:
        anchors: float32, shape (anchors, 4): y_center, x_center, height, width in pixels.
        matches: int32, shape (batch, anchors): index of the matched object, `NO_OBJECT` or `IGNORED`.
        boxes: float32, shape (batch, objects, 4): left, top, right, bottom in pixels.
        class_ids: int32, shape (batch, objects).

    Returns:
        float32, shape (batch, anchors, 5): ty, tx, th, tw, and 1 for positive anchors, else 0.
        float32, shape (batch, anchors, 1): class id + 1 for positive anchors, 0 for negative ones, -1 for ignored ones.
    """
    is_positive = matches >= 0
    index = ops.maximum(matches, 0)
    box = ops.take_along_axis(boxes, index[..., None], axis=1)
    size = ops.maximum(ops.stack([box[..., 3] - box[..., 1], box[..., 2] - box[..., 0]], axis=-1), 1e-3)
    center = ops.stack([box[..., 1] + box[..., 3], box[..., 0] + box[..., 2]], axis=-1) / 2
    codes = ops.concatenate([(center - anchors[:, :2]) / anchors[:, 2:], ops.log(size / anchors[:, 2:])], axis=-1)
    positive = ops.cast(is_positive, "float32")[..., None]
    classes = ops.take_along_axis(class_ids, index, axis=1) + 1
    background = ops.where(matches == IGNORED, -1, 0)
    class_targets = ops.cast(ops.where(is_positive, classes, background), "float32")[..., None]
    return ops.concatenate([codes * positive, positive], axis=-1), class_targets


def build_network(options: TrainingOptions) -> tuple[keras.Model, EfficientDetConfig]:
    """Build the network of a run and load its initial weights.

    Raises:
        InputError: the weights cannot be used.
    """
    size = options.input_size
    config = config_for(
        options.model,
        labels=options.labels,
        anchor_scale=options.anchor_scale,
        input_size=size and max(size),
    )
    if options.warm_start:
        network, loaded, _ = load_checkpoint(options.warm_start)
        if loaded != config:
            raise InputError(
                f"warm start {options.warm_start}: it is a {loaded.name} with labels {', '.join(loaded.labels)}, "
                f"input size {loaded.input_size} and anchor scale {loaded.anchor_scale:g}: give the same options"
            )
    else:
        network = build_model(config)
        if options.backbone_weights:
            load_backbone_weights(network, config, options.backbone_weights)
    for layer in backbone_layers(network):
        # The features of early stages are general: edges and colours.
        stage = 1 if layer.name == "stem" else int(layer.name.removeprefix("stage").partition("_")[0])
        layer.trainable = stage > options.frozen_stages
    return network, config
