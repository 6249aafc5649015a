"""Average precision as COCO defines it, and which detection matched which box, both by pycocotools.

The definition: https://cocodataset.org/#detection-eval.
"""

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from beeagent.detection.detections import Detections
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from beeagent_models.datasets.dataset import Dataset, LabelledImage

MAX_DETECTIONS = 100
"""Of one picture, the strongest that count."""

# The order of COCOeval's figures and of its sizes.
_AP, _AP50, _AP75, _SMALL, _LARGE = 0, 1, 2, 3, 5
_ANY_SIZE = 0
_IOU_50 = 0


@dataclass(frozen=True, slots=True)
class ImageMatches:
    """What became of one picture's detections and boxes at IoU 0.5, each within its class.

    Detections are matched from the strongest down, so that a threshold only cuts the list: what lies above it is
    matched as if there were nothing below.

    Attributes:
        scored: bool, a value for each detection: it is of one of the data set's classes and among the
            strongest `MAX_DETECTIONS`.
        hits: bool, a value for each detection: it matched a box.
        found_at: float64, a value for each box: the confidence of the detection that matched it, or -1.
    """

    scored: NDArray[np.bool_]
    hits: NDArray[np.bool_]
    found_at: NDArray[np.float64]

    def found(self, threshold: float) -> NDArray[np.bool_]:
        """Tell of each box whether a detection of at least this confidence, 0 to 1, matched it."""
        # In float32, the type of the confidences.
        return np.asarray(self.found_at >= np.float32(threshold))


@dataclass(frozen=True, slots=True)
class CocoMetrics:
    """What COCO's evaluation gives. Values are from 0 to 1; None where the data set has no such box.

    Attributes:
        ap: mean over IoU 0.50 to 0.95 and the classes.
        ap50: mean over the classes at IoU 0.5.
        ap75: mean over the classes at IoU 0.75.
        ap_by_size: `ap` of boxes below 32x32 pixels, up to 96x96 and above, as the network sees them.
        ap50_by_label: `ap50` of each class.
        matches: what became of each picture.
    """

    ap: float
    ap50: float
    ap75: float
    ap_by_size: dict[str, float | None]
    ap50_by_label: dict[str, float | None]
    matches: tuple[ImageMatches, ...]


def coco_metrics(
    dataset: Dataset, found: Sequence[Detections], *, input_size: tuple[int, int] | None = None
) -> CocoMetrics:
    """Compare what was found in the pictures of a data set with the boxes drawn on them.

    Classes are told apart by name; detections of a class that the data set does not have are left out.

    Args:
        dataset: with at least one box.
        found: the detections in each picture, in the order of the data set.
        input_size: width and height of the network's input, in which `ap_by_size` measures; None takes the
            pictures as they are.

    Raises:
        ValueError: there are not as many results as pictures, or no box at all.
    """
    if len(found) != len(dataset.images):
        raise ValueError(f"{len(found)} results for {len(dataset.images)} pictures")
    if not any(len(image.boxes) for image in dataset.images):
        raise ValueError("the data set has no box")
    scales = [_scale(image, input_size) for image in dataset.images]
    truths = _annotations([(image.boxes.astype(np.float64), image.class_ids, None) for image in dataset.images], scales)
    own_ids = [_ids_in(dataset, detections) for detections in found]
    answers = _annotations(
        [
            (_pixels(detections, image)[ids >= 0], ids[ids >= 0], detections.confidences[ids >= 0])
            for detections, ids, image in zip(found, own_ids, dataset.images, strict=True)
        ],
        scales,
    )
    evaluation = _run(_coco(dataset, truths), _coco(dataset, answers))
    by_label = evaluation.eval["precision"][_IOU_50, :, :, _ANY_SIZE, -1].mean(axis=0)
    return CocoMetrics(
        ap=float(evaluation.stats[_AP]),
        ap50=float(evaluation.stats[_AP50]),
        ap75=float(evaluation.stats[_AP75]),
        ap_by_size=dict(
            zip(("small", "medium", "large"), map(_known, evaluation.stats[_SMALL : _LARGE + 1]), strict=True)
        ),
        ap50_by_label=dict(zip(dataset.labels, map(_known, by_label), strict=True)),
        matches=_matches(evaluation, dataset, own_ids),
    )


def _run(truth: COCO, answers: COCO) -> COCOeval:
    evaluation = COCOeval(truth, answers, "bbox")
    evaluation.params.maxDets = [1, 10, MAX_DETECTIONS]
    # It reports on standard output, which belongs to our own results.
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
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


def _matches(evaluation: COCOeval, dataset: Dataset, own_ids: Sequence[NDArray[np.int64]]) -> tuple[ImageMatches, ...]:
    """Read COCOeval's own matches, one entry for each class, size and picture, for boxes of any size."""
    answers = sum(int((ids >= 0).sum()) for ids in own_ids)
    truths = sum(len(image.boxes) for image in dataset.images)
    scored, hits = np.zeros(answers + 1, np.bool_), np.zeros(answers + 1, np.bool_)
    found_at = np.full(truths + 1, -1.0)
    any_size = evaluation.params.areaRng[_ANY_SIZE]
    for entry in evaluation.evalImgs:
        if entry is None or entry["aRng"] != any_size:
            continue
        scored[entry["dtIds"]] = True
        matched = entry["dtMatches"][_IOU_50].astype(np.int64)
        hits[entry["dtIds"]] = matched > 0
        for truth, score in zip(matched, entry["dtScores"], strict=True):
            if truth > 0:
                found_at[truth] = score
    result = []
    next_answer, next_truth = 1, 1
    for image, ids in zip(dataset.images, own_ids, strict=True):
        known = np.flatnonzero(ids >= 0)
        of_image = slice(next_answer, next_answer + len(known))
        image_scored, image_hits = np.zeros(len(ids), np.bool_), np.zeros(len(ids), np.bool_)
        image_scored[known], image_hits[known] = scored[of_image], hits[of_image]
        end = next_truth + len(image.boxes)
        result.append(ImageMatches(scored=image_scored, hits=image_hits, found_at=found_at[next_truth:end]))
        next_answer, next_truth = of_image.stop, end
    return tuple(result)


def _ids_in(dataset: Dataset, detections: Detections) -> NDArray[np.int64]:
    """Give the data set's class id for each detection, -1 for a class it does not have."""
    table = [dataset.labels.index(label) if label in dataset.labels else -1 for label in detections.labels]
    return np.array(table, np.int64)[detections.class_ids]


def _pixels(detections: Detections, image: LabelledImage) -> NDArray[np.float64]:
    size = np.array([image.width, image.height] * 2, np.float64)
    return detections.boxes.astype(np.float64) * size


def _scale(image: LabelledImage, input_size: tuple[int, int] | None) -> float:
    return 1.0 if input_size is None else min(input_size[0] / image.width, input_size[1] / image.height)


def _known(value: float) -> float | None:
    # COCOeval says -1 where there is nothing to measure.
    return None if value < 0 else float(value)
