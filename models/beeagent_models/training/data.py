"""From data sets to the picture pools of a run."""

import dataclasses
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from beeagent.errors import InputError

from beeagent_models.datasets.blue_ground import tightened
from beeagent_models.datasets.dataset import Dataset
from beeagent_models.datasets.loader_pool import PoolOptions, pool_pictures
from beeagent_models.datasets.loader_store import write_store
from beeagent_models.training.options import TrainingOptions

# The synthetic pictures used for watching the loss are drawn with another seed than those trained on.
_WATCH_SEED = 1_000_003
_WATCH_SCENES = 40


def prepare_pools(options: TrainingOptions, report: Callable[[str, int, int], None]) -> tuple[Path, Path | None]:
    """Decode and draw the pictures for training and for watching the loss, unless an earlier start did.

    Args:
        options: of the run.
        report: called with a word for what is done, the number done and their total.

    Returns:
        The folders of the two picture stores; the second is None if there is nothing to watch.
    """
    datasets = tuple(with_labels(dataset, options.labels) for dataset in options.datasets)
    label = options.labels.index(options.synthetic_label) if options.synthetic_label in options.labels else None
    pool = PoolOptions(
        scenes=options.scenes,
        grounds=options.grounds,
        scene_label=label,
        ignored_border=options.ignored_border,
        blue_ground=options.blue_ground,
        seed=options.seed,
    )
    train = options.out / "pool-train"
    if options.blue_ground and not (train / "index.json").exists():
        datasets = tuple(tightened(dataset) for dataset in datasets)
    if not (train / "index.json").exists():
        kept = tuple(_part(dataset, options.held_back, held=False) for dataset in datasets)
        write_store(train, pool_pictures(kept, pool, lambda done, total: report("pictures", done, total)))
    if not options.held_back:
        return train, None
    watch = options.out / "pool-watch"
    if not (watch / "index.json").exists():
        held = tuple(_part(dataset, options.held_back, held=True) for dataset in datasets)
        scenes = min(_WATCH_SCENES, options.scenes)
        smaller = dataclasses.replace(
            pool, scenes=scenes, grounds=min(_WATCH_SCENES, options.grounds), seed=options.seed + _WATCH_SEED
        )
        write_store(watch, pool_pictures(held, smaller, lambda done, total: report("watched", done, total)))
    return train, watch


def with_labels(dataset: Dataset, labels: tuple[str, ...]) -> Dataset:
    """Renumber the classes of a data set as they stand in `labels`.

    Raises:
        InputError: the data set has a class that is not among them.
    """
    missing = [label for label in dataset.labels if label not in labels]
    if missing:
        raise InputError(
            f"data set {dataset.name}: its label {missing[0]!r} is not among the detector's ({', '.join(labels)})"
        )
    numbers = np.array([labels.index(label) for label in dataset.labels], np.int64)
    images = tuple(dataclasses.replace(image, class_ids=numbers[image.class_ids]) for image in dataset.images)
    return Dataset(name=dataset.name, images=images, labels=labels)


def describe_datasets(datasets: tuple[Dataset, ...]) -> list[dict[str, Any]]:
    """Say what the data sets are, with a SHA-256 of all pictures and labels: another content has another."""
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


def _part(dataset: Dataset, every: int, *, held: bool) -> Dataset:
    images = tuple(
        image for number, image in enumerate(dataset.images) if bool(every and number % every == every // 2) == held
    )
    return dataclasses.replace(dataset, images=images)
