"""A SavedModel built as the Object Detection API builds one: resized in a loop, a pyramid of heads, post-processed."""

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

Tensor = Any

SIDE = 64
STRIDES = (8, 16, 32)
SCALES = (10.0, 10.0, 5.0, 5.0)
MEAN, STD = np.array([0.485, 0.456, 0.406], np.float32), np.array([0.229, 0.224, 0.225], np.float32)

CONFIG = """
# as exporter_main_v2.py writes it, but for what an export does not read
model {
  ssd {
    num_classes: %(classes)d
    image_resizer { keep_aspect_ratio_resizer { min_dimension: 64 max_dimension: 64 pad_to_max_dimension: true } }
    feature_extractor { type: "ssd_efficientnet-b0_bifpn_keras" bifpn { min_level: 3 max_level: 7 } }
    box_coder { faster_rcnn_box_coder { y_scale: %(scale)g x_scale: 10.0 height_scale: 5.0 width_scale: 5.0 } }
    post_processing { score_converter: SIGMOID batch_non_max_suppression { iou_threshold: 0.5 } }
    add_background_class: false
  }
}
train_config { batch_size: 8 optimizer { momentum_optimizer { momentum_optimizer_value: 0.9 } } }
"""


def config_text(*, classes: int = 2, scale: float = 10.0) -> str:
    return CONFIG % {"classes": classes, "scale": scale}


def anchors() -> np.ndarray[Any, np.dtype[np.float32]]:
    """Give y_center, x_center, height, width in ratios, two sizes a place."""
    found = []
    for stride in STRIDES:
        middles = (np.arange(SIDE // stride) + 0.5) * stride / SIDE
        for y in middles:
            for x in middles:
                found += [[y, x, size * stride / SIDE, size * stride / SIDE] for size in (2.0, 3.0)]
    return np.array(found, np.float32)


class Detector(tf.Module):  # type: ignore[misc, unused-ignore]  # TensorFlow ships no types
    """The network and what the API puts around it."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = classes
        rng = np.random.default_rng(3)
        shapes = [(3, 3, 3, 8), *[(3, 3, 8, 8)] * 2]
        self.kernels = [tf.Variable(rng.normal(0, 0.3, shape).astype(np.float32)) for shape in shapes]
        self.box = tf.Variable(rng.normal(0, 0.25, (1, 1, 8, 8)).astype(np.float32))
        self.score = tf.Variable(rng.normal(0, 1.0, (1, 1, 8, 2 * classes)).astype(np.float32))

    @tf.function(input_signature=[tf.TensorSpec([1, None, None, 3], tf.uint8, name="input_tensor")])  # type: ignore[untyped-decorator, unused-ignore]
    def serve(self, input_tensor: Tensor) -> dict[str, Tensor]:
        images = tf.map_fn(self._preprocess, tf.cast(input_tensor, tf.float32), fn_output_signature=tf.float32)
        images = tf.ensure_shape(images, [1, SIDE, SIDE, 3])
        features = _swish(tf.nn.conv2d(images, self.kernels[0], 2, "SAME"))
        for kernel in self.kernels[1:]:
            features = _swish(tf.nn.conv2d(features, kernel, 2, "SAME"))
        levels = [features]
        while len(levels) < len(STRIDES):
            levels.append(tf.nn.avg_pool2d(levels[-1], 2, 2, "SAME"))
        codes = tf.concat([self._flat(level, self.box, 4) for level in levels], 1)
        logits = tf.concat([self._flat(level, self.score, self.classes) for level in levels], 1)
        scores = tf.sigmoid(logits * 0.5 - 2.0)
        boxes = _decode(codes)
        kept, kept_scores, kept_classes, count = tf.image.combined_non_max_suppression(
            boxes[:, :, None], scores, 100, 100, iou_threshold=0.5, score_threshold=1e-6
        )
        return {
            "detection_boxes": kept,
            "detection_scores": kept_scores,
            "detection_classes": kept_classes + 1,
            "num_detections": tf.cast(count, tf.float32),
            "raw_detection_boxes": boxes,
            "raw_detection_scores": scores,
        }

    def _preprocess(self, image: Tensor) -> Tensor:
        resized = tf.image.resize(image, [SIDE, SIDE])
        return (resized / 255.0 - MEAN) / STD

    def _flat(self, level: Tensor, kernel: Tensor, last: int) -> Tensor:
        return tf.reshape(tf.nn.conv2d(level, kernel, 1, "SAME"), [1, level.shape[1] * level.shape[2] * 2, last])


@tf.custom_gradient  # type: ignore[untyped-decorator, unused-ignore]
def _swish(values: Tensor) -> Tensor:
    """Give x * sigmoid(x) with a gradient of its own, as the API's backbones have it."""
    return values * tf.sigmoid(values), lambda gradient: gradient


def _decode(codes: Tensor) -> Tensor:
    prior = tf.constant(anchors()[None])
    scaled = codes / tf.constant(SCALES)
    centers = scaled[..., :2] * prior[..., 2:] + prior[..., :2]
    half = tf.exp(scaled[..., 2:]) * prior[..., 2:] / 2
    return tf.concat([centers - half, centers + half], -1)


def save_detector(folder: Path, *, classes: int = 2) -> Path:
    """Write what `exporter_main_v2.py` writes."""
    detector = Detector(classes)
    tf.saved_model.save(detector, str(folder / "saved_model"), signatures=detector.serve)
    (folder / "pipeline.config").write_text(config_text(classes=classes))
    names = "".join(f"item {{ name: '{name}' id: {n} }}\n" for n, name in enumerate(("bee", "wasp")[:classes], 1))
    (folder / "label_map.pbtxt").write_text(names)
    return folder
