"""Independent random pictures of bees, for training: every call another place, light, camera and number of bees."""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from beeagent.frames.synthetic.background import daylight, random_background
from beeagent.frames.synthetic.bee import BeeLook, draw_bee, random_look, random_pose
from beeagent.frames.synthetic.camera import lit, photographed
from beeagent.frames.synthetic.motion import motion_kernel
from beeagent.frames.synthetic.scene_frame import SceneFrame
from beeagent.frames.synthetic.sprite import (
    Placed,
    Sprite,
    as_image,
    blurred,
    paste,
    turned,
    visible_boxes,
    with_shadow,
)


def random_scene_frame(rng: np.random.Generator, *, width: int, height: int) -> SceneFrame:
    """Draw one training picture; the same generator state gives the same picture, bit for bit.

    Args:
        rng: decides everything.
        width: of the picture in pixels, at least 16.
        height: likewise.
    """
    size = max(width, height)
    picture = random_background(rng, width=width, height=height)
    count = int(rng.choice([0, 1, int(rng.integers(2, 9)), int(rng.integers(6, 20)), int(rng.integers(15, 36))],
                           p=[0.06, 0.1, 0.44, 0.28, 0.12]))  # fmt: skip
    # The more bees, the smaller: as from farther away.
    largest = 0.3 if count < 9 else 0.2 if count < 20 else 0.13
    length = size * math.exp(rng.uniform(math.log(0.025), math.log(largest)))
    individuals = _individuals(rng, length, min(count, 5))
    shadow = _Shadow(
        angle=float(rng.uniform(0, 2 * math.pi)),
        reach=float(rng.uniform(0.0, 0.22)),
        softness=float(rng.uniform(0.015, 0.12)),
        strength=float(rng.uniform(0.15, 0.75)),
    )
    placed: list[Placed] = []
    for middle, heading in _places(rng, count, width=width, height=height, length=length):
        sprite = _placed_bee(rng, individuals, heading, length, shadow)
        placed.append(Placed(sprite=sprite, middle=middle))
        paste(picture, placed[-1])
    boxes = visible_boxes((height, width), placed)
    picture = lit(picture, daylight(rng, width=width, height=height))
    return SceneFrame(pixels=photographed(rng, picture), boxes=boxes)


@dataclass(frozen=True, slots=True)
class _Shadow:
    angle: float
    reach: float
    softness: float
    strength: float


def _individuals(rng: np.random.Generator, length: float, count: int) -> list[tuple[Sprite, bool]]:
    """Draw a few bees of one colony, alike but not the same; True for those in flight."""
    colony: BeeLook = random_look(rng)
    bees = []
    for _ in range(count):
        flying = bool(rng.random() < 0.18)
        look = colony if rng.random() < 0.6 else random_look(rng)
        bees.append((draw_bee(look, random_pose(rng, flying=flying), length=length * 1.15, rng=rng), flying))
    return bees


def _places(
    rng: np.random.Generator, count: int, *, width: int, height: int, length: float
) -> list[tuple[tuple[int, int], float]]:
    """Choose places and headings: some scattered, some in a crowd, some in a row."""
    crowded = rng.random() < 0.35
    centre = np.array([rng.uniform(0.1, 0.9) * width, rng.uniform(0.1, 0.9) * height])
    spread = np.array([rng.uniform(0.8, 3), rng.uniform(0.4, 3)]) * length * math.sqrt(max(count, 1)) / 2.5
    common = rng.uniform(0, 2 * math.pi)
    loose = rng.choice([0.4, 10.0])
    chosen: list[tuple[tuple[int, int], float]] = []
    for _ in range(count):
        place = np.array([0.0, 0.0])
        for _ in range(6):
            if crowded:
                place = rng.normal(centre, spread)
            else:
                place = np.array([rng.uniform(-0.01, 1.01) * width, rng.uniform(-0.01, 1.01) * height])
            near = min((math.dist(place, other) for other, _ in chosen), default=math.inf)
            if near > length * rng.uniform(0.2, 1.0):
                break
        middle = (round(float(place[0])), round(float(place[1])))
        chosen.append((middle, float(rng.normal(common, loose))))
    return chosen


def _placed_bee(
    rng: np.random.Generator, individuals: list[tuple[Sprite, bool]], heading: float, length: float, shadow: _Shadow
) -> Sprite:
    sprite, flying = individuals[int(rng.integers(len(individuals)))]
    scale = float(np.clip(rng.normal(0.87, 0.06), 0.65, 1.05)) * (float(rng.uniform(1, 1.3)) if flying else 1.0)
    tilt = float(rng.uniform(0.68, 1.0)) if rng.random() < 0.4 else 1.0
    mirror = -1.0 if rng.random() < 0.5 else 1.0
    sprite = turned(sprite, heading=heading, stretch=(scale * tilt, scale * mirror))
    sprite = _recoloured(rng, sprite)
    smear = length * (rng.uniform(0.05, 0.45) if flying else rng.uniform(0, 0.08))
    if smear >= 2:
        angle = heading + rng.normal(0, 0.4)
        sprite = blurred(sprite, motion_kernel(float(smear), float(angle)))
    lift = rng.uniform(1, 4) if flying else 1.0
    reach = shadow.reach * length * lift
    return with_shadow(
        sprite,
        offset=(round(math.cos(shadow.angle) * reach), round(math.sin(shadow.angle) * reach)),
        softness=max(0.6, shadow.softness * length * math.sqrt(lift)),
        strength=shadow.strength,
    )


def _recoloured(rng: np.random.Generator, sprite: Sprite) -> Sprite:
    bright = rng.normal(1, 0.14)
    factors = [float(bright * rng.normal(1, 0.04)) for _ in range(3)]
    return Sprite(
        colour=as_image(cv2.multiply(sprite.colour, (*factors, 1.0))), passing=sprite.passing, solid=sprite.solid
    )
