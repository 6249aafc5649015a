"""Tiles: overlapping regions of a frame in which small objects are large enough for the model.

The model runs on each tile, and the detections of all tiles are merged.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from beeagent.detection.boxes import covered_ratios, iou
from beeagent.detection.bundle import ModelBundle
from beeagent.detection.detections import Detections
from beeagent.errors import InputError

_OVERLAP = 0.25
"""Ratio of a tile's side that overlaps with its neighbour. Smaller objects lie completely in one of the two."""
_MAX_SHRINK = 2.0
"""Maximum factor by which `auto` shrinks a tile to the model's input."""
_MAX_TILES = 8
"""Maximum number of tiles along one side."""

_DUPLICATE_IOU = 0.5
"""Minimum IoU at which two boxes of different regions are of the same object."""
_DUPLICATE_SHARE = 0.7
"""A box cut by the edge of a region is of the same object as a box that covers this ratio of its area."""
_AT_EDGE = 0.01
"""Distance from a region's edge, as a ratio of its side, within which a box counts as cut."""
_BLOCK = 64
"""Number of boxes compared with all others at once: limits the memory of many boxes."""


@dataclass(frozen=True, slots=True)
class Region:
    """A part of a frame, in whole pixels.

    Attributes:
        left: the first column.
        top: the first row.
        width: number of columns, at least 1.
        height: number of rows, at least 1.
    """

    left: int
    top: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Tiling:
    """The number of tiles into which a frame is cut.

    Attributes:
        columns: number of columns, 1 to 8; None, in both attributes, to choose by the sizes of frame and input.
        rows: number of rows, 1 to 8, or None.
    """

    columns: int | None = 1
    rows: int | None = 1

    def __str__(self) -> str:
        """Return the text that `parse_tiling` parses."""
        if self.columns is None:
            return "auto"
        return "none" if self.columns == self.rows == 1 else f"{self.columns}x{self.rows}"


NO_TILES = Tiling()


def parse_tiling(text: str) -> Tiling:
    """Parse `none`, `auto`, or columns and rows such as `3x2`.

    Raises:
        InputError: the text is none of these, or there are more than 8 tiles along one side.
    """
    if text == "none":
        return NO_TILES
    if text == "auto":
        return Tiling(None, None)
    match = re.fullmatch(r"([0-9]{1,3})x([0-9]{1,3})", text)
    if match is None or not all(1 <= int(number) <= _MAX_TILES for number in match.groups()):
        raise InputError(
            f"tiles is {text!r}: allowed are none, auto, or columns and rows such as 3x2, at most {_MAX_TILES}"
        )
    return Tiling(int(match[1]), int(match[2]))


def resolve_tiling(tiles: str | None, bundle: ModelBundle) -> Tiling:
    """Return the tiling for a model: `tiles` if not None, else the recommendation of the bundle.

    Raises:
        InputError: `tiles` cannot be parsed.
    """
    if tiles is not None:
        return parse_tiling(tiles)
    return NO_TILES if bundle.manifest is None else parse_tiling(bundle.manifest.tiles)


def frame_regions(tiling: Tiling, *, frame: tuple[int, int], model_input: tuple[int, int]) -> tuple[Region, ...]:
    """Return the regions of a frame on which to run the model.

    `auto` uses the smallest number of tiles such that none is shrunk by more than 2.

    Args:
        tiling: number of tiles.
        frame: width and height of the frame in pixels, at least 1.
        model_input: width and height of the model's input in pixels.

    Returns:
        The whole frame, for objects larger than a tile, followed by the tiles if there is more than one.
    """
    whole = Region(0, 0, *frame)
    if tiling.columns is None or tiling.rows is None:
        columns, rows = (
            _spans_needed(side, _MAX_SHRINK * inside) for side, inside in zip(frame, model_input, strict=True)
        )
    else:
        columns, rows = tiling.columns, tiling.rows
    if columns == rows == 1:
        return (whole,)
    return (whole, *_tiles(frame, columns, rows))


def tile_grid(frame: tuple[int, int], *, largest: tuple[int, int]) -> tuple[Region, ...]:
    """Return the fewest overlapping tiles, of at most this width and height in pixels, that cover a frame."""
    columns, rows = (_spans_needed(side, length) for side, length in zip(frame, largest, strict=True))
    return _tiles(frame, columns, rows)


def _tiles(frame: tuple[int, int], columns: int, rows: int) -> tuple[Region, ...]:
    across, down = _spans(frame[0], columns), _spans(frame[1], rows)
    return tuple(Region(left, top, width, height) for top, height in down for left, width in across)


