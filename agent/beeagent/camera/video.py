"""Frames from a video file, and the number of frames in its container that are never displayed."""

import math
import struct
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import BinaryIO

import cv2

from beeagent.camera.opencv import VideoReader
from beeagent.camera.source import BadFrameError, Frame, GrabbingSource
from beeagent.errors import InputError

_DECODE_ATTEMPTS = 64
"""Number of frames to try after one that cannot be decoded; if all fail, the file is at its end."""

_DEFAULT_FPS = 30.0
_MIN_FPS, _MAX_FPS = 0.1, 1000.0

_MAX_DEPTH = 8  # of nested AVI lists and MP4 boxes
_AVI_LISTS = frozenset({b"RIFF", b"LIST"})
_MP4_PARENTS = frozenset({b"moov", b"trak", b"edts", b"mdia", b"minf", b"stbl"})


class IncompleteVideoError(BadFrameError):
    """A video file has fewer frames than its header promises: it is truncated or damaged.

    Raised once, after all readable frames; the next read reports the end.
    """


class VideoFileSource(GrabbingSource):
    """The frames of a video file in order, as fast as they are read.

    A frame that cannot be decoded raises BadFrameError and keeps its index. FFmpeg may also skip damaged frames
    silently. If frames are missing at the end, IncompleteVideoError is raised once. Frames without an image, which a
    capture card writes for dropped frames, and frames hidden by an edit list are skipped.

    Args:
        path: the file.

    Raises:
        InputError: the file cannot be opened, or is not a video with at least one frame that can be decoded.
    """

    live = False

    def __init__(self, path: Path) -> None:
        self.description = str(path)
        self._path = path
        self._exact_count = path.is_file() and _has_exact_count(path)
        # Absolute, because FFmpeg interprets `a:b.mp4` as an address with the protocol a.
        self._reader = VideoReader(str(path.absolute()), cv2.CAP_FFMPEG)
        if not self._reader.is_open or not self._reader.grab():
            self._reader.close()
            raise InputError(f"video {path}: is not a video that can be decoded, or its beginning or index is missing")
        # The first frame is grabbed now, to check that the file can be decoded.
        self._ahead = True
        self._position_s = 0.0
        self._index = 0
        self._bad = 0
        self._ended = False
        fps = self._reader.get(cv2.CAP_PROP_FPS)
        self.fps = fps if _MIN_FPS <= fps <= _MAX_FPS else _DEFAULT_FPS
        promised = self._reader.get(cv2.CAP_PROP_FRAME_COUNT)
        self._promised = int(promised) if 0 < promised < 2**53 else None
        self._update_position()

    def grab(self) -> bool:
        """See `GrabbingSource.grab`."""
        if self._ended:
            return False
        if not self._ahead and not self._bad and not self._grab():
            # The end, or a frame that cannot be decoded: OpenCV does not distinguish them. It is a bad frame if it is
            # followed by a good one.
            self._bad = self._count_bad_frames()
            if self._ended:  # closed by another thread
                return False
            if not self._bad:
                self._ended = True
                self._check_complete()
                return False
            self._ahead = True
        self._index += 1
        if self._bad:
            self._bad -= 1
            raise BadFrameError(f"{self.description}: frame {self._index - 1} cannot be decoded")
        self._ahead = False
        return True

    @property
    def position_s(self) -> float:
        """Seconds from the beginning of the video to the last grabbed frame."""
        # A format without time stamps, such as raw H.264, reports 0.
        return self._position_s or (self._index - 1) / self.fps

    def retrieve(self) -> Frame:
        """See `GrabbingSource.retrieve`."""
        captured_at, captured_ns = datetime.now(timezone.utc), time.monotonic_ns()
        pixels = self._reader.retrieve()
        index = self._index - 1
        if pixels is None:
            raise BadFrameError(f"{self.description}: frame {index} cannot be decoded")
        return Frame(pixels, captured_at, captured_ns, index, name=self._path.name, position_s=self.position_s)

    def close(self) -> None:
        """See `FrameSource.close`."""
        self._ended = True
        self._reader.close()

    def _count_bad_frames(self) -> int:
        return next((failed for failed in range(1, _DECODE_ATTEMPTS + 1) if self._grab()), 0)

    def _grab(self) -> bool:
        if not self._reader.grab():
            return False
        self._update_position()
        return True

    def _update_position(self) -> None:
        self._position_s = max(0.0, self._reader.get(cv2.CAP_PROP_POS_MSEC) / 1000)

    def _check_complete(self) -> None:
        if self._promised is None:
            return
        if self._exact_count:
            reached = self._index
            if reached < self._promised:
                reached += self._hidden_frames(self._promised)
        else:
            # For other containers, OpenCV derives the count from the duration. So compare it with the time stamps,
            # since a recording may have pauses, with a tolerance of one second.
            reached = max(self._index, round(self._position_s * self.fps) + 1) + math.ceil(self.fps)
        if reached < self._promised:
            raise IncompleteVideoError(
                f"{self.description}: frame {self._index} cannot be read: the file has only {self._index} of the "
                f"{self._promised} frames that its header promises; it is cut off or damaged"
            )

    def _hidden_frames(self, counted: int) -> int:
        try:
            return hidden_frames(self._path, counted)
        except (OSError, struct.error):  # deleted, or truncated within a header
            return 0


