"""False alarms in images without a box: contact sheet, list, and a dataset of hard negatives."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from beeagent_models.datasets import LabelledImage, load_image
from beeagent_models.datasets.atomic_write import atomic_write
from beeagent_models.datasets.ground_truth import Labelling, manifest_line
from beeagent_models.drawing import ContactSheet, Pixels, draw_labels, fit_square, write_image
from beeagent_models.evaluation.coco_metrics import boxes_in_pixels
from beeagent_models.evaluation.measurement import Evaluation

SHEET_FILE: Final = "false-alarms.jpg"
LIST_FILE: Final = "false-alarms.jsonl"
DATASET_FILE: Final = "hard-negatives.manifest"

_MAX_ALARMS = 200
_COLUMNS = 10
_SIDE = 160
_CONTEXT = 2.5
"""Side of the crop around a detection, in sides of its box."""
_MIN_CROP = 64
"""Minimum side of a crop in pixels of the image, so that its content is recognisable."""


@dataclass(frozen=True, slots=True)
class FalseAlarm:
    """The strongest detection in an image without a box.

    Attributes:
        dataset: name of the dataset.
        image: the image.
        label: class of the detection.
        confidence: confidence of the detection, 0 to 1.
        box: float64, shape (4,): left, top, right, bottom in pixels.
    """

    dataset: str
    image: LabelledImage
    label: str
    confidence: float
    box: NDArray[np.float64]

    def to_json(self) -> dict[str, Any]:
        """Return the values as JSON values."""
        return {
            "dataset": self.dataset,
            "image": str(self.image.path),
            "label": self.label,
            "confidence": round(self.confidence, 4),
            "box": [round(float(edge), 1) for edge in self.box],
        }


def hardest_false_alarms(evaluations: Sequence[Evaluation], *, limit: int = _MAX_ALARMS) -> list[FalseAlarm]:
    """Return the strongest detection of each image without a box, by descending confidence.

    Unlabelled objects have high confidences too: check the images before training on them.
    """
    alarms = []
    for evaluation in evaluations:
        images = zip(evaluation.dataset.images, evaluation.detections, evaluation.metrics.matches, strict=True)
        for image, detections, match in images:
            scored = np.flatnonzero(match.scored)
            if len(image.boxes) or not len(scored):
                continue
            # Detections are sorted by descending confidence.
            index = int(scored[0])
            box = boxes_in_pixels(detections, image)[index]
            confidence = float(detections.confidences[index])
            alarms.append(FalseAlarm(evaluation.dataset.name, image, detections.label(index), confidence, box))
    return sorted(alarms, key=lambda alarm: -alarm.confidence)[:limit]


def write_false_alarms(evaluations: Sequence[Evaluation], folder: Path) -> None:
    """Write a contact sheet, a list and a manifest of the images without a box with the strongest false alarms.

    The list has one JSON object per line. The manifest is a dataset without boxes, for training with a weight of its
    own. Its lines are in the order of the sheet: delete those of images with an unlabelled object.

    Args:
        evaluations: evaluations of the model.
        folder: existing folder for `LIST_FILE`, `DATASET_FILE` and, if there is a false alarm, `SHEET_FILE`.

    Raises:
        InputError: a file cannot be written, or an image cannot be read.
    """
    alarms = hardest_false_alarms(evaluations)
    with atomic_write(folder / LIST_FILE) as file:
        file.writelines(f"{json.dumps(alarm.to_json())}\n" for alarm in alarms)
    labelling = Labelling("bees", "hard-negatives", datetime.now(timezone.utc), human=False)
    with atomic_write(folder / DATASET_FILE) as file:
        for alarm in alarms:
            path = os.path.relpath(alarm.image.path.resolve(), folder.resolve())
            line = manifest_line(alarm.image, source_ref=path, labels=(alarm.label,), labelling=labelling)
            file.write(f"{line}\n")
    if not alarms:
        return
    sheet = ContactSheet(len(alarms), columns=_COLUMNS, side=_SIDE)
    for alarm in alarms:
        # The confidence comes last, because a long caption is cut at its start.
        sheet.add(_crop(alarm), f"{alarm.image.path.name} {alarm.confidence:.2f}")
    write_image(folder / SHEET_FILE, sheet.pixels)


def _crop(alarm: FalseAlarm) -> Pixels:
    """Crop the detection with its surroundings and draw its box."""
    image, box = alarm.image, alarm.box
    side = max(_CONTEXT * float((box[2:] - box[:2]).max()), _MIN_CROP)
    center = (box[:2] + box[2:]) / 2
    left, top = (max(0, int(middle - side / 2)) for middle in center)
    right, bottom = (
        min(length, max(1, round(float(middle + side / 2))))
        for middle, length in zip(center, (image.width, image.height), strict=True)
    )
    shown = fit_square(np.ascontiguousarray(load_image(image)[top:bottom, left:right]), _SIDE)
    ratios = (box - [left, top, left, top]) / [right - left, bottom - top, right - left, bottom - top]
    return draw_labels(shown, np.clip(ratios, 0, 1).astype(np.float32)[None], np.zeros(1, np.int64), [""])