def _spans_needed(side: int, longest: float) -> int:
    count = 1
    while count < _MAX_TILES and _span_length(side, count) > longest:
        count += 1
    return count


def _span_length(side: int, count: int) -> int:
    """Return the length of each of `count` overlapping spans that cover a side."""
    return min(side, math.ceil(side / (count - (count - 1) * _OVERLAP)))


def _spans(side: int, count: int) -> list[tuple[int, int]]:
    length = _span_length(side, count)
    return [(round(k * (side - length) / max(1, count - 1)), length) for k in range(count)]


def merge_regions(detections: Sequence[Detections], regions: Sequence[Region], *, frame: tuple[int, int]) -> Detections:
    """Merge the detections of several regions of a frame, without duplicates.

    The model has suppressed duplicates within a region; only boxes of different regions are compared. Of duplicates,
    boxes that lie completely in their region are preferred to boxes cut by its edge, then those of higher confidence.

    Args:
        detections: the detections of each region, in ratios of the region.
        regions: the regions, in the same order.
        frame: width and height of the frame in pixels.

    Returns:
        The detections in ratios of the frame.
    """
    if len(detections) == 1 and regions[0] == Region(0, 0, *frame):
        return detections[0]
    pairs = list(zip(detections, regions, strict=True))
    boxes = np.concatenate([boxes_in_frame(part.boxes, region) for part, region in pairs])
    confidences = np.concatenate([part.confidences for part in detections])
    class_ids = np.concatenate([part.class_ids for part in detections])
    order = without_duplicates(
        boxes,
        confidences=confidences,
        class_ids=class_ids,
        origins=np.repeat(np.arange(len(detections)), [len(part) for part in detections]),
        cut=np.concatenate([cut_by_region(part.boxes, region, frame) for part, region in pairs]),
    )
    merged = np.clip(boxes[order] / np.array(frame * 2, dtype=np.float32), 0.0, 1.0).astype(np.float32)
    return Detections(merged, confidences[order], class_ids[order], detections[0].labels)


def without_duplicates(
    boxes: NDArray[np.float32],
    *,
    confidences: NDArray[np.float32],
    class_ids: NDArray[np.int64],
    origins: NDArray[np.int64],
    cut: NDArray[np.bool_],
) -> NDArray[np.int64]:
    """Return the indices of the boxes to keep, by descending confidence; see `merge_regions`.

    Args:
        boxes: boxes of all regions, shape (n, 4), in pixels of the frame.
        confidences: confidence of each box.
        class_ids: class id of each box.
        origins: index of the region of each box.
        cut: True for each box that is cut by the edge of its region.
    """
    order = np.lexsort((-confidences, cut))
    boxes, class_ids, origins, cut = boxes[order], class_ids[order], origins[order], cut[order]
    remaining = np.ones(len(boxes), dtype=np.bool_)
    for start in range(0, len(boxes), _BLOCK):
        rows = slice(start, start + _BLOCK)
        first, others = boxes[rows, None], boxes[None, start:]
        covered = covered_ratios(others, first)
        duplicate = (iou(first, others) >= _DUPLICATE_IOU) | (cut[start:] & (covered >= _DUPLICATE_SHARE))
        duplicate &= origins[rows, None] != origins[start:]
        duplicate &= class_ids[rows, None] == class_ids[start:]
        duplicate = np.triu(duplicate, 1)  # only what comes later in the order is a duplicate
        for row in np.flatnonzero(duplicate.any(axis=1)).tolist():
            if remaining[start + row]:
                remaining[start:] &= ~duplicate[row]
    kept = order[remaining]
    return kept[np.argsort(-confidences[kept], kind="stable")]


def boxes_in_frame(boxes: NDArray[np.float32], region: Region) -> NDArray[np.float32]:
    """Convert boxes in ratios of a region to pixels of the frame."""
    scale = np.array([region.width, region.height] * 2, dtype=np.float32)
    return (boxes * scale + np.array([region.left, region.top] * 2, dtype=np.float32)).astype(np.float32)


def cut_by_region(boxes: NDArray[np.float32], region: Region, frame: tuple[int, int]) -> NDArray[np.bool_]:
    """Return a boolean for each box: True if it ends at an edge of its region that is not an edge of the frame."""
    inner = np.array(
        [
            region.left > 0,
            region.top > 0,
            region.left + region.width < frame[0],
            region.top + region.height < frame[1],
        ]
    )
    at_edge = np.concatenate([boxes[:, :2] <= _AT_EDGE, boxes[:, 2:] >= 1 - _AT_EDGE], axis=1)
    cut: NDArray[np.bool_] = (at_edge & inner).any(axis=1)
    return cut
