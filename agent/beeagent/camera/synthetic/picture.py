"""Independent random pictures of bees, for training: every call another place, light, camera and number of bees."""

import math
from dataclasses import dataclass

import numpy as np

from beeagent.camera.synthetic.background import daylight, random_background
from beeagent.camera.synthetic.bee import draw_bee
from beeagent.camera.synthetic.camera import lit, photographed
from beeagent.camera.synthetic.layout import Placed, Stamp, paste, visible_boxes
from beeagent.camera.synthetic.look import random_look, random_pose
from beeagent.camera.synthetic.options import LEAST_SIDE
from beeagent.camera.synthetic.scene_frame import SceneFrame
from beeagent.camera.synthetic.sprite import (
    Image,
    Sprite,
    as_sprite,
    over_shadow,
    recoloured,
    shadow_of,
    smeared,
    turned,
    turned_shadow,
)

_FEW, _MANY = 9, 20
"""From how many bees on a picture shows them from farther away."""


def random_scene_frame(rng: np.random.Generator, *, width: int, height: int) -> SceneFrame:
    """Draw one training picture; the same generator state gives the same picture, bit for bit.

    Args:
        rng: decides everything: place, light, camera, and 0 to 35 bees from 1/40 to 3/10 of the picture long.
        width: of the picture in pixels, at least 16.
        height: likewise.

    Raises:
        ValueError: the picture would be smaller than that.
    """
    if min(width, height) < LEAST_SIDE:
        raise ValueError(f"a picture needs {LEAST_SIDE} pixels each way, not {width}x{height}")
    size = max(width, height)
    picture = random_background(rng, width=width, height=height)
    count = _count(rng)
    largest = 0.3 if count < _FEW else 0.2 if count < _MANY else 0.13
    length = size * math.exp(rng.uniform(math.log(0.025), math.log(largest)))
    sun = _Sun(
        angle=float(rng.uniform(0, 2 * math.pi)),
        reach=float(rng.uniform(0.0, 0.25)) * length,
        softness=float(rng.uniform(0.01, 0.12)) * length,
        strength=float(rng.uniform(0.15, 0.8)),
    )
    individuals = _individuals(rng, length, max(1, min(count, 4)), sun)
    if rng.random() < 0.2:
        _lone_shadows(rng, picture, individuals)
    placed = []
    for middle, heading in _places(rng, count, size=(width, height), length=length):
        bee = individuals[int(rng.integers(len(individuals)))]
        placed.append(Placed(stamp=_stamp(rng, bee, heading=heading, sun=sun), middle=middle))
        paste(picture, placed[-1])
    boxes = visible_boxes((height, width), placed)
    picture = lit(picture, daylight(rng, width=width, height=height))
    return SceneFrame(pixels=photographed(rng, picture), boxes=boxes)


def _count(rng: np.random.Generator) -> int:
    kinds = (0, 1, int(rng.integers(2, 9)), int(rng.integers(6, 20)), int(rng.integers(15, 36)))
    return int(rng.choice(kinds, p=(0.06, 0.1, 0.44, 0.28, 0.12)))


@dataclass(frozen=True, slots=True)
class _Sun:
    """How the light throws shadows: in which direction, how far and how softly in pixels, how dark."""

    angle: float
    reach: float
    softness: float
    strength: float


@dataclass(frozen=True, slots=True)
class _Individual:
    """A bee drawn once, heading to the right; it may be shown several times.

    Attributes:
        sprite: what it looks like.
        shadow: what it throws.
        lift: how much farther its shadow falls than that of a bee on foot; 1 for one on foot.
    """

    sprite: Sprite
    shadow: Image
    lift: float


