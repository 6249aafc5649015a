"""Random textures of surfaces around a hive: wood, paint, stone, earth, grass, bark, comb, leaves."""

import math
from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from beeagent.camera.synthetic.drawing import (
    Colour,
    Image,
    Plane,
    as_image,
    draw_line,
    draw_shape,
    fractal_noise,
    stretched,
    value_noise,
)

Material = Callable[[np.random.Generator, int, int], Image]


def coloured(field: Plane, stops: list[Colour]) -> Image:
    """Convert a field of 0 to 1 into colours along a gradient with evenly spaced BGR stops."""
    places = np.linspace(0, 255, len(stops))
    table = np.stack([np.interp(np.arange(256), places, [s[c] for s in stops]) for c in range(3)], axis=1)
    levels = as_image(np.clip(field * 255, 0, 255))
    return as_image(cv2.applyColorMap(levels, as_image(np.clip(table, 0, 255)).reshape(256, 1, 3)))


def jittered(rng: np.random.Generator, colour: Colour, spread: float = 0.15) -> Colour:
    """Return a colour with its brightness varied by `spread` and its hue by a third of that."""
    bright = rng.normal(1, spread)
    b, g, r = (float(np.clip(c * bright * rng.normal(1, spread / 3), 0, 255)) for c in colour)
    return (b, g, r)


def picked(rng: np.random.Generator, *colours: Colour, spread: float = 0.15) -> Colour:
    """Return one of the colours, varied."""
    return jittered(rng, colours[int(rng.integers(len(colours)))], spread)


def blended(below: Image, above: Image, share: Plane) -> Image:
    """Blend `above` over `below` by `share`, 0 to 1."""
    cover = cv2.cvtColor(as_image(np.clip(share * 255, 0, 255)), cv2.COLOR_GRAY2BGR)
    kept = cv2.multiply(below, cv2.bitwise_not(cover), scale=1 / 255)
    return as_image(cv2.add(kept, cv2.multiply(above, cover, scale=1 / 255)))


def wood(rng: np.random.Generator, width: int, height: int) -> Image:
    """Bare or stained boards with grain along x, knots, cracks and worn patches."""
    size = max(width, height)
    warp = value_noise(rng, (width, height), (size * rng.uniform(0.3, 1), size * 0.2))
    y = np.linspace(0, 1, height, dtype=np.float32)[:, None]
    rings = rng.uniform(6, 40) * height / size
    phase = y * np.float32(rings) + warp * np.float32(rng.uniform(0.5, 3))
    for _ in range(int(rng.poisson(0.7))):  # knots push the rings aside
        cx, cy, radius = rng.uniform(0, width), rng.uniform(0, height), size * rng.uniform(0.02, 0.09)
        dx = (np.arange(width, dtype=np.float32)[None, :] - cx) / (radius * 2.2)
        dy = (np.arange(height, dtype=np.float32)[:, None] - cy) / radius
        phase += np.float32(rng.uniform(1, 4)) * np.exp(-(dx * dx + dy * dy))
    # A ring is pale early wood that darkens slowly, then ends abruptly; slightly softened against a jagged edge.
    place = phase - np.floor(phase)
    sharp = np.minimum(place / np.float32(0.8), (1 - place) / np.float32(0.2))
    streaks = value_noise(rng, (width, height), (size * 0.12, 1.5))
    field = np.float32(rng.uniform(0.2, 0.6)) * sharp + np.float32(rng.uniform(0.25, 0.6)) * streaks
    field += np.float32(0.35) * value_noise(rng, (width, height), (size * 0.25, size * 0.08))
    stops = [
        [(40, 62, 88), (90, 140, 185), (130, 180, 215)],
        [(30, 34, 40), (95, 105, 115), (160, 168, 174)],
        [(18, 26, 44), (50, 78, 118), (80, 120, 165)],
        [(60, 60, 62), (110, 108, 104), (90, 150, 200)],
        [(70, 78, 82), (150, 160, 165), (205, 210, 212)],
    ][int(rng.integers(5))]
    return coloured(stretched(field), [jittered(rng, s) for s in stops])


