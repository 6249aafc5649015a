"""What lies behind the bees: hive entrances and other places, put together from materials."""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from beeagent.camera.synthetic import material
from beeagent.camera.synthetic.clutter import fit_out, strew
from beeagent.camera.synthetic.noise import Plane, value_noise
from beeagent.camera.synthetic.sprite import Image, as_image

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
    """

    picture: Image
    slot: tuple[int, int, int, int]


def entrance(rng: np.random.Generator, *, width: int, height: int) -> Entrance:
    """Draw a hive's front above, its landing board below, and the dark slot between them."""
    top = max(1, int(height * rng.uniform(0.08, 0.5)))
    bottom = min(height - 1, top + max(1, int(height * rng.uniform(0.02, 0.09))))
    picture = _board(rng, width, height)
    picture[:top] = _board(rng, width, max(top, 2))[:top]
    inset = int(width * rng.uniform(0, 0.3)) if rng.random() < 0.5 else 0
    left, right = inset, max(inset + 1, width - int(inset * rng.uniform(0.2, 1.8)))
    picture[top:bottom, left:right] = material.filled(right - left, bottom - top, (8, 10, 13))
    # The front throws a soft shade onto the board before it.
    rows = max(1, int(height * rng.uniform(0.02, 0.15)))
    strip = picture[bottom : bottom + rows]
    fade = np.linspace(rng.uniform(0.35, 0.8), 1, rows, dtype=np.float32)[: len(strip), None, None]
    strip[:] = as_image(strip * fade)
    if rng.random() < 0.4:
        edge = min(height - 1, int(height * rng.uniform(0.8, 0.97)))
        below = _GROUNDS[int(rng.integers(len(_GROUNDS)))](rng, width, max(height - edge, 2))
        picture[edge:] = as_image(below[: height - edge] * rng.uniform(0.3, 0.9))
        picture[edge : edge + max(1, height // 150)] //= 3
    return Entrance(picture=picture, slot=(left, top, right, bottom))


def _board(rng: np.random.Generator, width: int, height: int) -> Image:
    return _BOARDS[int(rng.integers(len(_BOARDS)))](rng, width, height)


def random_background(rng: np.random.Generator, *, width: int, height: int) -> Image:
    """Draw a place where bees are photographed, without bees: an entrance any way up, a board, ground, comb, leaves.

    Args:
        rng: decides everything.
        width: in pixels, at least 16.
        height: likewise.

    Returns:
        uint8, shape (height, width, 3), BGR.
    """
    kind, sideways = rng.random(), rng.random() < 0.3
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
    picture = np.ascontiguousarray(picture)
    fit_out(rng, picture)
    strew(rng, picture)
    if rng.random() < 0.25:
        picture = _unsharp(picture, float(rng.uniform(0.6, 0.012 * max(width, height) + 0.7)))
    return picture


def _unsharp(picture: Image, sigma: float) -> Image:
    """Put a picture out of focus; a strong blur at a fraction of its size, which looks the same."""
    height, width = picture.shape[:2]
    shrink = max(1, int(sigma / 1.5))
    small = cv2.resize(picture, (max(1, width // shrink), max(1, height // shrink)), interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), sigma / shrink)
    return as_image(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR))


def _tilted(rng: np.random.Generator, picture: Image) -> Image:
    height, width = picture.shape[:2]
    angle = rng.normal(0, 8) if rng.random() < 0.8 else rng.uniform(-45, 45)
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), angle, rng.uniform(1.05, 1.4))
    return as_image(cv2.warpAffine(picture, matrix, (width, height), borderMode=cv2.BORDER_REFLECT))


def daylight(rng: np.random.Generator, *, width: int, height: int) -> Plane:
    """Draw how much light falls where: a gradient, patches of sun and shade with soft or hard edges.

    Returns:
        float32, shape (height, width), a factor above 0, 1 for full light.
    """
    light = np.ones((height, width), dtype=np.float32)
    if rng.random() < 0.7:
        slope = value_noise(rng, (width, height), (width, height))
        light *= 1 - np.float32(rng.uniform(0, 0.5)) * slope
    if rng.random() < 0.45:
        shade = _shade(rng, width, height)
        light *= 1 - np.float32(rng.uniform(0.3, 0.75)) * shade
    return light


def _shade(rng: np.random.Generator, width: int, height: int) -> Plane:
    size = max(width, height)
    mask = np.zeros((height, width), dtype=np.uint8)
    for _ in range(int(rng.integers(1, 4))):
        middle = rng.uniform(-0.2, 1.2, 2) * (width, height)
        angles = np.sort(rng.uniform(0, 2 * math.pi, int(rng.integers(3, 9))))
        reach = size * rng.uniform(0.1, 0.6, len(angles))
        points = middle + np.stack([np.cos(angles), np.sin(angles)], axis=1) * reach[:, None]
        cv2.fillPoly(mask, [points.round().astype(np.int32)], (255,), cv2.LINE_AA)
    blur = 2 * int(size * rng.uniform(0.001, 0.03)) + 1
    shade = np.asarray(cv2.blur(mask, (blur, blur)), dtype=np.float32) / np.float32(255)
    return shade if rng.random() < 0.5 else np.asarray(1 - shade, dtype=np.float32)
