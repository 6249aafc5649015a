"""Bees at a busy hive entrance, with visits planned in advance, so that all paths are known exactly."""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from beeagent.camera.synthetic.behaviour import Bee, Ground
from numpy.typing import NDArray

from beeagent_models.tracks import find_crossings

STEP = 1 / 120
"""Seconds between two points of a path."""

_LINE_BELOW_SLOT = 1.6
"""Distance of the entrance line from the slot, in body lengths."""
_MAX_LEG_STEPS = round(10 / STEP)
_BARELY, _CLEARLY = 0.12, 0.5
"""Distances from the line, in body lengths, between which no path turns."""
_MAX_MISSES = 8
_UP = -math.pi / 2


@dataclass(slots=True)
class VisitingBee(Bee):
    """A bee with the number of its visit, 1 or more."""

    visit: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """The path of one bee from its appearance to its disappearance, with a point every `STEP`.

    Attributes:
        number: number of the visit, from 1, in the order of the starts.
        start: start time in seconds of the video.
        look: index of the individual whose look it has.
        length: body length in pixels.
        points: float64, shape (n, 2): x and y of the body's centre in pixels.
        headings: float64, shape (n,): radians, 0 to the right, growing clockwise on the screen.
        gaits: float64, shape (n,): phase of its steps or wings in radians.
        flying: bool, shape (n,).
        by_slot: bool, shape (n,): True while it walks through the entrance slot, where the hive's front hides it.
    """

    number: int
    start: float
    look: int
    length: float
    points: NDArray[np.float64]
    headings: NDArray[np.float64]
    gaits: NDArray[np.float64]
    flying: NDArray[np.bool_]
    by_slot: NDArray[np.bool_]

    @property
    def end(self) -> float:
        """End time in seconds of the video."""
        return self.start + (len(self.points) - 1) * STEP

    @property
    def times(self) -> NDArray[np.float64]:
        """Times of the points in seconds: float64, shape (n,)."""
        return np.asarray(self.start + np.arange(len(self.points)) * STEP, dtype=np.float64)

    def at(self, seconds: float) -> VisitingBee:
        """Return the bee at a time between start and end."""
        position = min(max((seconds - self.start) / STEP, 0.0), len(self.points) - 1.0)
        index = min(int(position), len(self.points) - 2)
        x, y = self.points[index] + (self.points[index + 1] - self.points[index]) * (position - index)
        return VisitingBee(
            x=float(x),
            y=float(y),
            heading=float(self.headings[index]),
            look=self.look,
            flying=bool(self.flying[index]),
            gait=float(self.gaits[index]),
            by_slot=bool(self.by_slot[index]),
            visit=self.number,
        )


class Traffic:
    """The bees of a video: they arrive, hover, land, walk, stop, enter, leave, turn back and fly off.

    All visits begin and end within the video, so that all crossings of a line are complete. The paths do not depend on
    the frame rate.

    Args:
        rng: random generator.
        ground: area of the bees.
        lengths: body length in pixels of each individual.
        bees: maximum number of bees at the same time.
        seconds: length of the video.
    """

    def __init__(
        self, rng: np.random.Generator, ground: Ground, lengths: tuple[float, ...], *, bees: int, seconds: float
    ) -> None:
        place = _Place(ground, sum(lengths) / len(lengths))
        self.line_y = place.line_y
        self.slot = ground.slot
        planned = [visit for chain in rng.spawn(bees) for visit in _chain(chain, place, lengths, seconds)]
        planned.sort(key=lambda visit: visit.start)
        self.visits = [visit.finished(number) for number, visit in enumerate(planned, 1)]
        self._time = 0.0
        self._active: list[Visit] = []
        self._next = 0
        self.advance(0.0)

    @property
    def bees(self) -> list[Bee]:
        """The bees at the current time."""
        return [visit.at(self._time) for visit in self._active]

    def advance(self, seconds: float) -> None:
        """Advance the time."""
        self._time += seconds
        while self._next < len(self.visits) and self.visits[self._next].start <= self._time:
            self._active.append(self.visits[self._next])
            self._next += 1
        self._active = [visit for visit in self._active if visit.end >= self._time]


