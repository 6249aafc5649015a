"""Independent random images of bees for training, with random background, light, camera and number of bees."""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from beeagent.camera.synthetic.address import MIN_SIDE
from beeagent.camera.synthetic.bee import draw_bee, random_look
from beeagent.camera.synthetic.canvas import BeePose
from beeagent.camera.synthetic.drawing import Image, as_image
from beeagent.camera.synthetic.sprite import (
    Placed,
    Sprite,
    Stamp,
    as_sprite,
    over_shadow,
    paste,
    recoloured,
    shadow_of,
    smeared,
    turned,
    turned_shadow,
)
from beeagent.camera.synthetic.surroundings import daylight, lit, noisy, toned

from beeagent_models.synthetic.background import random_background
from beeagent_models.synthetic.boxes import SceneFrame, visible_boxes

_FEW, _MANY = 9, 20
"""Numbers of bees from which their maximum size is reduced."""


def random_scene_frame(rng: np.random.Generator, *, width: int, height: int) -> SceneFrame:
    """Draw a training image with 0 to 35 bees, 1/40 to 3/10 of the image long; deterministic for a state of `rng`.

    Args:
        rng: random generator.
        width: image width in pixels, at least 16.
        height: image height in pixels, at least 16.

    Raises:
        ValueError: the size is too small.
    """
    if min(width, height) < MIN_SIDE:
        raise ValueError(f"size is {width}x{height}: give at least {MIN_SIDE} pixels per side")
    size = max(width, height)
    image = random_background(rng, width=width, height=height)
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
        _lone_shadows(rng, image, individuals)
    placed = []
    for centre, heading in _places(rng, count, size=(width, height), length=length):
        bee = individuals[int(rng.integers(len(individuals)))]
        placed.append(Placed(stamp=_stamp(rng, bee, heading=heading, sun=sun), centre=centre))
        paste(image, placed[-1])
    boxes = visible_boxes((height, width), placed)
    image = lit(image, daylight(rng, width=width, height=height))
    return SceneFrame(pixels=_apply_camera(rng, image), boxes=boxes)


def _count(rng: np.random.Generator) -> int:
    kinds = (0, 1, int(rng.integers(2, 9)), int(rng.integers(6, 20)), int(rng.integers(15, 36)))
    return int(rng.choice(kinds, p=(0.06, 0.1, 0.44, 0.28, 0.12)))


@dataclass(frozen=True, slots=True)
class _Sun:
    """Shadows: direction, length and softness in pixels, and strength."""

    angle: float
    reach: float
    softness: float
    strength: float


@dataclass(frozen=True, slots=True)
class _Individual:
    """A drawn bee, heading to the right, that may be pasted several times.

    `lift` is the distance of its shadow relative to that of a walking bee.
    """

    sprite: Sprite
    shadow: Image
    lift: float


def _individuals(rng: np.random.Generator, length: float, count: int, sun: _Sun) -> list[_Individual]:
    """Draw several similar bees, walking and flying."""
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
    """Choose centres and headings: scattered, crowded or in a row; with random or similar directions."""
    limits = np.array(size)
    crowded = rng.random() < 0.4
    crowd = rng.uniform(0.1, 0.9, 2) * limits
    spread = rng.uniform((0.8, 0.3), (3.5, 3.0)) * length * math.sqrt(max(count, 1)) / 2.5
    if rng.random() < 0.3:
        spread = spread[::-1]
    common, loose = rng.uniform(0, 2 * math.pi), float(rng.choice((0.5, 10.0)))
    placements: list[tuple[tuple[int, int], float]] = []
    for _ in range(count):
        place = np.zeros(2)
        for _ in range(6):  # after six attempts to find a free place, bees may overlap
            place = rng.normal(crowd, spread) if crowded else rng.uniform(-0.01, 1.01, 2) * limits
            nearest = min((math.dist(place, other) for other, _ in placements), default=math.inf)
            if nearest > length * rng.uniform(0.2, 1.0):
                break
        placements.append(((round(float(place[0])), round(float(place[1]))), float(rng.normal(common, loose))))
    return placements


def _stretch(rng: np.random.Generator, bee: _Individual) -> tuple[float, float]:
    """Return random scale factors along and across a bee, for size, out-of-plane tilt and mirroring."""
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


