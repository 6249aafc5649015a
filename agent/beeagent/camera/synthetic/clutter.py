"""What lies and hangs around a hive and is not a bee."""

import math
from collections.abc import Callable

import cv2
import numpy as np

from beeagent.camera.synthetic import material
from beeagent.camera.synthetic.drawing import Colour, draw_ellipse, draw_line, draw_shape
from beeagent.camera.synthetic.noise import Plane
from beeagent.camera.synthetic.sprite import Image

_Thing = Callable[[np.random.Generator, Image, tuple[float, float], float], None]


def strew(rng: np.random.Generator, picture: Image) -> None:
    """Strew nails, pebbles, holes, leaves, twigs, dark stains, legible or not, and specks about, in place."""
    height, width = picture.shape[:2]
    size = max(width, height)
    for _ in range(int(rng.poisson(rng.choice((0, 3, 12))))):
        thing = _THINGS[int(rng.integers(len(_THINGS)))]
        thing(rng, picture, (rng.uniform(0, width), rng.uniform(0, height)), size * rng.uniform(0.002, 0.03))
    largest = max(0.7, size / 400)
    for _ in range(int(rng.poisson(rng.choice((0, 15, 80))))):
        tone = material.picked(rng, (20, 25, 30), (60, 170, 225), (190, 195, 200), (30, 50, 80), spread=0.25)
        radius = largest * rng.random() ** 2
        draw_ellipse(picture, (rng.uniform(0, width), rng.uniform(0, height)), (radius, radius), tone)


