"""The tracker, which identifies the detections of the same bee in successive frames.

At the frame rates of a Raspberry Pi, the boxes of a flying bee in two frames do not overlap. So detections are matched
by their distance from the predicted position of a track, in body lengths, not by overlap. The prediction is a Kalman
filter whose velocity decays with time, since bees brake and turn; it uses the time between frames, not their number.
"""

import math
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from beeagent.detection import Detections
from beeagent.tracking.assignment import assign

_LENGTH_OF_DIAGONAL: Final = 0.9
"""Ratio of the body length to the box's diagonal, which is independent of the heading for an ellipse of aspect 2:1."""

_LENGTH_GAIN: Final = 0.2  # weight of a new length in that of the track
_SHAPE_GAIN: Final = 0.5  # weight of a new width and height, which change when the bee turns
_OTHER_CLASS: Final = 2.0  # cost of a detection of another class, since the detected class may vary


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackerOptions:
    """Parameters of the motion of bees and of the noise of detections. Lengths are body lengths, times seconds.

    Attributes:
        high_confidence: minimum confidence of a detection that begins a track, 0 to 1; others only continue tracks.
        confirming_hits: number of detections that confirm a track, 1 or more.
        max_gap_s: maximum time of a confirmed track without a detection. An unconfirmed track survives one missed
            frame.
        interruption_s: maximum time between two frames; a longer one interrupts the stream, which ends all tracks.
        max_speed: maximum speed, in lengths per second.
        first_speed: standard deviation of the velocity of a new track, on each axis, in lengths per second.
        agility: standard deviation of the change of velocity of a bee at rest, in lengths per second per root second.
        speed_agility: increase of `agility` per speed in lengths per second.
        memory_s: time in which the velocity decays to 37 %.
        noise: standard deviation of the centre of a box, in lengths.
        tail: degrees of freedom of the Student distribution of a bee's position; fewer permit more outliers.
        shape_noise: standard deviation of the logarithm of the width and height of a box.
        shape_agility: increase of `shape_noise` after a second, since bees turn.
        miss_cost: cost of a match per second in which the track was missed, since the bee may have left.
        max_cost: maximum cost of a match, the negative logarithm of its likelihood.
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
        detections: the detections of the frame.
        tracks: int64, shape (n,): track number of each detection, from 1; 0 for none.
        confirmed: bool, shape (n,): True if the track is confirmed; an unconfirmed one may be a false alarm.
        frame_size: width and height of the frame in pixels.
        at_s: time of the frame in seconds.
        ended: numbers of the tracks that ended since the previous frame.
        interrupted: True if the stream was interrupted before this frame, which ended all tracks. Also True for the
            first frame, since its bees have not just arrived.
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
    missed: NDArray[np.int64]  # number of frames since
    class_id: NDArray[np.int64]
    length: NDArray[np.float64]
    shape: NDArray[np.float64]  # shape (n, 2): logarithms of width and height
    place: NDArray[np.float64]  # shape (n, 2)
    velocity: NDArray[np.float64]  # shape (n, 2)
    variance: NDArray[
        np.float64
    ]  # shape (n, 3): variance of the place, covariance, variance of the velocity; the same on both axes

    def keep(self, rows: NDArray[np.bool_]) -> None:
        for name in self.__slots__:
            setattr(self, name, getattr(self, name)[rows])

    def append(self, other: "_Tracks") -> None:
        for name in self.__slots__:
            setattr(self, name, np.concatenate((getattr(self, name), getattr(other, name))))


class Tracker:
    """Follows bees from frame to frame.

    Args:
        options: options; None for the defaults.
    """

    def __init__(self, options: TrackerOptions | None = None) -> None:
        self._options = TrackerOptions() if options is None else options
        self._next = 1
        self._tracks = _no_tracks()
        self._at_s: float | None = None
        self._before_s = 0.0  # time of the previous frame
        self._frame_size: tuple[int, int] | None = None

    def set_high_confidence(self, confidence: float) -> None:
        """Change `TrackerOptions.high_confidence`."""
        self._options = replace(self._options, high_confidence=confidence)

    def update(self, detections: Detections, *, at_s: float, frame_size: tuple[int, int]) -> TrackedFrame:
        """Return the detections of the next frame with the numbers of their tracks.

        Args:
            detections: detections of the frame, including those of low confidence.
            at_s: time of the frame in seconds of a monotonic clock. A frame that is not later than the previous one, or
                of another size, counts as an interruption.
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
        """Treat the next frame as an interruption of the stream."""
        self._at_s = None

    def _predict(self, step: float) -> None:
        """Advance the tracks by a time in seconds, with the exact solution for a decaying velocity with noise."""
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
        """Return the possible pairs of tracks and detections, and their costs.

        The cost is the negative logarithm of the likelihood, up to a constant.

        Returns:
            Three arrays of shape (k,): indices into `rows`, indices of detections, and costs.
        """
        options, tracks = self._options, self._tracks
        length, gap = tracks.length[rows], at_s - tracks.seen_s[rows]
        spread = tracks.variance[rows, 0] / length**2 + options.noise**2
        least = np.log(spread) + options.miss_cost * (self._before_s - tracks.seen_s[rows])  # the cost at no distance
        power = options.tail / 2 + 1
        # Beyond this distance, its cost alone exceeds the maximum.
        reach = options.tail * spread * np.expm1((options.max_cost - least) / power)
        reach = np.minimum(reach, (1 + options.max_speed * gap) ** 2)
        ahead = tracks.place[rows, None] - centres[None]
        apart = (ahead[..., 0] ** 2 + ahead[..., 1] ** 2) / (length**2)[:, None]
        of_rows, candidates = np.nonzero(apart < reach[:, None])
        shape = tracks.shape[rows[of_rows]] - np.log(sides[candidates])
        shape_spread = options.shape_noise**2 + options.shape_agility**2 * gap
        costs = (
            least[of_rows]
            + power * np.log1p(apart[of_rows, candidates] / (options.tail * spread[of_rows]))
            + np.log1p((shape[:, 0] ** 2 + shape[:, 1] ** 2) / (2 * shape_spread[of_rows]))
            + _OTHER_CLASS * (tracks.class_id[rows[of_rows]] != class_ids[candidates])
        )
        return of_rows, candidates, costs

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
        """Remove the tracks without a detection for too long, and return their numbers."""
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
