"""Generates the images of the training pool: photographs, cut-outs, synthetic scenes and empty backgrounds."""

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from beeagent_models.augmentation.blue_background import find_unlabelled, tighten_boxes
from beeagent_models.augmentation.cutouts import cut_out
from beeagent_models.augmentation.geometry import scale_boxes
from beeagent_models.augmentation.mixture import TrainingSet
from beeagent_models.augmentation.store import BACKGROUND, CUTOUT, PHOTOGRAPH, SCENE, StoredImage
from beeagent_models.datasets.dataset import LabelledImage
from beeagent_models.datasets.image_files import load_image
from beeagent_models.synthetic import random_background, random_scene_frame

_NO_BOXES = np.zeros((0, 4), np.float32)
_NO_IDS = np.zeros(0, np.int64)
_MAX_SIDE = 1280
_CHUNK_SIZE = 4
# Boxes of drawn bees exclude legs and antennae, unlike those of photographs.
_SCENE_BOX_SCALE = 1.08


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolOptions:
    """Options of the training pool.

    Attributes:
        scenes: number of synthetic scenes.
        backgrounds: number of empty synthetic backgrounds.
        scene_label: class id of the bees in synthetic scenes; None for no scenes.
        seed: random seed of the synthetic images.
        workers: number of worker processes. The result does not depend on it.
    """

    scenes: int
    backgrounds: int
    scene_label: int | None
    seed: int
    workers: int = 1


def pool_images(
    sets: tuple[TrainingSet, ...], options: PoolOptions, report: Callable[[int, int], None]
) -> Iterator[StoredImage]:
    """Yield the images of the pool.

    Args:
        sets: training datasets; photographs and cut-outs have the index of their dataset as source.
        options: options of the pool.
        report: called with the number of finished tasks and the total.

    Raises:
        InputError: an image cannot be read.
    """
    tasks: list[Callable[[], list[StoredImage]]] = []
    for number, part in enumerate(sets):
        dataset = tighten_boxes(part.dataset) if part.blue_background else part.dataset
        tasks += [partial(_photograph, image, number, _PhotographOptions.of(part)) for image in dataset.images]
    if options.scene_label is not None:
        tasks += [partial(_scene, options.seed, options.scene_label, number) for number in range(options.scenes)]
    tasks += [partial(_background, options.seed, number) for number in range(options.backgrounds)]
    for done, images in enumerate(_run(tasks, options.workers), start=1):
        yield from images
        report(done, len(tasks))


def _run(tasks: list[Callable[[], list[StoredImage]]], workers: int) -> Iterator[list[StoredImage]]:
    if workers == 1:
        yield from (task() for task in tasks)
        return
    # A forked process would inherit threads and locks of the running backend.
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(_call, tasks, chunksize=_CHUNK_SIZE)


def _call(task: Callable[[], list[StoredImage]]) -> list[StoredImage]:
    cv2.setNumThreads(1)
    return task()


@dataclass(frozen=True, slots=True)
class _PhotographOptions:
    """Options of a training dataset without its images, to be sent to worker processes."""

    ignored_border: tuple[float, float, float, float]
    blue_background: bool
    cutouts: bool
    box_scale: float

    @classmethod
    def of(cls, part: TrainingSet) -> "_PhotographOptions":
        return cls(part.ignored_border, part.blue_background, part.cutouts, part.box_scale)


def _photograph(image: LabelledImage, source: int, options: _PhotographOptions) -> list[StoredImage]:
    pixels, boxes = _load_scaled(image)
    ignored = _border_strips(pixels, options.ignored_border)
    if options.blue_background:
        ignored = np.concatenate([ignored, find_unlabelled(pixels, boxes)])
    height, width = pixels.shape[:2]
    scaled = scale_boxes(boxes, options.box_scale, width=width, height=height)
    images = [StoredImage(pixels, scaled, image.class_ids, ignored, PHOTOGRAPH, source)]
    if options.cutouts:
        images += [
            StoredImage(cutout.pixels, _NO_BOXES, np.array([cutout.class_id]), _NO_BOXES, CUTOUT, source)
            for cutout in cut_out(pixels, boxes, image.class_ids)
        ]
    return images


def _scene(seed: int, label: int, number: int) -> list[StoredImage]:
    rng = np.random.default_rng([seed, 1, number])
    width, height = _scene_size(rng)
    scene = random_scene_frame(rng, width=width, height=height)
    ids = np.full(len(scene.boxes), label, np.int64)
    boxes = scale_boxes(scene.boxes.astype(np.float32), _SCENE_BOX_SCALE, width=width, height=height)
    return [StoredImage(scene.pixels, boxes, ids, _NO_BOXES, SCENE)]


def _background(seed: int, number: int) -> list[StoredImage]:
    rng = np.random.default_rng([seed, 2, number])
    width, height = _scene_size(rng)
    pixels = random_background(rng, width=width, height=height)
    return [StoredImage(pixels, _NO_BOXES, _NO_IDS, _NO_BOXES, BACKGROUND)]


def _scene_size(rng: np.random.Generator) -> tuple[int, int]:
    return [(480, 360), (640, 360), (480, 480), (360, 480)][int(rng.integers(4))]


def _load_scaled(image: LabelledImage) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    pixels, boxes = load_image(image), image.boxes
    scale = _MAX_SIDE / max(pixels.shape[:2])
    if scale < 1:
        size = (round(image.width * scale), round(image.height * scale))
        pixels = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)
        boxes = boxes * np.float32(scale)
    return pixels, boxes


def _border_strips(pixels: NDArray[np.uint8], border: tuple[float, float, float, float]) -> NDArray[np.float32]:
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
