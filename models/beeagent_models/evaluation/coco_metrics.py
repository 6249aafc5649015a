"""COCO metrics and matches of detections with boxes, computed by pycocotools.

Definition: https://cocodataset.org/#detection-eval.
"""

import contextlib
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from beeagent.detection import Detections
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from beeagent_models.datasets import Dataset, LabelledImage

MAX_DETECTIONS = 100
"""Maximum number of detections per image, by descending confidence."""

SIZE_RANGES: Final = (("<8", 0, 8), ("8-16", 8, 16), ("16-32", 16, 32), ("32-96", 32, 96), (">=96", 96, 1e5))
"""Name, lower bound (included) and upper bound (excluded) in pixels: a size is the square root of the area."""

_ANY_SIZE = 0
_IOU_50, _IOU_75 = 0, 5
_AREA_RANGES = [
    [0.0, 1e10],
    # COCOeval includes both bounds.
    *([float(low**2), float(np.nextafter(high**2, 0))] for _, low, high in SIZE_RANGES),
]


@dataclass(frozen=True, slots=True)
class ImageMatches:
    """Matches of the detections and boxes of one image at IoU 0.5 within each class.

    Detections are matched by descending confidence, so that the matches above a threshold do not depend on detections
    below it.

    Attributes:
        scored: bool, per detection: it is of a class of the dataset, among the `MAX_DETECTIONS` of highest confidence,
            and did not match an ignored box.
        hits: bool, per detection: it matched a box that is not ignored.
        matched_confidence: float64, per box: confidence of the detection that matched it, or -1.
        ignored: bool, per box: it is ignored, neither matched nor missed.
    """

    scored: NDArray[np.bool_]
    hits: NDArray[np.bool_]
    matched_confidence: NDArray[np.float64]
    ignored: NDArray[np.bool_]

    def matched(self, threshold: float) -> NDArray[np.bool_]:
        """Return True for boxes that a detection of at least this confidence matched."""
        # In float32, the type of the confidences.
        return np.asarray(~self.ignored & (self.matched_confidence >= np.float32(threshold)))

    def missed(self, threshold: float) -> NDArray[np.bool_]:
        """Return True for boxes that no detection of at least this confidence matched."""
        return np.asarray(~self.ignored & ~self.matched(threshold))

    def classify(
        self, confidences: NDArray[np.float32], threshold: float
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
        """Return masks of true positives, false positives and missed boxes.

        Args:
            confidences: confidence of each detection, 0 to 1.
            threshold: minimum confidence of a detection.
        """
        counted = self.scored & (confidences >= np.float32(threshold))
        return counted & self.hits, counted & ~self.hits, self.missed(threshold)


@dataclass(frozen=True, slots=True)
class CocoMetrics:
    """COCO metrics, 0 to 1; NaN or None without a box.

    Attributes:
        ap: mean over IoU 0.50 to 0.95 and the classes.
        ap50: mean over the classes at IoU 0.5.
        ap75: mean over the classes at IoU 0.75.
        ap_by_size: `ap` of the boxes in each of `SIZE_RANGES`.
        ap50_by_size: `ap50` of the boxes in each of `SIZE_RANGES`.
        ap50_by_label: `ap50` of each class.
        matches: matches of each image.
    """

    ap: float
    ap50: float
    ap75: float
    ap_by_size: dict[str, float | None]
    ap50_by_size: dict[str, float | None]
    ap50_by_label: dict[str, float | None]
    matches: tuple[ImageMatches, ...]


def coco_metrics(
    dataset: Dataset,
    detections: Sequence[Detections],
    *,
    input_size: tuple[int, int] | None = None,
    min_size: float = 0,
) -> CocoMetrics:
    """Compare detections with the ground truth of a dataset.

    Classes are matched by name; detections of classes that the dataset does not have are ignored.

    Args:
        dataset: images with ground truth; images without boxes are allowed.
        detections: detections in each image, in the order of the dataset.
        input_size: width and height of the network's input, for sizes in its pixels; None for sizes in image pixels.
        min_size: minimum size of boxes; smaller ones are ignored like COCO's crowds: they are neither matched nor
            missed, and a detection with half of its area inside one is neither a true nor a false positive.

    Raises:
        ValueError: the number of results is not that of the images.
    """
    if len(detections) != len(dataset.images):
        raise ValueError(f"{len(detections)} results for {len(dataset.images)} images")
    scales = [_scale(image, input_size) for image in dataset.images]
    truths = _annotations([(image.boxes.astype(np.float64), image.class_ids, None) for image in dataset.images], scales)
    for truth in truths:
        truth["iscrowd"] = int(truth["area"] < min_size**2)
    own_ids = [_class_ids_in(dataset, one) for one in detections]
    answers = _annotations(
        [
            (boxes_in_pixels(one, image)[ids >= 0], ids[ids >= 0], one.confidences[ids >= 0])
            for one, ids, image in zip(detections, own_ids, dataset.images, strict=True)
        ],
        scales,
    )
    evaluation = _run(_coco(dataset, truths), _coco(dataset, answers))
    precision = evaluation.eval["precision"]
    sizes = {name: index for index, (name, _, _) in enumerate(SIZE_RANGES, start=_ANY_SIZE + 1)}
    any_size = precision[:, :, :, _ANY_SIZE, -1]
    return CocoMetrics(
        ap=_mean(any_size),
        ap50=_mean(any_size[_IOU_50]),
        ap75=_mean(any_size[_IOU_75]),
        ap_by_size={name: _known(_mean(precision[:, :, :, index, -1])) for name, index in sizes.items()},
        ap50_by_size={name: _known(_mean(precision[_IOU_50, :, :, index, -1])) for name, index in sizes.items()},
        ap50_by_label={label: _known(_mean(any_size[_IOU_50, :, k])) for k, label in enumerate(dataset.labels)},
        matches=_matches(evaluation, dataset, own_ids, [bool(truth["iscrowd"]) for truth in truths]),
    )


def sizes_at_input(
    boxes: NDArray[np.floating], image: LabelledImage, input_size: tuple[int, int] | None
) -> NDArray[np.float64]:
    """Return the sizes of boxes at the network's input: the square roots of their areas in pixels.

    Args:
        boxes: shape (n, 4): left, top, right, bottom in pixels of the image.
        image: the image, which is letterboxed into the input.
        input_size: width and height of the input; None for pixels of the image.
    """
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 0).astype(np.float64)
    return np.asarray(np.sqrt(sides.prod(axis=1)) * _scale(image, input_size))


