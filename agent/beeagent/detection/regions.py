"""Regions that follow activity: the choice of the parts of a frame to process, and the objects of the whole frame.

A frame is processed in full resolution only where something has changed since the model last ran there, and where
objects must be verified. In addition, the whole frame and the tiles of a fixed grid are processed in turn, so that
every part is processed within `RegionPlanner.revisit_s`. Objects in parts that are not processed are carried over.
"""

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from beeagent.detection.boxes import covered_ratios, iou
from beeagent.detection.detections import Detections
from beeagent.detection.masks import NO_MASKS, Masks
from beeagent.detection.motion import Motion
from beeagent.detection.region_grid import RegionGrid
from beeagent.detection.tiling import NO_TILES, Region, Tiling, boxes_in_frame, cut_by_region, without_duplicates

_DEFAULT_TILING = Tiling(2, 2)
"""Default tiles, whose resolution is the minimum for regions."""

REVISIT_S = 4.0
"""Interval in which every part of the frame is processed, unless the maximum inference rate requires a longer one."""
_VERIFY_S = 0.5
"""Interval at which an object at rest is verified."""
_CARRY_S = 3 * REVISIT_S
"""Maximum time for which an object is carried over."""
_CARRY_MOVING_S = 0.5
"""The same if something has moved there since."""
_CARRY_CONFIRMED_S = 2 * _CARRY_MOVING_S
"""The same if, in addition, a weak or a cut detection confirms the object."""
_CARRY_MISSED_S = 2 * _VERIFY_S
"""The same if it was not detected in a region that is shrunk more than that of its last detection."""

CONFIRMING: Final = 0.6
"""Minimum confidence of a detection that confirms a known object, as a ratio of the threshold."""

