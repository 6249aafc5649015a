"""Synthesizes a labelled dataset of hive entrances: images and a Ground Truth manifest."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import cv2
import numpy as np
from beeagent.camera.synthetic.address import MAX_SIDE, MIN_SIDE
from beeagent.errors import InputError

from beeagent_models.datasets.dataset import LabelledImage
from beeagent_models.datasets.ground_truth import Labelling, manifest_line
from beeagent_models.synthetic import random_scene_frame

LABELS = ("bee",)
MANIFEST = "output.manifest"

_JPEG_QUALITY = 92
_MAX_FRAMES = 1_000_000


def synthesize(  # noqa: PLR0913
    folder: Path,
    *,
    frames: int,
    width: int,
    height: int,
    seed: int,
    created_at: datetime,
    progress: Callable[[], None] | None = None,
) -> Path:
    """Draw synthetic images and write a manifest with their boxes.

    Seed and number determine an image, so a larger dataset begins with the images of a smaller one.

    Args:
        folder: output folder for `output.manifest` and `images/`, which must not exist or be empty.
        frames: number of images, 1 to 1,000,000.
        width: image width, 16 to 8192 pixels.
        height: image height, 16 to 8192 pixels.
        seed: random seed, 0 or more.
        created_at: creation date in the manifest.
        progress: called after each image.

    Returns:
        The manifest.

    Raises:
        InputError: a value is out of range, the folder is not empty or cannot be written to.
    """
    if not 1 <= frames <= _MAX_FRAMES:
        raise InputError(f"frames is {frames}: allowed are 1 to {_MAX_FRAMES}")
    if not (MIN_SIDE <= width <= MAX_SIDE and MIN_SIDE <= height <= MAX_SIDE):
        raise InputError(f"size is {width}x{height}: allowed are {MIN_SIDE} to {MAX_SIDE} pixels per side")
    if seed < 0:
        raise InputError(f"seed is {seed}: give 0 or more")
    labelling = Labelling(attribute="bees", job_name=f"synthetic-scene/seed-{seed}", created_at=created_at, human=False)
    manifest = folder / MANIFEST
    try:
        _make_empty(folder)
        (folder / "images").mkdir()
        with manifest.open("w", encoding="utf-8") as file:
            for index in range(frames):
                image = _draw(folder / "images" / f"{index:06}.jpg", index, width=width, height=height, seed=seed)
                reference = image.path.relative_to(folder).as_posix()
                file.write(manifest_line(image, source_ref=reference, labels=LABELS, labelling=labelling) + "\n")
                if progress is not None:
                    progress()
    except OSError as error:
        raise InputError(f"the dataset cannot be written to {folder}: {error.strerror or error}") from None
    return manifest


def _make_empty(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if next(folder.iterdir(), None) is not None:
        raise InputError(f"{folder} is not empty: give a new folder")


def _draw(path: Path, index: int, *, width: int, height: int, seed: int) -> LabelledImage:
    scene = random_scene_frame(np.random.default_rng([seed, index]), width=width, height=height)
    _, encoded = cv2.imencode(".jpg", scene.pixels, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    path.write_bytes(encoded.tobytes())
    class_ids = np.zeros(len(scene.boxes), np.int64)
    return LabelledImage(path=path, width=width, height=height, boxes=scene.boxes, class_ids=class_ids)
