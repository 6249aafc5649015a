"""Defects of datasets and the checks of boxes that find some of them."""

import math
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

from beeagent.errors import InputError

_Result = TypeVar("_Result")


class DefectKind(str, Enum):
    """The kinds of defects, as they are printed."""

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
    """One thing that is wrong.

    Attributes:
        where: file and line, or what takes a line's place.
        kind: what kind of defect it is.
        what: what is wrong, in words.
    """

    where: str
    kind: DefectKind
    what: str

    @classmethod
    def of(cls, where: str, kind: DefectKind, error: InputError) -> "Defect":
        """Make a defect of an error, which may name the place."""
        return cls(where, kind, str(error).removeprefix(f"{where}: "))

    def __str__(self) -> str:
        # Made printable as errors are: a name in it may be anything.
        return str(InputError(f"{self.where}: {self.kind.value}: {self.what}"))

    def error(self) -> "DefectError":
        """Return the error of a reader that stops at this defect."""
        return DefectError(self)


class DefectError(InputError):
    """The error of a reader that stops at a defect.

    Args:
        defect: at which it stops.
    """

    def __init__(self, defect: Defect) -> None:
        super().__init__(f"{defect.where}: {defect.what}")
        self.defect = defect


Findings = Generator[Defect, None, _Result]
"""Yields every defect it finds, and returns what could be understood in spite of them."""


def strict(findings: Findings[_Result]) -> _Result:
    """Return the result of `findings` that yield no defect.

    Raises:
        InputError: there is a defect; names the first.
    """
    try:
        defect = next(findings)
    except StopIteration as end:
        result: _Result = end.value
        return result
    raise defect.error()


def is_unicode(text: str) -> bool:
    """Return whether a text can be written to a file: JSON has half surrogates, and so have names of files."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def not_among(label: str, labels: Iterable[str]) -> str:
    """Return what is wrong with a label that is not one of those that there may be."""
    return f"label '{label}' is not one of {', '.join(labels)}"


def class_name_defects(what: str, names: Iterable[tuple[str, int, str]], ids: dict[str, int]) -> Iterator[Defect]:
    """Check the names of the classes of a dataset.

    Args:
        what: to call a class.
        names: where each is stated, its id and its name.
        ids: ids of the names that were checked before; the new ones are added.

    Yields:
        Names that are empty or not Unicode, and those that two classes have.
    """
    for where, key, name in names:
        if not name.strip() or not is_unicode(name):
            kind = "a non-Unicode" if name.strip() else "an empty"
            yield Defect(where, DefectKind.LABEL_UNKNOWN, f"{what} {key} has {kind} name")
        elif ids.setdefault(name, key) != key:
            both = f"{what} {ids[name]} and {what} {key} are both called '{name}'"
            yield Defect(where, DefectKind.LABEL_UNKNOWN, f"{both}; rename or remove one")


Box = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels."""

BEYOND = 0.5
"""Pixels by which a box may reach beyond its image: ratios with few digits do."""


def box_defects(boxes: Sequence[tuple[str, str, Box]], *, size: tuple[int, int] | None) -> Iterator[Defect]:
    """Check the boxes of one image.

    Args:
        boxes: where each is stated (the same place, or one each), its class and itself.
        size: width and height of the image in pixels; None if unknown.

    Yields:
        Boxes without area, beyond the image, and those that are there twice with the same class.
    """
    known: dict[tuple[str, Box], int] = {}
    for number, (where, label, box) in enumerate(boxes, start=1):
        left, top, right, bottom = box
        what = f"box {number}, from ({left:g}, {top:g}) to ({right:g}, {bottom:g}),"
        if not (all(map(math.isfinite, box)) and left < right and top < bottom):
            yield Defect(where, DefectKind.BOX_EMPTY, f"{what} has no area")
            continue
        if size is not None and reaches_beyond(box, size):
            yield Defect(where, DefectKind.BOX_OUTSIDE, f"{what} reaches beyond the image of {size[0]}x{size[1]}")
        first = known.setdefault((label, box), number)
        if first != number:
            yield Defect(where, DefectKind.DUPLICATE, f"{what} is the same as box {first}")


def reaches_beyond(box: Box, size: tuple[int, int]) -> bool:
    """Return whether a box reaches beyond its image by more than rounding does.

    Args:
        box: left, top, right, bottom in pixels.
        size: width and height of the image in pixels.
    """
    left, top, right, bottom = box
    return min(left, top) < -BEYOND or right > size[0] + BEYOND or bottom > size[1] + BEYOND
