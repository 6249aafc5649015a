"""Datasets in memory, and a builder that validates and clips boxes of any source format."""

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
    """An image file with its ground-truth boxes.

    Attributes:
        path: image file.
        width: image width in pixels.
        height: image height in pixels.
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
    """Labelled images with common class names.

    Attributes:
        name: name in reports.
        images: images in the order of the source.
        labels: class names.
    """

    name: str
    images: tuple[LabelledImage, ...]
    labels: tuple[str, ...]


logger = logging.getLogger(__name__)

_MIN_SIDE = 1.0
"""Minimum side of a clipped box in pixels; smaller ones are left out."""


class DatasetBuilder:
    """Builds a dataset from validated images.

    Args:
        name: name of the dataset in reports.
        labels: class names in order.

    Raises:
        InputError: there is no label, or a label is empty or duplicate.
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
        """Add an image; its boxes are clipped to it, and left out if outside of it.

        Args:
            path: image file.
            size: width and height of the image in pixels.
            boxes: shape (n, 4): left, top, right, bottom in pixels of the upright image.
            labels: class name of each box.
            where: file and line, for errors.

        Raises:
            InputError: a box is not finite or has no area, or a label is not in the dataset.
        """
        inside, kept = self._clip(np.asarray(boxes, np.float64).reshape(-1, 4), size, where)
        for label in labels:
            if label not in self._ids:
                raise InputError(f"{where}: {not_among(label, self._labels)}")
        class_ids = np.array([self._ids[label] for label in labels], np.int64)
        self._images.append(LabelledImage(path, *size, inside[kept].astype(np.float32), class_ids[kept]))

    def build(self) -> Dataset:
        """Return the dataset, and log the number of clipped boxes.

        Raises:
            InputError: there is no image.
        """
        if not self._images:
            raise InputError(f"{self._name}: there is no image")
        if self._clipped or self._left_out:
            logger.warning(
                "%s: boxes clipped to their image: %d; left out, because outside of it: %d",
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
        # Applies to clipped boxes only: small boxes may be labelled on purpose.
        remains = ~cut | ((inside[:, 2:] - inside[:, :2]) >= _MIN_SIDE).all(axis=1)
        # Up to half a pixel beyond the edge is rounding.
        beyond = (np.abs(inside - boxes) > 0.5).any(axis=1)
        self._clipped += int((beyond & remains).sum())
        self._left_out += int((~remains).sum())
        return inside, remains


def check_labels(name: str, labels: Sequence[str]) -> None:
    """Refuse ambiguous class names.

    Args:
        name: name of the dataset, for errors.
        labels: class names.

    Raises:
        InputError: there is no label, or a label is empty or duplicate.
    """
    if not labels or not all(label.strip() and is_unicode(label) for label in labels):
        raise InputError(f"{name}: a dataset needs at least one label, and none may be empty: {list(labels)}")
    if len(set(labels)) != len(labels):
        raise InputError(f"{name}: the labels have duplicates: {', '.join(labels)}")
