"""What lies behind the bees: a hive entrance, put together from materials, with light and shade on it."""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from beeagent.frames.synthetic import material
from beeagent.frames.synthetic.noise import Plane, value_noise
from beeagent.frames.synthetic.sprite import Image, as_image

_BOARDS: tuple[material.Material, ...] = (
    material.wood, material.wood, material.paint, material.paint, material.worn_paint, material.stone,
)  # fmt: skip
_GROUNDS: tuple[material.Material, ...] = (
    material.stone, material.bark, material.grass, material.leaves, material.comb, material.wood, material.paint,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Entrance:
    """A hive's front seen squarely, before any light falls on it.

    Attributes:
        picture: uint8, shape (height, width, 3), BGR.
        slot: left, top, right, bottom of the entrance slot in pixels.
        wall: how many rows from the top belong to the hive's front, down to the slot.
    """

    picture: Image
    slot: tuple[int, int, int, int]
    wall: int


def entrance(rng: np.random.Generator, *, width: int, height: int) -> Entrance:
    """Draw a hive's front above, its landing board below, and the dark slot between them."""
    wall = int(height * rng.uniform(0.08, 0.5))
    gap = max(1, int(height * rng.uniform(0.02, 0.09)))
    picture = _board(rng, width, height)
    picture[:wall] = _board(rng, width, max(wall, 2))[:wall]
    inset = int(width * rng.uniform(0, 0.3)) if rng.random() < 0.5 else 0
    left, right = inset, max(inset + 1, width - int(inset * rng.uniform(0.2, 1.8)))
    top, bottom = wall, min(height, wall + gap)
    picture[top:bottom, left:right] = material.filled(right - left, bottom - top, (8, 10, 13))
    # The front throws a soft shade onto the board before it.
    shade_rows = max(1, int(height * rng.uniform(0.02, 0.15)))
    fade = np.linspace(rng.uniform(0.35, 0.8), 1, shade_rows, dtype=np.float32)[:, None, None]
    strip = picture[bottom : bottom + shade_rows]
    strip[:] = as_image(strip * fade[: len(strip)])
    if rng.random() < 0.4:  # the board's front edge and what lies below
        edge = int(height * rng.uniform(0.8, 0.97))
        below = _GROUNDS[int(rng.integers(len(_GROUNDS)))](rng, width, max(height - edge, 2))
        picture[edge:] = as_image(below[: height - edge] * rng.uniform(0.3, 0.9))
        picture[edge : edge + max(1, height // 150)] //= 3
    return Entrance(picture=picture, slot=(left, top, right, bottom), wall=wall)


def _board(rng: np.random.Generator, width: int, height: int) -> Image:
    return _BOARDS[int(rng.integers(len(_BOARDS)))](rng, width, height)


def random_background(rng: np.random.Generator, *, width: int, height: int) -> Image:
    """Draw any place where bees are photographed: an entrance turned any way, a board, ground, bark, comb, leaves."""
    kind = rng.random()
    sideways = rng.random() < 0.3
    across, down = (height, width) if sideways else (width, height)
    if kind < 0.45:
        picture = entrance(rng, width=across, height=down).picture
    elif kind < 0.7:
        picture = _board(rng, across, down)
    else:
        picture = _GROUNDS[int(rng.integers(len(_GROUNDS)))](rng, across, down)
    if sideways:
        picture = as_image(cv2.transpose(picture))
    if rng.random() < 0.3:
        picture = as_image(cv2.flip(picture, int(rng.integers(-1, 2))))
    if rng.random() < 0.4:
        picture = _tilted(rng, picture)
    clutter(rng, picture)
    if rng.random() < 0.25:
        picture = as_image(cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.6, 0.012 * max(width, height) + 0.7)))
    return picture


def _tilted(rng: np.random.Generator, picture: Image) -> Image:
    height, width = picture.shape[:2]
    angle = rng.normal(0, 8) if rng.random() < 0.8 else rng.uniform(-45, 45)
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), angle, rng.uniform(1.05, 1.4))
    return as_image(cv2.warpAffine(picture, matrix, (width, height), borderMode=cv2.BORDER_REFLECT))


