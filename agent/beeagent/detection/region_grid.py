"""The cells of a frame, and regions that cover them."""

import math
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from beeagent.detection.motion import grid_size
from beeagent.detection.tiling import Region, Tiling, frame_regions, tile_grid

Cells = tuple[slice, slice]
"""A rectangle of cells: its rows and its columns."""


class RegionGrid:
    """The cells of a frame, its fixed regions, and regions where they are needed.

    A region covers the cells inside it at some distance from its edges, since the edges may cut an object; where an
    edge of the region is an edge of the frame, no distance is needed.

    Attributes:
        frame: width and height of the frame in pixels.
        columns: number of columns of cells.
        rows: number of rows of cells.
        whole: the whole frame.
        tiles: the smallest number of tiles that cover every cell and are shrunk no more than the tiles of `tiling`;
            empty if the whole frame has that resolution.
        largest: width and height in pixels of the largest region with that resolution, in the input's aspect ratio.
    """

    def __init__(self, frame: tuple[int, int], *, model_input: tuple[int, int], tiling: Tiling) -> None:
        """Lay out the cells and the tiles.

        Args:
            frame: width and height in pixels, at least 1.
            model_input: width and height of the model's input in pixels.
            tiling: tiles whose resolution is the minimum for regions.
        """
        self.frame = frame
        self.columns, self.rows = grid_size(frame)
        self.whole = Region(0, 0, *frame)
        self._input = model_input
        self._cell = (frame[0] / self.columns, frame[1] / self.rows)
        tile = frame_regions(tiling, frame=frame, model_input=model_input)[-1]
        shrink = max(1.0, self.shrink(tile))
        width, height = (
            min(side, math.floor(shrink * inside)) for side, inside in zip(frame, model_input, strict=True)
        )
        self.largest = (width, height)
        tiles = tile_grid(frame, largest=self.largest)
        self.tiles = tiles if len(tiles) > 1 else ()
        self._max_margin = (
            _max_margin([(tile.left, tile.width) for tile in tiles], cell=self._cell[0]),
            _max_margin([(tile.top, tile.height) for tile in tiles], cell=self._cell[1]),
        )

    @property
    def fixed(self) -> tuple[Region, ...]:
        """The fixed regions: the whole frame and the tiles."""
        return (self.whole, *self.tiles)

    def shrink(self, region: Region) -> float:
        """Return the factor by which a region is shrunk to the model's input; below 1 if it is enlarged."""
        return max(region.width / self._input[0], region.height / self._input[1])

    def touched_by(self, box: NDArray[np.float32]) -> Cells:
        """Return the cells that a box touches, at least one; the box is left, top, right, bottom in pixels."""
        left, top, right, bottom = (float(edge) for edge in box)
        return _cells(top, bottom, self._cell[1], self.rows), _cells(left, right, self._cell[0], self.columns)

    def inside(self, region: Region, *, margin: float = 0.0) -> Cells:
        """Return the cells that a region covers.

        Args:
            region: the region.
            margin: minimum distance in pixels of the cells from the region's edges; raised to the size of a cell, and
                limited by the overlap of the tiles.
        """
        across, down = self._margins(margin)
        left, right = _inside(region.left, region.width, self.frame[0], self._cell[0], margin=across)
        top, bottom = _inside(region.top, region.height, self.frame[1], self._cell[1], margin=down)
        return slice(int(top), int(bottom)), slice(int(left), int(right))

    def cover(self, needed: NDArray[np.float64], *, margin: float, limit: int) -> list[Region]:
        """Return regions that cover the cells with a need, at most as many as there are tiles.

        The regions are chosen greedily: each covers the most of the remaining need. A region is no larger than its
        cells require, and no smaller than the model's input: so it is shrunk as little as possible.

        Args:
            needed: shape (rows, columns): the need of each cell, 0 for none.
            margin: see `inside`.
            limit: maximum number of regions; 0 or more.
        """
        if not self.tiles:
            return [self.whole] if limit > 0 and needed.any() else []
        remaining = needed.copy()
        regions: list[Region] = []
        for _ in self.tiles:
            cells = self._best_cells(remaining, margin=margin)
            if not remaining[cells].any():
                break
            region = self._fitted(remaining, cells, margin=margin)
            remaining[self.inside(region, margin=margin)] = 0
            regions.append(region)
        if remaining.any():  # the same number of tiles covers everything
            needs = {tile: float(needed[self.inside(tile)].sum()) for tile in self.tiles}
            regions = sorted((tile for tile in self.tiles if needs[tile] > 0), key=lambda tile: -needs[tile])
        return regions[: max(0, limit)]

    def _best_cells(self, needed: NDArray[np.float64], *, margin: float) -> Cells:
        """Return the cells of the position at which the largest region covers the most need."""
        across, down = self._margins(margin)
        lefts = np.minimum(np.arange(self.columns) * self._cell[0], self.frame[0] - self.largest[0])
        tops = np.minimum(np.arange(self.rows) * self._cell[1], self.frame[1] - self.largest[1])
        first_column, last_column = _inside(lefts, self.largest[0], self.frame[0], self._cell[0], margin=across)
        first_row, last_row = _inside(tops, self.largest[1], self.frame[1], self._cell[1], margin=down)
        sums = np.zeros((self.rows + 1, self.columns + 1))
        sums[1:, 1:] = needed.cumsum(axis=0).cumsum(axis=1)
        covered = (
            sums[np.ix_(last_row, last_column)]
            - sums[np.ix_(first_row, last_column)]
            - sums[np.ix_(last_row, first_column)]
            + sums[np.ix_(first_row, first_column)]
        )
        row, column = np.unravel_index(int(covered.argmax()), covered.shape)
        return slice(int(first_row[row]), int(last_row[row])), slice(
            int(first_column[column]), int(last_column[column])
        )

    def _fitted(self, needed: NDArray[np.float64], cells: Cells, *, margin: float) -> Region:
        """Return the smallest region that covers the needed cells of a rectangle."""
        rows, columns = np.nonzero(needed[cells])
        first = (cells[1].start + int(columns.min()), cells[0].start + int(rows.min()))
        last = (cells[1].start + int(columns.max()) + 1, cells[0].start + int(rows.max()) + 1)
        margins = self._margins(margin)
        # One pixel more on each side, so that rounding leaves the cells inside.
        edges = [
            (start * cell - space - 1, stop * cell + space + 1)
            for start, stop, cell, space in zip(first, last, self._cell, margins, strict=True)
        ]
        sides = [min(high, side) - max(low, 0) for (low, high), side in zip(edges, self.frame, strict=True)]
        shrink = max(1.0, *(side / inside for side, inside in zip(sides, self._input, strict=True)))
        (left, width), (top, height) = (
            _centred_span(edge, math.ceil(shrink * inside), side)
            for edge, inside, side in zip(edges, self._input, self.frame, strict=True)
        )
        return Region(left, top, width, height)

    def _margins(self, margin: float) -> tuple[float, float]:
        across, down = (min(max(margin, cell), most) for cell, most in zip(self._cell, self._max_margin, strict=True))
        return across, down


