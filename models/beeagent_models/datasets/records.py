"""Labelled images one by one, as their source states them, so that a dataset of any length needs little memory.

`Dataset` is for training and measuring: all in memory, clipped and checked. Records are for checking, converting and
showing.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from beeagent.errors import InputError

from beeagent_models.datasets.defects import Box, Defect, box_defects

_WHOLE = 1e-6
"""Pixels; what is nearer than this to a whole pixel was one before it was made a ratio of 12 digits."""


@dataclass(frozen=True, slots=True)
class StatedPicture:
    """What a source says of one picture.

    Attributes:
        where: file and line, for errors.
        reference: how the source names it.
        name: its path within the set, such as `ramp/0007.jpg`, without a folder `images` around all.
        size: width and height in pixels; None where the source does not state them.
        boxes: left, top, right, bottom as stated, neither clipped nor rounded: in pixels, or ratios of the picture.
        labels: the class name of each box.
        places: file and line of each box, for errors; empty where they have no line of their own.
        in_ratios: whether the boxes are in ratios.
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
        """File and line of each box, or of the picture."""
        return self.places or (self.where,) * len(self.boxes)

    @property
    def known_size(self) -> tuple[int, int]:
        """The size, of a picture that has one by now.

        Raises:
            ValueError: it has none.
        """
        if self.size is None:
            raise ValueError(f"{self.where}: the size of the picture is not known")
        return self.size

    def sized(self, size: tuple[int, int]) -> "StatedPicture":
        """Return the picture with this width and height, and its boxes in pixels."""
        if not self.in_ratios:
            return replace(self, size=size)
        boxes = tuple(_in_pixels(box, size) for box in self.boxes)
        return replace(self, size=size, boxes=boxes, in_ratios=False)


class Source(Protocol):
    """A data set that can be gone through, once or more."""

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the classes, in order; those without a box, too.

        Raises:
            InputError: the source is defective, or its classes cannot be told apart.
        """

    @property
    def left_out(self) -> dict[str, int]:
        """What the source has and a `StatedPicture` has no place for, in words, and how much of it."""

    def pictures(self) -> Iterator[StatedPicture]:
        """Give the pictures, in the order of the source.

        Raises:
            InputError: the source is defective; names file and line.
        """

    def find(self, picture: StatedPicture) -> Path:
        """Find the file of a picture.

        Raises:
            InputError: there is none.
        """


class Reader(ABC):
    """The one reader of a form: a `Source` that can also go on after a defect.

    Attributes:
        left_out: see `Source`.
    """

    def __init__(self) -> None:
        self.left_out: dict[str, int] = {}

    @property
    @abstractmethod
    def labels(self) -> tuple[str, ...]:
        """See `Source`."""

    @abstractmethod
    def entries(self) -> Iterator[StatedPicture | Defect]:
        """Go through the source once, and yield each picture and each defect of the source itself.

        A picture that follows a defect has what could be understood of it.

        Raises:
            InputError: the source cannot be read at all.
        """

    @abstractmethod
    def find(self, picture: StatedPicture) -> Path:
        """See `Source`."""

    def pictures(self) -> Iterator[StatedPicture]:
        """See `Source`."""
        known: tuple[str, ...] = ()
        for entry in self.entries():
            if isinstance(entry, Defect):
                raise entry.error()
            known = known or self.labels
            for place, label in zip(entry.box_places, entry.labels, strict=True):
                if label not in known:
                    raise InputError(f"{place}: label '{label}' is not one of {', '.join(known)}")
            yield entry


def picture_box_defects(picture: StatedPicture) -> Iterator[Defect]:
    """Yield the defects of the boxes of one picture; of those in ratios, what can be seen without the size."""
    boxes = list(zip(picture.box_places, picture.labels, picture.boxes, strict=True))
    return box_defects(boxes, size=None if picture.in_ratios else picture.size)


def name_within(path: str) -> str:
    """Make of a key or path the picture's path within its set: nothing absolute, no climbing, no `images` in front."""
    # Not by pathlib, which interns each part: the table of interned strings grows with the images.
    parts = [part for part in path.split("/") if part not in {"", "..", "."}]
    if path.startswith("/"):
        parts = parts[-1:]
    return "/".join(parts[1:] if len(parts) > 1 and parts[0] == "images" else parts)


def _in_pixels(ratios: Box, size: tuple[int, int]) -> Box:
    left, top, right, bottom = (ratio * side for ratio, side in zip(ratios, (*size, *size), strict=True))
    return _whole(left), _whole(top), _whole(right), _whole(bottom)


def _whole(value: float) -> float:
    return float(round(value)) if abs(value) < 1e9 and abs(value - round(value)) < _WHOLE else value
