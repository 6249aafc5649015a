"""What can be wrong with a data set."""

from dataclasses import dataclass
from enum import Enum


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
        return f"{self.where}: {self.kind.value}: {self.what}"
