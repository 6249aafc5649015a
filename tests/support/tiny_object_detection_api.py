"""Tiny SavedModels with the structure of the Object Detection API's, made with plain TensorFlow."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

SIZE = 64
CLASSES = 2
SCALES = (10.0, 10.0, 5.0, 5.0)
LEVELS = (8, 4, 2)
"""Cells a side of the feature maps."""
PER_CELL = 3
MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)

CONFIG = """
model {
  ssd {
    num_classes: %(classes)d
    image_resizer { keep_aspect_ratio_resizer {
      min_dimension: %(size)d max_dimension: %(size)d pad_to_max_dimension: true } }
    feature_extractor { type: "ssd_efficientnet-b0_bifpn_keras" }
    box_coder { faster_rcnn_box_coder { y_scale: 10.0 x_scale: 10.0 height_scale: 5.0 width_scale: 5.0 } }
    post_processing { score_converter: SIGMOID }
    add_background_class: false
  }
}
train_config { batch_size: 8 }
"""

LABEL_MAP = """
item { id: 2 name: "wasp" }
item { id: 1 name: "n01" display_name: "bee" }
"""


def config_text(*, size: int = SIZE, classes: int = CLASSES) -> str:
    return CONFIG % {"size": size, "classes": classes}


def write_exported(folder: Path, **kwargs: Any) -> Path:  # noqa: ANN401 - those of `write_saved_model`
    """Write what `exporter_main_v2.py` writes, with a label map beside."""
    write_saved_model(folder / "saved_model", **kwargs)
    (folder / "pipeline.config").write_text(config_text())
    (folder / "label_map.pbtxt").write_text(LABEL_MAP)
    return folder


def write_saved_model(
    folder: Path, *, input_type: str = "uint8", stems: int = 1, wavy: bool = False, scales: Sequence[float] = SCALES
) -> None:
    """Write a SavedModel whose graph has what the real ones have, with names of its own.

    A loop normalises, resizes and pads each image; a convolution, a pyramid, two heads that all levels share, a
    sigmoid, the box decoder and a non-maximum suppression in a loop of its own follow.

    Args:
        folder: folder to create.
        input_type: element type of the images.
        stems: number of convolutions on the image.
        wavy: normalise by a sine, as no real one does.
        scales: divisors of the box codes.
    """
    import tensorflow as tf  # noqa: PLC0415 - takes seconds, and may not be there

    tf.keras.utils.set_random_seed(0)
    module = tf.Module()
    rng = np.random.default_rng(0)

    def weights(*shape: int, spread: float = 0.15) -> Any:  # noqa: ANN401 - TensorFlow ships no types
        return tf.Variable(rng.normal(0, spread, shape).astype(np.float32))

    module.stems = [weights(3, 3, 3, 8) for _ in range(stems)]
    module.pyramid = [weights(3, 3, 8, 8) for _ in range(4)]
    module.boxes, module.classes = weights(1, 1, 8, 4 * PER_CELL), weights(1, 1, 8, CLASSES * PER_CELL, spread=0.3)
    anchors = anchor_boxes()

    def preprocess(image: Any) -> Any:  # noqa: ANN401
        image = tf.cast(image, tf.float32)
        image = tf.sin(image) if wavy else (image / 255 - MEAN) / DEVIATION
        side = tf.cast(tf.reduce_max(tf.shape(image)[:2]), tf.float32)
        target = tf.cast(tf.round(tf.cast(tf.shape(image)[:2], tf.float32) * SIZE / side), tf.int32)
        resized = tf.compat.v1.image.resize_bilinear(image[None], target)[0]
        resized = tf.pad(resized, [[0, SIZE - target[0]], [0, SIZE - target[1]], [0, 0]])
        resized.set_shape((SIZE, SIZE, 3))
        return resized, tf.cast(target, tf.float32) / SIZE

    def heads(image: Any) -> tuple[Any, Any]:  # noqa: ANN401
        feature = tf.add_n([tf.nn.conv2d(image, stem, 2, "SAME") for stem in module.stems])
        codes, logits = [], []
        for kernel in module.pyramid:
            feature = tf.nn.relu6(tf.nn.conv2d(feature, kernel, 2, "SAME"))
            if feature.shape[1] <= LEVELS[0]:
                codes.append(tf.reshape(tf.nn.conv2d(feature, module.boxes, 1, "SAME"), [1, -1, 4]))
                logits.append(tf.reshape(tf.nn.conv2d(feature, module.classes, 1, "SAME") - 1.0, [1, -1, CLASSES]))
        return tf.concat(codes, 1), tf.concat(logits, 1)

    def decode(codes: Any) -> Any:  # noqa: ANN401
        codes = codes / tf.constant(scales, tf.float32)
        center = anchors[:, :2] + codes[..., :2] * anchors[:, 2:]
        half = anchors[:, 2:] * tf.exp(codes[..., 2:]) / 2
        return tf.concat([center - half, center + half], -1)

    @tf.function(input_signature=[tf.TensorSpec([1, None, None, 3], input_type, name="input_tensor")])
    def serve(input_tensor: Any) -> dict[str, Any]:  # noqa: ANN401
        image, covered = tf.map_fn(
            preprocess, input_tensor, fn_output_signature=(tf.TensorSpec((SIZE, SIZE, 3)), tf.TensorSpec((2,)))
        )
        codes, logits = heads(image)
        scores, boxes = tf.sigmoid(logits), decode(codes)

        def suppress(arguments: Any) -> Any:  # noqa: ANN401
            boxes, scores, covered = arguments
            best = tf.reduce_max(scores, -1)
            kept, valid = tf.image.non_max_suppression_padded(boxes, best, 100, 0.5, 0.05, pad_to_max_output_size=True)
            there = tf.cast(tf.range(100) < valid, tf.float32)
            return (
                tf.clip_by_value(tf.gather(boxes, kept) / tf.tile(covered, [2]), 0.0, 1.0),
                tf.gather(best, kept) * there,
                tf.cast(tf.argmax(tf.gather(scores, kept), -1), tf.float32) + 1.0,
                tf.cast(valid, tf.float32),
            )

        types = (tf.TensorSpec((100, 4)), tf.TensorSpec((100,)), tf.TensorSpec((100,)), tf.TensorSpec(()))
        found = tf.map_fn(suppress, (boxes, scores, covered), fn_output_signature=types)
        names = ("detection_boxes", "detection_scores", "detection_classes", "num_detections")
        return {
            **dict(zip(names, found, strict=True)),
            "raw_detection_boxes": tf.identity(boxes),
            "raw_detection_scores": tf.identity(scores),
        }

    module.serve = serve
    tf.saved_model.save(module, str(folder), signatures=serve)


def anchor_boxes() -> NDArray[np.float32]:
    """Return anchors in the cells of the levels, none like another, shape (n, 4): y_center, x_center, height, width."""
    rng = np.random.default_rng(1)
    levels = []
    for cells in LEVELS:
        centers = np.stack(np.meshgrid(*[(np.arange(cells) + 0.5) / cells] * 2, indexing="ij"), axis=-1)
        centers = np.repeat(centers.reshape(-1, 2), PER_CELL, axis=0)
        levels.append(np.concatenate([centers, rng.uniform(0.8, 1.6, centers.shape) / cells], axis=1))
    return np.concatenate(levels).astype(np.float32)
