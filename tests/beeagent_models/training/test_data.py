from pathlib import Path

import numpy as np
from beeagent_models.augmentation.mixture import TrainingSet
from beeagent_models.datasets.dataset import Dataset, LabelledImage
from beeagent_models.training.data import training_sample
from beeagent_models.training.options import TrainingOptions


def photographs(name: str, boxes: list[list[float]]) -> Dataset:
    image = LabelledImage(Path(f"{name}.png"), 640, 640, np.array(boxes, np.float32), np.zeros(len(boxes), np.int64))
    return Dataset(name, (image,), ("bee",))


def test_a_sample_has_the_boxes_that_the_network_is_taught(tmp_path: Path) -> None:
    sets = (
        TrainingSet(dataset=photographs("tight", [[100, 100, 200, 150]]), box_scale=1.1),
        TrainingSet(dataset=photographs("too-small", [[100, 100, 110, 110]])),
        TrainingSet(dataset=photographs("plain", [[20, 20, 60, 60]])),
    )
    options = TrainingOptions(sets=sets, labels=("bee",), out=tmp_path)
    sample = training_sample(options, width=320, height=320)
    assert sample is not None
    np.testing.assert_allclose(
        np.concatenate([image.boxes for image in sample.images]), [[95, 97.5, 205, 152.5], [20, 20, 60, 60]], rtol=1e-6
    )