class _Place:
    """Goals of the visits: slot, board in front of it, and surroundings of the frame; lengths in pixels."""

    def __init__(self, ground: Ground, length: float) -> None:
        self.ground = ground
        self.length = length
        self.slot_bottom = float(ground.slot[3])
        middle = (self.slot_bottom + ground.height) / 2
        self.line_y = min(self.slot_bottom + _LINE_BELOW_SLOT * length, middle)
        self._room = (ground.height - self.line_y) / length - 0.7

    def door(self, rng: np.random.Generator) -> tuple[float, float]:
        """Return a hidden point behind the slot."""
        left, top, right, _ = self.ground.slot
        margin = min(self.length, (right - left) / 2)
        return float(rng.uniform(left + margin, right - margin)), top - 0.8 * self.length

    def below(self, rng: np.random.Generator, x: float, least: float = 0.9) -> tuple[float, float]:
        """Return a point on the board on the outer side of the line, at least `least` body lengths from it."""
        return self._near(rng, x), self.line_y + float(
            rng.uniform(least, max(least, min(3.5, self._room)))
        ) * self.length

    def above(self, rng: np.random.Generator, x: float) -> tuple[float, float]:
        """Return a point between line and slot."""
        return self._near(rng, x), self.line_y - float(rng.uniform(0.8, 1.1)) * self.length

    def before_slot(self, x: float) -> tuple[float, float]:
        """Return the point just before the slot."""
        return x, self.slot_bottom + 0.3 * self.length

    def outside(self, rng: np.random.Generator) -> tuple[float, float]:
        """Return a point outside the frame, below it or beside its lower part."""
        margin = 1.5 * self.length
        if rng.random() < 0.5:
            return float(rng.uniform(0.05, 0.95)) * self.ground.width, self.ground.height + margin
        return self.beside(rng, left=bool(rng.random() < 0.5))

    def beside(self, rng: np.random.Generator, *, left: bool) -> tuple[float, float]:
        """Return a point beside the frame, on the outer side of the line."""
        margin = 1.5 * self.length
        low = self.line_y + 1.2 * self.length
        y = float(rng.uniform(low, max(low, self.ground.height - 0.5 * self.length)))
        return (-margin if left else self.ground.width + margin), y

    def left(self, x: float, y: float) -> bool:
        """Return True if a bee at a point would be completely outside the frame."""
        margin = 1.3 * self.length
        return not (-margin < x < self.ground.width + margin and -margin < y < self.ground.height + margin)

    def _near(self, rng: np.random.Generator, x: float) -> float:
        margin = 1.5 * self.length
        return min(max(x + float(rng.normal(0, 3)) * self.length, margin), self.ground.width - margin)


