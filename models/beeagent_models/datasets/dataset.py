"""Labelled images in memory, and the builder that checks and clips their boxes, whatever the source format."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from beeagent.errors import InputError
from numpy.typing import NDArray

from beeagent_models.datasets.defects import is_unicode, not_among


@dataclass(frozen=True, slots=True)
class LabelledImage:
    """One image on disk and the boxes drawn on it.

    Attributes:
        path: the image.
        width: in pixels.
        height: in pixels.
        boxes: float32, shape (n, 4): left, top, right, bottom in pixels, within the image.
        class_ids: int64, shape (n,): indices into the dataset's labels.
    """

    path: Path
    width: int
    height: int
    boxes: NDArray[np.float32]
    class_ids: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Dataset:
    """Labelled images that share their labels.

    Attributes:
        name: what it is called in reports.
        images: the images, in the order of their source.
        labels: the names of the classes.
    """

    name: str
    images: tuple[LabelledImage, ...]
    labels: tuple[str, ...]


logger = logging.getLogger(__name__)

_MIN_SIDE = 1.0
"""Pixels; what is left of a box at the image's edge is left out if a side is shorter than this."""


class DatasetBuilder:
    """Collects labelled images that share their labels, and refuses what does not fit together.

    Args:
        name: what the dataset is called in reports.
        labels: the names of the classes, in order.

    Raises:
        InputError: there is no label, an empty one, or one of them twice.
    """

    def __init__(self, *, name: str, labels: Sequence[str]) -> None:
        check_labels(name, labels)
        self._name = name
        self._labels = tuple(labels)
        self._ids = {label: index for index, label in enumerate(labels)}
        self._images: list[LabelledImage] = []
        self._clipped = 0
        self._left_out = 0

    def add(
        self, path: Path, *, size: tuple[int, int], boxes: NDArray[np.floating], labels: Sequence[str], where: str
    ) -> None:
        """Take one image and its boxes; boxes are clipped to the image, and left out if outside of it.

        Args:
            path: the image.
            size: its width and height in pixels.
            boxes: shape (n, 4): left, top, right, bottom in pixels of the upright image.
            labels: the class name of each box.
            where: file and line that say so, for errors.

        Raises:
            InputError: a box is not finite or has no area; a label is not among the dataset's.
        """
        inside, kept = self._clip(np.asarray(boxes, np.float64).reshape(-1, 4), size, where)
        for label in labels:
            if label not in self._ids:
                raise InputError(f"{where}: {not_among(label, self._labels)}")
        class_ids = np.array([self._ids[label] for label in labels], np.int64)
        self._images.append(LabelledImage(path, *size, inside[kept].astype(np.float32), class_ids[kept]))

    def build(self) -> Dataset:
        """Return the dataset; log how many boxes at the edge were changed.

        Raises:
            InputError: there is no image.
        """
        if not self._images:
            raise InputError(f"{self._name}: there is no image")
        if self._clipped or self._left_out:
            logger.warning(
                "%s: boxes clipped to their image: %d; left out because they lie outside of it: %d",
                self._name,
                self._clipped,
                self._left_out,
            )
        return Dataset(name=self._name, images=tuple(self._images), labels=self._labels)

    def _clip(
        self, boxes: NDArray[np.float64], size: tuple[int, int], where: str
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        sides = boxes[:, 2:] - boxes[:, :2]
        for box in boxes[~(np.isfinite(boxes).all(axis=1) & (sides > 0).all(axis=1))]:
            raise InputError(
                f"{where}: the box from ({box[0]:g}, {box[1]:g}) to ({box[2]:g}, {box[3]:g}) has no area; "
                "correct or remove it"
            )
        inside = np.clip(boxes, 0, np.array([*size, *size], np.float64))
        cut = (inside != boxes).any(axis=1)
        # Only the cut ones: a box that was drawn this small is the author's business.
        remains = ~cut | ((inside[:, 2:] - inside[:, :2]) >= _MIN_SIDE).all(axis=1)
        # Half a pixel beyond the edge is rounding, and not worth a word.
        beyond = (np.abs(inside - boxes) > 0.5).any(axis=1)
        self._clipped += int((beyond & remains).sum())
        self._left_out += int((~remains).sum())
        return inside, remains


def check_labels(name: str, labels: Sequence[str]) -> None:
    """Refuse ambiguous names of classes.

    Args:
        name: of the dataset.
        labels: the names of the classes.

    Raises:
        InputError: there is no label, an empty one, or one of them twice.
    """
    if not labels or not all(label.strip() and is_unicode(label) for label in labels):
        raise InputError(f"{name}: a dataset needs at least one label, and none may be empty: {list(labels)}")
    if len(set(labels)) != len(labels):
        raise InputError(f"{name}: a label is given twice: {', '.join(labels)}")