def boxes_in_pixels(detections: Detections, image: LabelledImage) -> NDArray[np.float64]:
    """Return the detections' boxes in pixels of the image, shape (n, 4)."""
    size = np.array([image.width, image.height] * 2, np.float64)
    return np.asarray(detections.boxes.astype(np.float64) * size, np.float64)


def _run(truth: COCO, answers: COCO) -> COCOeval:
    evaluation = COCOeval(truth, answers, "bbox")
    evaluation.params.maxDets = [1, 10, MAX_DETECTIONS]
    evaluation.params.areaRng = _AREA_RANGES
    evaluation.params.areaRngLbl = ["all", *(name for name, _, _ in SIZE_RANGES)]
    # pycocotools prints to standard output, which is for the command's results.
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation


def _coco(dataset: Dataset, annotations: list[dict[str, Any]]) -> COCO:
    coco = COCO()
    coco.dataset = {
        "images": [{"id": index, "width": i.width, "height": i.height} for index, i in enumerate(dataset.images)],
        "categories": [{"id": index, "name": label} for index, label in enumerate(dataset.labels)],
        "annotations": annotations,
    }
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco


def _annotations(
    contents: Sequence[tuple[NDArray[Any], NDArray[np.int64], NDArray[np.float32] | None]], scales: Sequence[float]
) -> list[dict[str, Any]]:
    """Return COCO annotations with ids from 1, because COCOeval uses 0 for 'no match'."""
    annotations: list[dict[str, Any]] = []
    for image_id, ((boxes, class_ids, scores), scale) in enumerate(zip(contents, scales, strict=True)):
        for index, ((left, top, right, bottom), class_id) in enumerate(zip(boxes, class_ids, strict=True)):
            width, height = float(right - left), float(bottom - top)
            annotation = {
                "id": len(annotations) + 1,
                "image_id": image_id,
                "category_id": int(class_id),
                "bbox": [float(left), float(top), width, height],
                "area": width * height * scale**2,
                "iscrowd": 0,
            }
            if scores is not None:
                annotation["score"] = float(scores[index])
            annotations.append(annotation)
    return annotations


def _matches(
    evaluation: COCOeval, dataset: Dataset, own_ids: Sequence[NDArray[np.int64]], ignored: Sequence[bool]
) -> tuple[ImageMatches, ...]:
    """Collect COCOeval's matches, which have an entry per class, size range and image, for the range of all sizes."""
    answers = sum(int((ids >= 0).sum()) for ids in own_ids)
    # Ids begin with 1.
    left_out = np.array([False, *ignored], np.bool_)
    scored, hits = np.zeros(answers + 1, np.bool_), np.zeros(answers + 1, np.bool_)
    matched_confidence = np.full(len(left_out), -1.0)
    any_size = evaluation.params.areaRng[_ANY_SIZE]
    for entry in evaluation.evalImgs:
        if entry is None or entry["aRng"] != any_size:
            continue
        matched = entry["dtMatches"][_IOU_50].astype(np.int64)
        scored[entry["dtIds"]] = ~left_out[matched]
        hits[entry["dtIds"]] = (matched > 0) & ~left_out[matched]
        for truth, score in zip(matched, entry["dtScores"], strict=True):
            if truth > 0 and not left_out[truth]:
                matched_confidence[truth] = score
    result = []
    next_answer, next_truth = 1, 1
    for image, ids in zip(dataset.images, own_ids, strict=True):
        in_dataset = np.flatnonzero(ids >= 0)
        of_image = slice(next_answer, next_answer + len(in_dataset))
        image_scored, image_hits = np.zeros(len(ids), np.bool_), np.zeros(len(ids), np.bool_)
        image_scored[in_dataset], image_hits[in_dataset] = scored[of_image], hits[of_image]
        boxes = slice(next_truth, next_truth + len(image.boxes))
        result.append(
            ImageMatches(
                scored=image_scored,
                hits=image_hits,
                matched_confidence=matched_confidence[boxes],
                ignored=left_out[boxes],
            )
        )
        next_answer, next_truth = of_image.stop, boxes.stop
    return tuple(result)


def _class_ids_in(dataset: Dataset, detections: Detections) -> NDArray[np.int64]:
    """Return the dataset's class id of each detection, -1 for other classes."""
    table = [dataset.labels.index(label) if label in dataset.labels else -1 for label in detections.labels]
    return np.array(table, np.int64)[detections.class_ids]


def _scale(image: LabelledImage, input_size: tuple[int, int] | None) -> float:
    return 1.0 if input_size is None else min(input_size[0] / image.width, input_size[1] / image.height)


def _mean(precision: NDArray[np.float64]) -> float:
    """Average like COCOeval's summary, where -1 is undefined."""
    known = precision[precision > -1]
    return float(known.mean()) if known.size else math.nan


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
