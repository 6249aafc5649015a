"""Image files: decoding, encoding, and frames from a file, a folder or the files that match a pattern."""

import glob
import re
import time
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from beeagent.camera.address import IMAGE_SUFFIXES
from beeagent.camera.opencv import as_bgr
from beeagent.camera.source import BadFrameError, Frame, GrabbingSource
from beeagent.errors import BeeagentError, InputError

UNSUPPORTED_SUFFIXES = frozenset(
    {".avif", ".dng", ".exr", ".gif", ".hdr", ".heic", ".heif", ".jfif", ".jp2", ".jpe", ".jxl", ".mpo", ".pfm"}
)
"""Image formats that not every build of OpenCV can read: refused, so that all builds behave alike."""


# The maximum of `Image.Bytes`, before base64, in botocore's model of Rekognition (2016-06-27).
_REKOGNITION_MAX_BYTES = 5_242_880
_MIN_QUALITY = 40
_QUALITY_STEP = 15
_SIDE_STEP = 0.75


def natural_key(path: Path) -> tuple[tuple[str | int, ...], str]:
    """Return a sort key that orders `frame2` before `frame10`, and ignores case unless nothing else differs.

    Runs of the digits 0 to 9 compare as numbers, everything else as text. The order is total: only equal paths
    have equal keys.
    """
    text = str(path)
    # Text and digits alternate, starting with text, so a number is never compared with text.
    pieces = re.split("([0-9]+)", text.casefold())
    return tuple(int(piece) if index % 2 else piece for index, piece in enumerate(pieces)), text


def read_image(path: Path) -> NDArray[np.uint8]:
    """Read and decode an image file.

    The orientation in the EXIF data is applied. Grey images get three channels, transparency is dropped, 16-bit
    samples become 8-bit.

    Returns:
        uint8, shape (height, width, 3), BGR.

    Raises:
        BadFrameError: the file cannot be read, has a suffix of `UNSUPPORTED_SUFFIXES`, or is not a complete image of a
            known format.
    """
    if path.suffix.lower() in UNSUPPORTED_SUFFIXES:
        known = " ".join(sorted(IMAGE_SUFFIXES))
        raise BadFrameError(f"{path}: the format {path.suffix} is not supported; convert it to one of {known}")
    try:
        # Not cv2.imread: on some systems it fails on names that are not ASCII, reports no reason, fills a truncated
        # JPEG with grey and fails on a rotated TIFF.
        data = np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        raise BadFrameError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:  # a NUL in the path
        raise BadFrameError(f"{path}: cannot be read: {error}") from error
    return decode_image(data, name=str(path))


def decode_image(data: NDArray[np.uint8], *, name: str) -> NDArray[np.uint8]:
    """Decode the content of an image file, as `read_image` does.

    Args:
        data: the content, uint8, one dimension.
        name: name of the image, for errors.
    """
    try:
        pixels = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size and not _is_truncated_jpeg(data) else None
    except cv2.error:  # raised for an absurd size in the header; None is returned for anything else
        pixels = None
    bgr = None if pixels is None else as_bgr(pixels)
    if bgr is None:
        raise BadFrameError(f"{name}: is not an image, or is damaged")
    return bgr


def encode_jpeg(
    pixels: NDArray[np.uint8], *, longest_side: int, quality: int, max_bytes: int = _REKOGNITION_MAX_BYTES
) -> bytes:
    """Encode an image as JPEG of at most `max_bytes`.

    If it is too large, its quality is reduced first, down to 40, and then its size.

    Args:
        pixels: uint8, shape (height, width, 3), BGR.
        longest_side: maximum length of the longer side in pixels; larger images are shrunk.
        quality: maximum quality of the JPEG, 1 to 100.
        max_bytes: maximum size of the JPEG.

    Raises:
        BeeagentError: the image cannot be encoded within the limit, not even as a single pixel.
    """
    side = min(longest_side, max(pixels.shape[:2]))
    while True:
        image = _shrunk(pixels, side)
        for reduced in [quality, *range(quality - _QUALITY_STEP, _MIN_QUALITY - 1, -_QUALITY_STEP)]:
            encoded, jpeg = cv2.imencode(".jpg", image, (cv2.IMWRITE_JPEG_QUALITY, reduced))
            if encoded and len(jpeg) <= max_bytes:
                return jpeg.tobytes()
        if side == 1 or not encoded:
            size = f"{pixels.shape[1]}x{pixels.shape[0]}"
            raise BeeagentError(f"a frame of {size} cannot be encoded as a JPEG of {max_bytes} bytes")
        side = max(1, int(side * _SIDE_STEP))


