"""Finds what is wrong with the boxes of one picture, whatever form they came in."""

import math
from collections.abc import Iterator, Sequence

from beeagent_models.datasets.defect import Defect, DefectKind

Box = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels."""

BEYOND = 0.5
"""Pixels by which a box may reach beyond its picture: ratios with few digits do."""


def box_defects(boxes: Sequence[tuple[str, str, Box]], *, size: tuple[int, int] | None) -> Iterator[Defect]:
    """Look at the boxes of one picture.

    Args:
        boxes: where each is stated (the same place, or one each), its class and itself.
        size: width and height of the picture in pixels; None if nobody knows.

    Yields:
        Boxes without area, beyond the picture, and those that are there twice with the same class.
    """
    known: dict[tuple[str, Box], int] = {}
    for number, (where, label, box) in enumerate(boxes, start=1):
        left, top, right, bottom = box
        what = f"box {number}, from ({left:g}, {top:g}) to ({right:g}, {bottom:g}),"
        if not (all(map(math.isfinite, box)) and left < right and top < bottom):
            yield Defect(where, DefectKind.BOX_EMPTY, f"{what} has no area")
            continue
        if size is not None and reaches_beyond(box, size):
            yield Defect(where, DefectKind.BOX_OUTSIDE, f"{what} reaches out of the picture of {size[0]}x{size[1]}")
        first = known.setdefault((label, box), number)
        if first != number:
            yield Defect(where, DefectKind.DUPLICATE, f"{what} is the same as box {first}")


def reaches_beyond(box: Box, size: tuple[int, int]) -> bool:
    """Say whether a box reaches out of its picture by more than rounding does.

    Args:
        box: left, top, right, bottom in pixels.
        size: width and height of the picture in pixels.
    """
    left, top, right, bottom = box
    return min(left, top) < -BEYOND or right > size[0] + BEYOND or bottom > size[1] + BEYOND
