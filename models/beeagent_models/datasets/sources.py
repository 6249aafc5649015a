"""Opens a data set to go through it picture by picture, whatever its form."""

import json
from pathlib import Path

from beeagent.errors import InputError

from beeagent_models.datasets.coco_source import CocoSource
from beeagent_models.datasets.forms import Form
from beeagent_models.datasets.ground_truth_source import GroundTruthSource
from beeagent_models.datasets.stated import Reader
from beeagent_models.datasets.yolo import is_yolo
from beeagent_models.datasets.yolo_source import YoloSource

_MANIFEST_SUFFIXES = frozenset({".jsonl", ".manifest"})


def open_source(
    path: Path,
    *,
    labels: tuple[str, ...] | None = None,
    attribute: str | None = None,
    allowed: tuple[str, ...] | None = None,
) -> Reader:
    """Open a data set.

    Args:
        path: a Ground Truth manifest, a folder with one, a COCO JSON file, a YOLO folder, one split of it, or its
            `data.yaml`.
        labels: the classes, in order; a YOLO folder without `data.yaml` needs them.
        attribute: the label attribute of a manifest that has several.
        allowed: the only classes that may be named, even without a box; None for any.

    Raises:
        InputError: there is nothing that is a data set, or its classes cannot be told.
    """
    form, path = recognise(path)
    if form is Form.GROUND_TRUTH:
        return GroundTruthSource(path, labels=labels, attribute=attribute, allowed=allowed)
    if form is Form.COCO:
        return CocoSource(path, labels=labels, allowed=allowed)
    return YoloSource(path, labels=labels, allowed=allowed)


def recognise(path: Path) -> tuple[Form, Path]:
    """Tell in which form a data set is, and which file or folder it is.

    Args:
        path: as for `open_source`.

    Returns:
        The form, and the manifest, the COCO file, the YOLO folder or its YAML file.

    Raises:
        InputError: there is nothing, or nothing that is a data set.
    """
    if not path.exists():
        raise InputError(f"{path}: there is no such file or folder")
    if not (path.is_file() or path.is_dir()):
        raise InputError(f"{path}: is neither a regular file nor a folder, so no data set")
    if path.suffix in {".yaml", ".yml"} and path.is_file():
        return Form.YOLO, path
    if path.is_dir() and not is_yolo(path):
        path = _only_manifest(path)
    if path.is_dir():
        return Form.YOLO, path
    return (Form.GROUND_TRUTH if _is_manifest(path) else Form.COCO), path


def _only_manifest(folder: Path) -> Path:
    found = sorted(path for path in folder.iterdir() if path.suffix == ".manifest")
    if len(found) == 1:
        return found[0]
    what = (
        f"has {len(found)} manifests; name one" if found else "holds no manifest, no images/ and labels/, no data.yaml"
    )
    raise InputError(f"{folder}: {what}")


def _is_manifest(path: Path) -> bool:
    """Tell a manifest from a COCO file: by its suffix, or else by what its first line is."""
    if path.suffix in _MANIFEST_SUFFIXES:
        return True
    try:
        with path.open(encoding="utf-8-sig") as file:
            first = next((line for line in file if line.strip()), "")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: is neither a manifest nor a COCO file: {error}") from None
    try:
        row = json.loads(first)
    except (json.JSONDecodeError, RecursionError):
        return False
    return isinstance(row, dict) and "source-ref" in row