def _cells(start: float, stop: float, cell: float, count: int) -> slice:
    first = min(max(0, math.floor(start / cell)), count - 1)
    return slice(first, min(max(first + 1, math.ceil(stop / cell)), count))


def _inside(
    start: NDArray[np.float64] | int, length: int, side: int, cell: float, *, margin: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the first cell along a side that is inside of a span, and the one after the last, for each start."""
    starts = np.asarray(start, dtype=np.float64)
    stops = starts + length
    first = np.where(starts <= 0, 0, np.ceil((starts + margin) / cell - 1e-9))
    last = np.where(stops >= side, round(side / cell), np.floor((stops - margin) / cell + 1e-9))
    return first.astype(np.int64), np.maximum(first, last).astype(np.int64)


def _centred_span(edges: tuple[float, float], length: int, side: int) -> tuple[int, int]:
    """Return the start and length in pixels of a span centred on two edges, within a side of the frame."""
    length = min(length, side)
    start = round((edges[0] + edges[1] - length) / 2)
    # If the span is only as long as the distance of the edges, rounding must not move it off them.
    start = min(start, math.floor(max(0.0, edges[0])))
    start = max(start, math.ceil(min(side, edges[1])) - length)
    return min(max(0, start), side - length), length


def _max_margin(spans: list[tuple[int, int]], *, cell: float) -> float:
    """Return the largest margin with which each cell is still inside of one of the overlapping spans.

    It is negative if spans overlap by less than a cell: a cell may then extend beyond its span by this much.
    """
    starts = sorted({start for start, _ in spans})
    if len(starts) < 2:
        return math.inf
    overlap = min(first + spans[0][1] - second for first, second in pairwise(starts))
    return (overlap - cell) / 2
