"""Detections of an Object Detection API SavedModel in an image, compared with those of the agent."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from beeagent.detection import Detector, DetectorOptions, ModelBundle
from numpy.typing import NDArray


@dataclass(frozen=True)
class Agreement:
    """Differences between the detections of agent and SavedModel in an image.

    `found` of the `wanted` detections have a counterpart: one of the same class that overlaps by more than is asked
    for, and of those the one whose score is nearest. The differences are those of these pairs.
    """

    wanted: int
    found: int
    score_difference: float
    smallest_iou: float
    mean_iou: float


class SavedModelDetector:
    """Runs `serving_default`."""

    def __init__(self, folder: Path) -> None:
        import tensorflow as tf  # noqa: PLC0415 - takes seconds, and may not be there

        self._loaded = tf.saved_model.load(str(folder / "saved_model"))
        self._run = self._loaded.signatures["serving_default"]
        self._constant = tf.constant

    def raw(self, rgb: NDArray[np.uint8]) -> tuple[Any, Any]:
        """Return boxes (n, 4), top, left, bottom, right in ratios of the padded input, and scores (n, classes)."""
        answer = self._run(input_tensor=self._constant(rgb[np.newaxis]))
        return answer["raw_detection_boxes"].numpy()[0], answer["raw_detection_scores"].numpy()[0]

    def detect(self, rgb: NDArray[np.uint8], *, threshold: float) -> tuple[Any, Any, Any]:
        """Return boxes (n, 4) as left, top, right, bottom in ratios of the image, scores, and class ids from 0."""
        answer = {name: value.numpy()[0] for name, value in self._run(input_tensor=self._constant(rgb[None])).items()}
        strong = answer["detection_scores"] >= threshold
        boxes = answer["detection_boxes"][strong][:, [1, 0, 3, 2]]
        return boxes, answer["detection_scores"][strong], answer["detection_classes"][strong].astype(int) - 1


def agreement(
    saved_model: SavedModelDetector, bundle: Path, bgr: NDArray[np.uint8], *, threshold: float, overlap: float
) -> Agreement:
    """Compare a bundle, run by the agent's detector, with the SavedModel on the detections from a threshold on.

    Those just below the threshold in one may be above in the other, so the agent's are taken from a lower one on.
    """
    boxes, scores, classes = saved_model.detect(np.ascontiguousarray(bgr[..., ::-1]), threshold=threshold)
    options = DetectorOptions(threads=1, threshold=max(0.0, threshold - 0.1))
    others = Detector(ModelBundle.load(bundle), options).detect(bgr)
    if not len(others.boxes) or not len(boxes):
        return Agreement(len(boxes), 0, 1.0, 0.0, 0.0)
    iou = np.where(classes[:, None] == others.class_ids[None], overlaps(boxes, others.boxes), 0.0)
    # Boxes beyond the image are clipped, and may become identical.
    differences = np.abs(scores[:, None] - others.confidences[None])
    best = np.where(iou > overlap, differences, np.inf).argmin(axis=1)
    found = iou.max(axis=1) > overlap
    if not found.any():
        return Agreement(len(boxes), 0, 1.0, 0.0, 0.0)
    pairs = np.flatnonzero(found), best[found]
    kept = iou[pairs]
    return Agreement(
        len(boxes), int(found.sum()), float(differences[pairs].max()), float(kept.min()), float(kept.mean())
    )


def overlaps(boxes: Any, others: Any) -> Any:  # noqa: ANN401 - NumPy arrays (n, 4) and (m, 4), giving (n, m)
    top_left = np.maximum(boxes[:, None, :2], others[None, :, :2])
    bottom_right = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    shared = np.prod(np.clip(bottom_right - top_left, 0, None), axis=2)
    areas = [np.prod(array[:, 2:] - array[:, :2], axis=1) for array in (boxes, others)]
    return shared / np.maximum(areas[0][:, None] + areas[1][None] - shared, 1e-12)
