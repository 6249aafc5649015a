"""Simulation of bees at a hive entrance: they walk, pause, turn, take off, fly, land, arrive and leave."""

import math
from dataclasses import dataclass
from enum import Enum

import numpy as np


class Activity(Enum):
    """The activity of a bee."""

    COMING = "coming"
    STAYING = "staying"
    LEAVING = "leaving"


@dataclass(slots=True)
class Bee:
    """One bee in the scene.

    Attributes:
        x: x of the centre in pixels.
        y: y of the centre in pixels.
        heading: direction in radians, 0 to the right, clockwise on the screen.
        look: index of its appearance among those of the scene.
        activity: activity of the bee.
        flying: True while it flies, False while it walks.
        speed: speed in pixels per second.
        turning: rate of turn in radians per second.
        gait: phase of its steps or wings in radians.
        rest: remaining seconds of rest.
        goal: x and y of its destination while it arrives or leaves.
        by_slot: True if it arrives or leaves on foot through the entrance slot.
    """

    x: float
    y: float
    heading: float
    look: int
    activity: Activity = Activity.STAYING
    flying: bool = False
    speed: float = 0.0
    turning: float = 0.0
    gait: float = 0.0
    rest: float = 0.0
    goal: tuple[float, float] = (0.0, 0.0)
    by_slot: bool = False


@dataclass(frozen=True, slots=True)
class Ground:
    """The area of the bees.

    Attributes:
        width: width of the frame in pixels.
        height: height of the frame in pixels.
        slot: left, top, right, bottom of the entrance slot in pixels.
    """

    width: int
    height: int
    slot: tuple[int, int, int, int]