def _lone_shadows(rng: np.random.Generator, image: Image, individuals: list[_Individual]) -> None:
    """Draw shadows of bees outside the image, as hard negatives."""
    for _ in range(int(rng.integers(1, 5))):
        bee = individuals[int(rng.integers(len(individuals)))]
        heading = float(rng.uniform(0, 2 * math.pi))
        shadow = turned_shadow(bee.shadow, heading=heading, stretch=_stretch(rng, bee))
        centre = (int(rng.integers(image.shape[1])), int(rng.integers(image.shape[0])))
        paste(image, Placed(stamp=Stamp(as_sprite(shadow)), centre=centre))


def random_pose(rng: np.random.Generator, *, flying: bool = False) -> BeePose:
    """Return a random pose of a walking or a flying bee."""
    roll = float(rng.normal(0, 0.35)) if rng.random() < 0.8 else float(rng.uniform(-math.pi, math.pi))
    light = (float(rng.normal(0, 0.6)), float(rng.normal(0, 0.6)), 1.0)
    if flying:
        angle = float(rng.uniform(0.9, 1.9))
        return BeePose(
            wing_angle=(angle + float(rng.normal(0, 0.1)), angle + float(rng.normal(0, 0.1))),
            wing_beat=float(rng.uniform(0.2, 1.3)),
            roll=roll,
            bend=float(rng.normal(0, 0.1)),
            legs=float(rng.uniform(0.25, 0.6)),
            light=light,
        )
    kind = rng.random()
    if kind < 0.6:
        angle = float(rng.uniform(0.02, 0.3))
    elif kind < 0.9:
        angle = float(rng.uniform(0.3, 0.75))
    else:
        angle = float(rng.uniform(0.75, 1.4))
    return BeePose(
        wing_angle=(angle + float(rng.normal(0, 0.07)), angle + float(rng.normal(0, 0.07))),
        wing_beat=float(rng.uniform(0.1, 0.7)) if rng.random() < 0.1 else 0.0,
        roll=roll,
        bend=float(rng.normal(0, 0.25)),
        gait=float(rng.uniform(0, 2 * math.pi)),
        legs=float(rng.uniform(0.7, 1.1)),
        light=light,
    )


def _apply_camera(rng: np.random.Generator, image: Image) -> Image:
    """Apply camera effects of random quality and settings."""
    size = max(image.shape[:2])
    tint, exposure = rng.normal(0, 0.09), _exposure(rng, image)
    image = toned(
        image,
        gains=(
            exposure * float(1 - tint + rng.normal(0, 0.03)),
            exposure,
            exposure * float(1 + tint + rng.normal(0, 0.03)),
        ),
        gamma=float(np.exp(rng.normal(-0.08, 0.22))),
        black=float(rng.uniform(0, 0.12)) if rng.random() < 0.4 else 0.0,
    )
    if rng.random() < 0.3:
        grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
        share = float(rng.uniform(-0.3, 0.6)) if rng.random() < 0.9 else 1.0
        image = as_image(cv2.addWeighted(image, 1 - share, grey, share, 0))
    blur = rng.random()
    if blur < 0.35:
        image = as_image(cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.4, 1 + size / 800))))
    elif blur < 0.5:  # an over-sharpening camera
        soft = cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.8, 2)))
        strength = float(rng.uniform(0.3, 1.2))
        image = as_image(cv2.addWeighted(image, 1 + strength, soft, -strength, 0))
    if rng.random() < 0.7:
        image = noisy(rng, image, sigma=float(rng.exponential(3) + 0.5), coarse=bool(rng.random() < 0.4))
    if rng.random() < 0.6:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(30, 96))]
        image = as_image(cv2.imdecode(cv2.imencode(".jpg", image, quality)[1], cv2.IMREAD_COLOR))
    return image


def _exposure(rng: np.random.Generator, image: Image) -> float:
    """Return the gain of an imperfect automatic exposure."""
    mean = max(10.0, float(image.mean()))
    target = float(np.clip(rng.normal(118, 28), 65, 190))
    return float(np.clip((target / mean) ** rng.uniform(0.55, 1.0), 0.4, 6.0))
