"""How far two contenders of a comparison agree."""

from dataclasses import dataclass

import numpy as np
from beeagent.detection import Detections
from numpy.typing import NDArray

from beeagent_models.coco_metrics import coco_metrics
from beeagent_models.datasets.dataset import Dataset, LabelledImage
from beeagent_models.evaluation import Evaluation


@dataclass(frozen=True, slots=True)
class Agreement:
    """Two contenders, each at the threshold that its evaluation chose, at IoU 0.5.

    Attributes:
        first: which contender.
        second: which other one.
        both: labelled boxes that both found.
        first_alone: those that only the first found.
        second_alone: those that only the second found.
        neither: those that none of them found.
        apart: int64, shape (n,): in each picture, detections that only one of the two has, right or wrong.
    """

    first: int
    second: int
    both: int
    first_alone: int
    second_alone: int
    neither: int
    apart: NDArray[np.int64]

    @property
    def share(self) -> float:
        """Share of the labelled boxes that any of the two found which both found; 1 where none found one."""
        found = self.both + self.first_alone + self.second_alone
        return self.both / found if found else 1.0


def agreement(evaluations: tuple[Evaluation, ...], first: int, second: int) -> Agreement:
    """Compare two evaluations of one data set.

    Args:
        evaluations: all of them.
        first: which one.
        second: which other one.
    """
    one, other = evaluations[first], evaluations[second]
    ours, theirs = (
        np.concatenate([match.found(evaluation.point.threshold) for match in evaluation.metrics.matches])
        for evaluation in (one, other)
    )
    return Agreement(
        first=first,
        second=second,
        both=int((ours & theirs).sum()),
        first_alone=int((ours & ~theirs).sum()),
        second_alone=int((theirs & ~ours).sum()),
        neither=int((~ours & ~theirs).sum()),
        apart=_apart(one, other),
    )


def most_apart(agreements: tuple[Agreement, ...], most: int) -> list[int]:
    """Give the pictures on which the contenders differ most, summed over all pairs, at most so many."""
    apart = np.sum([pair.apart for pair in agreements], axis=0)
    order = np.argsort(-apart, kind="stable")
    return [int(index) for index in order[:most] if apart[index]]


def _apart(one: Evaluation, other: Evaluation) -> NDArray[np.int64]:
    """Match what one found with what the other did, as if the one's were the labels."""
    dataset, ours, theirs = one.dataset, _counted(one), _counted(other)
    if not any(len(found) for found in ours):
        return np.array([len(found) for found in theirs], np.int64)
    images = tuple(_labelled_by(found, image, dataset) for found, image in zip(ours, dataset.images, strict=True))
    matches = coco_metrics(Dataset(dataset.name, images, dataset.labels), theirs).matches
    return np.array([int((~match.found(0.0)).sum()) + int((~match.hits).sum()) for match in matches], np.int64)


def _counted(evaluation: Evaluation) -> list[Detections]:
    """Give the detections that count: of the data set's classes, at the threshold that was chosen."""
    counted = []
    for found, match in zip(evaluation.found, evaluation.metrics.matches, strict=True):
        kept = match.scored & (found.confidences >= np.float32(evaluation.point.threshold))
        counted.append(Detections(found.boxes[kept], found.confidences[kept], found.class_ids[kept], found.labels))
    return counted


def _labelled_by(found: Detections, image: LabelledImage, dataset: Dataset) -> LabelledImage:
    size = np.array([image.width, image.height] * 2, np.float32)
    ids = [dataset.labels.index(found.label(index)) for index in range(len(found))]
    return LabelledImage(image.path, image.width, image.height, found.boxes * size, np.array(ids, np.int64))
