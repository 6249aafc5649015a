"""Keeps the frames on which both models were heard, to train on: pictures and a manifest, within a quota."""

import logging
import os
import threading
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from io import FileIO
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from beeagent.camera import Frame
from beeagent.cloud.collected_line import EdgeAnswer, collected_line
from beeagent.cloud.collection_files import (
    IMAGES,
    MANIFEST,
    append_line,
    locked,
    make_private,
    refuse_foreign,
    rewrite_lines,
    write_whole,
)
from beeagent.cloud.collection_repair import Found, take_up
from beeagent.cloud.jpeg import jpeg_within
from beeagent.detection.detections import Detections
from beeagent.errors import BeeagentError

_LOG: Final = logging.getLogger(__name__)

_ROOM_MADE: Final = 0.05  # of the quota: the manifest is written anew once for many pictures, not for each


@dataclass(frozen=True, slots=True)
class Collected:
    """How much is kept.

    Attributes:
        pictures: how many.
        megabytes: what they take with their lines, in 10^6 bytes.
    """

    pictures: int
    megabytes: float


class Collection:
    """A folder with pictures and `output.manifest`, which `beeagent train` takes as it is.

    The picture comes first, its line second, at a stroke, each on the disk before the next step: a crash leaves a
    picture without a line, which goes when the folder is taken up again, or half a line, which is cut off. When the
    quota is full the oldest go. Folder and files are their owner's alone. Safe from any thread.

    A disk that is full, cannot be written to or is not there costs the picture and nothing else: `fault` says so until
    one is kept again, and each further frame tries the folder anew. One that has little room left is left alone, for
    what else is stored there, results among it.
    """

    def __init__(  # noqa: PLR0913 - each a limit of its own
        self,
        folder: Path,
        *,
        megabytes: float,
        longest_side: int,
        quality: int,
        origin: str,
        spare_megabytes: float = 100.0,
    ) -> None:
        """Make the folder, or take up the collection that is there.

        Args:
            folder: for this alone.
            megabytes: quota in 10^6 bytes, pictures and manifest together.
            longest_side: of the pictures, in pixels.
            quality: of their JPEG, 1 to 100.
            origin: what the frames are from, such as `hive-7/front`.
            spare_megabytes: what is left free on the disk, in 10^6 bytes; 0 to use it to the end.

        Raises:
            InputError: the folder is none, holds something else, is in use, or others can read it.
        """
        self._folder = folder.absolute()
        self._quota = int(megabytes * 1e6)
        self._spare = int(spare_megabytes * 1e6)
        self._longest_side = longest_side
        self._quality = quality
        self._origin = origin
        self._keeping = threading.Lock()
        self._held: FileIO | None = None  # keeps others out; None while the folder has to be taken up
        self._closed = False
        self._kept: deque[Found] = deque()
        self._picture_bytes = self._manifest_bytes = 0
        self._classes: dict[str, int] = {}
        self._counts = Collected(0, 0.0)
        self._fault: str | None = None
        try:
            self._open()
        except OSError as error:
            self._note(error)

    @property
    def fault(self) -> str | None:
        """Why the newest picture could not be kept; None if it was."""
        return self._fault

    @property
    def counts(self) -> Collected:
        """How much is kept. Never waits, also while a disk hangs."""
        return self._counts

    def keep(self, frame: Frame, edge: EdgeAnswer, cloud: Detections) -> None:
        """Keep a frame and what either model saw in it. Never raises for the disk's sake.

        Args:
            frame: as it was shown to the cloud model; it is kept in that size.
            edge: what the edge model saw.
            cloud: what the cloud model saw.
        """
        with self._keeping:
            if self._closed:
                return
            try:
                self._keep(frame, edge, cloud)
            except (OSError, ValueError, BeeagentError) as error:
                self._note(error)
            else:
                self._fault = None
            self._count()

    def close(self) -> None:
        """Let others use the folder; what is still to be kept is not. Does not wait for a disk that hangs."""
        self._closed = True
        if self._held is not None:
            self._held.close()

    def _note(self, error: Exception) -> None:
        if isinstance(error, OSError):
            self._give_back()  # whatever it was: look at the folder again before the next one
        reason = f"{self._folder}: frames cannot be kept: {getattr(error, 'strerror', None) or error}"
        if reason != self._fault:
            _LOG.warning("collect: %s", reason)
        self._fault = reason

    def _open(self) -> None:
        self._give_back()
        refuse_foreign(self._folder)
        make_private(self._folder)
        held = locked(self._folder)
        try:
            make_private(self._folder / IMAGES)
            kept, self._classes = take_up(self._folder)
        except BaseException:
            held.close()
            raise
        self._held, self._kept = held, deque(kept)
        self._picture_bytes = sum(one.size for one in kept)
        self._manifest_bytes = sum(one.line for one in kept)
        self._make_room(0)
        self._count()

    def _count(self) -> None:
        self._counts = Collected(len(self._kept), (self._picture_bytes + self._manifest_bytes) / 1e6)

    def _give_back(self) -> None:
        if self._held is not None:
            self._held.close()
            self._held = None

    def _keep(self, frame: Frame, edge: EdgeAnswer, cloud: Detections) -> None:
        if self._held is None or self._was_touched():
            self._open()
        jpeg = jpeg_within(frame.pixels, longest_side=self._longest_side, quality=self._quality)
        height, width = np.asarray(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)).shape[:2]
        # Of frames of the same microsecond, the number tells them apart.
        name = f"{frame.captured_at.astimezone(timezone.utc):%Y%m%dT%H%M%S.%fZ}-{frame.index}.jpg"
        picture = f"{IMAGES}/{name}"
        for label in (*edge.detections.labels, *cloud.labels):
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
        row = line.encode() + b"\n"
        cost = len(jpeg) + len(row)
        if cost > self._quota:
            raise BeeagentError(f"a single one is larger than the quota of {self._quota / 1e6:g} MB")
        self._make_room(cost)
        disk = os.statvfs(self._folder)
        if self._spare and disk.f_bavail * disk.f_frsize < self._spare + cost:
            raise BeeagentError(
                f"less than {self._spare / 1e6:g} MB are free on the disk, and those are left to others"
            )
        try:
            write_whole(self._folder / picture, jpeg)
            append_line(self._folder / MANIFEST, row)
        except OSError:
            with suppress(OSError):
                (self._folder / picture).unlink(missing_ok=True)
            raise
        self._kept.append(Found(picture, len(jpeg), len(row)))
        self._picture_bytes += len(jpeg)
        self._manifest_bytes += len(row)

    def _was_touched(self) -> bool:
        """Say whether the manifest is another than this left: someone relabels it, or has taken it away."""
        try:
            return (self._folder / MANIFEST).stat().st_size != self._manifest_bytes
        except FileNotFoundError:
            return bool(self._kept)

    def _make_room(self, cost: int) -> None:
        """Let the oldest go, if need be, so that `cost` bytes find room: their lines first, then their pictures."""
        left = self._picture_bytes + self._manifest_bytes
        if left + cost <= self._quota:
            return
        going: list[Found] = []
        for one in self._kept:
            if left <= self._quota * (1 - _ROOM_MADE) - cost:
                break
            going.append(one)
            left -= one.size + one.line
        rewrite_lines(self._folder / MANIFEST, (index >= len(going) for index in range(len(self._kept))))
        for one in going:
            self._kept.popleft()
            self._picture_bytes -= one.size
            self._manifest_bytes -= one.line
            (self._folder / one.picture).unlink(missing_ok=True)
