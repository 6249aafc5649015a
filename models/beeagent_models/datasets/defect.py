"""What can be wrong with a data set."""

from collections.abc import Generator
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
