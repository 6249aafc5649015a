"""Fills a picture store for training: photographs, cut-outs from them, synthetic scenes and empty grounds."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from beeagent.errors import InputError
from beeagent.frames.synthetic.background import random_background
from beeagent.frames.synthetic.picture import random_scene_frame

from beeagent_models.datasets.augment_cutouts import cut_out
from beeagent_models.datasets.augment_scene import CUTOUT, GROUND, PHOTOGRAPH, SCENE
from beeagent_models.datasets.blue_ground import without_box
from beeagent_models.datasets.dataset import Dataset, LabelledImage
from beeagent_models.datasets.loader_store import StoredPicture

_NO_BOXES = np.zeros((0, 4), np.float32)
_NO_IDS = np.zeros(0, np.int64)
_LONGEST_SIDE = 1280


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolOptions:
    """What goes into the pool.

    Attributes:
        scenes: number of synthetic scenes.
        grounds: number of empty synthetic grounds.
        scene_label: class id of the bees in synthetic scenes; None leaves scenes out.
        ignored_border: left, top, right, bottom as ratios of a photograph: strips where objects may be unlabelled.
        blue_ground: ignore objects on a blue ground that have no box, too.
        seed: decides the synthetic part.
    """

    scenes: int
    grounds: int
    scene_label: int | None
    ignored_border: tuple[float, float, float, float]
    blue_ground: bool
    seed: int


def pool_pictures(
    datasets: tuple[Dataset, ...], options: PoolOptions, report: Callable[[int, int], None]
) -> Iterator[StoredPicture]:
    """Decode and draw everything that training pictures are composed from.

    Args:
        datasets: the photographs.
        options: says how much of the rest.
        report: called with the number of pictures done and their total.

    Raises:
        InputError: a picture cannot be read.
    """
    images = [image for dataset in datasets for image in dataset.images]
    scenes = options.scenes if options.scene_label is not None else 0
    total, done = len(images) + scenes + options.grounds, 0
    for image in images:
        pixels, boxes = _decoded(image)
        ignored = _strips(pixels, options.ignored_border)
        if options.blue_ground:
            ignored = np.concatenate([ignored, without_box(pixels, boxes)])
        yield StoredPicture(pixels, boxes, image.class_ids, ignored, PHOTOGRAPH)
        for cutout in cut_out(pixels, boxes, image.class_ids):
            yield StoredPicture(cutout.pixels, _NO_BOXES, np.array([cutout.class_id]), _NO_BOXES, CUTOUT)
        done += 1
        report(done, total)
    for number in range(scenes):
        rng = np.random.default_rng([options.seed, 1, number])
        width, height = _scene_size(rng)
        scene = random_scene_frame(rng, width=width, height=height)
        ids = np.full(len(scene.boxes), options.scene_label, np.int64)
        yield StoredPicture(scene.pixels, scene.boxes.astype(np.float32), ids, _NO_BOXES, SCENE)
        done += 1
        report(done, total)
    for number in range(options.grounds):
        rng = np.random.default_rng([options.seed, 2, number])
        width, height = _scene_size(rng)
        pixels = random_background(rng, width=width, height=height)
        yield StoredPicture(pixels, _NO_BOXES, _NO_IDS, _NO_BOXES, GROUND)
        done += 1
        report(done, total)


def _scene_size(rng: np.random.Generator) -> tuple[int, int]:
    return [(480, 360), (640, 360), (480, 480), (360, 480)][int(rng.integers(4))]


def _decoded(
    image: LabelledImage,
) -> tuple[np.ndarray[tuple[int, ...], np.dtype[np.uint8]], np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    pixels = cv2.imread(str(image.path), cv2.IMREAD_COLOR)
    if pixels is None:
        raise InputError(f"picture {image.path}: cannot be read; is it a whole JPEG or PNG file?")
    if pixels.shape[:2] != (image.height, image.width):
        raise InputError(
            f"picture {image.path}: {pixels.shape[1]}x{pixels.shape[0]} pixels, but its labels say "
            f"{image.width}x{image.height}"
        )
    boxes = image.boxes
    scale = _LONGEST_SIDE / max(pixels.shape[:2])
    if scale < 1:
        size = (round(image.width * scale), round(image.height * scale))
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
        boxes = boxes * np.float32(scale)
    return np.asarray(pixels, np.uint8), boxes


def _strips(
    pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], border: tuple[float, float, float, float]
) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    height, width = pixels.shape[:2]
    left, top, right, bottom = border[0] * width, border[1] * height, border[2] * width, border[3] * height
    strips = np.array(
        [
            [0, 0, left, height],
            [0, 0, width, top],
            [width - right, 0, width, height],
            [0, height - bottom, width, height],
        ],
        np.float32,
    )
    return strips[np.asarray(border) > 0]
