"""Image files of datasets: references, lookup and decoding."""

import contextlib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from beeagent.camera import BadFrameError, read_image, silence_opencv
from beeagent.errors import InputError
from numpy.typing import NDArray

from beeagent_models.datasets.dataset import DatasetBuilder, LabelledImage
from beeagent_models.datasets.defects import Defect, DefectKind, Findings
from beeagent_models.datasets.records import ImageRecord
from beeagent_models.datasets.sqlite_index import FirstSeen


@dataclass(frozen=True, slots=True)
class FoundImage:
    """An image record with its file.

    Attributes:
        record: record with the actual size and boxes in pixels; unchanged if the file cannot be decoded.
        path: image file; None if missing.
    """

    record: ImageRecord
    path: Path | None

    def add_to(self, builder: DatasetBuilder) -> None:
        """Add an image without a defect to a dataset."""
        record = self.record
        if self.path is None:
            raise ValueError(f"{record.where}: the image has no file")
        boxes = np.array(record.boxes, np.float64)
        builder.add(self.path, size=record.known_size, boxes=boxes, labels=record.labels, where=record.where)


def decode_image(path: Path) -> NDArray[np.uint8]:
    """Decode an image file like the agent: upright, complete, and in a supported format.

    Returns:
        uint8, shape (height, width, 3), BGR.

    Raises:
        InputError: the file is missing or cannot be decoded.
    """
    silence_opencv()
    if path.exists() and not path.is_file():  # reading a pipe could block forever
        raise InputError(f"{path}: is not a regular file")
    try:
        return read_image(path)
    except BadFrameError as error:
        raise InputError(str(error)) from None


def load_image(image: LabelledImage) -> NDArray[np.uint8]:
    """Decode a dataset's image.

    Returns:
        uint8, shape (height, width, 3), BGR.

    Raises:
        InputError: the image cannot be decoded, or its size has changed since the dataset was read.
    """
    pixels = decode_image(image.path)
    if pixels.shape[:2] != (image.height, image.width):
        raise InputError(
            f"{image.path}: is {pixels.shape[1]}x{pixels.shape[0]}, not {image.width}x{image.height} as in the dataset"
        )
    return pixels


def find_image(record: ImageRecord, find: Callable[[ImageRecord], Path], seen: FirstSeen) -> Findings[FoundImage]:
    """Find and decode the file of an image.

    Args:
        record: record from a reader.
        find: finds the file of an image, or raises InputError.
        seen: files and references of earlier images.

    Yields:
        Missing, defective and duplicate files, and wrong sizes.
    """
    where = record.where
    repeated = yield from repeated_reference(record, seen)
    try:
        path = find(record)
    except InputError as error:
        yield Defect.of(where, DefectKind.MISSING_IMAGE, error)
        return FoundImage(record, None)
    first = seen.at(f"file {path.resolve()}", where)
    if first is not None and not repeated:
        what = f"{record.reference} is the image {path}, which is already listed at {first}; remove one"
        yield Defect(where, DefectKind.DUPLICATE, what)
    try:
        height, width = decode_image(path).shape[:2]
    except InputError as error:
        yield Defect.of(where, DefectKind.BAD_IMAGE, error)
        return FoundImage(record, path)
    if record.size is not None and record.size != (width, height):
        expected = f"{record.size[0]}x{record.size[1]}"
        what = f"the image {path} is {width}x{height}, not {expected} as in the dataset"
        yield Defect(where, DefectKind.SIZE_WRONG, what)
        return FoundImage(record, path)
    return FoundImage(record.sized((width, height)), path)


def repeated_reference(record: ImageRecord, seen: FirstSeen) -> Findings[bool]:
    """Return True if an earlier image has the same reference; needs no file.

    Args:
        record: record from a reader.
        seen: references of earlier images.

    Yields:
        A defect for a duplicate.
    """
    before = seen.at(f"reference {record.reference}", record.where) if record.reference else None
    if before is None:
        return False
    what = f"the image {record.reference} is already listed at {before}; remove one"
    yield Defect(record.where, DefectKind.DUPLICATE, what)
    return True


_SCHEME = "s3://"

# https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html, general purpose buckets.
_BUCKET = re.compile(r"(?!\d+\.\d+\.\d+\.\d+$)[a-z0-9](?:[a-z0-9-]|\.(?!\.)){1,61}[a-z0-9]")

_MAX_KEY_BYTES = 1024
"""Maximum length of a key in UTF-8 (https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html)."""


def is_s3(reference: str) -> bool:
    """Return True if a reference is an S3 URI."""
    return reference.startswith(_SCHEME)


def reference_path(reference: str) -> str:
    """Return the key of an S3 URI, or the reference itself if it is a path.

    Keys have no special characters: `#`, `?` and `%` are part of the name.
    """
    return reference[len(_SCHEME) :].partition("/")[2] if is_s3(reference) else reference


def first_image_file(candidates: Iterable[Path], reference: str, *, where: str) -> Path:
    """Return the first of the candidates that exists.

    Args:
        candidates: possible paths of the image.
        reference: reference of the image in the dataset, for errors.
        where: file and line, for errors.

    Raises:
        InputError: none of them exists.
    """
    searched = list(dict.fromkeys(candidates))
    for path in searched:
        # Raised for invalid names and unreadable folders.
        with contextlib.suppress(OSError, ValueError):
            if path.is_file():
                return path
    raise InputError(f"{where}: the image {reference} is missing: searched {', '.join(map(str, searched))}")


def find_image_file(source_ref: str, *, beside: Path, where: str) -> Path:
    """Find the local file of a manifest's image reference, a relative path or an S3 URI.

    Raises:
        InputError: the file does not exist.
    """
    path = reference_path(source_ref)
    if Path(path).is_absolute() and not is_s3(source_ref):
        candidates = [Path(path)]
    else:
        parts = [part for part in PurePosixPath(path).parts if part not in {"/", ".."}]
        candidates = [beside.joinpath(*parts[start:]) for start in range(len(parts))]
        candidates += [beside / "images" / part for part in parts[-1:]]
        if not is_s3(source_ref):
            # A path may contain `..`; an S3 key must not lead out of the folder.
            candidates = [beside / path, *candidates]
    return first_image_file(candidates, source_ref, where=where)


def s3_reference(*, bucket: str, prefix: str, name: str) -> str:
    """Return the S3 URI of an image.

    Args:
        bucket: valid bucket name, see `check_bucket`.
        prefix: prefix of the key, may be empty; leading and trailing slashes are ignored.
        name: rest of the key.

    Raises:
        InputError: the key is longer than S3 allows.
    """
    key = str(PurePosixPath(prefix.strip("/")) / name.lstrip("/")) if prefix.strip("/") else name.lstrip("/")
    if len(key.encode("utf-8", "surrogatepass")) > _MAX_KEY_BYTES:
        raise InputError(f"the key {key} is longer than the {_MAX_KEY_BYTES} bytes that S3 allows; shorten the prefix")
    return f"{_SCHEME}{bucket}/{key}"


def check_bucket(bucket: str) -> None:
    """Refuse an invalid bucket name.

    Raises:
        InputError: S3 does not allow the name.
    """
    if not _BUCKET.fullmatch(bucket):
        raise InputError(f"the bucket is '{bucket}': give 3 to 63 of a-z, 0-9, dots and dashes, without s3://")
