"""Prepares the image pool of a run, and the training samples for its validation."""

import dataclasses
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from beeagent.detection import box_areas
from beeagent.errors import InputError

from beeagent_models.augmentation.geometry import scale_boxes
from beeagent_models.augmentation.pool import PoolOptions, pool_images
from beeagent_models.augmentation.store import write_store
from beeagent_models.datasets.dataset import Dataset, LabelledImage
from beeagent_models.training.options import TrainingOptions

_SAMPLED_IMAGES = 96
# Smaller objects, in pixels of the network's input, cannot be detected.
_MIN_OBJECT_SIZE = 8.0


def prepare_pool(options: TrainingOptions, report: Callable[[int, int], None]) -> Path:
    """Fill the image pool of a run, unless it exists.

    Args:
        options: options of the run.
        report: called with the number of finished images and the total.

    Returns:
        The folder of the image store.
    """
    folder = options.out / "pool"
    if (folder / "index.json").exists():
        return folder
    sets = tuple(dataclasses.replace(part, dataset=with_labels(part.dataset, options.labels)) for part in options.sets)
    label = options.labels.index(options.synthetic_label) if options.synthetic_label in options.labels else None
    pool = PoolOptions(
        scenes=options.scenes if options.synthetic else 0,
        backgrounds=options.backgrounds,
        scene_label=label,
        seed=options.seed,
        workers=options.workers,
    )
    write_store(folder, pool_images(sets, pool, report))
    return folder


def training_sample(options: TrainingOptions, *, width: int, height: int) -> Dataset | None:
    """Return a sample of the training images with only detectable objects, in equal parts from all datasets.

    Args:
        options: options of the run.
        width: input width of the network in pixels.
        height: input height of the network in pixels.

    Returns:
        At most 96 images; None if there is no such image.
    """
    sample: list[LabelledImage] = []
    parts = [(with_labels(part.dataset, options.labels), part.box_scale) for part in options.sets]
    detectable = [
        [_scale_boxes(i, box_scale) for i in part.images if _is_detectable(i, width=width, height=height)]
        for part, box_scale in parts
    ]
    detectable = [images for images in detectable if images]
    for images in detectable:
        share = _SAMPLED_IMAGES // len(detectable)
        sample += [images[int(n)] for n in np.linspace(0, len(images) - 1, min(share, len(images)))]
    return Dataset(name="train", images=tuple(sample), labels=options.labels) if sample else None


def _scale_boxes(image: LabelledImage, box_scale: float) -> LabelledImage:
    boxes = scale_boxes(image.boxes, box_scale, width=image.width, height=image.height)
    return dataclasses.replace(image, boxes=boxes)


def _is_detectable(image: LabelledImage, *, width: int, height: int) -> bool:
    scale = min(width / image.width, height / image.height)
    return bool(len(image.boxes)) and float(np.sqrt(box_areas(image.boxes)).min()) * scale >= _MIN_OBJECT_SIZE


def with_labels(dataset: Dataset, labels: tuple[str, ...]) -> Dataset:
    """Return the dataset with class ids that are indices into `labels`.

    Raises:
        InputError: the dataset has a label that is not in `labels`.
    """
    missing = [label for label in dataset.labels if label not in labels]
    if missing:
        raise InputError(
            f"dataset {dataset.name}: its label {missing[0]!r} is not among the detector's ({', '.join(labels)})"
        )
    numbers = np.array([labels.index(label) for label in dataset.labels], np.int64)
    images = tuple(dataclasses.replace(image, class_ids=numbers[image.class_ids]) for image in dataset.images)
    return Dataset(name=dataset.name, images=images, labels=labels)


def describe_datasets(datasets: tuple[Dataset, ...]) -> list[dict[str, Any]]:
    """Return name, sizes and a SHA-256 over images and labels of each dataset."""
    described = []
    for dataset in datasets:
        digest = hashlib.sha256()
        for image in dataset.images:
            digest.update(image.path.name.encode())
            digest.update(hashlib.sha256(image.path.read_bytes()).digest())
            digest.update(np.ascontiguousarray(image.boxes).tobytes())
            digest.update(np.ascontiguousarray(image.class_ids).tobytes())
        described.append(
            {
                "name": dataset.name,
                "images": len(dataset.images),
                "boxes": sum(len(image.boxes) for image in dataset.images),
                "sha256": digest.hexdigest(),
            }
        )
    return described
