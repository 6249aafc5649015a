"""Computes AP50 and AP75 of the network during a run, on whole images."""

from collections.abc import Callable, Iterator
from typing import Any

import cv2
import numpy as np
from beeagent.detection import Detections, Fit, InputTransform, input_transform, letterbox, padding_value
from numpy.typing import NDArray

from beeagent_models.datasets.dataset import Dataset
from beeagent_models.datasets.image_files import load_image
from beeagent_models.efficientdet.anchors import anchor_boxes, decode_boxes
from beeagent_models.efficientdet.config import EfficientDetConfig
from beeagent_models.evaluation.coco_metrics import MAX_DETECTIONS, coco_metrics

# As in the exported model's post-processing.
_MIN_SCORE, _NMS_IOU = 0.05, 0.5
_BATCH = 16

# Takes uint8 images (batch, height, width, 3), RGB, and returns box codes and class logits.
Predict = Callable[[NDArray[np.uint8]], tuple[Any, Any]]


class Validation:
    """A validation dataset at the input size of a network.

    The images are letterboxed like the agent's frames, and stay in memory.

    Args:
        dataset: dataset with at least one box.
        config: configuration of the network.
        width: input width of the network in pixels.
        height: input height of the network in pixels.

    Raises:
        InputError: an image cannot be read.
    """

    def __init__(self, dataset: Dataset, config: EfficientDetConfig, *, width: int, height: int) -> None:
        self.name = dataset.name
        self._dataset, self._size, self._labels = dataset, (width, height), config.labels
        self._anchors = anchor_boxes(config, height, width)
        self._placements: list[InputTransform] = []
        self._images = np.empty((len(dataset.images), height, width, 3), np.uint8)
        for number, image in enumerate(dataset.images):
            pixels = load_image(image)
            placement = input_transform(
                frame_width=pixels.shape[1],
                frame_height=pixels.shape[0],
                input_width=width,
                input_height=height,
                fit=Fit.LETTERBOX,
            )
            self._images[number] = letterbox(pixels, placement, padding=padding_value(config.mean))
            self._placements.append(placement)

    def measure(self, predict: Predict) -> dict[str, float]:
        """Return `ap50` and `ap75`, 0 to 1.

        Args:
            predict: the network; called with batches of a constant size.
        """
        detections = list(self._detections(predict))
        metrics = coco_metrics(self._dataset, detections, input_size=self._size)
        return {"ap50": metrics.ap50, "ap75": metrics.ap75}

    def _detections(self, predict: Predict) -> Iterator[Detections]:
        for start in range(0, len(self._images), _BATCH):
            images = self._images[start : start + _BATCH]
            padded = np.zeros((_BATCH, *images.shape[1:]), np.uint8)
            padded[: len(images)] = images
            codes, logits = (np.asarray(output, np.float32) for output in predict(padded))
            for number in range(len(images)):
                yield self._decode(codes[number], logits[number], self._placements[start + number])

    def _decode(self, codes: NDArray[np.float32], logits: NDArray[np.float32], placement: InputTransform) -> Detections:
        scores = 1 / (1 + np.exp(-logits))
        anchors, classes = np.nonzero(scores > _MIN_SCORE)
        confidences = scores[anchors, classes].astype(np.float32)
        boxes = decode_boxes(codes[anchors], self._anchors[anchors])
        sized = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
        suppressed = cv2.dnn.NMSBoxesBatched(sized.tolist(), confidences.tolist(), classes.tolist(), 0.0, _NMS_IOU)
        kept = np.asarray(suppressed, np.int64).reshape(-1)
        kept = kept[np.argsort(-confidences[kept], kind="stable")][:MAX_DETECTIONS]
        over_frame = placement.to_frame(boxes[kept])
        return Detections(over_frame, confidences[kept], classes[kept].astype(np.int64), self._labels)
