"""The files of a collection: lines of the manifest, private files written atomically, and repair after a crash.

A line of the manifest contains the cloud model's detections as labels, and those of the edge model. Both are label
attributes of SageMaker Ground Truth, https://docs.aws.amazon.com/sagemaker/latest/dg/sms-data-output.html, "Bounding
box job output". That of the edge model has a custom type, so that readers of the manifest find only one attribute to
train on.
"""

import errno
import fcntl
import json
import logging
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from io import FileIO
from pathlib import Path
from typing import Any, Final

from beeagent.cloud.second_opinion import EdgeResult
from beeagent.detection import Detections
from beeagent.errors import InputError
from beeagent.messages import rfc3339
from beeagent.output import write_file

_LOG: Final = logging.getLogger(__name__)

MANIFEST: Final = "output.manifest"
IMAGES: Final = "images"
CLOUD_ATTRIBUTE: Final = "bees"
EDGE_ATTRIBUTE: Final = "edge"

_LOCK: Final = ".collecting"
_OWN_FILES: Final = frozenset({MANIFEST, IMAGES, _LOCK})
_OWN_IMAGE: Final = re.compile(r"\.?\d{8}T\d{6}\.\d{6}Z-\d+\.jpg(\.partial)?")
_LINE_START: Final = b'{"source-ref": "images/'
_CLOUD_TYPE: Final = "groundtruth/object-detection"
_EDGE_TYPE: Final = "beeagent/edge-detection"


def format_line(  # noqa: PLR0913 - keywords
    source_ref: str,
    *,
    size: tuple[int, int],
    edge: EdgeResult,
    cloud: Detections,
    captured_at: datetime,
    collected_at: datetime,
    origin: str,
    classes: Mapping[str, int],
) -> str:
    """Return a line of the manifest without a line break.

    Args:
        source_ref: path of the image, relative to the manifest.
        size: width and height of the image in pixels.
        edge: result of the edge model.
        cloud: detections of the cloud model.
        captured_at: capture time of the frame, with a time zone.
        collected_at: current time, with a time zone.
        origin: source of the frames, such as `hive-7/front`.
        classes: number of each label of either model, the same in all lines of a manifest.
    """
    labels = {"class-map": {str(number): label for label, number in classes.items()}, "human-annotated": "no"}
    row: dict[str, Any] = {"source-ref": source_ref}
    for attribute, detections, kind, at, job in (
        (CLOUD_ATTRIBUTE, cloud, _CLOUD_TYPE, collected_at, f"beeagent-collect/{origin}"),
        (EDGE_ATTRIBUTE, edge.detections, _EDGE_TYPE, captured_at, f"beeagent/{edge.model}"),
    ):
        objects = [{"confidence": round(float(value), 4)} for value in detections.confidences]
        row[attribute] = _annotations(detections, size, classes)
        row[f"{attribute}-metadata"] = {
            "objects": objects, **labels, "type": kind, "creation-date": rfc3339(at), "job-name": job,
        }  # fmt: skip
    for index, metadata in enumerate(row[f"{EDGE_ATTRIBUTE}-metadata"]["objects"]):
        metadata["told"] = index < edge.above_threshold
    return json.dumps(row, ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class ManifestLine:
    """The parts of a manifest line that are needed for repair.

    Attributes:
        image: path of the image, relative to the manifest.
        classes: number of each label.
    """

    image: str
    classes: Mapping[str, int]


def parse_line(line: bytes) -> ManifestLine | None:
    """Parse a line written by `format_line`; return None for any other line."""
    try:
        row = json.loads(line)
        if row[f"{EDGE_ATTRIBUTE}-metadata"]["type"] != _EDGE_TYPE:
            return None
        class_map = row[f"{CLOUD_ATTRIBUTE}-metadata"]["class-map"]
        classes = {str(label): int(number) for number, label in class_map.items()}
        return ManifestLine(str(row["source-ref"]), classes)
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError, IndexError):
        return None


def _annotations(detections: Detections, size: tuple[int, int], classes: Mapping[str, int]) -> dict[str, Any]:
    """Return the boxes in whole pixels, within the image and at least 1 pixel wide and high."""
    annotations = []
    for class_id, (left, top, right, bottom) in zip(detections.class_ids, detections.boxes.tolist(), strict=True):
        x0, y0 = (min(max(round(v * of), 0), of - 1) for v, of in zip((left, top), size, strict=True))
        x1, y1 = (min(round(v * of), of) for v, of in zip((right, bottom), size, strict=True))
        box = {"left": x0, "top": y0, "width": max(x1 - x0, 1), "height": max(y1 - y0, 1)}
        annotations.append({"class_id": classes[detections.labels[int(class_id)]], **box})
    return {"image_size": [{"width": size[0], "height": size[1], "depth": 3}], "annotations": annotations}


@dataclass(frozen=True, slots=True)
class StoredFrame:
    """A frame of the collection.

    Attributes:
        image: path of the image, relative to the manifest.
        image_bytes: size of the image.
        line_bytes: size of its line in the manifest.
    """

    image: str
    image_bytes: int
    line_bytes: int