def paint(rng: np.random.Generator, width: int, height: int) -> Image:
    """A painted or plastic surface: nearly even, with brush marks, dirt and specks."""
    size = max(width, height)
    colour = picked(
        rng, (215, 218, 220), (225, 222, 215), (200, 150, 60), (170, 120, 40), (70, 175, 225), (60, 130, 70),
        (110, 170, 140), (190, 170, 140), (60, 70, 150), (120, 120, 125), (180, 205, 225), (40, 150, 235),
        spread=0.12,
    )  # fmt: skip
    field = fractal_noise(rng, (width, height), (size * 0.4, size * 0.3), octaves=3)
    if rng.random() < 0.6:
        field = field + np.float32(0.25) * value_noise(rng, (width, height), (size * 0.2, 2))
    low = jittered(rng, (colour[0] * 0.82, colour[1] * 0.82, colour[2] * 0.82), 0.05)
    image = coloured(stretched(field), [low, colour])
    if rng.random() < 0.6:
        dirt = fractal_noise(rng, (width, height), (size * 0.1, size * 0.1), octaves=5)
        share = np.clip((dirt - rng.uniform(0.55, 0.85)) * rng.uniform(2, 8), 0, 1) * rng.uniform(0.2, 0.8)
        image = blended(image, filled(width, height, picked(rng, (50, 65, 80), (40, 42, 45))), share)
    return image


def worn_paint(rng: np.random.Generator, width: int, height: int) -> Image:
    """Paint flaking off wood."""
    below, above = wood(rng, width, height), paint(rng, width, height)
    size = max(width, height)
    stretch = rng.uniform(0.5, 4)
    field = fractal_noise(rng, (width, height), (size * 0.15 * stretch, size * 0.15), octaves=5, gain=0.6)
    share = np.clip((field - rng.uniform(0.35, 0.6)) * rng.uniform(6, 30), 0, 1)
    if rng.random() < 0.5:
        share = share * (0.4 + 0.6 * value_noise(rng, (width, height), (size * 0.1, 1.5)))
    return blended(below, above, np.asarray(share, dtype=np.float32))


def stone(rng: np.random.Generator, width: int, height: int) -> Image:
    """Concrete, plaster, gravel or soil, by grain and colour."""
    size = max(width, height)
    cell = size * rng.uniform(0.01, 0.12)
    field = fractal_noise(rng, (width, height), (cell, cell), octaves=5, gain=rng.uniform(0.5, 0.85))
    base = picked(rng, (140, 145, 150), (70, 90, 115), (40, 60, 85), (165, 180, 195), (75, 88, 118), spread=0.2)
    dark = (base[0] * 0.35, base[1] * 0.37, base[2] * 0.4)
    light = (min(255, base[0] * 1.35), min(255, base[1] * 1.35), min(255, base[2] * 1.35))
    return coloured(field, [dark, base, light] if rng.random() < 0.6 else [dark, base, base, light])


def bark(rng: np.random.Generator, width: int, height: int) -> Image:
    """Tree bark: ridges along y with deep gaps."""
    size = max(width, height)
    cell = size * rng.uniform(0.03, 0.1)
    field = fractal_noise(rng, (width, height), (cell, cell * rng.uniform(2, 6)), octaves=5, gain=0.6)
    ridged = 1 - np.abs(2 * field - 1) ** np.float32(0.7)
    base = picked(rng, (110, 120, 130), (45, 65, 100), (60, 80, 95), spread=0.2)
    dark = (base[0] * 0.15, base[1] * 0.16, base[2] * 0.2)
    return coloured(stretched(1 - ridged), [dark, base, (base[0] * 1.5, base[1] * 1.5, base[2] * 1.45)])


