"""`beeagent dataset check`: every defect of a data set, whatever its form."""

from collections.abc import Iterator

from beeagent_models.datasets.coco_check import check_coco
from beeagent_models.datasets.defect import Defect
from beeagent_models.datasets.forms import Form
from beeagent_models.datasets.manifest_check import check_manifest
from beeagent_models.datasets.reading import parse_source, recognise
from beeagent_models.datasets.yolo_check import check_yolo


def check_dataset(
    data: str, *, labels: str | None = None, attribute: str | None = None, pictures: bool = True
) -> Iterator[Defect]:
    """Find every defect.

    Args:
        data: how the data set is named on the command line: PATH, or PATH=label,label.
        labels: the classes that may occur, with commas between them; None for any.
        attribute: of a Ground Truth manifest, the label attribute.
        pictures: whether to look for the pictures and at their sizes. A YOLO folder has no sizes without.

    Yields:
        The defects, in the order of the files and lines.

    Raises:
        InputError: there is nothing that could be checked.
    """
    path, named = parse_source(data)
    allowed = named if labels is None else tuple(label.strip() for label in labels.split(","))
    form, path = recognise(path)
    if form is Form.GROUND_TRUTH:
        yield from check_manifest(path, labels=allowed, attribute=attribute, pictures=pictures)
    elif form is Form.COCO:
        yield from check_coco(path, labels=allowed, pictures=pictures)
    else:
        yield from check_yolo(path, labels=named, pictures=pictures)