def clutter(rng: np.random.Generator, picture: Image) -> None:
    """Strew about what is not a bee: nails, knots, pebbles, crumbs, twigs, leaves, stains. In place."""
    height, width = picture.shape[:2]
    size = max(width, height)
    for _ in range(int(rng.poisson(rng.choice([0, 3, 12])))):
        middle = (rng.uniform(0, width), rng.uniform(0, height))
        radius = size * rng.uniform(0.002, 0.03)
        _thing(rng, picture, middle, radius)
    for _ in range(int(rng.poisson(rng.choice([0, 10, 60])))):  # specks: pollen, dirt
        middle = (int(rng.integers(width)), int(rng.integers(height)))
        colour = material.picked(rng, (20, 25, 30), (60, 170, 225), (190, 195, 200), (30, 50, 80), spread=0.25)
        cv2.circle(picture, middle, int(rng.integers(0, max(2, size // 300) + 1)), colour, -1, cv2.LINE_AA)


def _thing(rng: np.random.Generator, picture: Image, middle: tuple[float, float], radius: float) -> None:
    kind = int(rng.integers(6))
    dark = material.picked(rng, (25, 28, 32), (25, 40, 62), (50, 60, 70), spread=0.25)
    fixed = (round(middle[0] * 16), round(middle[1] * 16))
    axes = (max(8, round(radius * 16)), max(8, round(radius * rng.uniform(0.35, 1) * 16)))
    turn = float(rng.uniform(0, 180))
    if kind == 0:  # a nail or screw head with its highlight
        tone = material.picked(rng, (60, 60, 62), (150, 150, 150), (40, 60, 110), spread=0.2)
        cv2.ellipse(picture, fixed, (axes[0], axes[0]), 0, 0, 360, tone, -1, cv2.LINE_AA, 4)
        spot = (fixed[0] - axes[0] // 3, fixed[1] - axes[0] // 3)
        cv2.ellipse(picture, spot, (axes[0] // 4, axes[0] // 4), 0, 0, 360, (225, 225, 225), -1, cv2.LINE_AA, 4)
    elif kind == 1:  # a pebble
        tone = material.picked(rng, (120, 130, 140), (70, 90, 115), (180, 185, 190), spread=0.2)
        shade = (fixed[0] + axes[0] // 3, fixed[1] + axes[0] // 3)
        cv2.ellipse(picture, shade, axes, turn, 0, 360, dark, -1, cv2.LINE_AA, 4)
        cv2.ellipse(picture, fixed, axes, turn, 0, 360, tone, -1, cv2.LINE_AA, 4)
    elif kind == 2:  # a hole, knot or stain
        cv2.ellipse(picture, fixed, axes, turn, 0, 360, dark, -1, cv2.LINE_AA, 4)
    elif kind == 3:  # a leaf or petal
        tone = material.picked(rng, (40, 120, 80), (50, 90, 130), (60, 180, 210), (215, 215, 225))
        material.leaf(rng, picture, middle, radius * 2, tone)
    elif kind == 4:  # a twig or straw
        angle = rng.uniform(0, math.pi)
        reach = np.array([math.cos(angle), math.sin(angle)]) * radius * rng.uniform(1, 6)
        path = ((np.stack([middle - reach, middle + reach])) * 16).round().astype(np.int32)
        tone = material.picked(rng, (60, 90, 120), (120, 170, 190), (25, 30, 35))
        cv2.polylines(picture, [path], False, tone, max(1, int(radius / 3)), cv2.LINE_AA, 4)
    else:  # a soft dark spot: the shadow of nothing in view
        mask = np.zeros(picture.shape[:2], dtype=np.uint8)
        cv2.ellipse(mask, fixed, axes, turn, 0, 360, 255, -1, cv2.LINE_AA, 4)
        soft = cv2.blur(mask, (max(1, int(radius / 2)) * 2 + 1,) * 2)
        share = np.asarray(soft, dtype=np.float32) / 255 * np.float32(rng.uniform(0.3, 0.8))
        picture[:] = material.blended(picture, np.zeros_like(picture), share)


def daylight(rng: np.random.Generator, *, width: int, height: int) -> Plane:
    """Draw how much light falls where: a gradient, patches of sun and shade with soft or hard edges.

    Returns:
        float32, shape (height, width), a factor, 1 for full light.
    """
    size = max(width, height)
    light = np.ones((height, width), dtype=np.float32)
    if rng.random() < 0.7:
        slope = value_noise(rng, (width, height), (width, height))
        light *= 1 - np.float32(rng.uniform(0, 0.5)) * slope
    if rng.random() < 0.45:
        shade: NDArray[np.uint8] = np.zeros((height, width), dtype=np.uint8)
        for _ in range(int(rng.integers(1, 4))):
            middle = np.array([rng.uniform(-0.2, 1.2) * width, rng.uniform(-0.2, 1.2) * height])
            angles = np.sort(rng.uniform(0, 2 * math.pi, int(rng.integers(3, 9))))
            reach = size * rng.uniform(0.1, 0.6, len(angles))
            points = middle + np.stack([np.cos(angles), np.sin(angles)], axis=1) * reach[:, None]
            cv2.fillPoly(shade, [points.round().astype(np.int32)], 255, cv2.LINE_AA)
        softness = size * rng.uniform(0.001, 0.03)
        soft = np.asarray(cv2.blur(shade, (int(softness) * 2 + 1,) * 2), dtype=np.float32) / 255
        if rng.random() < 0.5:
            soft = 1 - soft
        light *= 1 - np.float32(rng.uniform(0.3, 0.75)) * soft
    return light