def _individuals(rng: np.random.Generator, length: float, count: int, sun: _Sun) -> list[_Individual]:
    """Draw a few bees of one colony, alike but not the same, on foot and in the air."""
    colony = random_look(rng)
    bees = []
    for _ in range(count):
        flying = bool(rng.random() < 0.2)
        look = colony if rng.random() < 0.5 else random_look(rng)
        sprite = draw_bee(look, random_pose(rng, flying=flying), length=length, rng=rng)
        lift = float(rng.uniform(1, 5)) if flying else 1.0
        shadow = shadow_of(
            sprite, softness=max(0.5, sun.softness * math.sqrt(lift)), strength=sun.strength / math.sqrt(lift)
        )
        along, across = length * rng.uniform((0.02, 0.0), (0.4, 0.12)) if flying else length * rng.uniform(0, 0.05, 2)
        sprite = smeared(sprite, along=float(along), across=float(across))
        bees.append(_Individual(sprite=sprite, shadow=shadow, lift=lift))
    return bees


def _places(
    rng: np.random.Generator, count: int, *, size: tuple[int, int], length: float
) -> list[tuple[tuple[int, int], float]]:
    """Choose middles and headings: scattered, in a crowd or in a row; all ways or about the same way."""
    limits = np.array(size)
    crowded = rng.random() < 0.4
    centre = rng.uniform(0.1, 0.9, 2) * limits
    spread = rng.uniform((0.8, 0.3), (3.5, 3.0)) * length * math.sqrt(max(count, 1)) / 2.5
    if rng.random() < 0.3:
        spread = spread[::-1]
    common, loose = rng.uniform(0, 2 * math.pi), float(rng.choice((0.5, 10.0)))
    chosen: list[tuple[tuple[int, int], float]] = []
    for _ in range(count):
        place = np.zeros(2)
        for _ in range(6):  # a few tries for a free place; after that it sits on another bee
            place = rng.normal(centre, spread) if crowded else rng.uniform(-0.01, 1.01, 2) * limits
            nearest = min((math.dist(place, other) for other, _ in chosen), default=math.inf)
            if nearest > length * rng.uniform(0.2, 1.0):
                break
        chosen.append(((round(float(place[0])), round(float(place[1]))), float(rng.normal(common, loose))))
    return chosen


def _stretch(rng: np.random.Generator, bee: _Individual) -> tuple[float, float]:
    """Vary a bee's size, tilt it out of the picture's plane, and mirror it."""
    scale = float(np.clip(rng.normal(0.9, 0.06), 0.7, 1.05)) * (float(rng.uniform(1, 1.3)) if bee.lift > 1 else 1.0)
    tilt = float(rng.uniform(0.65, 1.0)) if rng.random() < 0.45 else 1.0
    return scale * tilt, -scale if rng.random() < 0.5 else scale


def _stamp(rng: np.random.Generator, bee: _Individual, *, heading: float, sun: _Sun) -> Stamp:
    stretch = _stretch(rng, bee)
    bright = float(rng.normal(1, 0.14))
    b, g, r = (bright * rng.normal(1, 0.04, 3)).tolist()
    sprite = recoloured(turned(bee.sprite, heading=heading, stretch=stretch), (b, g, r))
    shadow = turned_shadow(bee.shadow, heading=heading, stretch=stretch)
    reach = sun.reach * bee.lift
    return Stamp(over_shadow(sprite, shadow, (round(math.cos(sun.angle) * reach), round(math.sin(sun.angle) * reach))))


def _lone_shadows(rng: np.random.Generator, picture: Image, individuals: list[_Individual]) -> None:
    """Show the shadows of bees that fly out of view: dark, bee-shaped, and no bees."""
    for _ in range(int(rng.integers(1, 5))):
        bee = individuals[int(rng.integers(len(individuals)))]
        heading = float(rng.uniform(0, 2 * math.pi))
        shadow = turned_shadow(bee.shadow, heading=heading, stretch=_stretch(rng, bee))
        middle = (int(rng.integers(picture.shape[1])), int(rng.integers(picture.shape[0])))
        paste(picture, Placed(stamp=Stamp(as_sprite(shadow)), middle=middle))
