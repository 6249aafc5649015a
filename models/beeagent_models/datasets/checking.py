"""`beeagent dataset check`: every defect of a data set, whatever its form."""

import logging
from collections.abc import Iterator

from beeagent_models.datasets.defect import Defect, DefectError
from beeagent_models.datasets.image_files import find_image, repeated_reference
from beeagent_models.datasets.on_disk import first_seen
from beeagent_models.datasets.reading import parse_source
from beeagent_models.datasets.sources import open_source
from beeagent_models.datasets.stated import picture_box_defects

logger = logging.getLogger(__name__)


def check_dataset(
    data: str, *, labels: str | None = None, attribute: str | None = None, pictures: bool = True
) -> Iterator[Defect]:
    """Find every defect, in flat memory: whatever a reader of the data set refuses, and boxes that are doubtful.

    Args:
        data: how the data set is named on the command line: PATH, or PATH=label,label.
        labels: the classes that may occur, with commas between them; None for any.
        attribute: of a Ground Truth manifest, the label attribute.
        pictures: whether to find and decode the pictures. A YOLO folder has no sizes without.

    Yields:
        The defects, in the order of the files and lines.

    Raises:
        InputError: there is nothing that could be checked.
    """
    path, named = parse_source(data)
    allowed = named if labels is None else tuple(label.strip() for label in labels.split(","))
    try:
        source = open_source(path, labels=named, attribute=attribute, allowed=allowed)
    except DefectError as error:
        yield error.defect
        return
    with first_seen() as seen:
        for entry in source.entries():
            if isinstance(entry, Defect):
                yield entry
            elif not entry.reference:
                yield from picture_box_defects(entry)
            elif pictures:
                found = yield from find_image(entry, source.find, seen)
                yield from picture_box_defects(found.picture)
            else:
                yield from repeated_reference(entry, seen)
                yield from picture_box_defects(entry)
    for what, count in source.left_out.items():
        logger.warning("%s: %s: %d", data, what, count)