class _Plan:
    """Builds a path leg by leg. Speeds are in body lengths per second; `stuck` is True if a leg missed its goal."""

    def __init__(self, rng: np.random.Generator, place: _Place, *, at: tuple[float, float], start: float) -> None:
        self.begin = at
        self.rng = rng
        self.place = place
        self.start = start
        self.look = 0
        self.length = place.length
        self.stuck = False
        self._x, self._y = at
        self._vx = self._vy = 0.0
        self._heading = float(rng.uniform(-math.pi, math.pi))
        self._gait = float(rng.uniform(0, 2 * math.pi))
        self._rows: list[tuple[float, float, float, float, bool, bool]] = []

    @property
    def end(self) -> float:
        return self.start + (len(self._rows) - 1) * STEP

    @property
    def is_ambiguous(self) -> bool:
        """True if the number of crossings is ambiguous: the path barely crosses the line, or near its end."""
        margin, line_y, width = 1.2 * self.length, self.place.line_y, self.place.ground.width
        points = np.array([row[:2] for row in self._rows])
        near = np.abs(points[:, 1] - line_y) < 0.6 * self.length
        if (near & ((points[:, 0] < margin) | (points[:, 0] > width - margin))).any():
            return True
        barely, clearly = (
            find_crossings(points, np.full(len(points), share * self.length), start=(width, line_y), end=(0, line_y))
            for share in (_BARELY, _CLEARLY)
        )
        return [direction for _, direction in barely] != [direction for _, direction in clearly]

    @property
    def comes_back(self) -> bool:
        """True if the path leaves the frame and returns, so that the bee's identity would be ambiguous."""
        margin, ground = 0.2 * self.length, self.place.ground
        inside = [
            -margin < x < ground.width + margin and -margin < y < ground.height + margin for x, y, *_ in self._rows
        ]
        return sum(now and not before for before, now in itertools.pairwise([False, *inside])) > 1

    def finished(self, number: int) -> Visit:
        """Return the visit with its number."""
        rows = np.array([row[:4] for row in self._rows])
        return Visit(
            number=number,
            start=self.start,
            look=self.look,
            length=self.length,
            points=rows[:, :2].copy(),
            headings=rows[:, 2].copy(),
            gaits=rows[:, 3].copy(),
            flying=np.array([row[4] for row in self._rows]),
            by_slot=np.array([row[5] for row in self._rows]),
        )

    def fly_in(self, goal: tuple[float, float]) -> None:
        """Fly from outside the frame to a goal and brake there."""
        speed, distance = self._cruise(), math.dist((self._x, self._y), goal)
        angle = math.atan2(goal[1] - self._y, goal[0] - self._x)
        begin = min(speed * self.length, 4 * distance)
        self._vx, self._vy, self._heading = begin * math.cos(angle), begin * math.sin(angle), angle
        self.fly(goal, speed=speed, brake=True)

    def fly_off(self, goal: tuple[float, float]) -> None:
        """Take off and fly out of the frame."""
        self.fly(goal, speed=self._cruise(), brake=False)

    def fly_past(self, goal: tuple[float, float]) -> None:
        """Fly through the frame at full speed."""
        speed = self._cruise()
        angle = math.atan2(goal[1] - self._y, goal[0] - self._x)
        self._vx, self._vy = speed * self.length * math.cos(angle), speed * self.length * math.sin(angle)
        self._heading = angle
        self.fly(goal, speed=speed, brake=False, sway=0.0)

    def fly(self, goal: tuple[float, float], *, speed: float, brake: bool, sway: float = 1.2) -> None:
        """Fly to a goal, or beyond it out of the frame; `sway` is the deviation from a straight path."""
        deviation = 0.0
        inside = False
        noise = self.rng.normal(0, sway * math.sqrt(STEP), _MAX_LEG_STEPS)
        for step in range(_MAX_LEG_STEPS):
            distance = math.dist((self._x, self._y), goal)
            gone = self.place.left(self._x, self._y)
            inside = inside or not gone
            if (brake and distance < 0.3 * self.length) or (not brake and gone and inside):
                return
            wanted = min(speed * self.length, max(4 * distance, 2 * self.length)) if brake else speed * self.length
            deviation += float(noise[step]) - 3 * deviation * STEP
            angle = math.atan2(goal[1] - self._y, goal[0] - self._x)
            angle += deviation * min(1.0, distance / (4 * self.length))
            self._vx += (wanted * math.cos(angle) - self._vx) * 8 * STEP
            self._vy += (wanted * math.sin(angle) - self._vy) * 8 * STEP
            self._move(flying=True, turn_to=math.atan2(self._vy, self._vx))
        self.stuck = True

    def hover(self, seconds: float) -> None:
        """Hover around the current position, facing the hive."""
        x, y = self._x, self._y
        steps = round(seconds / STEP)
        for ax, ay in self.rng.normal(0, 3 * self.length * math.sqrt(STEP), (steps, 2)).tolist():
            self._vx += ((x - self._x) * 20 - self._vx * 6) * STEP + ax
            self._vy += ((y - self._y) * 20 - self._vy * 6) * STEP + ay
            self._move(flying=True, turn_to=_UP)

    def stop_on_line(self, seconds: float) -> None:
        """Walk straight to the line and stand on it."""
        self.walk((self._x, self.place.line_y), within=0.05)
        self.pause(seconds)

    def walk(
        self, goal: tuple[float, float], *, speed: float | None = None, by_slot: bool = False, within: float = 0.15
    ) -> None:
        """Walk to a goal until the distance is below `within` body lengths."""
        limit = (float(self.rng.uniform(2, 5)) if speed is None else speed) * self.length
        current, deviation = 0.0, 0.0
        noise = self.rng.normal(0, 1.5 * math.sqrt(STEP), _MAX_LEG_STEPS)
        for step in range(_MAX_LEG_STEPS):
            distance = math.dist((self._x, self._y), goal)
            if distance < within * self.length:
                break
            deviation += float(noise[step]) - 3 * deviation * STEP
            bearing = math.atan2(goal[1] - self._y, goal[0] - self._x)
            bearing += deviation * min(1.0, distance / (2 * self.length))
            # A bee that faces sideways turns first; otherwise it would circle around its goal.
            ahead = max(0.1, math.cos(bearing - self._heading))
            current += (min(limit * ahead, 4 * distance) - current) * 8 * STEP
            self._vx, self._vy = current * math.cos(self._heading), current * math.sin(self._heading)
            self._move(flying=False, turn_to=bearing, by_slot=by_slot)
        else:
            self.stuck = True
        self._vx = self._vy = 0.0

    def pause(self, seconds: float) -> None:
        """Stand still, and turn on the spot."""
        self._vx = self._vy = 0.0
        turn_to = self._heading + float(self.rng.normal(0, 0.6))
        for step in range(round(seconds / STEP)):
            self._move(flying=False, turn_to=turn_to if step * STEP > 0.2 else self._heading)

    def perhaps_pause(self) -> None:
        """Stand still with a probability of about a third."""
        if self.rng.random() < 0.35:
            self.pause(float(self.rng.exponential(0.5)))

    def _cruise(self) -> float:
        """Return a flight speed of 0.4 to 1.5 body lengths per frame at 30 frames/s."""
        return float(self.rng.uniform(12, 45))

    def _move(self, *, flying: bool, turn_to: float, by_slot: bool = False) -> None:
        turn = math.remainder(turn_to - self._heading, 2 * math.pi)
        rate = (12 if flying else 6) * STEP
        self._heading = math.remainder(self._heading + min(max(turn, -rate), rate), 2 * math.pi)
        self._x += self._vx * STEP
        self._y += self._vy * STEP
        self._gait += STEP * (40 if flying else 9 * math.hypot(self._vx, self._vy) / self.length)
        self._rows.append((self._x, self._y, self._heading, self._gait, flying, by_slot))


