"""Counting of bees that cross lines, and of bees that arrive in and depart from zones."""

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np

from beeagent.tracking.places import Line, Places
from beeagent.tracking.tracker import TrackedFrame

_CLEAR: Final = 0.3
"""Distance from a line, in body lengths, at which a bee has left it; more than jitter and steps on the line."""
_HIDDEN_S: Final = 0.12
"""A bee in a zone that is not detected for this long has gone in. A later detection of the same track is another bee,
which came out."""
_MAX_BREAK_S: Final = 0.3
"""Maximum time between the last detection of a track and the first of the one that continues it."""
_MAX_APART: Final = 0.7
_MAX_APART_PER_S: Final = 5.4
"""Maximum distance between the predicted and the first place of a continuing track, in body lengths: a constant, and a
part per second between the tracks."""
_MIN_BREAK_S: Final = 1 / 30  # also for two tracks in one frame
_OPENING_HITS: Final = 3
_VELOCITY_GAIN: Final = 0.5  # weight of a new velocity in that of the path

_Vector = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Passage:
    """A bee that came in or went out.

    Attributes:
        place: name of the line or zone.
        label: class of the bee, that with the highest sum of confidences over the track.
        direction: `in` or `out`.
        track: number of the track.
    """

    place: str
    label: str
    direction: Literal["in", "out"]
    track: int


@dataclass(slots=True)
class _Crossing:
    """A track at a line."""

    net: int = 0  # uncounted crossings to the right-hand side minus those back
    cleared: bool = False  # True once the track was away from the line


@dataclass(slots=True)
class _Path:
    """The properties of a track that are needed for counting; in pixels and seconds."""

    place: _Vector
    whole: bool  # True if the bee appeared at the first detection
    first: _Vector  # place of the first detection
    began_s: float
    seen_s: float
    hits: int = 1
    velocity: _Vector = (0.0, 0.0)
    first_velocity: _Vector = (0.0, 0.0)  # over the first detections
    continues: bool = False  # True if it continues another path
    length: float = 1.0
    confirmed: bool = False
    votes: dict[str, float] = field(default_factory=dict)
    crossings: dict[str, _Crossing] = field(default_factory=dict)
    began_in: frozenset[str] = frozenset()
    is_in: frozenset[str] = frozenset()

    def move(self, place: _Vector, at_s: float) -> None:
        """Update the velocity with the next place."""
        step = max(at_s - self.seen_s, 0.001)
        vx, vy = (place[0] - self.place[0]) / step, (place[1] - self.place[1]) / step
        gain = _VELOCITY_GAIN
        self.velocity = (
            (1 - gain) * self.velocity[0] + gain * vx,
            (1 - gain) * self.velocity[1] + gain * vy,
        )
        self.seen_s = at_s
        self.hits += 1
        if self.hits <= _OPENING_HITS:
            since = max(at_s - self.began_s, 0.001)
            self.first_velocity = ((place[0] - self.first[0]) / since, (place[1] - self.first[1]) / since)

    @property
    def label(self) -> str:
        return max(self.votes, key=self.votes.__getitem__)


