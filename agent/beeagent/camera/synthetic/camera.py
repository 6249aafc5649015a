"""What a camera does to a scene: light, exposure, colour, blur, noise, compression."""

import cv2
import numpy as np

from beeagent.camera.synthetic.noise import Plane
from beeagent.camera.synthetic.sprite import Image, as_image


def lit(picture: Image, light: Plane) -> Image:
    """Multiply a picture by the light that falls on it (0 to 2)."""
    levels = cv2.cvtColor(as_image(np.clip(light * 128, 0, 255)), cv2.COLOR_GRAY2BGR)
    return as_image(cv2.multiply(picture, levels, scale=1 / 128))


def toned(picture: Image, *, gains: tuple[float, float, float], gamma: float = 1.0, black: float = 0.0) -> Image:
    """Apply exposure and white balance (factors for B, G, R), gamma, and a raised black level (0 to 1)."""
    level = np.arange(256, dtype=np.float64)[:, None] / 255 * np.array(gains)
    table = black + (1 - black) * np.clip(level, 0, 1) ** gamma
    return as_image(cv2.LUT(picture, as_image(np.clip(table * 255 + 0.5, 0, 255)).reshape(256, 1, 3)))


def noisy(rng: np.random.Generator, picture: Image, *, sigma: float, coarse: bool) -> Image:
    """Add sensor noise of standard deviation `sigma` levels; `coarse` noise spans more than a pixel."""
    height, width = picture.shape[:2]
    side = 128
    tile = rng.standard_normal((side, side, 3), dtype=np.float32)
    if coarse:
        tile = np.asarray(cv2.GaussianBlur(tile, (0, 0), 0.8), dtype=np.float32) * 2
    tile = np.asarray(tile * sigma).round().astype(np.int16)
    rows, columns = -(-height // side), -(-width // side)
    # The tile is turned and mirrored from place to place, so that no repetition shows.
    strips = [np.hstack([_mirrored(tile, int(rng.integers(8))) for _ in range(columns)]) for _ in range(rows)]
    grain = np.vstack(strips)[:height, :width]
    return as_image(cv2.add(picture, grain, dtype=cv2.CV_8U))


def _mirrored(tile: np.ndarray, way: int) -> np.ndarray:
    turned = np.rot90(tile, way % 4)
    return turned[:, ::-1] if way > 3 else turned


def photographed(rng: np.random.Generator, picture: Image) -> Image:
    """Take a picture of the scene with a camera of random quality and settings."""
    size = max(picture.shape[:2])
    tint, exposure = rng.normal(0, 0.09), _exposure(rng, picture)
    picture = toned(
        picture,
        gains=(
            exposure * float(1 - tint + rng.normal(0, 0.03)),
            exposure,
            exposure * float(1 + tint + rng.normal(0, 0.03)),
        ),
        gamma=float(np.exp(rng.normal(-0.08, 0.22))),
        black=float(rng.uniform(0, 0.12)) if rng.random() < 0.4 else 0.0,
    )
    if rng.random() < 0.3:
        washed = cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
        share = float(rng.uniform(-0.3, 0.6)) if rng.random() < 0.9 else 1.0
        picture = as_image(cv2.addWeighted(picture, 1 - share, washed, share, 0))
    blur = rng.random()
    if blur < 0.35:
        picture = as_image(cv2.GaussianBlur(picture, (0, 0), float(rng.uniform(0.4, 1 + size / 800))))
    elif blur < 0.5:  # an over-sharpening camera
        soft = cv2.GaussianBlur(picture, (0, 0), float(rng.uniform(0.8, 2)))
        strength = float(rng.uniform(0.3, 1.2))
        picture = as_image(cv2.addWeighted(picture, 1 + strength, soft, -strength, 0))
    if rng.random() < 0.7:
        picture = noisy(rng, picture, sigma=float(rng.exponential(3) + 0.5), coarse=bool(rng.random() < 0.4))
    if rng.random() < 0.6:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(30, 96))]
        picture = as_image(cv2.imdecode(cv2.imencode(".jpg", picture, quality)[1], cv2.IMREAD_COLOR))
    return picture


def _exposure(rng: np.random.Generator, picture: Image) -> float:
    """Expose for the picture's mean, as automatic exposure does, not quite exactly."""
    mean = max(10.0, float(picture.mean()))
    wanted = float(np.clip(rng.normal(118, 28), 65, 190))
    return float(np.clip((wanted / mean) ** rng.uniform(0.55, 1.0), 0.4, 6.0))
