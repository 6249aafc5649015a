"""Opens a data set to go through it picture by picture, whatever its form."""

from pathlib import Path

from beeagent_models.datasets.coco_source import CocoSource
from beeagent_models.datasets.forms import Form
from beeagent_models.datasets.ground_truth_source import GroundTruthSource
from beeagent_models.datasets.reading import recognise
from beeagent_models.datasets.stated import Source
from beeagent_models.datasets.yolo_source import YoloSource


def open_source(path: Path, *, labels: tuple[str, ...] | None = None, attribute: str | None = None) -> Source:
    """Open a data set.

    Args:
        path: a Ground Truth manifest, a folder with one, a COCO file, or a YOLO folder.
        labels: the classes, in order; a YOLO folder without `data.yaml` needs them.
        attribute: the label attribute of a manifest that has several.

    Raises:
        InputError: there is nothing that is a data set, or its classes cannot be told.
    """
    form, path = recognise(path)
    if form is Form.GROUND_TRUTH:
        return GroundTruthSource(path, labels=labels, attribute=attribute)
    if form is Form.COCO:
        return CocoSource(path, labels=labels)
    return YoloSource(path, labels=labels)
