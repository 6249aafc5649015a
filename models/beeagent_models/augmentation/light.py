"""Photometric augmentation: lighting and camera artefacts."""

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]


def vary_light(rng: np.random.Generator, pixels: Image) -> Image:
    """Vary exposure, contrast, white balance and saturation; sometimes add uneven light or a shadow.

    Args:
        rng: random generator.
        pixels: uint8, shape (height, width, 3), BGR; may be written to.
    """
    if rng.random() < 0.3:
        gray = cv2.cvtColor(cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
        saturation = 0.0 if rng.random() < 0.12 else rng.uniform(0.3, 1.4)
        pixels = _uint8(cv2.addWeighted(pixels, saturation, gray, 1 - saturation, 0))
    values = np.arange(256, dtype=np.float32) / 255
    curves = values[:, None] ** np.exp(rng.normal(-0.02, 0.15))
    curves = (curves - 0.5) * np.exp(rng.normal(0, 0.13)) + 0.5 + rng.normal(0.0, 0.035)
    curves = curves * np.exp(rng.normal(0, 0.05, 3))
    table = np.clip(curves * 255, 0, 255).astype(np.uint8).reshape(1, 256, 3)
    pixels = _uint8(cv2.LUT(pixels, table))
    if rng.random() < 0.1:
        height, width = pixels.shape[:2]
        grid = rng.uniform(0.45, 1.25, (2, 3)).astype(np.float32)
        light = cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
        pixels = _uint8(cv2.multiply(pixels, cv2.merge([light] * 3), dtype=cv2.CV_8U))
    if rng.random() < 0.12:
        pixels = _add_shadow(rng, pixels)
    return pixels


def vary_camera(rng: np.random.Generator, pixels: Image) -> Image:
    """Sometimes add blur, motion blur, downscaling, sharpening, noise or JPEG compression.

    Args:
        rng: random generator.
        pixels: uint8, shape (height, width, 3), BGR.
    """
    height, width = pixels.shape[:2]
    draws = rng.random(5)
    if draws[0] < 0.1:
        factor = rng.uniform(1.2, 2.5)
        small = cv2.resize(pixels, (round(width / factor), round(height / factor)), interpolation=cv2.INTER_AREA)
        pixels = _uint8(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR))
    elif draws[0] < 0.2:
        pixels = _uint8(cv2.GaussianBlur(pixels, (0, 0), rng.uniform(0.3, 1.4)))
    if draws[1] < 0.04:
        pixels = _add_motion_blur(rng, pixels)
    if draws[2] < 0.05:
        soft = cv2.GaussianBlur(pixels, (0, 0), 1.0)
        pixels = _uint8(cv2.addWeighted(pixels, 1.8, soft, -0.8, 0))
    if draws[3] < 0.15:
        noise = rng.standard_normal(pixels.shape, np.float32) * np.exp(rng.uniform(0, 2.5))
        pixels = np.clip(pixels + noise, 0, 255).astype(np.uint8)
    if draws[4] < 0.3:
        quality = int(rng.integers(25, 96))
        _, code = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
        pixels = _uint8(cv2.imdecode(code, cv2.IMREAD_COLOR))
    return pixels


def _add_shadow(rng: np.random.Generator, pixels: Image) -> Image:
    """Add a shadow with straight edges, like that of a lid or a board: on one side of a line, or a strip."""
    height, width = pixels.shape[:2]
    angle = rng.uniform(0, 2 * np.pi)
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    across = (columns - rng.uniform(0.1, 0.9) * width) * np.float32(np.cos(angle))
    across += (rows - rng.uniform(0.1, 0.9) * height) * np.float32(np.sin(angle))
    softness = np.float32(np.exp(rng.uniform(-0.7, 1.8)))
    shade = np.clip(across / softness + 0.5, 0, 1)
    if rng.random() < 0.4:
        shade *= np.clip((np.float32(rng.uniform(0.1, 0.4) * width) - across) / softness + 0.5, 0, 1)
    light = 1 - shade * np.float32(rng.uniform(0.25, 0.65))
    return _uint8(pixels * light[..., None])


def _add_motion_blur(rng: np.random.Generator, pixels: Image) -> Image:
    length = int(rng.integers(3, 8))
    kernel = np.zeros((length, length), np.float32)
    kernel[length // 2] = 1
    matrix = cv2.getRotationMatrix2D(((length - 1) / 2, (length - 1) / 2), rng.uniform(0, 180), 1)
    kernel = np.asarray(cv2.warpAffine(kernel, matrix, (length, length)), np.float32)
    return _uint8(cv2.filter2D(pixels, -1, kernel / kernel.sum()))


def _uint8(pixels: object) -> Image:
    return np.asarray(pixels, np.uint8)
