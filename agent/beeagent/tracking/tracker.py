"""Tracks: which detections of successive frames are the same bee.

At the frame rates of a Raspberry Pi, the boxes of a flying bee in two frames do not touch. So detections are matched by
their distance to where a track is expected, in body lengths, never by overlap. The expectation is a Kalman filter whose
velocity decays with time, since bees brake and turn; it uses the time between the frames, not their number.
"""

import math
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from beeagent.detection import Detections
from beeagent.tracking.assignment import assign

_LENGTH_OF_DIAGONAL: Final = 0.9
"""Body length by the diagonal of the box. For an ellipse, twice as long as wide, that is the same in every heading."""

_LENGTH_GAIN: Final = 0.2  # weight of a new length in that of the track
_SHAPE_GAIN: Final = 0.5  # likewise of width and height, which change as the bee turns
_OTHER_CLASS: Final = 2.0  # what a detection of another class costs: classes flicker too


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackerOptions:
    """How bees move, and how far the tracker trusts detections. Lengths are body lengths, times seconds.

    Attributes:
        high_confidence: detections below it continue a track, but begin none; 0 to 1.
        confirming_hits: number of detections that confirm a track, 1 or more.
        max_gap_s: how long a confirmed track survives without a detection. One that is not confirmed survives one
            missed frame.
        interruption_s: frames farther apart than this interrupt the stream, which ends all tracks.
        max_speed: in lengths per second.
        first_speed: standard deviation of the velocity of a new track, on each axis, in lengths per second.
        agility: standard deviation of the change of velocity of a bee at rest, in lengths per second per root second.
        speed_agility: what its speed, in lengths per second, adds to that, as a ratio.
        memory_s: time in which the velocity decays to 37 %.
        noise: standard deviation of the centre of a box, in lengths.
        tail: degrees of freedom of the Student distribution of a bee's place; fewer allow more surprises.
        shape_noise: standard deviation of the logarithm of the width and height of a box.
        shape_agility: how much more that is after a second, as bees turn.
        miss_cost: what each second in which a track was missed adds to the cost of a match: the bee may have left.
        max_cost: of a match, the negative logarithm of its likelihood.
    """

    high_confidence: float = 0.45
    confirming_hits: int = 3
    max_gap_s: float = 0.6
    interruption_s: float = 2.0
    max_speed: float = 60.0
    first_speed: float = 15.0
    agility: float = 3.0
    speed_agility: float = 1.1
    memory_s: float = 0.57
    noise: float = 0.055
    tail: float = 6.0
    shape_noise: float = 0.12
    shape_agility: float = 0.5
    miss_cost: float = 6.0
    max_cost: float = 4.2


@dataclass(frozen=True, slots=True)
class TrackedFrame:
    """The detections of a frame with their tracks.

    Attributes:
        detections: as they were given.
        tracks: int64, shape (n,): number of the track of each detection, from 1; 0 where it has none.
        confirmed: bool, shape (n,): whether that track is confirmed. One that is not may be a false alarm.
        frame_size: width and height of the frame in pixels.
        at_s: time of the frame in seconds.
        ended: numbers of the tracks that ended since the frame before.
        interrupted: whether the stream was interrupted before this frame, which ended all tracks. True of the first
            frame: the bees in it did not just arrive.
    """

    detections: Detections
    tracks: NDArray[np.int64]
    confirmed: NDArray[np.bool_]
    frame_size: tuple[int, int]
    at_s: float
    ended: tuple[int, ...] = ()
    interrupted: bool = False


@dataclass(slots=True)
class _Tracks:
    """The state of all tracks, one row each; in pixels and seconds."""

    number: NDArray[np.int64]
    hits: NDArray[np.int64]
    seen_s: NDArray[np.float64]  # time of the last detection
    missed: NDArray[np.int64]  # frames since
    class_id: NDArray[np.int64]
    length: NDArray[np.float64]
    shape: NDArray[np.float64]  # shape (n, 2): logarithms of width and height
    place: NDArray[np.float64]  # shape (n, 2)
    velocity: NDArray[np.float64]  # shape (n, 2)
    variance: NDArray[
        np.float64
    ]  # shape (n, 3): of the place, with the velocity, of the velocity; the same on both axes

    def keep(self, rows: NDArray[np.bool_]) -> None:
        for name in self.__slots__:
            setattr(self, name, getattr(self, name)[rows])

    def append(self, other: "_Tracks") -> None:
        for name in self.__slots__:
            setattr(self, name, np.concatenate((getattr(self, name), getattr(other, name))))


