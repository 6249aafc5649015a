"""Keeps the frames on which both models were heard, to train on: pictures and a manifest, within a quota."""

import errno
import fcntl
import logging
import os
import re
import threading
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from io import FileIO
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from beeagent.detection.detections import Detections
from beeagent.errors import BeeagentError, InputError
from beeagent.fallback.collected_line import CollectedLine, collected_line, read_collected_line
from beeagent.fallback.picture import jpeg_within
from beeagent.frames.frame import Frame

_LOG: Final = logging.getLogger(__name__)

MANIFEST: Final = "output.manifest"
_IMAGES: Final = "images"
_LOCK: Final = ".collecting"
_OUR_PICTURE: Final = re.compile(r"\.?\d{8}T\d{6}\.\d{6}Z-\d+\.jpg(\.partial)?")
_ROOM_MADE: Final = 0.05  # of the quota: the manifest is written anew once for many pictures, not for each


@dataclass(frozen=True, slots=True)
class _Kept:
    line: bytes
    picture: str
    size: int


class Collection:
    """A folder with pictures and `output.manifest`, which `beeagent train` takes as it is.

    The picture comes first, its line second, at a stroke: a crash leaves a picture without a line, which goes at the
    next start, or half a line, which is cut off. When the quota is full the oldest go. Folder and files are their
    owner's alone. Safe from any thread.

    A disk that is full or cannot be written to costs the picture and nothing else: `fault` says so until one is kept
    again.
    """

    def __init__(self, folder: Path, *, megabytes: float, longest_side: int, quality: int, origin: str) -> None:
        """Make the folder, or take up the collection that is there.

        Args:
            folder: for this alone.
            megabytes: quota in 10^6 bytes, pictures and manifest together.
            longest_side: of the pictures, in pixels.
            quality: of their JPEG, 1 to 100.
            origin: what the frames are from, such as `hive-7/front`.

        Raises:
            InputError: the folder holds something else, is in use, or cannot be used.
        """
        self._folder = folder
        self._quota = int(megabytes * 1e6)
        self._longest_side = longest_side
        self._quality = quality
        self._origin = origin
        self._lock = threading.Lock()
        self._kept: deque[_Kept] = deque()
        self._classes: dict[str, int] = {}
        self._bytes = 0
        self._fault: str | None = None
        try:
            (folder / _IMAGES).mkdir(mode=0o700, parents=True, exist_ok=True)
            self._locked = _locked(folder)
            self._take_up()
        except OSError as error:
            raise InputError(f"collect {folder}: cannot be used: {error.strerror or error}") from error

    @property
    def fault(self) -> str | None:
        """Why the newest picture could not be kept; None if it was."""
        return self._fault

    @property
    def pictures(self) -> int:
        """How many are kept."""
        with self._lock:
            return len(self._kept)

    @property
    def megabytes(self) -> float:
        """What they take with their lines, in 10^6 bytes."""
        with self._lock:
            return self._bytes / 1e6

    def keep(self, frame: Frame, edge: Detections, cloud: Detections) -> None:
        """Keep a frame and what either model saw in it. Never raises for the disk's sake.

        Args:
            frame: as it was shown to the cloud model; it is kept in that size.
            edge: what the edge model saw.
            cloud: what the cloud model saw.
        """
        try:
            with self._lock:
                self._keep(frame, edge, cloud)
        except (OSError, BeeagentError) as error:
            reason = f"{self._folder}: a frame could not be kept: {getattr(error, 'strerror', None) or error}"
            if reason != self._fault:
                _LOG.warning("collect %s", reason)
            self._fault = reason
        else:
            self._fault = None

    def close(self) -> None:
        """Let others use the folder."""
        self._locked.close()

    def _keep(self, frame: Frame, edge: Detections, cloud: Detections) -> None:
        jpeg = jpeg_within(frame.pixels, longest_side=self._longest_side, quality=self._quality)
        height, width = np.asarray(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)).shape[:2]
        # Of frames of the same microsecond, the number tells them apart.
        name = f"{frame.captured_at.astimezone(timezone.utc):%Y%m%dT%H%M%S.%fZ}-{frame.index}.jpg"
        picture = f"{_IMAGES}/{name}"
        for label in cloud.labels:
            self._classes.setdefault(label, len(self._classes))
        line = collected_line(
            picture,
            size=(width, height),
            edge=edge,
            cloud=cloud,
            captured_at=frame.captured_at,
            collected_at=datetime.now(timezone.utc),
            origin=self._origin,
            classes=self._classes,
        )
        kept = _Kept(line.encode() + b"\n", picture, len(jpeg))
        if _cost(kept) > self._quota:
            raise BeeagentError(f"a single one is larger than the quota of {self._quota / 1e6:g} MB")
        if self._bytes + _cost(kept) > self._quota:
            self._make_room(self._quota * (1 - _ROOM_MADE) - _cost(kept))
        try:
            _write(self._folder / picture, jpeg)
            self._append(kept.line)
        except OSError:
            with suppress(OSError):
                (self._folder / picture).unlink(missing_ok=True)
            raise
        self._kept.append(kept)
        self._bytes += _cost(kept)

    def _append(self, line: bytes) -> None:
        manifest = self._folder / MANIFEST
        descriptor = os.open(manifest, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            before = os.fstat(descriptor).st_size
            if os.write(descriptor, line) < len(line):
                os.ftruncate(descriptor, before)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        finally:
            os.close(descriptor)

    def _make_room(self, goal: float) -> None:
        """Let the oldest go until no more than `goal` bytes are left: their lines first, then their pictures."""
        going: list[_Kept] = []
        left = self._bytes
        while len(going) < len(self._kept) and left > goal:
            going.append(self._kept[len(going)])
            left -= _cost(going[-1])
        self._rewrite(list(self._kept)[len(going) :])
        for one in going:
            self._kept.popleft()
            self._bytes -= _cost(one)
            (self._folder / one.picture).unlink(missing_ok=True)

    def _rewrite(self, kept: list[_Kept]) -> None:
        partial = self._folder / f".{MANIFEST}.partial"
        _write(partial, b"".join(one.line for one in kept))
        partial.replace(self._folder / MANIFEST)

    def _take_up(self) -> None:
        """Read what an earlier run left, and mend what a crash did to it."""
        manifest = self._folder / MANIFEST
        content = manifest.read_bytes() if manifest.exists() else b""
        lines = content.splitlines(keepends=True)
        for number, line in enumerate(lines, start=1):
            if not line.endswith(b"\n"):
                break  # cut off by a crash
            read = read_collected_line(line)
            if read is None or not _is_ours(read, self._classes):
                raise InputError(
                    f"collect {self._folder}: {MANIFEST} holds line {number} that this did not write: "
                    "give a folder of its own"
                )
            self._classes.update(read.classes)
            with suppress(FileNotFoundError):
                self._kept.append(_Kept(line, read.picture, (self._folder / read.picture).stat().st_size))
        self._bytes = sum(map(_cost, self._kept))
        named = {one.picture for one in self._kept}
        without_line = [path for path in (self._folder / _IMAGES).iterdir() if f"{_IMAGES}/{path.name}" not in named]
        for path in without_line:
            if not _OUR_PICTURE.fullmatch(path.name):
                raise InputError(
                    f"collect {self._folder}: {_IMAGES}/{path.name} is nothing that was collected: give a folder of "
                    "its own"
                )
        if sum(len(one.line) for one in self._kept) != len(content):
            self._rewrite(list(self._kept))
        for path in without_line:
            path.unlink(missing_ok=True)


def _is_ours(read: CollectedLine, classes: Mapping[str, int]) -> bool:
    """Say whether a line is one of a collection in which the labels have these numbers so far."""
    joined = {**classes, **read.classes}
    agree = all(joined[label] == number for label, number in classes.items())
    in_a_row = sorted(joined.values()) == list(range(len(joined)))
    return agree and in_a_row and Path(read.picture).parent == Path(_IMAGES)


def _cost(kept: _Kept) -> int:
    return kept.size + len(kept.line)


def _locked(folder: Path) -> FileIO:
    """Keep others out of the folder for as long as the file is open."""
    file = FileIO(os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600), "rb+")
    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise InputError(f"collect {folder}: another beeagent collects there: give each a folder of its own") from None
    return file


def _write(path: Path, content: bytes) -> None:
    """Write a file for its owner alone, as a whole or not at all."""
    partial = path.with_name(f".{path.name}.partial") if not path.name.startswith(".") else path
    try:
        with FileIO(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            view = memoryview(content)
            while view:
                view = view[file.write(view) or 0 :]
        if partial != path:
            partial.replace(path)
    except OSError:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise
