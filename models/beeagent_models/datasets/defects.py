"""Defects of datasets, and checks of class names and boxes."""

import math
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

from beeagent.errors import InputError

_Result = TypeVar("_Result")


class DefectKind(str, Enum):
    """Kinds of defects, with their printed names."""

    BROKEN_JSON = "broken-json"
    BROKEN_LINE = "broken-line"
    MISSING_IMAGE = "missing-image"
    BAD_IMAGE = "bad-image"
    SIZE_WRONG = "size-wrong"
    BOX_OUTSIDE = "box-outside"
    BOX_EMPTY = "box-empty"
    LABEL_UNKNOWN = "label-unknown"
    DUPLICATE = "duplicate"


@dataclass(frozen=True, slots=True)
class Defect:
    """One defect of a dataset.

    Attributes:
        where: file and line, or an equivalent location.
        kind: kind of the defect.
        what: description.
    """

    where: str
    kind: DefectKind
    what: str

    @classmethod
    def of(cls, where: str, kind: DefectKind, error: InputError) -> "Defect":
        """Create a defect from an error, whose text may begin with the location."""
        return cls(where, kind, str(error).removeprefix(f"{where}: "))

    def __str__(self) -> str:
        # InputError escapes control characters of names.
        return str(InputError(f"{self.where}: {self.kind.value}: {self.what}"))

    def error(self) -> "DefectError":
        """Return the error of a reader that stops at this defect."""
        return DefectError(self)


class DefectError(InputError):
    """Raised by readers that stop at the first defect.

    Args:
        defect: the defect.
    """

    def __init__(self, defect: Defect) -> None:
        super().__init__(f"{defect.where}: {defect.what}")
        self.defect = defect


Findings = Generator[Defect, None, _Result]
"""Generator that yields defects and returns the usable result."""


def strict(findings: Findings[_Result]) -> _Result:
    """Return the result of `findings`, or raise at the first defect.

    Raises:
        InputError: there is a defect.
    """
    try:
        defect = next(findings)
    except StopIteration as end:
        result: _Result = end.value
        return result
    raise defect.error()


def is_unicode(text: str) -> bool:
    """Return True if a text can be encoded: JSON strings and file names may have lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def not_among(label: str, labels: Iterable[str]) -> str:
    """Return an error text for a label that is not in `labels`."""
    return f"label '{label}' is not one of {', '.join(labels)}"


def class_name_defects(what: str, names: Iterable[tuple[str, int, str]], ids: dict[str, int]) -> Iterator[Defect]:
    """Check the class names of a dataset.

    Args:
        what: word for a class in the defects.
        names: location, id and name of each class.
        ids: ids by name of the classes checked so far; new ones are added.

    Yields:
        Names that are empty, not Unicode or duplicate.
    """
    for where, key, name in names:
        if not name.strip() or not is_unicode(name):
            kind = "a non-Unicode" if name.strip() else "an empty"
            yield Defect(where, DefectKind.LABEL_UNKNOWN, f"{what} {key} has {kind} name")
        elif ids.setdefault(name, key) != key:
            both = f"{what} {ids[name]} and {what} {key} both have the name '{name}'"
            yield Defect(where, DefectKind.LABEL_UNKNOWN, f"{both}; rename or remove one")


Box = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels."""

BEYOND = 0.5
"""Tolerance in pixels for boxes at the edge of the image, for ratios with few digits."""


def box_defects(boxes: Sequence[tuple[str, str, Box]], *, size: tuple[int, int] | None) -> Iterator[Defect]:
    """Check the boxes of one image.

    Args:
        boxes: location, label and coordinates of each box.
        size: width and height of the image in pixels; None if unknown.

    Yields:
        Boxes without area, boxes beyond the image, and duplicates with the same class.
    """
    known: dict[tuple[str, Box], int] = {}
    for number, (where, label, box) in enumerate(boxes, start=1):
        left, top, right, bottom = box
        what = f"box {number}, from ({left:g}, {top:g}) to ({right:g}, {bottom:g}),"
        if not (all(map(math.isfinite, box)) and left < right and top < bottom):
            yield Defect(where, DefectKind.BOX_EMPTY, f"{what} has no area")
            continue
        if size is not None and reaches_beyond(box, size):
            yield Defect(where, DefectKind.BOX_OUTSIDE, f"{what} extends beyond the image of {size[0]}x{size[1]}")
        first = known.setdefault((label, box), number)
        if first != number:
            yield Defect(where, DefectKind.DUPLICATE, f"{what} is the same as box {first}")


def reaches_beyond(box: Box, size: tuple[int, int]) -> bool:
    """Return True if a box extends beyond its image by more than the tolerance.

    Args:
        box: left, top, right, bottom in pixels.
        size: width and height of the image in pixels.
    """
    left, top, right, bottom = box
    return min(left, top) < -BEYOND or right > size[0] + BEYOND or bottom > size[1] + BEYOND