def _shrunk(pixels: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    height, width = pixels.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        return pixels
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def _is_truncated_jpeg(data: NDArray[np.uint8]) -> bool:
    """Return True if a JPEG file is truncated: OpenCV 4.10 fills such a file with grey, later versions refuse it.

    Within the compressed data, FF is never followed by D9 (ITU-T T.81, B.1.1.5): after the start of the first scan,
    FFD9 is the end of the image, even if a camera has appended data to it.
    """
    content = data.data
    if bytes(content[:2]) != b"\xff\xd8":
        return False
    at = 2
    while at + 4 <= len(content) and content[at] == 0xFF:
        marker = content[at + 1]
        if marker == 0xDA:  # start of scan
            return b"\xff\xd9" not in bytes(content[at:])
        # A marker may be preceded by any number of FF (B.1.1.2); all other markers before the scan have a length.
        at += 1 if marker == 0xFF else 2 + int.from_bytes(bytes(content[at + 2 : at + 4]), "big")
    return False  # malformed: left to OpenCV


def list_folder(folder: Path) -> tuple[Path, ...]:
    """Return the images in a folder, not in its subfolders, in natural order.

    Raises:
        InputError: the folder cannot be read or contains no image.
    """
    try:
        paths = [path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()]
    except OSError as error:
        raise InputError(f"folder {folder}: cannot be read: {error.strerror or error}") from error
    if not paths:
        suffixes = " ".join(sorted(IMAGE_SUFFIXES))
        raise InputError(f"folder {folder}: contains no images (files ending in {suffixes})")
    return tuple(sorted(paths, key=natural_key))


def list_pattern(pattern: str) -> tuple[Path, ...]:
    """Return the files that a pattern such as `night/*.jpg` or `**/*.png` matches, in natural order.

    Raises:
        InputError: it matches no file.
    """
    paths = [path for path in map(Path, glob.glob(pattern, recursive=True)) if path.is_file()]  # noqa: PTH207 - Path.glob refuses absolute patterns
    if not paths:
        raise InputError(f"pattern {pattern}: matches no file")
    return tuple(sorted(paths, key=natural_key))


def pattern_folder(pattern: str) -> Path:
    """Return the folder that contains all files that a pattern matches: its part before the first wildcard."""
    parts = Path(pattern).parts
    fixed = next((index for index, part in enumerate(parts) if glob.has_magic(part)), len(parts) - 1)
    return Path(*parts[:fixed])


class ImageSource(GrabbingSource):
    """The frames of image files in the given order, each once.

    Args:
        paths: the files.
        description: description of the files, for logs and errors.
        folder: folder relative to which frames are named; None for file names alone.

    Raises:
        InputError: the only file is not a readable image.
    """

    live = False

    def __init__(self, paths: Sequence[Path], *, description: str, folder: Path | None = None) -> None:
        if not paths:
            raise ValueError("no paths were given")
        self.description = description
        self._paths = tuple(paths)
        self._folder = folder
        self._next = 0
        self._grabbed: Path | None = None
        self._closed = False
        if len(self._paths) == 1:
            # Without a next image to continue with, a bad image is an error.
            try:
                read_image(self._paths[0])
            except BadFrameError as error:
                raise InputError(str(error)) from error

    def grab(self) -> bool:
        """See `GrabbingSource.grab`."""
        if self._closed or self._next >= len(self._paths):
            return False
        self._grabbed = self._paths[self._next]
        self._next += 1
        return True

    def retrieve(self) -> Frame:
        """See `GrabbingSource.retrieve`."""
        if self._grabbed is None:
            raise RuntimeError("nothing was grabbed")
        path, self._grabbed = self._grabbed, None
        # The time of capture is the time of reading: the file's own time stamps are not reliable.
        captured_at, captured_ns = datetime.now(timezone.utc), time.monotonic_ns()
        name = path.name if self._folder is None else path.relative_to(self._folder).as_posix()
        return Frame(read_image(path), captured_at, captured_ns, self._next - 1, name=name)

    def close(self) -> None:
        """See `FrameSource.close`."""
        self._closed = True
