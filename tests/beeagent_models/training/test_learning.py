"""The trainer overfits: on 16 images without augmentation, it detects nearly every box at a high IoU.

Slow: minutes for each test on two idle cores. `pytest -m slow tests/beeagent_models/training/test_learning.py`.
"""

from pathlib import Path

import cv2
import numpy as np
import pytest
from beeagent.detection import box_areas
from beeagent_models.augmentation.mixture import TrainingSet
from beeagent_models.datasets.dataset import Dataset, LabelledImage
from beeagent_models.datasets.reading import read_dataset
from beeagent_models.synthetic import random_scene_frame
from support.shared_data import shared_file

pytest.importorskip("keras")

from beeagent_models.training.options import TrainingOptions
from beeagent_models.training.run import TrainingProgress, train

pytestmark = [pytest.mark.training, pytest.mark.slow, pytest.mark.timeout(7200)]

IMAGES = 16
SIDE = 320
SMALLEST = 16.0  # pixels at the input: what is smaller is another question
LEAST_AP50, LEAST_AP75 = 0.98, 0.85


def is_large_enough(image: LabelledImage) -> bool:
    scale = SIDE / max(image.width, image.height)
    return bool(len(image.boxes)) and float(np.sqrt(box_areas(image.boxes)).min()) * scale >= SMALLEST


def drawn_scenes(folder: Path) -> Dataset:
    images: list[LabelledImage] = []
    for number in range(1000):
        scene = random_scene_frame(np.random.default_rng([7, number]), width=SIDE, height=SIDE)
        path = folder / f"{number}.png"
        boxes = scene.boxes.astype(np.float32)
        image = LabelledImage(path, SIDE, SIDE, boxes, np.zeros(len(boxes), np.int64))
        if is_large_enough(image):
            cv2.imwrite(str(path), scene.pixels)
            images.append(image)
        if len(images) == IMAGES:
            break
    return Dataset(name="drawn", images=tuple(images), labels=("bee",))


def flower_photographs() -> Dataset:
    found = read_dataset(shared_file("flowers_bees/output.manifest"))
    images = [image for image in found.images if is_large_enough(image)]
    chosen = tuple(images[int(number)] for number in np.linspace(0, len(images) - 1, IMAGES))
    return Dataset(name="flowers", images=chosen, labels=found.labels)


def backbone_weights() -> Path:
    return shared_file("weights/efficientnet_lite0_imagenet_backbone_dequant.npz")


def learn(dataset: Dataset, out: Path) -> dict[str, float]:
    """Train on a dataset alone and return the last figures on it."""
    assert len(dataset.images) == IMAGES
    options = TrainingOptions(
        sets=(TrainingSet(dataset=dataset, cutouts=False),),
        labels=dataset.labels,
        out=out,
        input_size=(SIDE, SIDE),
        backbone_weights=backbone_weights(),
        augmentation="none",
        synthetic=0.0,
        pasted=0.0,
        backgrounds=0,
        batch_size=8,
        steps=400,
        warmup_steps=40,
        validate_every=50,
    )
    figures: dict[str, float] = {}

    def report(progress: TrainingProgress) -> None:
        figures.update(progress.figures)

    train(options, report)
    return figures


def test_drawn_scenes_are_learned(tmp_path: Path) -> None:
    figures = learn(drawn_scenes(tmp_path), tmp_path / "run")
    assert figures["train_ap50"] >= LEAST_AP50
    assert figures["train_ap75"] >= LEAST_AP75


def test_photographs_of_bees_on_flowers_are_learned(tmp_path: Path) -> None:
    figures = learn(flower_photographs(), tmp_path / "run")
    assert figures["train_ap50"] >= LEAST_AP50
    assert figures["train_ap75"] >= LEAST_AP75