class PlaceCounter:
    """Counts bees by the paths of their tracks, which are straight between detections.

    A line counts a bee when its path has crossed the line and then moved away by a part of a body length. Until then,
    crossings back and forth cancel out. A path that ends at the line counts if it has crossed it, and so does a path
    that begins there; a path that does both does not count. So both directions are treated alike. Missed frames lose no
    crossing, since the path is straight to the next detection.

    A bee that takes off, or passes close to another one, may get a new track on its way, often at the line. So at a
    line, a track that ends is continued by one that begins there shortly after and moves as if it were the same bee:
    the path connects both. Each track continues at most one other, so no crossing counts twice.

    A zone counts a bee by the ends of its track: a bee that appeared outside and disappeared inside came in. A bee that
    is hidden in the zone for a moment has disappeared, since the tracker assigns the next bee that comes out of an
    entrance to the same track.

    Unconfirmed tracks count only once they are confirmed.

    Args:
        places: lines and zones. Masks have no effect here; see `Places.all_masks`.
    """

    def __init__(self, places: Places) -> None:
        self._places = places
        self._paths: dict[int, _Path] = {}
        self._before_s = 0.0  # time of the frame before

    def replace(self, places: Places) -> None:
        """Use other places from the next frame on. Unchanged lines and zones continue to count the same paths."""
        same_lines = {name for name, line in places.lines.items() if self._places.lines.get(name) == line}
        same_zones = {name for name, zone in places.zones.items() if self._places.zones.get(name) == zone}
        for path in self._paths.values():
            path.crossings = {name: crossing for name, crossing in path.crossings.items() if name in same_lines}
            path.is_in &= same_zones
            path.began_in &= same_zones
            if same_zones != set(places.zones):
                path.whole = False
        self._places = places

    def update(self, frame: TrackedFrame) -> list[Passage]:
        """Return the bees that came in and went out in this frame.

        Args:
            frame: the next frame of the tracker.
        """
        passages: list[Passage] = []
        ended = [(number, self._paths.pop(number)) for number in frame.ended if number in self._paths]
        if not frame.interrupted:
            for number, last in ended:
                passages += self._end(number, last, frame.frame_size)
        known = np.flatnonzero(frame.tracks)
        boxes = frame.detections.boxes[known].astype(np.float64)
        ratios = (boxes[:, :2] + boxes[:, 2:]) / 2
        sides = (boxes[:, 2:] - boxes[:, :2]) * frame.frame_size
        lengths = np.maximum(np.hypot(sides[:, 0], sides[:, 1]), 1.0)
        inside = {name: zone.contains(ratios) for name, zone in self._places.zones.items()}
        for row, (index, x, y, length) in enumerate(
            zip(known.tolist(), *(ratios * frame.frame_size).T.tolist(), lengths.tolist(), strict=True)
        ):
            number = int(frame.tracks[index])
            is_in = frozenset(name for name, points in inside.items() if points[row])
            path = self._paths.get(number)
            if path is None:
                path = _Path(
                    (x, y),
                    whole=not frame.interrupted,
                    first=(x, y),
                    began_s=frame.at_s,
                    seen_s=frame.at_s,
                    began_in=is_in,
                )
                self._paths[number] = path
            else:
                if path.is_in and self._before_s - path.seen_s > _HIDDEN_S:
                    passages += self._at_zones(number, path)
                    path.began_in, path.whole = path.is_in, True
                path.move((x, y), frame.at_s)
            path.length, path.is_in = length, is_in
            path.confirmed = path.confirmed or bool(frame.confirmed[index])
            label = frame.detections.label(index)
            path.votes[label] = path.votes.get(label, 0.0) + float(frame.detections.confidences[index])
            passages += self._follow(number, path, (x, y), frame.frame_size)
        self._before_s = frame.at_s
        return passages

    def inside(self) -> dict[str, Counter[str]]:
        """Return the number of bees in each zone now, by label."""
        counts: dict[str, Counter[str]] = {name: Counter() for name in self._places.zones}
        for path in self._paths.values():
            if path.confirmed:
                for name in path.is_in:
                    counts[name][path.label] += 1
        return counts

    def _follow(self, number: int, path: _Path, place: _Vector, frame_size: tuple[int, int]) -> list[Passage]:
        """Extend a path to a position."""
        passages: list[Passage] = []
        for name, line in self._places.lines.items():
            crossing = path.crossings.setdefault(name, _Crossing())
            ends = _in_pixels(line, frame_size)
            crossing.net += _crossed(ends, path.place, place)
            if _distance(ends, place) >= _CLEAR * path.length:
                crossing.cleared = True
                if path.confirmed:
                    passages += _passages(name, line, crossing, number, path)
        path.place = place
        return passages

    def _end(self, number: int, path: _Path, frame_size: tuple[int, int]) -> list[Passage]:
        if not path.confirmed:
            return []
        passages: list[Passage] = []
        following = min(
            ((apart, other) for other, after in self._paths.items() if (apart := _apart(path, after)) < 1), default=None
        )
        if following is not None:
            passages += self._join(path, following[1], frame_size)
        else:
            for name, crossing in path.crossings.items():
                if crossing.cleared:
                    passages += _passages(name, self._places.lines[name], crossing, number, path)
        return passages + self._at_zones(number, path)

    def _at_zones(self, number: int, path: _Path) -> list[Passage]:
        """Return who came into and went out of zones with a path that ends where it is."""
        if not (path.confirmed and path.whole):
            return []
        into, out_of = sorted(path.is_in - path.began_in), sorted(path.began_in - path.is_in)
        return [
            *(Passage(name, path.label, "in", number) for name in into),
            *(Passage(name, path.label, "out", number) for name in out_of),
        ]

    def _join(self, path: _Path, number: int, frame_size: tuple[int, int]) -> list[Passage]:
        """Let the path of a track at the lines be the continuation of one that ended."""
        passages: list[Passage] = []
        after = self._paths[number]
        after.continues = True
        for name, line in self._places.lines.items():
            before, crossing = path.crossings.get(name, _Crossing()), after.crossings.setdefault(name, _Crossing())
            ends = _in_pixels(line, frame_size)
            crossing.net += before.net + _crossed(ends, path.place, after.first)
            crossing.cleared |= before.cleared
            if after.confirmed and crossing.cleared and _distance(ends, after.place) >= _CLEAR * after.length:
                passages += _passages(name, line, crossing, number, after)
        return passages


