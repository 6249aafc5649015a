"""How many of the frames that a video container counts are not shown, by its design: AVI and MP4."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_MOST_NESTED = 8
_AVI_LISTS = frozenset({b"RIFF", b"LIST"})
_MP4_PARENTS = frozenset({b"moov", b"trak", b"edts", b"mdia", b"minf", b"stbl"})


def counts_frames(path: Path) -> bool:
    """Return whether the container has an exact count of its frames: AVI (`RIFF....AVI `) and MP4 (`....ftyp`).

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        return _is_avi(start := file.read(12)) or start[4:8] == b"ftyp"


def hidden_frames(path: Path, counted: int) -> int:
    """Return how many of the frames that an AVI or MP4 file counts may rightly not be shown.

    A capture card that drops a frame, or has no signal, leaves an AVI chunk or an MP4 sample of 0 bytes. A recording
    that was trimmed without encoding it anew keeps frames before its beginning, which the edit list of an MP4 file
    hides; how many they are is not worked out.

    Args:
        path: of the file.
        counted: the frames that it counts.

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
    if any(end > size for _, _, end in boxes):  # cut off: what is missing is missing
        return 0
    if any(kind == b"elst" for kind, _, _ in boxes):
        return counted
    return sum(_empty_samples(file, start, end) for kind, start, end in boxes if kind == b"stsz")


def _empty_samples(file: BinaryIO, start: int, end: int) -> int:
    """Return how many samples of a track have 0 bytes, as its `stsz` box says."""
    file.seek(start)
    _, same_for_all, count = struct.unpack(">3I", file.read(12))
    sizes = b"" if same_for_all else file.read(min(4 * count, end - start - 12))
    return sum(1 for (size,) in struct.iter_unpack(">I", sizes[: len(sizes) // 4 * 4]) if size == 0)


def _avi_chunks(file: BinaryIO, start: int, end: int, depth: int = 0) -> Iterator[tuple[bytes, int, int]]:
    """Yield the kind, the start and the end of each chunk that is no list, until the file ends or makes no sense."""
    while start + 8 <= end:
        file.seek(start)
        kind, length = struct.unpack("<4sI", file.read(8))
        if not kind.isalnum() and not kind.strip().isalnum():
            return
        stop = start + 8 + length
        if kind in _AVI_LISTS and depth < _MOST_NESTED:
            yield from _avi_chunks(file, start + 12, min(stop, end), depth + 1)
        elif stop <= end:
            yield kind, start + 8, stop
        start = stop + length % 2


def _mp4_boxes(file: BinaryIO, start: int, end: int, depth: int = 0) -> Iterator[tuple[bytes, int, int]]:
    """Yield the kind, and the start and end of the content, of each box; those within `_MP4_PARENTS` in their place."""
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
        if kind in _MP4_PARENTS and depth < _MOST_NESTED:
            yield from _mp4_boxes(file, content, min(stop, end), depth + 1)
        start = stop


def _is_avi(start: bytes) -> bool:
    return start[:4] == b"RIFF" and start[8:12] == b"AVI "