def grass(rng: np.random.Generator, width: int, height: int) -> Image:
    """Blades of grass or straw over earth, often out of focus."""
    size = max(width, height)
    image = stone(rng, width, height)
    tone = picked(rng, (45, 130, 95), (40, 95, 60), (90, 165, 190), (60, 150, 130))
    upright = rng.uniform(0, math.pi)
    for _ in range(int(rng.integers(60, 260))):
        x, y = rng.uniform(-0.1, 1.1) * width, rng.uniform(-0.1, 1.1) * height
        angle, length = upright + rng.normal(0, 0.5), size * rng.uniform(0.05, 0.3)
        bow = rng.normal(0, 0.2)
        points = [
            (x + math.cos(angle + bow * t) * length * t, y + math.sin(angle + bow * t) * length * t)
            for t in (0, 0.5, 1)
        ]
        draw_line(image, points, jittered(rng, tone, 0.3), thickness=int(rng.integers(1, 4)))
    return image


def leaves(rng: np.random.Generator, width: int, height: int) -> Image:
    """Leaves and petals lying over one another."""
    size = max(width, height)
    image = grass(rng, width, height) if rng.random() < 0.5 else stone(rng, width, height)
    tone = picked(
        rng, (40, 120, 70), (60, 160, 120), (50, 190, 220), (190, 120, 190), (225, 225, 235), (40, 70, 130),
        (170, 90, 120),
    )  # fmt: skip
    for _ in range(int(rng.integers(8, 60))):
        centre = (rng.uniform(0, width), rng.uniform(0, height))
        leaf(rng, image, centre, size * rng.uniform(0.02, 0.14), jittered(rng, tone, 0.25))
    return image


def leaf(rng: np.random.Generator, image: Image, centre: tuple[float, float], radius: float, colour: Colour) -> None:
    """Draw one leaf or petal with its midrib onto an image, in place."""
    t = np.linspace(0, 1, 12)
    half = np.sin(np.pi * t ** rng.uniform(0.6, 1.3)) * rng.uniform(0.25, 0.6)
    outline = np.concatenate([np.stack([t * 2 - 1, half], 1), np.stack([1 - t * 2, -half[::-1]], 1)]) * radius
    angle = rng.uniform(0, 2 * math.pi)
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    draw_shape(image, outline @ turn + np.array(centre), colour)
    rib = np.array([[-radius, 0.0], [radius * 0.9, 0.0]]) @ turn + np.array(centre)
    lighter = (min(255.0, colour[0] * 1.25), min(255.0, colour[1] * 1.25), min(255.0, colour[2] * 1.25))
    draw_line(image, rib, lighter)


def comb(rng: np.random.Generator, width: int, height: int) -> Image:
    """Honeycomb: rows of six-sided cells, empty, capped or full."""
    size = max(width, height)
    cell = size * rng.uniform(0.025, 0.07)
    wall = picked(rng, (70, 140, 190), (40, 80, 120), (120, 190, 220))
    inside = (wall[0] * 0.35, wall[1] * 0.4, wall[2] * 0.45)
    image = filled(width, height, wall)
    capped = rng.random()
    corners = np.array([(math.sin(math.pi / 3 * k), math.cos(math.pi / 3 * k)) for k in range(6)]) * cell * 0.5
    for row in range(int(height / (cell * 0.86)) + 2):
        for column in range(int(width / cell) + 2):
            centre = np.array([(column + 0.5 * (row % 2)) * cell, row * cell * 0.86])
            tone = jittered(rng, wall if rng.random() < capped else inside, 0.12)
            draw_shape(image, centre + corners, tone)
    field = fractal_noise(rng, (width, height), (size * 0.3, size * 0.3), octaves=4)
    return blended(image, filled(width, height, inside), field * np.float32(0.5))


def filled(width: int, height: int, colour: Colour) -> Image:
    """Return an image of one colour."""
    image: NDArray[np.uint8] = np.empty((height, width, 3), dtype=np.uint8)
    image[:] = np.clip(colour, 0, 255)
    return image