class Tracker:
    """Follows bees from frame to frame.

    Args:
        options: None for the defaults.
    """

    def __init__(self, options: TrackerOptions | None = None) -> None:
        self._options = TrackerOptions() if options is None else options
        self._next = 1
        self._tracks = _no_tracks()
        self._at_s: float | None = None
        self._before_s = 0.0  # time of the frame before
        self._frame_size: tuple[int, int] | None = None

    def set_high_confidence(self, confidence: float) -> None:
        """Begin tracks from another confidence on; see `TrackerOptions`."""
        self._options = replace(self._options, high_confidence=confidence)

    def update(self, detections: Detections, *, at_s: float, frame_size: tuple[int, int]) -> TrackedFrame:
        """Return the detections of the next frame with the numbers of their tracks.

        Args:
            detections: of the frame, those of low confidence included.
            at_s: when the frame was captured, in seconds of any clock that does not jump. A frame that is not later
                than the one before counts as an interruption, and so does one of another size.
            frame_size: width and height of the frame in pixels.
        """
        step = math.inf if self._at_s is None else at_s - self._at_s
        interrupted = not 0 < step <= self._options.interruption_s or frame_size != self._frame_size
        self._before_s = at_s if self._at_s is None else self._at_s
        self._at_s, self._frame_size = at_s, frame_size
        if interrupted:
            ended = self._tracks.number.tolist()
            self._tracks = _no_tracks()
        else:
            self._predict(step)
            ended = []
        boxes = detections.xyxy(frame_size).astype(np.float64)
        centres = (boxes[:, :2] + boxes[:, 2:]) / 2
        sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 1.0)
        high = detections.confidences >= np.float32(self._options.high_confidence)
        row_of = np.full(len(detections), -1)
        free = np.ones(len(self._tracks.number), dtype=np.bool_)
        for stage in (high, ~high):
            rows, candidates = np.flatnonzero(free), np.flatnonzero(stage)
            if len(rows) and len(candidates):
                pairs = self._pairs(
                    rows, centres[candidates], sides[candidates], detections.class_ids[candidates], at_s
                )
                chosen = assign(*pairs, limit=self._options.max_cost)
                row_of[candidates[pairs[1][chosen]]] = rows[pairs[0][chosen]]
                free[rows[pairs[0][chosen]]] = False
        matched = row_of >= 0
        self._tracks.missed += 1
        self._correct(row_of[matched], centres[matched], sides[matched], detections.class_ids[matched], at_s)
        born = high & ~matched
        row_of[born] = len(self._tracks.number) + np.arange(np.count_nonzero(born))
        self._begin(centres[born], sides[born], detections.class_ids[born], at_s)
        known = row_of >= 0
        numbers = np.where(known, self._tracks.number[row_of] if len(self._tracks.number) else 0, 0)
        hits = np.where(known, self._tracks.hits[row_of] if len(self._tracks.hits) else 0, 0)
        ended += self._end(at_s)
        return TrackedFrame(
            detections=detections,
            tracks=numbers.astype(np.int64),
            confirmed=hits >= self._options.confirming_hits,
            frame_size=frame_size,
            at_s=at_s,
            ended=tuple(ended),
            interrupted=interrupted,
        )

    def interrupt(self) -> None:
        """Let the next frame interrupt the stream, whenever it comes."""
        self._at_s = None

    def _predict(self, step: float) -> None:
        """Advance the tracks by some seconds, with the exact solution of a velocity that decays and is disturbed."""
        options, tracks, memory = self._options, self._tracks, self._options.memory_s
        decay = math.exp(-step / memory)
        reach = memory * (1 - decay)
        speed = np.hypot(*tracks.velocity.T)
        power = (options.agility * tracks.length + options.speed_agility * speed) ** 2
        of_place, both, of_velocity = tracks.variance.T
        tracks.variance = np.stack(
            (
                of_place
                + 2 * reach * both
                + reach**2 * of_velocity
                + power * memory**2 * (step - 2 * reach + memory / 2 * (1 - decay**2)),
                decay * (both + reach * of_velocity) + power * reach**2 / 2,
                decay**2 * of_velocity + power * memory / 2 * (1 - decay**2),
            ),
            axis=1,
        )
        tracks.place = tracks.place + reach * tracks.velocity
        tracks.velocity = decay * tracks.velocity

    def _pairs(
        self,
        rows: NDArray[np.int64],
        centres: NDArray[np.float64],
        sides: NDArray[np.float64],
        class_ids: NDArray[np.int64],
        at_s: float,
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        """Return the tracks and detections that may be the same bee, and what that costs.

        The cost is the negative logarithm of the likelihood, up to a constant.

        Returns:
            Three arrays of shape (k,): indices into `rows`, indices of detections, and costs.
        """
        options, tracks = self._options, self._tracks
        length, gap = tracks.length[rows], at_s - tracks.seen_s[rows]
        spread = tracks.variance[rows, 0] / length**2 + options.noise**2
        least = np.log(spread) + options.miss_cost * (self._before_s - tracks.seen_s[rows])  # the cost at no distance
        power = options.tail / 2 + 1
        # Beyond it, the distance alone costs too much.
        reach = options.tail * spread * np.expm1((options.max_cost - least) / power)
        reach = np.minimum(reach, (1 + options.max_speed * gap) ** 2)
        ahead = tracks.place[rows, None] - centres[None]
        apart = (ahead[..., 0] ** 2 + ahead[..., 1] ** 2) / (length**2)[:, None]
        of_rows, found = np.nonzero(apart < reach[:, None])
        shape = tracks.shape[rows[of_rows]] - np.log(sides[found])
        shape_spread = options.shape_noise**2 + options.shape_agility**2 * gap
        costs = (
            least[of_rows]
            + power * np.log1p(apart[of_rows, found] / (options.tail * spread[of_rows]))
            + np.log1p((shape[:, 0] ** 2 + shape[:, 1] ** 2) / (2 * shape_spread[of_rows]))
            + _OTHER_CLASS * (tracks.class_id[rows[of_rows]] != class_ids[found])
        )
        return of_rows, found, costs

    def _correct(
        self,
        rows: NDArray[np.int64],
        centres: NDArray[np.float64],
        sides: NDArray[np.float64],
        class_ids: NDArray[np.int64],
        at_s: float,
    ) -> None:
        tracks = self._tracks
        of_place, both, of_velocity = tracks.variance[rows].T
        total = of_place + (self._options.noise * tracks.length[rows]) ** 2
        gain, velocity_gain = of_place / total, both / total
        apart = centres - tracks.place[rows]
        tracks.place[rows] += gain[:, None] * apart
        tracks.velocity[rows] += velocity_gain[:, None] * apart
        tracks.variance[rows] = np.stack(
            ((1 - gain) * of_place, (1 - gain) * both, of_velocity - velocity_gain * both), axis=1
        )
        tracks.length[rows] += _LENGTH_GAIN * (_length(sides) - tracks.length[rows])
        tracks.shape[rows] += _SHAPE_GAIN * (np.log(sides) - tracks.shape[rows])
        tracks.class_id[rows] = class_ids
        tracks.hits[rows] += 1
        tracks.seen_s[rows] = at_s
        tracks.missed[rows] = 0

    def _begin(
        self,
        centres: NDArray[np.float64],
        sides: NDArray[np.float64],
        class_ids: NDArray[np.int64],
        at_s: float,
    ) -> None:
        count, options = len(centres), self._options
        lengths = _length(sides)
        variances = np.array((options.noise**2, 0.0, options.first_speed**2))
        self._tracks.append(
            _Tracks(
                number=self._next + np.arange(count, dtype=np.int64),
                hits=np.ones(count, dtype=np.int64),
                seen_s=np.full(count, at_s),
                missed=np.zeros(count, dtype=np.int64),
                class_id=class_ids.astype(np.int64),
                length=lengths,
                shape=np.log(sides),
                place=centres,
                velocity=np.zeros((count, 2)),
                variance=variances * lengths[:, None] ** 2,
            )
        )
        self._next += count

    def _end(self, at_s: float) -> list[int]:
        """Remove the tracks that were not seen for too long, and return their numbers."""
        options, tracks = self._options, self._tracks
        gap = at_s - tracks.seen_s
        confirmed = tracks.hits >= options.confirming_hits
        alive = np.where(confirmed, gap < options.max_gap_s, tracks.missed < 2)
        if alive.all():
            return []
        ended: list[int] = tracks.number[~alive].tolist()
        tracks.keep(alive)
        return ended


def _length(sides: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(_LENGTH_OF_DIAGONAL * np.hypot(sides[:, 0], sides[:, 1]))


def _no_tracks() -> _Tracks:
    none, pairs = np.empty(0), np.empty((0, 2))
    return _Tracks(
        number=np.empty(0, dtype=np.int64),
        hits=np.empty(0, dtype=np.int64),
        seen_s=none,
        missed=np.empty(0, dtype=np.int64),
        class_id=np.empty(0, dtype=np.int64),
        length=none,
        shape=pairs,
        place=pairs,
        velocity=pairs,
        variance=np.empty((0, 3)),
    )