_TURNS_SHARE = 0.5
"""Maximum ratio of a limited inference rate for the fixed regions."""
_EVERYTHING_REGIONS = 3
"""Maximum number of regions of a frame in which everything has changed."""
_MIN_WAIT_S = 0.02
"""Minimum waiting time of a cell in the computation of its need."""
_VERIFIED_COVER = 0.95
"""Minimum ratio of its box that a region must cover to verify an object."""
_VERIFIED_COVER_MOVING = 0.5
"""The same if something has moved there since."""
_OBJECT_MARGIN = 0.75
"""Distance of an object from the edges of its region, in its own sides."""
_FINER = 1.25
"""Maximum factor by which a region that verifies an object is shrunk more than that of its last detection."""
_LARGE = 0.5
"""An object with a side longer than this ratio of the largest region's side needs the whole frame."""
_SAME_IOU = 0.3
"""Minimum IoU at which a new detection is of an object carried over."""
_SAME_COVER = 0.7
"""Minimum ratio of a box covered by the other at which a detection is of an object carried over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionOptions:
    """Options for regions chosen by activity.

    Attributes:
        max_inference_rate: maximum number of inferences per second, above 0; None for no limit.
    """

    max_inference_rate: float | None = None


@dataclass(frozen=True, slots=True)
class RegionPlan:
    """The regions of a frame to run the model on.

    Attributes:
        frame: width and height of the frame in pixels.
        at: time of the frame in seconds.
        regions: the regions in the order of their importance; may be empty.
        shift: displacement of the frame's content by a shaking camera, to the right and down, in pixels.
    """

    frame: tuple[int, int]
    at: float
    regions: tuple[Region, ...]
    shift: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True, slots=True)
class _Objects:
    """The known objects, one per row.

    `boxes` are in pixels; `seen_at` is the time of the last detection, `shrink` the factor by which its region was
    shrunk.
    """

    boxes: NDArray[np.float32]
    confidences: NDArray[np.float32]
    class_ids: NDArray[np.int64]
    seen_at: NDArray[np.float64]
    shrink: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> "_Objects":
        return _Objects(
            self.boxes[rows], self.confidences[rows], self.class_ids[rows], self.seen_at[rows], self.shrink[rows]
        )

    def __add__(self, other: "_Objects") -> "_Objects":
        return _Objects(
            np.concatenate([self.boxes, other.boxes]),
            np.concatenate([self.confidences, other.confidences]),
            np.concatenate([self.class_ids, other.class_ids]),
            np.concatenate([self.seen_at, other.seen_at]),
            np.concatenate([self.shrink, other.shrink]),
        )


_NO_OBJECTS = _Objects(
    np.empty((0, 4), dtype=np.float32),
    np.empty(0, dtype=np.float32),
    np.empty(0, dtype=np.int64),
    seen_at=np.empty(0),
    shrink=np.empty(0),
)


class RegionPlanner:
    """Plans the regions of the frames of one camera, and keeps the objects of the whole frame.

    For each frame, call `observe`, `plan` and `resolve` in this order; call `observe` and `resolve` in the order of the
    frames. All methods are thread-safe, and the calls for different frames may be interleaved. A frame may be dropped
    after any of them.
    """

    def __init__(
        self, *, model_input: tuple[int, int], tiling: Tiling = NO_TILES, max_inference_rate: float | None = None
    ) -> None:
        """Start without any objects.

        Args:
            model_input: width and height of the model's input in pixels.
            tiling: tiles whose resolution is the minimum for regions; 2x2 is used in place of no tiles.
            max_inference_rate: maximum number of inferences per second of the frames' times, above 0; those of one
                second may run at once. None for no limit.
        """
        self._input = model_input
        self._tiling = _DEFAULT_TILING if tiling == NO_TILES else tiling
        self._rate = max_inference_rate
        self._capacity = math.inf if max_inference_rate is None else max(1.0, max_inference_rate)
        self._lock = threading.Lock()
        self._grid: RegionGrid
        self._everything: bool
        self._observed_at: float
        self._moving: NDArray[np.bool_]
        self._changed_at: NDArray[np.float64]
        self._processed_at: NDArray[np.float64]
        self._restart((1, 1), at=-math.inf)

    @property
    def revisit_s(self) -> float:
        """The interval in seconds in which each part of a frame of the current size is processed.

        The time until the next frame and, with a maximum inference rate, the time of one inference may be added.
        """
        return len(self._grid.fixed) * self._turn_s

    def observe(self, motion: Motion, *, frame: tuple[int, int], at: float) -> None:
        """Record the motion in a frame.

        Args:
            motion: motion in the frame.
            frame: width and height of the frame in pixels; a change discards all objects.
            at: time of the frame in seconds; an earlier time than before discards all objects.
        """
        with self._lock:
            if frame != self._grid.frame or at < self._observed_at:
                self._restart(frame, at=at)
            self._observed_at = at
            self._everything = motion.everything
            # Also where motion has ended: an object that was there has left.
            self._changed_at[motion.moving | self._moving] = at
            self._moving = motion.moving

    def plan(self, *, frame: tuple[int, int], at: float, shift: tuple[float, float] = (0.0, 0.0)) -> RegionPlan:
        """Choose the regions of a frame, and count them as processed.

        Args:
            frame: width and height of the frame in pixels.
            at: time of the frame in seconds.
            shift: shift of the frame, from its motion.
        """
        with self._lock:
            grid = self._grid
            if frame != grid.frame:  # the frame size has changed since
                return RegionPlan(frame, at, (), shift)
            self._align(shift)
            allowed = self._allowed(at)
            regions = self._in_turn(at, limit=allowed)
            if self._everything:
                # Motion does not show where objects are: the whole frame, and some of the tiles in turn.
                allowed = min(allowed, _EVERYTHING_REGIONS)
            whole = self._everything or self._large_due(at)
            if whole and grid.whole not in regions and len(regions) < allowed:
                self._count(grid.whole, at=at)
                regions.append(grid.whole)
            for region in grid.cover(self._needed(at), margin=self._margin(), limit=allowed - len(regions)):
                self._count(region, at=at)
                regions.append(region)
            self._tokens -= len(regions)
            return RegionPlan(frame, at, tuple(regions), shift)

    def resolve(
        self,
        plan: RegionPlan,
        found: Sequence[Detections],
        labels: tuple[str, ...],
        *,
        threshold: float = 0.0,
        masks: Masks = NO_MASKS,
    ) -> tuple[Detections, Detections]:
        """Return the objects in a frame.

        Args:
            plan: plan of the frame.
            found: the detections of each region, in ratios of the region.
            labels: labels of all classes.
            threshold: minimum confidence of a new object; weaker detections only confirm known objects.
            masks: parts of the frame in which objects are dropped, by their centre, so that no region follows them.

        Returns:
            All objects, including those carried over for parts that were not processed; and the objects detected in
            this frame. Boxes are in ratios of the frame.
        """
        with self._lock:
            self._align(plan.shift)
            fresh, weak, cut = self._fresh(plan, found, threshold, masks)
            if plan.frame == self._grid.frame and plan.at <= self._observed_at:  # else from before a restart
                carried = _unmasked(self._carried(plan, weak, cut), plan.frame, masks)
                fresh, carried = _without_same(fresh, carried, coarsest=self._coarsest, at=plan.at)
                self._known = fresh + carried
                return _detections(self._known, plan.frame, labels), _detections(fresh, plan.frame, labels)
            alone = _detections(fresh, plan.frame, labels)
            return alone, alone

    def _restart(self, frame: tuple[int, int], *, at: float) -> None:
        self._grid = grid = RegionGrid(frame, model_input=self._input, tiling=self._tiling)
        self._coarsest = _FINER * max(map(grid.shrink, grid.tiles or grid.fixed))
        self._turn_s = REVISIT_S / len(grid.fixed)
        if self._rate is not None:
            self._turn_s = max(self._turn_s, 1 / (_TURNS_SHARE * self._rate))
        self._turn_at = self._observed_at = self._filled_at = at
        self._tokens = self._capacity
        self._everything = True
        self._moving = np.ones((grid.rows, grid.columns), dtype=np.bool_)
        self._changed_at = np.full((grid.rows, grid.columns), at)
        self._processed_at = np.full((grid.rows, grid.columns), -math.inf)
        self._whole_at = -math.inf
        self._known = _NO_OBJECTS
        self._shift = (0.0, 0.0)

    def _align(self, shift: tuple[float, float]) -> None:
        """Move the known objects by the change of the shift since the last frame."""
        if shift != self._shift:
            x, y = shift[0] - self._shift[0], shift[1] - self._shift[1]
            self._known = replace(self._known, boxes=self._known.boxes + np.array([x, y, x, y], dtype=np.float32))
            self._shift = shift

    def _allowed(self, at: float) -> int:
        """Return the maximum number of regions of the frame."""
        most = len(self._grid.fixed)
        if self._rate is None:
            return most
        # A frame planned after a later one adds no tokens.
        self._tokens = min(self._capacity, self._tokens + max(0.0, at - self._filled_at) * self._rate)
        self._filled_at = max(at, self._filled_at)
        return min(most, int(self._tokens))

    def _in_turn(self, at: float, *, limit: int) -> list[Region]:
        """Return the fixed regions to process next: those that were not processed for the longest time."""
        grid = self._grid
        regions: list[Region] = []
        # After a gap, each is processed once, not once for each missed turn.
        self._turn_at = max(self._turn_at, at - len(grid.fixed) * self._turn_s)
        while at >= self._turn_at and len(regions) < limit:
            processed = (self._processed_at[grid.inside(tile)].min(initial=math.inf) for tile in grid.tiles)
            region = grid.fixed[int(np.argmin([self._whole_at, *processed]))]
            if region in regions:  # at a low frame rate, each frame has all of them
                self._turn_at = at + self._turn_s
                break
            self._count(region, at=at)
            regions.append(region)
            self._turn_at += self._turn_s
        return regions

    def _needed(self, at: float) -> NDArray[np.float64]:
        """Return the need of each cell to be processed: its waiting time, or 0."""
        needed = self._changed_at > self._processed_at
        needed[self._grid.touched_by(self._known.boxes[self._due(at) & ~self._large()])] = True
        return np.where(needed, np.clip(at - self._processed_at, _MIN_WAIT_S, REVISIT_S), 0.0)

    def _due(self, at: float) -> NDArray[np.bool_]:
        """Return a boolean for each known object: True if it must be verified."""
        processed = self._processed_at[self._grid.touched_by(self._known.boxes)].min(axis=(1, 2))
        return np.asarray(at - np.maximum(self._known.seen_at, processed) >= _VERIFY_S, dtype=np.bool_)

    def _large(self) -> NDArray[np.bool_]:
        """Return a boolean for each known object: True if it needs the whole frame."""
        return self._is_large(self._known.boxes)

    def _is_large(self, boxes: NDArray[np.float32]) -> NDArray[np.bool_]:
        return np.asarray(_longer_sides(boxes) > _LARGE * min(self._grid.largest), dtype=np.bool_)

    def _large_due(self, at: float) -> bool:
        waiting = at - np.maximum(self._known.seen_at, self._whole_at)
        return bool((self._large() & (waiting >= _VERIFY_S)).any())

    def _margin(self) -> float:
        sides = _longer_sides(self._known.boxes)[~self._large()]
        return _OBJECT_MARGIN * float(np.percentile(sides, 75)) if len(sides) else 0.0

    def _count(self, region: Region, *, at: float) -> None:
        """Count a region as processed."""
        whole = region == self._grid.whole
        if whole:
            self._whole_at = max(self._whole_at, at)
        if not whole or not self._grid.tiles:
            inside = self._grid.inside(region)
            self._processed_at[inside] = np.maximum(self._processed_at[inside], at)

    def _fresh(
        self, plan: RegionPlan, found: Sequence[Detections], threshold: float, masks: Masks
    ) -> tuple[_Objects, _Objects, _Objects]:
        """Return the detections of all regions.

        Returns:
            Those of at least the threshold without duplicates, those below it, and those cut by the edge of a region.
        """
        fresh, weak, all_cut, origins = _NO_OBJECTS, _NO_OBJECTS, _NO_OBJECTS, np.empty(0, dtype=np.int64)
        for origin, (region, detections) in enumerate(zip(plan.regions, found, strict=True)):
            boxes = boxes_in_frame(detections.boxes, region)
            cut = cut_by_region(detections.boxes, region, plan.frame)
            strong = detections.confidences >= np.float32(threshold)
            part = _Objects(
                boxes,
                detections.confidences,
                detections.class_ids,
                seen_at=np.full(len(boxes), plan.at),
                shrink=np.full(len(boxes), self._grid.shrink(region)),
            )
            whole = _unmasked(part[strong & ~cut], plan.frame, masks)
            fresh += whole
            weak += _unmasked(part[~strong & ~cut], plan.frame, masks)
            origins = np.concatenate([origins, np.full(len(whole), origin)])
            if plan.frame == self._grid.frame:
                halves = _unmasked(part[strong & cut], plan.frame, masks)
                self._process_again(halves.boxes, region, at=plan.at)
                all_cut += halves
        kept = without_duplicates(
            fresh.boxes,
            confidences=fresh.confidences,
            class_ids=fresh.class_ids,
            origins=origins,
            cut=np.zeros(len(fresh), dtype=np.bool_),
        )
        return fresh[kept], weak, all_cut

    def _process_again(self, boxes: NDArray[np.float32], region: Region, *, at: float) -> None:
        """Request processing of unknown small objects that are cut by the edge of a region."""
        known = covered_ratios(boxes[:, None], self._known.boxes[None]).max(axis=1, initial=0) >= _SAME_COVER
        again = np.zeros_like(self._moving)
        again[self._grid.touched_by(boxes[~known & ~self._is_large(boxes)])] = True
        again[self._grid.inside(region)] = False
        again &= self._processed_at <= at
        self._changed_at[again] = np.maximum(self._changed_at[again], np.nextafter(at, math.inf))

    def _changed_since_seen(self, objects: _Objects) -> NDArray[np.bool_]:
        """Return a boolean for each object: True if something has moved in its box since its last detection."""
        changed_at = self._changed_at[self._grid.touched_by(objects.boxes)].max(axis=(1, 2))
        return np.asarray(changed_at > objects.seen_at, dtype=np.bool_)

    def _carried(self, plan: RegionPlan, weak: _Objects, cut: _Objects) -> _Objects:
        """Return the known objects that were confirmed or not verified in this frame, and are not too old."""
        known = self._known
        age, changed, large = plan.at - known.seen_at, self._changed_since_seen(known), self._large()
        confirmed, boxes = _confirmed(known, weak, coarsest=self._coarsest)
        confirmed |= (covered_ratios(cut.boxes[:, None], known.boxes[None]) >= _SAME_COVER).any(axis=0)
        kept = (age <= _CARRY_S) & ~(changed & (age > np.where(confirmed, _CARRY_CONFIRMED_S, _CARRY_MOVING_S)))
        for region in plan.regions:
            right, bottom = region.left + region.width, region.top + region.height
            edges = np.array([region.left, region.top, right, bottom], dtype=np.float32)
            covered = covered_ratios(known.boxes, edges)
            shrink = self._grid.shrink(region)
            # An object that was detected in a less shrunk region may be missed here: keep it for a while.
            as_large = shrink <= _FINER * known.shrink
            verified = as_large | (shrink <= self._coarsest) & (changed | (age > _CARRY_MISSED_S))
            verified &= covered >= np.where(changed & ~large, _VERIFIED_COVER_MOVING, _VERIFIED_COVER)
            kept &= ~verified | confirmed
        return replace(known, boxes=boxes)[kept]


def _confirmed(known: _Objects, weak: _Objects, *, coarsest: float) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """Return a boolean for each known object, True if a weak detection confirms it, and the current boxes of all."""
    if not len(known) or not len(weak):
        return np.zeros(len(known), dtype=np.bool_), known.boxes
    overlaps = iou(known.boxes[:, None], weak.boxes[None])
    overlaps[known.class_ids[:, None] != weak.class_ids[None]] = 0
    # As in `_without_same`, the known box is better than one from the whole frame.
    overlaps[weak.shrink[None] > np.maximum(coarsest, _FINER * known.shrink[:, None])] = 0
    nearest = overlaps.argmax(axis=1)
    best = overlaps.argmax(axis=0)[nearest] == np.arange(len(known))  # a detection confirms one object
    confirmed = np.asarray(best & (overlaps.max(axis=1) >= _SAME_IOU), dtype=np.bool_)
    return confirmed, np.where(confirmed[:, None], weak.boxes[nearest], known.boxes)


def _unmasked(objects: _Objects, frame: tuple[int, int], masks: Masks) -> _Objects:
    if not masks:
        return objects
    ratios = np.divide(objects.boxes, np.array(frame * 2, dtype=np.float32), dtype=np.float32)
    return objects[~masks.covered(ratios)]


def _without_same(fresh: _Objects, carried: _Objects, *, coarsest: float, at: float) -> tuple[_Objects, _Objects]:
    """Remove duplicates between new detections and carried-over objects.

    The new detection is kept, unless its region had less than the resolution of tiles: then the carried-over box is
    more precise.
    """
    if not len(fresh) or not len(carried):
        return fresh, carried
    first, second = fresh.boxes[:, None], carried.boxes[None]
    covered = np.maximum(covered_ratios(first, second), covered_ratios(second, first))
    same = np.asarray((iou(first, second) >= _SAME_IOU) | (covered >= _SAME_COVER), dtype=np.bool_)
    same &= fresh.class_ids[:, None] == carried.class_ids[None]
    better: NDArray[np.bool_] = same & (fresh.shrink[:, None] > np.maximum(coarsest, _FINER * carried.shrink[None]))
    seen_at = np.where(better.any(axis=0), at, carried.seen_at)
    replaced = np.asarray((same & ~better).any(axis=0), dtype=np.bool_)
    superfluous = np.asarray(better.any(axis=1), dtype=np.bool_)
    return fresh[~superfluous], replace(carried, seen_at=seen_at)[~replaced]


def _longer_sides(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray((boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0), dtype=np.float32)


def _detections(objects: _Objects, frame: tuple[int, int], labels: tuple[str, ...]) -> Detections:
    objects = objects[np.argsort(-objects.confidences, kind="stable")]
    boxes = np.clip(objects.boxes / np.array(frame * 2, dtype=np.float32), 0.0, 1.0).astype(np.float32)
    visible = (boxes[:, :2] < boxes[:, 2:]).all(axis=1)  # the others are out of the frame while the camera shakes
    return Detections(boxes[visible], objects.confidences[visible], objects.class_ids[visible], labels)