class Colony:
    """All bees of a scene.

    Args:
        rng: random generator.
        ground: area of the bees.
        bees: minimum and maximum number of bees in view.
        lengths: body length in pixels of each appearance.
    """

    def __init__(
        self, rng: np.random.Generator, *, ground: Ground, bees: tuple[int, int], lengths: tuple[float, ...]
    ) -> None:
        self._rng = rng
        self._ground = ground
        self._min_bees, self._max_bees = bees
        self._length = sum(lengths) / len(lengths)
        self._looks = len(lengths)
        self.bees: list[Bee] = [self._settled() for _ in range(int(rng.integers(self._min_bees, self._max_bees + 1)))]

    def advance(self, seconds: float) -> None:
        """Advance by a time in seconds."""
        steps = max(1, math.ceil(seconds / 0.05))
        for _ in range(steps):
            self._step(seconds / steps)

    def _step(self, seconds: float) -> None:
        for bee in self.bees:
            self._decide(bee, seconds)
            self._move(bee, seconds)
        self._keep_apart(seconds)
        self.bees = [bee for bee in self.bees if not (bee.activity is Activity.LEAVING and self._gone(bee))]
        staying = sum(bee.activity is Activity.STAYING for bee in self.bees)
        rate = 0.35 * seconds * (1 + self._max_bees / 10)
        if len(self.bees) < self._max_bees and self._rng.random() < rate:
            self.bees.append(self._arriving())
        elif staying > self._min_bees and self._rng.random() < rate:
            self._dismiss([bee for bee in self.bees if bee.activity is Activity.STAYING])

    def _new_bee(self, x: float, y: float, heading: float) -> Bee:
        look = int(self._rng.integers(self._looks))
        return Bee(x=x, y=y, heading=heading, look=look, gait=float(self._rng.uniform(0, 2 * math.pi)))

    def _settled(self) -> Bee:
        x, y = self._place()
        bee = self._new_bee(x, y, float(self._rng.uniform(-math.pi, math.pi)))
        bee.rest = float(self._rng.exponential(0.5))
        return bee

    def _place(self) -> tuple[float, float]:
        """Choose a position within the frame, more often below the slot than above."""
        ground, margin = self._ground, 0.5 * self._length
        low = ground.slot[3] if self._rng.random() < 0.75 else 0
        x, y = ground.width / 2, ground.height / 2
        return (
            float(self._rng.uniform(min(margin, x), max(ground.width - margin, x))),
            float(self._rng.uniform(min(low + margin, y), max(ground.height - margin, y))),
        )

    def _outside(self) -> tuple[float, float]:
        """Choose a position just outside the frame."""
        ground, margin = self._ground, 1.2 * self._length
        along = float(self._rng.random())
        side = int(self._rng.integers(4))
        if side < 2:
            return (-margin if side == 0 else ground.width + margin, along * ground.height)
        return (along * ground.width, -margin if side == 2 else ground.height + margin)

    def _door(self) -> tuple[float, float]:
        """Choose a position behind the entrance slot, out of view."""
        left, top, right, _ = self._ground.slot
        return (float(self._rng.uniform(left, right)), top - 0.8 * self._length)

    def _arriving(self) -> Bee:
        goal = self._place()
        by_slot = self._rng.random() < 0.45
        x, y = self._door() if by_slot else self._outside()
        if by_slot:
            goal = (x, max(goal[1], self._ground.slot[3] + 0.6 * self._length))
        bee = self._new_bee(x, y, math.atan2(goal[1] - y, goal[0] - x))
        bee.activity, bee.goal, bee.by_slot, bee.flying = Activity.COMING, goal, by_slot, not by_slot
        return bee

    def _dismiss(self, candidates: list[Bee]) -> None:
        bee = candidates[int(self._rng.integers(len(candidates)))]
        bee.activity, bee.rest = Activity.LEAVING, 0.0
        below = bee.y > self._ground.slot[3]
        bee.by_slot = bool(below and not bee.flying and self._rng.random() < 0.5)
        bee.flying = not bee.by_slot
        bee.goal = self._door() if bee.by_slot else self._outside()

    def _decide(self, bee: Bee, seconds: float) -> None:
        rng = self._rng
        bee.rest = max(0.0, bee.rest - seconds)
        if bee.activity is Activity.STAYING:
            if not bee.flying and not bee.rest and rng.random() < 0.35 * seconds:
                bee.rest = float(rng.exponential(1.0))
            if rng.random() < (0.8 if bee.flying else 0.04) * seconds:
                bee.flying = not bee.flying
            bee.turning += float(rng.normal(0, 1.2)) * math.sqrt(seconds) - bee.turning * 2 * seconds
            margin = 0.7 * self._length
            if not (margin < bee.x < self._ground.width - margin and margin < bee.y < self._ground.height - margin):
                bee.turning = 4 * self._bearing(bee, (self._ground.width / 2, self._ground.height / 2))
        else:
            bee.turning = (6 if bee.flying else 4) * self._bearing(bee, bee.goal)
            if bee.activity is Activity.COMING and math.dist((bee.x, bee.y), bee.goal) < 0.6 * self._length:
                bee.activity, bee.by_slot, bee.flying = Activity.STAYING, False, False
                bee.rest = float(rng.exponential(0.3))

    @staticmethod
    def _bearing(bee: Bee, goal: tuple[float, float]) -> float:
        """Return the angle by which a bee must turn towards a position, -pi to pi."""
        angle = math.atan2(goal[1] - bee.y, goal[0] - bee.x) - bee.heading
        return math.remainder(angle, 2 * math.pi)

    def _move(self, bee: Bee, seconds: float) -> None:
        target = 0.0 if bee.rest else self._length * (5.0 if bee.flying else 1.6)
        if bee.flying and bee.activity is Activity.STAYING:
            target *= 0.4
        if bee.by_slot:
            # A bee nearly at a right angle to its goal slows down to turn, or it would circle around it.
            target *= max(0.2, math.cos(self._bearing(bee, bee.goal)))
        elif bee.activity is not Activity.STAYING:
            target *= max(0.3, math.cos(self._bearing(bee, bee.goal)))
        bee.speed += (target - bee.speed) * min(1.0, 6 * seconds)
        bee.heading = math.remainder(bee.heading + bee.turning * seconds * (not bee.rest), 2 * math.pi)
        bee.x += math.cos(bee.heading) * bee.speed * seconds
        bee.y += math.sin(bee.heading) * bee.speed * seconds
        bee.gait += seconds * (40 if bee.flying else 9 * bee.speed / self._length)
        if bee.activity is Activity.STAYING:
            bee.x = min(max(bee.x, 0.3 * self._length), max(self._ground.width - 0.3 * self._length, 0.0))
            bee.y = min(max(bee.y, 0.3 * self._length), max(self._ground.height - 0.3 * self._length, 0.0))

    def _keep_apart(self, seconds: float) -> None:
        """Push walking bees apart, so that they touch and overlap but are not in the same position."""
        walkers = [bee for bee in self.bees if not bee.flying and bee.activity is Activity.STAYING]
        if len(walkers) < 2:
            return
        places = np.array([(bee.x, bee.y) for bee in walkers])
        apart = places[:, None] - places[None]
        distance = np.hypot(apart[..., 0], apart[..., 1]) + 1e-6
        push = np.clip(0.75 - distance / self._length, 0, None)
        np.fill_diagonal(push, 0)
        moves = (apart / distance[..., None] * push[..., None]).sum(axis=1) * (6 * self._length * seconds)
        for bee, (dx, dy) in zip(walkers, moves, strict=True):
            bee.x += float(dx)
            bee.y += float(dy)

    def _gone(self, bee: Bee) -> bool:
        if bee.by_slot:
            return bee.y < self._ground.slot[1] - 0.6 * self._length
        margin = self._length
        return not (-margin < bee.x < self._ground.width + margin and -margin < bee.y < self._ground.height + margin)
