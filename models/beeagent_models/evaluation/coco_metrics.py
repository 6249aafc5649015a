"""Average precision as COCO defines it, and which detection matched which box, both by pycocotools.

The definition: https://cocodataset.org/#detection-eval.
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
"""Of one image, the strongest that count."""

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
    """What became of one image's detections and boxes at IoU 0.5, each within its class.

    Detections are matched from the strongest down, so that a threshold only cuts the list: what is above it is
    matched as if there were nothing below.

    Attributes:
        scored: bool, a value for each detection: it is of one of the dataset's classes, among the
            strongest `MAX_DETECTIONS`, and did not match an ignored box.
        hits: bool, a value for each detection: it matched a box that is not ignored.
        found_at: float64, a value for each box: the confidence of the detection that matched it, or -1.
        ignored: bool, a value for each box: it is left out, neither found nor missed.
    """

    scored: NDArray[np.bool_]
    hits: NDArray[np.bool_]
    found_at: NDArray[np.float64]
    ignored: NDArray[np.bool_]

    def found(self, threshold: float) -> NDArray[np.bool_]:
        """Return for each box whether a detection of at least this confidence, 0 to 1, matched it."""
        # In float32, the type of the confidences.
        return np.asarray(~self.ignored & (self.found_at >= np.float32(threshold)))

    def missed(self, threshold: float) -> NDArray[np.bool_]:
        """Return for each box whether no detection of at least this confidence, 0 to 1, matched it."""
        return np.asarray(~self.ignored & ~self.found(threshold))

    def judged(
        self, confidences: NDArray[np.float32], threshold: float
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
        """Return which detections are hits, which are false alarms, and which boxes are missed.

        Args:
            confidences: one for each detection, 0 to 1.
            threshold: detections below it are as if they were not there.
        """
        counted = self.scored & (confidences >= np.float32(threshold))
        return counted & self.hits, counted & ~self.hits, self.missed(threshold)


@dataclass(frozen=True, slots=True)
class CocoMetrics:
    """What COCO's evaluation returns. Values are from 0 to 1; NaN, or None, where there is no such box.

    Attributes:
        ap: mean over IoU 0.50 to 0.95 and the classes.
        ap50: mean over the classes at IoU 0.5.
        ap75: mean over the classes at IoU 0.75.
        ap_by_size: `ap` of the boxes in each of `SIZE_RANGES`, at the network's input.
        ap50_by_size: likewise at IoU 0.5.
        ap50_by_label: `ap50` of each class.
        matches: what became of each image.
    """

    ap: float
    ap50: float
    ap75: float
    ap_by_size: dict[str, float | None]
    ap50_by_size: dict[str, float | None]
    ap50_by_label: dict[str, float | None]
    matches: tuple[ImageMatches, ...]


def coco_metrics(
    dataset: Dataset, found: Sequence[Detections], *, input_size: tuple[int, int] | None = None, min_size: float = 0
) -> CocoMetrics:
    """Compare what was found in the images of a dataset with the boxes drawn on them.

    Classes are matched by name; detections of a class that the dataset does not have are left out.

    Args:
        dataset: its images need not have boxes.
        found: the detections in each image, in the order of the dataset.
        input_size: width and height of the network's input, in which sizes are measured; None takes the
            images as they are.
        min_size: boxes of a smaller size are ignored, as COCO ignores crowds: they are neither found nor missed, and
            a detection with half of its area inside one is neither right nor wrong.

    Raises:
        ValueError: there are not as many results as images.
    """
    if len(found) != len(dataset.images):
        raise ValueError(f"{len(found)} results for {len(dataset.images)} images")
    scales = [_scale(image, input_size) for image in dataset.images]
    truths = _annotations([(image.boxes.astype(np.float64), image.class_ids, None) for image in dataset.images], scales)
    for truth in truths:
        truth["iscrowd"] = int(truth["area"] < min_size**2)
    own_ids = [_ids_in(dataset, detections) for detections in found]
    answers = _annotations(
        [
            (boxes_in_pixels(detections, image)[ids >= 0], ids[ids >= 0], detections.confidences[ids >= 0])
            for detections, ids, image in zip(found, own_ids, dataset.images, strict=True)
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
        image: the image, letterboxed as a whole.
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
    # It reports on standard output, which belongs to our own results.
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
    """Number boxes through, from 1: COCOeval takes the id 0 for 'no match'."""
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
    """Read COCOeval's own matches, one entry for each class, size and image, for boxes of any size."""
    answers = sum(int((ids >= 0).sum()) for ids in own_ids)
    # Ids count from 1.
    left_out = np.array([False, *ignored], np.bool_)
    scored, hits = np.zeros(answers + 1, np.bool_), np.zeros(answers + 1, np.bool_)
    found_at = np.full(len(left_out), -1.0)
    any_size = evaluation.params.areaRng[_ANY_SIZE]
    for entry in evaluation.evalImgs:
        if entry is None or entry["aRng"] != any_size:
            continue
        matched = entry["dtMatches"][_IOU_50].astype(np.int64)
        scored[entry["dtIds"]] = ~left_out[matched]
        hits[entry["dtIds"]] = (matched > 0) & ~left_out[matched]
        for truth, score in zip(matched, entry["dtScores"], strict=True):
            if truth > 0 and not left_out[truth]:
                found_at[truth] = score
    result = []
    next_answer, next_truth = 1, 1
    for image, ids in zip(dataset.images, own_ids, strict=True):
        known = np.flatnonzero(ids >= 0)
        of_image = slice(next_answer, next_answer + len(known))
        image_scored, image_hits = np.zeros(len(ids), np.bool_), np.zeros(len(ids), np.bool_)
        image_scored[known], image_hits[known] = scored[of_image], hits[of_image]
        boxes = slice(next_truth, next_truth + len(image.boxes))
        result.append(
            ImageMatches(scored=image_scored, hits=image_hits, found_at=found_at[boxes], ignored=left_out[boxes])
        )
        next_answer, next_truth = of_image.stop, boxes.stop
    return tuple(result)


def _ids_in(dataset: Dataset, detections: Detections) -> NDArray[np.int64]:
    """Return the dataset's class id for each detection, -1 for a class it does not have."""
    table = [dataset.labels.index(label) if label in dataset.labels else -1 for label in detections.labels]
    return np.array(table, np.int64)[detections.class_ids]


def _scale(image: LabelledImage, input_size: tuple[int, int] | None) -> float:
    return 1.0 if input_size is None else min(input_size[0] / image.width, input_size[1] / image.height)


def _mean(precision: NDArray[np.float64]) -> float:
    """Average as COCOeval's own summary does: it says -1 where there is nothing to measure."""
    known = precision[precision > -1]
    return float(known.mean()) if known.size else math.nan


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
