"""Random backgrounds without bees: hive entrances, boards, ground, comb and leaves."""

import cv2
import numpy as np
from beeagent.camera.synthetic import material
from beeagent.camera.synthetic.drawing import Image, as_image
from beeagent.camera.synthetic.surroundings import GROUNDS, board, entrance, strew


def random_background(rng: np.random.Generator, *, width: int, height: int) -> Image:
    """Draw a background without bees: an entrance in any orientation, a board, ground, comb or leaves.

    Args:
        rng: random generator.
        width: image width in pixels, at least 16.
        height: image height in pixels, at least 16.

    Returns:
        uint8, shape (height, width, 3), BGR.
    """
    kind, sideways = rng.random(), rng.random() < 0.3
    across, down = (height, width) if sideways else (width, height)
    if kind < 0.45:
        image = entrance(rng, width=across, height=down).image
    elif kind < 0.7:
        image = board(rng, across, down)
    else:
        image = GROUNDS[int(rng.integers(len(GROUNDS)))](rng, across, down)
    if sideways:
        image = as_image(cv2.transpose(image))
    if rng.random() < 0.3:
        image = as_image(cv2.flip(image, int(rng.integers(-1, 2))))
    if rng.random() < 0.4:
        image = _tilted(rng, image)
    image = np.ascontiguousarray(image)
    _add_structures(rng, image)
    strew(rng, image)
    if rng.random() < 0.25:
        image = _defocused(image, float(rng.uniform(0.6, 0.012 * max(width, height) + 0.7)))
    return image


def _defocused(image: Image, sigma: float) -> Image:
    """Blur an image; a strong blur is computed at a reduced size, which looks the same."""
    height, width = image.shape[:2]
    shrink = max(1, int(sigma / 1.5))
    small = cv2.resize(image, (max(1, width // shrink), max(1, height // shrink)), interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), sigma / shrink)
    return as_image(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR))


def _tilted(rng: np.random.Generator, image: Image) -> Image:
    height, width = image.shape[:2]
    angle = rng.normal(0, 8) if rng.random() < 0.8 else rng.uniform(-45, 45)
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), angle, rng.uniform(1.05, 1.4))
    return as_image(cv2.warpAffine(image, matrix, (width, height), borderMode=cv2.BORDER_REFLECT))


def _add_structures(rng: np.random.Generator, image: Image) -> None:
    """Add artificial structures: strips and blocks of another material, and printed text."""
    height, width = image.shape[:2]
    for _ in range(int(rng.choice((0, 1, 2), p=(0.6, 0.3, 0.1)))):
        _strip(rng, image)
    if rng.random() < 0.12:
        characters = np.array(list("ABCDEFHKLNRSTUX0123456789-:. "))
        text = "".join(rng.choice(characters, int(rng.integers(3, 20))))
        scale = float(height / 480 * np.exp(rng.uniform(-0.7, 1.6)))
        place = (int(rng.integers(-width // 4, max(1, width // 2))), int(rng.integers(height // 20, height + 1)))
        tone = material.picked(rng, (240, 240, 240), (20, 20, 20), (150, 70, 30), (40, 40, 170))
        cv2.putText(image, text, place, int(rng.integers(0, 5)), scale, tone,
                    max(1, round(scale * rng.uniform(1, 4))), cv2.LINE_AA)  # fmt: skip


def _strip(rng: np.random.Generator, image: Image) -> None:
    """Add a board of another material along one side, or a block anywhere, with the shadow of its edge."""
    height, width = image.shape[:2]
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
    dark = image[max(top - shade, 0) : bottom + shade, max(left - shade, 0) : right + shade]
    dark[:] = (dark * rng.uniform(0.3, 0.9)).astype(np.uint8)
    image[top:bottom, left:right] = surface(rng, right - left, bottom - top)