def _chain(rng: np.random.Generator, place: _Place, lengths: tuple[float, ...], seconds: float) -> list[_Plan]:
    """Plan consecutive visits that end within the video."""
    plans: list[_Plan] = []
    start, misses = float(rng.exponential(0.7)), 0
    while start < seconds and misses < _MAX_MISSES:
        plan = _plan(rng, place, start)
        if plan.stuck or plan.is_ambiguous or plan.comes_back or plan.end > seconds:
            misses += 1  # retried: another visit may be valid or shorter
            continue
        plan.look = int(rng.integers(len(lengths)))
        plan.length = lengths[plan.look]
        plans.append(plan)
        misses = 0
        start = plan.end + float(rng.exponential(0.4))
    return plans


def _plan(rng: np.random.Generator, place: _Place, start: float) -> _Plan:
    kind, _ = _KINDS[int(rng.choice(len(_KINDS), p=[share for _, share in _KINDS]))]
    return kind(rng, place, start)


def _comes(rng: np.random.Generator, place: _Place, start: float) -> _Plan:
    return _Plan(rng, place, at=place.outside(rng), start=start)


def _comes_out(rng: np.random.Generator, place: _Place, start: float) -> _Plan:
    return _Plan(rng, place, at=place.door(rng), start=start)


def _arrival(rng: np.random.Generator, place: _Place, start: float) -> _Plan:
    """Land before the line and walk in across it; some stop on it."""
    plan, door = _comes(rng, place, start), place.door(rng)
    if rng.random() < 0.4:
        plan.fly_in(place.below(rng, door[0], least=1.5))
        plan.hover(float(rng.uniform(0.2, 1.2)))
        plan.fly(place.below(rng, door[0]), speed=8, brake=True)
    else:
        plan.fly_in(place.below(rng, door[0]))
    plan.perhaps_pause()
    if rng.random() < 0.15:
        plan.stop_on_line(float(rng.uniform(0.3, 1.0)))
    plan.walk(place.before_slot(door[0]))
    plan.walk(door, by_slot=True)
    return plan