def load_collection(folder: Path) -> tuple[list[StoredFrame], dict[str, int]]:
    """Load a collection; remove damaged lines, lines without an image, and images without a line.

    Returns:
        The frames, oldest first; and the number of each label.

    Raises:
        InputError: the folder has other contents; it is left unchanged.
        OSError: the folder cannot be read or repaired.
    """
    manifest = folder / MANIFEST
    frames: list[StoredFrame] = []
    keep: list[bool] = []
    classes: dict[str, int] = {}
    for number, line in enumerate(_lines(manifest), start=1):
        parsed = parse_line(line)
        keep.append(False)
        if parsed is None and _is_damaged(line):
            continue
        if parsed is None or not _is_consistent(parsed, classes):
            problem = f"{MANIFEST} has a line {number} that beeagent did not write"
            raise InputError(f"collect {folder}: {problem}: use a separate folder")
        classes.update(parsed.classes)
        size = _size(folder / parsed.image)
        if size and line.endswith(b"\n"):
            keep[-1] = True
            frames.append(StoredFrame(parsed.image, size, len(line)))
    listed = {frame.image for frame in frames}
    unlisted = [path for path in (folder / IMAGES).iterdir() if f"{IMAGES}/{path.name}" not in listed]
    for path in unlisted:
        if not _OWN_IMAGE.fullmatch(path.name):
            problem = f"{IMAGES}/{path.name} was not collected by beeagent"
            raise InputError(f"collect {folder}: {problem}: use a separate folder")
    if not all(keep):
        _LOG.warning("collect: %s: removing %d lines that are damaged or without an image", folder, keep.count(False))
        rewrite_lines(manifest, keep)
    for path in unlisted:
        path.unlink(missing_ok=True)
    return frames, classes


def _lines(manifest: Path) -> Iterator[bytes]:
    with suppress(FileNotFoundError), manifest.open("rb") as file:
        yield from file


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _is_damaged(line: bytes) -> bool:
    """Return True if a line was left by a crash, truncated or with zeros, and not written by others."""
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return not line.strip() or b"\0" in line or line.startswith(_LINE_START) or _LINE_START.startswith(line)
    return False


def _is_consistent(line: ManifestLine, classes: Mapping[str, int]) -> bool:
    """Return True if the labels of a line are consistent with those of the previous lines."""
    merged = {**classes, **line.classes}
    unchanged = all(merged[label] == number for label, number in classes.items())
    consecutive = sorted(merged.values()) == list(range(len(merged)))
    return unchanged and consecutive and Path(line.image).parent == Path(IMAGES)


def refuse_foreign_folder(folder: Path) -> None:
    """Refuse a folder with other contents, before anything in it is changed.

    Raises:
        InputError: the path is a file, or a folder with other contents and no collection.
        OSError: the folder cannot be read.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"collect {folder}: is not a folder: use a new or empty one")
    if not folder.is_dir() or (folder / _LOCK).exists():
        return
    other = next((path.name for path in sorted(folder.iterdir()) if path.name not in _OWN_FILES), None)
    if other is not None:
        raise InputError(f"collect {folder}: contains {other}, which was not collected: use a separate folder")


def make_private(folder: Path) -> None:
    """Create a folder that only its owner can read, or restrict an existing one.

    Raises:
        InputError: its file system does not support the restriction.
        OSError: the folder cannot be created or changed.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_mode & 0o077:
        with suppress(PermissionError):  # file systems without permissions; checked below
            folder.chmod(0o700)
        mode = folder.stat().st_mode & 0o777
        if mode & 0o077:
            raise InputError(
                f"collect {folder}: others can read it (mode {mode:04o}), and that cannot be changed: use a folder of "
                "your own, or mount its file system with umask=077"
            )


def lock_folder(folder: Path) -> FileIO:
    """Lock the folder for as long as the returned file is open.

    Raises:
        InputError: another process has locked the folder.
        OSError: the folder cannot be written to.
    """
    file = FileIO(os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600), "rb+")
    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        if isinstance(error, BlockingIOError):
            raise InputError(f"collect {folder}: another beeagent collects there: use separate folders") from None
        raise
    return file


def rewrite_lines(path: Path, keep: Iterable[bool]) -> None:
    """Rewrite a file with some of its lines.

    Args:
        path: path of the file.
        keep: True for each line to keep.

    Raises:
        OSError: the file cannot be written; it is unchanged.
    """
    with path.open("rb") as old:
        write_file(path, (line for line, kept in zip(old, keep, strict=False) if kept))


def append_line(path: Path, line: bytes) -> None:
    """Append a line and sync it to disk, completely or not at all; the file is created if necessary.

    Raises:
        OSError: the line cannot be appended; the file is unchanged.
    """
    with FileIO(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as file:
        before = os.fstat(file.fileno()).st_size
        try:
            if file.write(line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # noqa: TRY301 - reverted below, like other errors
            os.fsync(file.fileno())
        except BaseException:
            file.truncate(before)
            raise