def fit_out(rng: np.random.Generator, picture: Image) -> None:
    """Add what people build and write: strips and blocks of another material, printed words, a time stamp."""
    height, width = picture.shape[:2]
    for _ in range(int(rng.choice((0, 1, 2), p=(0.6, 0.3, 0.1)))):
        _strip(rng, picture)
    if rng.random() < 0.12:
        characters = np.array(list("ABCDEFHKLNRSTUX0123456789-:. "))
        text = "".join(rng.choice(characters, int(rng.integers(3, 20))))
        scale = float(height / 480 * np.exp(rng.uniform(-0.7, 1.6)))
        place = (int(rng.integers(-width // 4, max(1, width // 2))), int(rng.integers(height // 20, height + 1)))
        tone = material.picked(rng, (240, 240, 240), (20, 20, 20), (150, 70, 30), (40, 40, 170))
        cv2.putText(picture, text, place, int(rng.integers(0, 5)), scale, tone,
                    max(1, round(scale * rng.uniform(1, 4))), cv2.LINE_AA)  # fmt: skip


def _strip(rng: np.random.Generator, picture: Image) -> None:
    """Lay a board of another material along one side, or a block anywhere, with the shadow of its edge."""
    height, width = picture.shape[:2]
    kind = int(rng.integers(3))
    if kind == 0:
        left, right, top, bottom = 0, int(width * rng.uniform(0.03, 0.3)), 0, height
    elif kind == 1:
        left, right, top, bottom = 0, width, 0, int(height * rng.uniform(0.03, 0.3))
    else:
        left, top = int(width * rng.uniform(0, 0.9)), int(height * rng.uniform(0, 0.9))
        right, bottom = int(left + width * rng.uniform(0.03, 0.3)), int(top + height * rng.uniform(0.03, 0.3))
    if kind < 2 and rng.random() < 0.5:
        left, right, top, bottom = width - right, width - left, height - bottom, height - top
    left, right, top, bottom = max(left, 0), min(right, width), max(top, 0), min(bottom, height)
    if right - left < 2 or bottom - top < 2:
        return
    surface = (material.paint, material.wood, material.stone)[int(rng.integers(3))]
    shade = max(1, round(max(width, height) * rng.uniform(0.002, 0.02)))
    dark = picture[max(top - shade, 0) : bottom + shade, max(left - shade, 0) : right + shade]
    dark[:] = (dark * rng.uniform(0.3, 0.9)).astype(np.uint8)
    picture[top:bottom, left:right] = surface(rng, right - left, bottom - top)


def _dark(rng: np.random.Generator) -> Colour:
    return material.picked(rng, (25, 28, 32), (25, 40, 62), (50, 60, 70), spread=0.25)


def _nail(rng: np.random.Generator, picture: Image, middle: tuple[float, float], radius: float) -> None:
    tone = material.picked(rng, (60, 60, 62), (150, 150, 150), (40, 60, 110), (35, 35, 38), spread=0.2)
    draw_ellipse(picture, (middle[0] + radius / 5, middle[1] + radius / 4), (radius * 1.1, radius * 1.1), _dark(rng))
    draw_ellipse(picture, middle, (radius, radius), tone)
    lighter = (min(255.0, tone[0] * 1.4 + 15), min(255.0, tone[1] * 1.4 + 15), min(255.0, tone[2] * 1.4 + 15))
    draw_ellipse(picture, (middle[0] - radius / 3, middle[1] - radius / 3), (radius / 3, radius / 3), lighter)
    if rng.random() < 0.5:
        first = rng.uniform(0, math.pi)
        for turn in (first, first + math.pi / 2):
            reach = np.array([math.cos(turn), math.sin(turn)]) * radius * 0.6
            draw_line(picture, [middle - reach, middle + reach], _dark(rng), thickness=max(1, int(radius / 4)))


def _pebble(rng: np.random.Generator, picture: Image, middle: tuple[float, float], radius: float) -> None:
    tone = material.picked(rng, (120, 130, 140), (70, 90, 115), (180, 185, 190), spread=0.2)
    radii, turn = (radius, radius * rng.uniform(0.5, 1)), float(rng.uniform(0, 180))
    darker = (tone[0] * 0.5, tone[1] * 0.5, tone[2] * 0.5)
    draw_ellipse(picture, (middle[0] + radius * 0.3, middle[1] + radius * 0.3), radii, _dark(rng), turn=turn)
    draw_ellipse(picture, middle, radii, darker, turn=turn)
    draw_ellipse(
        picture,
        (middle[0] - radius * 0.15, middle[1] - radius * 0.15),
        (radii[0] * 0.8, radii[1] * 0.8),
        tone,
        turn=turn,
    )


def _hole(rng: np.random.Generator, picture: Image, middle: tuple[float, float], radius: float) -> None:
    draw_ellipse(picture, middle, (radius, radius * rng.uniform(0.3, 1)), _dark(rng), turn=float(rng.uniform(0, 180)))


def _leaf(rng: np.random.Generator, picture: Image, middle: tuple[float, float], radius: float) -> None:
    tone = material.picked(rng, (40, 120, 80), (50, 90, 130), (60, 180, 210), (215, 215, 225), (30, 50, 80))
    material.leaf(rng, picture, middle, radius * 2, tone)


def _twig(rng: np.random.Generator, picture: Image, middle: tuple[float, float], radius: float) -> None:
    angle = rng.uniform(0, math.pi)
    reach = np.array([math.cos(angle), math.sin(angle)]) * radius * rng.uniform(1, 6)
    bow = np.array([-reach[1], reach[0]]) * rng.normal(0, 0.15)
    tone = material.picked(rng, (60, 90, 120), (120, 170, 190), (25, 30, 35))
    points = [middle - reach, np.array(middle) + bow, middle + reach]
    draw_line(picture, points, tone, thickness=max(1, int(radius / 3)))


def _stain(rng: np.random.Generator, picture: Image, middle: tuple[float, float], radius: float) -> None:
    """Darken a soft, uneven spot: wet wood, or the shadow of nothing in view."""
    reach = math.ceil(radius * 3)
    x, y = int(middle[0]), int(middle[1])
    rows = slice(max(0, y - reach), min(picture.shape[0], y + reach))
    columns = slice(max(0, x - reach), min(picture.shape[1], x + reach))
    patch = picture[rows, columns]
    if not patch.size:
        return
    mask = np.zeros(patch.shape[:2], dtype=np.uint8)
    angles = np.linspace(0, 2 * math.pi, 14, endpoint=False)
    outline = np.stack([np.cos(angles), np.sin(angles) * rng.uniform(0.4, 1)], axis=1) * radius
    outline *= rng.uniform(0.6, 1.4, 14)[:, None]
    draw_shape(mask, outline + np.array([middle[0] - columns.start, middle[1] - rows.start]), (255.0, 0, 0))
    blur = 2 * int(radius * rng.uniform(0.05, 0.6)) + 1
    share: Plane = np.asarray(cv2.blur(mask, (blur, blur)), dtype=np.float32) / np.float32(255)
    patch[:] = material.blended(patch, np.zeros_like(patch), share * np.float32(rng.uniform(0.2, 0.8)))


_THINGS: tuple[_Thing, ...] = (_nail, _pebble, _hole, _leaf, _twig, _stain, _stain)