def _short_arrival(rng: np.random.Generator, place: _Place, start: float) -> _Plan:
    """Fly over the line, land between it and the slot, and walk in."""
    plan, door = _comes(rng, place, start), place.door(rng)
    plan.fly_in(place.above(rng, door[0]))
    plan.perhaps_pause()
    plan.walk(door, by_slot=True)
    return plan


def _straight_in(rng: np.random.Generator, place: _Place, start: float) -> _Plan:
    """Fly into the slot almost without landing."""
    plan, door = _comes(rng, place, start), place.door(rng)
    plan.fly_in(place.before_slot(door[0]))
    plan.walk(door, speed=6, by_slot=True)
    return plan


def _departure(rng: np.random.Generator, place: _Place, start: float) -> _Plan:
    """Walk out across the line and fly off; some look back at the hive first, in the air."""
    plan = _comes_out(rng, place, start)
    x = plan.begin[0]
    plan.walk(place.above(rng, x), by_slot=True)
    plan.perhaps_pause()
    plan.walk(place.below(rng, x))
    plan.perhaps_pause()
    if rng.random() < 0.15:
        plan.fly(place.below(rng, x, least=1.5), speed=8, brake=True)
        plan.hover(float(rng.uniform(0.3, 1.5)))
    plan.fly_off(place.outside(rng))
    return plan


def _quick_departure(rng: np.random.Generator, place: _Place, start: float) -> _Plan:
    """Walk out and take off before the line."""
    plan = _comes_out(rng, place, start)
    plan.walk(place.above(rng, plan.begin[0]), by_slot=True)
    plan.fly_off(place.outside(rng))
    return plan


def _turn_back(rng: np.random.Generator, place: _Place, start: float) -> _Plan:
    """Walk out across the line and in again."""
    plan = _comes_out(rng, place, start)
    door = plan.begin
    plan.walk(place.above(rng, door[0]), by_slot=True)
    plan.walk(place.below(rng, door[0]))
    plan.perhaps_pause()
    plan.walk(place.before_slot(door[0]))
    plan.walk(door, by_slot=True)
    return plan


def _stop_on_line(rng: np.random.Generator, place: _Place, start: float) -> _Plan:
    """Walk out to the line, stop on it, and walk in again: no crossing."""
    plan = _comes_out(rng, place, start)
    door = plan.begin
    plan.walk(place.above(rng, door[0]), by_slot=True)
    plan.stop_on_line(float(rng.uniform(0.3, 1.5)))
    plan.walk(place.before_slot(door[0]))
    plan.walk(door, by_slot=True)
    return plan


def _inspection(rng: np.random.Generator, place: _Place, start: float) -> _Plan:
    """Fly in over the line, hover before the slot, and fly off."""
    plan = _comes(rng, place, start)
    plan.fly_in((place.door(rng)[0], place.line_y - 1.1 * place.length))
    plan.hover(float(rng.uniform(0.2, 0.8)))
    plan.fly_off(place.outside(rng))
    return plan


def _passing(rng: np.random.Generator, place: _Place, start: float) -> _Plan:
    """Fly past from side to side, before the line."""
    from_left = bool(rng.random() < 0.5)
    plan = _Plan(rng, place, at=place.beside(rng, left=from_left), start=start)
    plan.fly_past(place.beside(rng, left=not from_left))
    return plan


def _guard(rng: np.random.Generator, place: _Place, start: float) -> _Plan:
    """Land before the line, walk about there with stops, and fly off."""
    plan, x = _comes(rng, place, start), place.door(rng)[0]
    plan.fly_in(place.below(rng, x))
    for _ in range(int(rng.integers(1, 4))):
        plan.walk(place.below(rng, x))
        plan.pause(float(rng.uniform(0.2, 1.0)))
    plan.fly_off(place.outside(rng))
    return plan


_KINDS: tuple[tuple[Callable[[np.random.Generator, _Place, float], _Plan], float], ...] = (
    (_arrival, 0.22),
    (_short_arrival, 0.12),
    (_straight_in, 0.07),
    (_departure, 0.22),
    (_quick_departure, 0.14),
    (_turn_back, 0.06),
    (_stop_on_line, 0.04),
    (_inspection, 0.05),
    (_passing, 0.04),
    (_guard, 0.04),
)