def _apart(path: _Path, after: _Path) -> float:
    """Return how far a path is from being continued by another one: below 1 it may be, infinite if it cannot."""
    gap = after.began_s - path.seen_s
    if after.continues or not 0 <= gap <= _MAX_BREAK_S:
        return math.inf
    gap = max(gap, _MIN_BREAK_S)
    dx, dy = after.first[0] - path.place[0], after.first[1] - path.place[1]
    # A bee that takes off moves like the later part, one that lands like the earlier one.
    apart = min(
        math.hypot(
            dx - gap * (share * path.velocity[0] + later * after.first_velocity[0]),
            dy - gap * (share * path.velocity[1] + later * after.first_velocity[1]),
        )
        for share, later in ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (0.5, 0.5))
    )
    return apart / (max(path.length, after.length) * (_MAX_APART + _MAX_APART_PER_S * gap))


def _passages(name: str, line: Line, crossing: _Crossing, number: int, path: _Path) -> list[Passage]:
    direction: Literal["in", "out"] = "in" if crossing.net * line.in_sign > 0 else "out"
    count, crossing.net = abs(crossing.net), 0
    return [Passage(name, path.label, direction, number)] * count


def _in_pixels(line: Line, frame_size: tuple[int, int]) -> tuple[_Vector, _Vector]:
    (x1, y1), (x2, y2) = line.points
    width, height = frame_size
    return (x1 * width, y1 * height), (x2 * width, y2 * height)


def _crossed(ends: tuple[_Vector, _Vector], before: _Vector, after: _Vector) -> int:
    """Return 1 if a straight path crosses a line to its right-hand side, -1 if to its left-hand side, else 0."""
    (x1, y1), (x2, y2) = ends
    dx, dy = x2 - x1, y2 - y1
    side_before = dx * (before[1] - y1) - dy * (before[0] - x1)
    side_after = dx * (after[1] - y1) - dy * (after[0] - x1)
    # A position on the line counts as on its right-hand side, so that a path through it crosses exactly once.
    if (side_before >= 0) == (side_after >= 0):
        return 0
    share = side_before / (side_before - side_after)
    x = before[0] + share * (after[0] - before[0])
    y = before[1] + share * (after[1] - before[1])
    if not 0 <= (x - x1) * dx + (y - y1) * dy <= dx * dx + dy * dy:
        return 0
    return 1 if side_after >= 0 else -1


def _distance(ends: tuple[_Vector, _Vector], place: _Vector) -> float:
    (x1, y1), (x2, y2) = ends
    dx, dy = x2 - x1, y2 - y1
    along = ((place[0] - x1) * dx + (place[1] - y1) * dy) / (dx * dx + dy * dy)
    along = min(1.0, max(0.0, along))
    return math.hypot(place[0] - x1 - along * dx, place[1] - y1 - along * dy)
