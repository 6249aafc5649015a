"""The surroundings of the bees: a hive entrance, scattered objects, daylight, and a camera's exposure and noise."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from beeagent.camera.synthetic import material
from beeagent.camera.synthetic.drawing import (
    Colour,
    Image,
    Plane,
    as_image,
    draw_ellipse,
    draw_line,
    draw_shape,
    value_noise,
)

BOARDS: tuple[material.Material, ...] = (
    material.wood, material.wood, material.paint, material.paint, material.worn_paint, material.stone,
)  # fmt: skip
GROUNDS: tuple[material.Material, ...] = (
    material.stone, material.bark, material.grass, material.leaves, material.comb, material.wood, material.paint,
)  # fmt: skip

_Thing = Callable[[np.random.Generator, Image, tuple[float, float], float], None]


@dataclass(frozen=True, slots=True)
class Entrance:
    """The unlit front of a hive.

    Attributes:
        image: uint8, shape (height, width, 3), BGR.
        slot: left, top, right, bottom of the entrance slot in pixels.
    """

    image: Image
    slot: tuple[int, int, int, int]


def entrance(rng: np.random.Generator, *, width: int, height: int) -> Entrance:
    """Draw a hive's front above, its landing board below, and the dark slot between them."""
    top = max(1, int(height * rng.uniform(0.08, 0.5)))
    bottom = min(height - 1, top + max(1, int(height * rng.uniform(0.02, 0.09))))
    image = board(rng, width, height)
    image[:top] = board(rng, width, max(top, 2))[:top]
    inset = int(width * rng.uniform(0, 0.3)) if rng.random() < 0.5 else 0
    left, right = inset, max(inset + 1, width - int(inset * rng.uniform(0.2, 1.8)))
    image[top:bottom, left:right] = material.filled(right - left, bottom - top, (8, 10, 13))
    # The front casts a soft shadow onto the landing board.
    rows = max(1, int(height * rng.uniform(0.02, 0.15)))
    strip = image[bottom : bottom + rows]
    fade = np.linspace(rng.uniform(0.35, 0.8), 1, rows, dtype=np.float32)[: len(strip), None, None]
    strip[:] = as_image(strip * fade)
    if rng.random() < 0.4:
        edge = min(height - 1, int(height * rng.uniform(0.8, 0.97)))
        below = GROUNDS[int(rng.integers(len(GROUNDS)))](rng, width, max(height - edge, 2))
        image[edge:] = as_image(below[: height - edge] * rng.uniform(0.3, 0.9))
        image[edge : edge + max(1, height // 150)] //= 3
    return Entrance(image=image, slot=(left, top, right, bottom))


def board(rng: np.random.Generator, width: int, height: int) -> Image:
    """Draw a board of a random material."""
    return BOARDS[int(rng.integers(len(BOARDS)))](rng, width, height)


def daylight(rng: np.random.Generator, *, width: int, height: int) -> Plane:
    """Return the light on each pixel: a gradient, and patches of sun and shade with soft or hard edges.

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
        centre = rng.uniform(-0.2, 1.2, 2) * (width, height)
        angles = np.sort(rng.uniform(0, 2 * math.pi, int(rng.integers(3, 9))))
        reach = size * rng.uniform(0.1, 0.6, len(angles))
        points = centre + np.stack([np.cos(angles), np.sin(angles)], axis=1) * reach[:, None]
        cv2.fillPoly(mask, [points.round().astype(np.int32)], (255,), cv2.LINE_AA)
    blur = 2 * int(size * rng.uniform(0.001, 0.03)) + 1
    shade = np.asarray(cv2.blur(mask, (blur, blur)), dtype=np.float32) / np.float32(255)
    return shade if rng.random() < 0.5 else np.asarray(1 - shade, dtype=np.float32)


def lit(image: Image, light: Plane) -> Image:
    """Multiply an image by the light on each pixel, 0 to 2."""
    levels = cv2.cvtColor(as_image(np.clip(light * 128, 0, 255)), cv2.COLOR_GRAY2BGR)
    return as_image(cv2.multiply(image, levels, scale=1 / 128))


def toned(image: Image, *, gains: tuple[float, float, float], gamma: float = 1.0, black: float = 0.0) -> Image:
    """Apply exposure and white balance (factors for B, G, R), gamma, and a raised black level (0 to 1)."""
    level = np.arange(256, dtype=np.float64)[:, None] / 255 * np.array(gains)
    table = black + (1 - black) * np.clip(level, 0, 1) ** gamma
    return as_image(cv2.LUT(image, as_image(np.clip(table * 255 + 0.5, 0, 255)).reshape(256, 1, 3)))


def noisy(rng: np.random.Generator, image: Image, *, sigma: float, coarse: bool) -> Image:
    """Add sensor noise of standard deviation `sigma` levels; `coarse` noise spans more than a pixel."""
    height, width = image.shape[:2]
    side = 128
    tile = rng.standard_normal((side, side, 3), dtype=np.float32)
    if coarse:
        tile = np.asarray(cv2.GaussianBlur(tile, (0, 0), 0.8), dtype=np.float32) * 2
    tile = np.asarray(tile * sigma).round().astype(np.int16)
    rows, columns = -(-height // side), -(-width // side)
    # The tiles are rotated and mirrored at random, so that no repetition is visible.
    strips = [np.hstack([_mirrored(tile, int(rng.integers(8))) for _ in range(columns)]) for _ in range(rows)]
    grain = np.vstack(strips)[:height, :width]
    return as_image(cv2.add(image, grain, dtype=cv2.CV_8U))


def _mirrored(tile: np.ndarray, way: int) -> np.ndarray:
    turned = np.rot90(tile, way % 4)
    return turned[:, ::-1] if way > 3 else turned


def strew(rng: np.random.Generator, image: Image) -> None:
    """Strew nails, pebbles, holes, leaves, twigs, dark stains and specks over an image, in place."""
    height, width = image.shape[:2]
    size = max(width, height)
    for _ in range(int(rng.poisson(rng.choice((0, 3, 12))))):
        thing = _THINGS[int(rng.integers(len(_THINGS)))]
        thing(rng, image, (rng.uniform(0, width), rng.uniform(0, height)), size * rng.uniform(0.002, 0.03))
    largest = max(0.7, size / 400)
    for _ in range(int(rng.poisson(rng.choice((0, 15, 80))))):
        tone = material.picked(rng, (20, 25, 30), (60, 170, 225), (190, 195, 200), (30, 50, 80), spread=0.25)
        radius = largest * rng.random() ** 2
        draw_ellipse(image, (rng.uniform(0, width), rng.uniform(0, height)), (radius, radius), tone)


def _dark(rng: np.random.Generator) -> Colour:
    return material.picked(rng, (25, 28, 32), (25, 40, 62), (50, 60, 70), spread=0.25)


def _nail(rng: np.random.Generator, image: Image, centre: tuple[float, float], radius: float) -> None:
    tone = material.picked(rng, (60, 60, 62), (150, 150, 150), (40, 60, 110), (35, 35, 38), spread=0.2)
    draw_ellipse(image, (centre[0] + radius / 5, centre[1] + radius / 4), (radius * 1.1, radius * 1.1), _dark(rng))
    draw_ellipse(image, centre, (radius, radius), tone)
    lighter = (min(255.0, tone[0] * 1.4 + 15), min(255.0, tone[1] * 1.4 + 15), min(255.0, tone[2] * 1.4 + 15))
    draw_ellipse(image, (centre[0] - radius / 3, centre[1] - radius / 3), (radius / 3, radius / 3), lighter)
    if rng.random() < 0.5:
        first = rng.uniform(0, math.pi)
        for turn in (first, first + math.pi / 2):
            reach = np.array([math.cos(turn), math.sin(turn)]) * radius * 0.6
            draw_line(image, [centre - reach, centre + reach], _dark(rng), thickness=max(1, int(radius / 4)))


def _pebble(rng: np.random.Generator, image: Image, centre: tuple[float, float], radius: float) -> None:
    tone = material.picked(rng, (120, 130, 140), (70, 90, 115), (180, 185, 190), spread=0.2)
    radii, turn = (radius, radius * rng.uniform(0.5, 1)), float(rng.uniform(0, 180))
    darker = (tone[0] * 0.5, tone[1] * 0.5, tone[2] * 0.5)
    draw_ellipse(image, (centre[0] + radius * 0.3, centre[1] + radius * 0.3), radii, _dark(rng), turn=turn)
    draw_ellipse(image, centre, radii, darker, turn=turn)
    place = (centre[0] - radius * 0.15, centre[1] - radius * 0.15)
    draw_ellipse(image, place, (radii[0] * 0.8, radii[1] * 0.8), tone, turn=turn)


def _hole(rng: np.random.Generator, image: Image, centre: tuple[float, float], radius: float) -> None:
    draw_ellipse(image, centre, (radius, radius * rng.uniform(0.3, 1)), _dark(rng), turn=float(rng.uniform(0, 180)))


def _leaf(rng: np.random.Generator, image: Image, centre: tuple[float, float], radius: float) -> None:
    tone = material.picked(rng, (40, 120, 80), (50, 90, 130), (60, 180, 210), (215, 215, 225), (30, 50, 80))
    material.leaf(rng, image, centre, radius * 2, tone)


def _twig(rng: np.random.Generator, image: Image, centre: tuple[float, float], radius: float) -> None:
    angle = rng.uniform(0, math.pi)
    reach = np.array([math.cos(angle), math.sin(angle)]) * radius * rng.uniform(1, 6)
    bow = np.array([-reach[1], reach[0]]) * rng.normal(0, 0.15)
    tone = material.picked(rng, (60, 90, 120), (120, 170, 190), (25, 30, 35))
    points = [centre - reach, np.array(centre) + bow, centre + reach]
    draw_line(image, points, tone, thickness=max(1, int(radius / 3)))


def _stain(rng: np.random.Generator, image: Image, centre: tuple[float, float], radius: float) -> None:
    """Darken a soft, uneven spot, such as wet wood or the shadow of an object out of view."""
    reach = math.ceil(radius * 3)
    x, y = int(centre[0]), int(centre[1])
    rows = slice(max(0, y - reach), min(image.shape[0], y + reach))
    columns = slice(max(0, x - reach), min(image.shape[1], x + reach))
    patch = image[rows, columns]
    if not patch.size:
        return
    mask = np.zeros(patch.shape[:2], dtype=np.uint8)
    angles = np.linspace(0, 2 * math.pi, 14, endpoint=False)
    outline = np.stack([np.cos(angles), np.sin(angles) * rng.uniform(0.4, 1)], axis=1) * radius
    outline *= rng.uniform(0.6, 1.4, 14)[:, None]
    draw_shape(mask, outline + np.array([centre[0] - columns.start, centre[1] - rows.start]), (255.0, 0, 0))
    blur = 2 * int(radius * rng.uniform(0.05, 0.6)) + 1
    share: Plane = np.asarray(cv2.blur(mask, (blur, blur)), dtype=np.float32) / np.float32(255)
    patch[:] = material.blended(patch, np.zeros_like(patch), share * np.float32(rng.uniform(0.2, 0.8)))


_THINGS: tuple[_Thing, ...] = (_nail, _pebble, _hole, _leaf, _twig, _stain, _stain)
