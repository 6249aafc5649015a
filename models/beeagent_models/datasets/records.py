"""Streaming access to datasets: records of single images, and the base class of the readers.

Records are for checking, converting and drawing with constant memory. `Dataset` is for training and evaluation: in
memory, clipped and validated.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from beeagent.errors import InputError

from beeagent_models.datasets.dataset import check_labels
from beeagent_models.datasets.defects import Box, Defect, DefectKind, box_defects, not_among

_ROUNDING_TOLERANCE = 1e-6
"""Pixels; nearer values were whole pixels before they became ratios of 12 digits."""


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """One image of a dataset, as in the source.

    Attributes:
        where: file and line, for errors.
        reference: reference of the image in the source.
        name: path within the dataset, such as `ramp/0007.jpg`, without a top folder `images`.
        size: width and height in pixels; None if the format does not contain them.
        boxes: left, top, right, bottom, neither clipped nor rounded, in pixels or ratios of the image.
        labels: class name of each box.
        places: file and line of each box, for errors; empty if boxes have no lines of their own.
        in_ratios: True if the boxes are ratios.
    """

    where: str
    reference: str
    name: str
    size: tuple[int, int] | None
    boxes: tuple[Box, ...]
    labels: tuple[str, ...]
    places: tuple[str, ...] = ()
    in_ratios: bool = False

    @property
    def box_places(self) -> tuple[str, ...]:
        """File and line of each box, or of the image."""
        return self.places or (self.where,) * len(self.boxes)

    @property
    def known_size(self) -> tuple[int, int]:
        """The size, which must be known.

        Raises:
            ValueError: the size is unknown.
        """
        if self.size is None:
            raise ValueError(f"{self.where}: the size of the image is not known")
        return self.size

    def sized(self, size: tuple[int, int]) -> "ImageRecord":
        """Return the record with this size and boxes in pixels."""
        boxes = tuple(_in_pixels(box, size) for box in self.boxes) if self.in_ratios else self.boxes
        return replace(self, size=size, boxes=boxes, in_ratios=False)


class Reader(ABC):
    """Reads a dataset of one format, image by image, once or more.

    Args:
        where: the dataset, for errors.
        labels: class names in order; None for those of the dataset.
        allowed: allowed class names, including classes without a box; None for any.

    Attributes:
        left_out: descriptions of content that was left out, with their counts.
    """

    def __init__(self, where: str, *, labels: tuple[str, ...] | None, allowed: tuple[str, ...] | None) -> None:
        self.left_out: dict[str, int] = {}
        self._explicit_labels = self._labels = labels
        self._allowed = allowed
        if labels is not None:
            check_labels(where, labels)

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names in order, including those without a box.

        Raises:
            InputError: the dataset is defective, or its classes are ambiguous.
        """
        if self._labels is None:
            self._labels = self._read_labels()
        return self._labels

    @abstractmethod
    def _read_labels(self) -> tuple[str, ...]:
        """Return the class names in the dataset."""

    @abstractmethod
    def entries(self) -> Iterator[ImageRecord | Defect]:
        """Read the dataset and yield its images and defects.

        The record of a defective image has the values that could be read.

        Raises:
            InputError: the dataset cannot be read at all.
        """

    @abstractmethod
    def find(self, record: ImageRecord) -> Path:
        """Find the file of an image.

        Raises:
            InputError: the file does not exist.
        """

    def records(self) -> Iterator[ImageRecord]:
        """Yield the images in the order of the dataset.

        Raises:
            InputError: the dataset is defective; the error names file and line.
        """
        known: tuple[str, ...] = ()
        for entry in self.entries():
            if isinstance(entry, Defect):
                raise entry.error()
            known = known or self.labels
            for place, label in zip(entry.box_places, entry.labels, strict=True):
                if label not in known:
                    raise InputError(f"{place}: {not_among(label, known)}")
            yield entry

    def _refuse_unlisted(self, where: str, label: str) -> Iterator[Defect]:
        if self._allowed is not None and label not in self._allowed:
            yield Defect(where, DefectKind.LABEL_UNKNOWN, not_among(label, self._allowed))

    def _count(self, what: str, number: int = 1) -> None:
        if number:
            self.left_out[what] = self.left_out.get(what, 0) + number


def record_box_defects(record: ImageRecord) -> Iterator[Defect]:
    """Yield the defects of the boxes of one image; boxes in ratios are not compared with the image size."""
    boxes = list(zip(record.box_places, record.labels, record.boxes, strict=True))
    return box_defects(boxes, size=None if record.in_ratios else record.size)


def name_within(path: str) -> str:
    """Return the path within the dataset of a key or path: relative, without `..` and a leading `images`."""
    # Without pathlib, which interns each part: memory would grow with the number of images.
    parts = [part for part in path.split("/") if part not in {"", "..", "."}]
    if path.startswith("/"):
        parts = parts[-1:]
    return "/".join(parts[1:] if len(parts) > 1 and parts[0] == "images" else parts)


def _in_pixels(ratios: Box, size: tuple[int, int]) -> Box:
    values = (ratio * side for ratio, side in zip(ratios, (*size, *size), strict=True))
    left, top, right, bottom = (
        float(round(value)) if abs(value) < 1e9 and abs(value - round(value)) < _ROUNDING_TOLERANCE else value
        for value in values
    )
    return left, top, right, bottom
