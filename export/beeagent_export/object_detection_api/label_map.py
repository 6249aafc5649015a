"""Reads class names from a label map of the Object Detection API or a text file."""

from pathlib import Path

from beeagent.detection import bundle
from beeagent.errors import InputError

from beeagent_export.object_detection_api.text_format import parse_text

LABEL_MAP = "label_map.pbtxt"


def read_labels(path: Path, *, classes: int) -> tuple[str, ...]:
    """Read the class names of a detector in the order of their ids.

    Args:
        path: label map (`.pbtxt`, ids from 1), or a text file with one name per line, as in a bundle.
        classes: number of classes of the detector.

    Raises:
        InputError: the file cannot be read, or has another number of classes.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the labels {path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    labels = (
        _parse_label_map(text, path, classes) if path.suffix == ".pbtxt" else bundle.read_labels(text, name=str(path))
    )
    if len(labels) != classes:
        raise InputError(f"the labels {path} have {len(labels)} classes, but the model has {classes}")
    if len(set(labels)) != len(labels):
        raise InputError(f"the labels {path} have duplicate names: give each class its own")
    if bundle.read_labels("".join(f"{label}\n" for label in labels), name=str(path)) != labels:
        raise InputError(
            f"the labels {path} cannot be written one per line: give names without line breaks and numbers"
        )
    return labels


def _parse_label_map(text: str, path: Path, classes: int) -> tuple[str, ...]:
    items: dict[int, str] = {}
    for item in parse_text("LabelMap", text, where=str(path)).item:
        if item.id in items:
            raise InputError(f"the label map {path} has the id {item.id} twice")
        items[item.id] = (item.display_name or item.name).strip()
        if not items[item.id]:
            raise InputError(f"the label map {path} has no name for the id {item.id}")
    if sorted(items) != list(range(1, len(items) + 1)):
        raise InputError(
            f"the label map {path} has the ids {', '.join(map(str, sorted(items)[:10]))}: they must be 1 to {classes}"
        )
    return tuple(items[number] for number in sorted(items))
