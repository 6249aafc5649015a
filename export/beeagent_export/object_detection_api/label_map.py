"""The names of the classes: a label map of the Object Detection API, or a text file with one a line."""

from pathlib import Path

from beeagent.detection import bundle
from beeagent.errors import InputError

from beeagent_export.object_detection_api.text_format import parse_text

LABEL_MAP = "label_map.pbtxt"


def read_labels(path: Path, *, classes: int) -> tuple[str, ...]:
    """Read the names of a detector's classes, in the order of their ids.

    Args:
        path: `.pbtxt`, a label map, whose ids count from 1; else a text file with one name a line, as a bundle has it.
        classes: number of the detector's classes.

    Raises:
        InputError: the file cannot be read, or does not fit the detector.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the labels {path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    labels = _of_map(text, path, classes) if path.suffix == ".pbtxt" else bundle.read_labels(text, name=str(path))
    if len(labels) != classes:
        raise InputError(f"the labels {path} name {len(labels)} classes, but the model has {classes}")
    if len(set(labels)) != len(labels):
        raise InputError(f"the labels {path} name a class twice")
    if bundle.read_labels("".join(f"{label}\n" for label in labels), name=str(path)) != labels:
        raise InputError(
            f"the labels {path} cannot be written one per line: give names without line breaks and numbers"
        )
    return labels


def _of_map(text: str, path: Path, classes: int) -> tuple[str, ...]:
    items: dict[int, str] = {}
    for item in parse_text("LabelMap", text, where=str(path)).item:
        if item.id in items:
            raise InputError(f"the label map {path} gives the id {item.id} twice")
        items[item.id] = (item.display_name or item.name).strip()
        if not items[item.id]:
            raise InputError(f"the label map {path} gives no name to the id {item.id}")
    if sorted(items) != list(range(1, len(items) + 1)):
        raise InputError(
            f"the label map {path} has the ids {', '.join(map(str, sorted(items)[:10]))}: they must be 1 to {classes}"
        )
    return tuple(items[number] for number in sorted(items))
