"""Overlapping parts of a frame, so that what is small in the frame is large enough in the model's input."""

import math
import re
from dataclasses import dataclass

from beeagent.errors import InputError

_OVERLAP = 0.25
"""Ratio of a tile's side that it shares with its neighbour. What is shorter than that lies whole in one of the two."""
_MOST_SHRUNK = 2.0
"""How much `auto` lets a tile be shrunk to fit the model's input."""
_MOST = 8
"""Tiles along one side, at most."""


@dataclass(frozen=True, slots=True)
class Region:
    """A part of a frame, in whole pixels.

    Attributes:
        left: the first column.
        top: the first row.
        width: how many columns, at least 1.
        height: how many rows, at least 1.
    """

    left: int
    top: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Tiling:
    """Into how many tiles a frame is cut.

    Attributes:
        columns: 1 to 8; None, like `rows`, to choose by the sizes of frame and input.
        rows: likewise.
    """

    columns: int | None = 1
    rows: int | None = 1

    def __str__(self) -> str:
        """Give the form that `parse_tiling` understands."""
        if self.columns is None:
            return "auto"
        return "none" if self.columns == self.rows == 1 else f"{self.columns}x{self.rows}"


NO_TILES = Tiling()


def parse_tiling(text: str) -> Tiling:
    """Understand `none`, `auto`, or columns and rows such as `3x2`.

    Raises:
        InputError: it is written otherwise, or there are more than 8 along one side.
    """
    if text == "none":
        return NO_TILES
    if text == "auto":
        return Tiling(None, None)
    match = re.fullmatch(r"([0-9]{1,3})x([0-9]{1,3})", text)
    if match is None or not all(1 <= int(number) <= _MOST for number in match.groups()):
        raise InputError(f"tiles is {text!r}: allowed are none, auto, or columns and rows such as 3x2, at most {_MOST}")
    return Tiling(int(match[1]), int(match[2]))


def regions(tiling: Tiling, *, frame: tuple[int, int], model_input: tuple[int, int]) -> tuple[Region, ...]:
    """Cut a frame into what the model is to look at.

    `auto` takes as few tiles as are needed for none to be shrunk by more than 2.

    Args:
        tiling: into how many.
        frame: its width and height in pixels, at least 1.
        model_input: width and height of the model's input in pixels.

    Returns:
        The whole frame, in which what is larger than a tile is found, and after it the tiles, if there are several.
    """
    whole = Region(0, 0, *frame)
    if tiling.columns is None or tiling.rows is None:
        columns, rows = (_needed(side, inside) for side, inside in zip(frame, model_input, strict=True))
    else:
        columns, rows = tiling.columns, tiling.rows
    if columns == rows == 1:
        return (whole,)
    across, down = _spans(frame[0], columns), _spans(frame[1], rows)
    return (whole, *(Region(left, top, width, height) for top, height in down for left, width in across))


def _needed(side: int, inside: int) -> int:
    count = 1
    while count < _MOST and _length(side, count) > _MOST_SHRUNK * inside:
        count += 1
    return count


def _length(side: int, count: int) -> int:
    """How long each of `count` spans is that together cover a side and overlap."""
    return min(side, math.ceil(side / (count - (count - 1) * _OVERLAP)))


def _spans(side: int, count: int) -> list[tuple[int, int]]:
    length = _length(side, count)
    return [(round(k * (side - length) / max(1, count - 1)), length) for k in range(count)]