def _has_exact_count(path: Path) -> bool:
    """Return True if the container has an exact frame count: AVI (`RIFF....AVI `) and MP4 (`....ftyp`)."""
    try:
        with path.open("rb") as file:
            return _is_avi(start := file.read(12)) or start[4:8] == b"ftyp"
    except OSError as error:
        raise InputError(f"video {path}: cannot be read: {error.strerror or error}") from error


def hidden_frames(path: Path, counted: int) -> int:
    """Return the maximum number of frames in an AVI or MP4 file that are not displayed.

    A capture card that drops a frame, or has no signal, writes an AVI chunk or an MP4 sample of 0 bytes. A recording
    that was trimmed without re-encoding keeps frames before its beginning, hidden by the edit list of an MP4 file;
    their number is not computed.

    Args:
        path: path of the file.
        counted: number of frames in the header.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        size = path.stat().st_size
        if _is_avi(file.read(12)):
            return sum(
                1 for kind, start, end in _avi_chunks(file, 0, size) if start == end and kind[2:] in (b"dc", b"db")
            )
        return _hidden_in_mp4(file, size, counted)


def _hidden_in_mp4(file: BinaryIO, size: int, counted: int) -> int:
    boxes = list(_mp4_boxes(file, 0, size))
    if any(end > size for _, _, end in boxes):  # truncated
        return 0
    if any(kind == b"elst" for kind, _, _ in boxes):
        return counted
    return sum(_empty_samples(file, start, end) for kind, start, end in boxes if kind == b"stsz")


def _empty_samples(file: BinaryIO, start: int, end: int) -> int:
    """Return the number of samples with 0 bytes in the `stsz` box of a track."""
    file.seek(start)
    _, same_for_all, count = struct.unpack(">3I", file.read(12))
    sizes = b"" if same_for_all else file.read(min(4 * count, end - start - 12))
    return sum(1 for (size,) in struct.iter_unpack(">I", sizes[: len(sizes) // 4 * 4]) if size == 0)


def _avi_chunks(file: BinaryIO, start: int, end: int, depth: int = 0) -> Iterator[tuple[bytes, int, int]]:
    """Yield kind, start and end of each chunk that is not a list, up to the end or an invalid chunk."""
    while start + 8 <= end:
        file.seek(start)
        kind, length = struct.unpack("<4sI", file.read(8))
        if not kind.isalnum() and not kind.strip().isalnum():
            return
        stop = start + 8 + length
        if kind in _AVI_LISTS and depth < _MAX_DEPTH:
            yield from _avi_chunks(file, start + 12, min(stop, end), depth + 1)
        elif stop <= end:
            yield kind, start + 8, stop
        start = stop + length % 2


def _mp4_boxes(file: BinaryIO, start: int, end: int, depth: int = 0) -> Iterator[tuple[bytes, int, int]]:
    """Yield kind, start and end of the content of each box, depth first through `_MP4_PARENTS`."""
    while start + 8 <= end:
        file.seek(start)
        length, kind = struct.unpack(">I4s", file.read(8))
        content = start + 8
        if length == 1:  # the length is 64 bits long
            length = int.from_bytes(file.read(8), "big")
            content += 8
        stop = end if length == 0 else start + length  # 0: up to the end
        if stop < content:
            return
        yield kind, content, stop
        if kind in _MP4_PARENTS and depth < _MAX_DEPTH:
            yield from _mp4_boxes(file, content, min(stop, end), depth + 1)
        start = stop


def _is_avi(start: bytes) -> bool:
    return start[:4] == b"RIFF" and start[8:12] == b"AVI "
