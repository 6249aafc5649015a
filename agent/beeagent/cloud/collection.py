"""Collection of frames processed by both models as training data: images and a manifest, within a quota."""

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

from beeagent.camera import Frame, encode_jpeg
from beeagent.cloud import collection_store as store
from beeagent.cloud.collection_store import IMAGES, MANIFEST, StoredFrame
from beeagent.cloud.second_opinion import EdgeResult
from beeagent.detection import Detections
from beeagent.errors import BeeagentError
from beeagent.output import write_file

_LOG: Final = logging.getLogger(__name__)

_FREED_SHARE: Final = 0.05  # of the quota, so that the manifest is rewritten once for many images


@dataclass(frozen=True, slots=True)
class CollectionCounts:
    """Size of a collection.

    Attributes:
        images: number of images.
        megabytes: size of images and manifest, in 10^6 bytes.
    """

    images: int
    megabytes: float


class Collection:
    """A folder with images and `output.manifest`, a dataset that `beeagent train` reads directly.

    The image is written first, then its line, each synced to disk before the next step: a crash leaves an image without
    a line, or part of a line, and both are removed when the collection is opened again. If the quota is exceeded, the
    oldest frames are removed. Only the owner can read the folder and its files. Thread-safe.

    If the disk is full, read-only or missing, only the frame is lost: `fault` contains the reason until a frame is
    collected again, and every further frame retries. A reserve of free space is left on the disk for other data, such
    as results.

    Attributes:
        fault: reason why the newest frame could not be collected; None if it was collected.
        counts: size of the collection.
    """

    def __init__(  # noqa: PLR0913 - keywords
        self,
        folder: Path,
        *,
        megabytes: float,
        longest_side: int,
        quality: int,
        origin: str,
        spare_megabytes: float = 100.0,
    ) -> None:
        """Create the folder, or open the collection in it.

        Args:
            folder: folder without other contents.
            megabytes: quota of images and manifest, in 10^6 bytes.
            longest_side: maximum length of the images' longer side in pixels.
            quality: JPEG quality, 1 to 100.
            origin: source of the frames, such as `hive-7/front`.
            spare_megabytes: reserve of free space on the disk, in 10^6 bytes; 0 for none.

        Raises:
            InputError: the path is not a folder, has other contents, is in use, or is readable by others.
        """
        self._folder = folder.absolute()
        self._quota = int(megabytes * 1e6)
        self._spare = int(spare_megabytes * 1e6)
        self._longest_side = longest_side
        self._quality = quality
        self._origin = origin
        self._adding = threading.Lock()
        self._lock_file: FileIO | None = None  # None until the folder is opened
        self._closed = False
        self._frames: deque[StoredFrame] = deque()
        self._image_bytes = self._manifest_bytes = 0
        self._classes: dict[str, int] = {}
        self.counts = CollectionCounts(0, 0.0)
        self.fault: str | None = None
        try:
            self._open()
        except OSError as error:
            self._note_error(error)

    def add(self, frame: Frame, edge: EdgeResult, cloud: Detections) -> None:
        """Add a frame with the detections of both models. Disk errors do not raise.

        Args:
            frame: the frame, stored in the size in which it was sent to the cloud model.
            edge: result of the edge model.
            cloud: detections of the cloud model.
        """
        with self._adding:
            if self._closed:
                return
            try:
                self._add(frame, edge, cloud)
            except (OSError, ValueError, BeeagentError) as error:
                self._note_error(error)
            else:
                self.fault = None
            self._update_counts()

    def close(self) -> None:
        """Unlock the folder, and ignore further frames. Does not wait for a hanging disk."""
        self._closed = True
        if self._lock_file is not None:
            self._lock_file.close()

    def _note_error(self, error: Exception) -> None:
        if isinstance(error, OSError):
            self._unlock()  # the folder is opened again before the next frame
        reason = f"{self._folder}: frames cannot be collected: {getattr(error, 'strerror', None) or error}"
        if reason != self.fault:
            _LOG.warning("collect: %s", reason)
        self.fault = reason

    def _open(self) -> None:
        self._unlock()
        store.refuse_foreign_folder(self._folder)
        store.make_private(self._folder)
        lock_file = store.lock_folder(self._folder)
        try:
            store.make_private(self._folder / IMAGES)
            frames, self._classes = store.load_collection(self._folder)
        except BaseException:
            lock_file.close()
            raise
        self._lock_file, self._frames = lock_file, deque(frames)
        self._image_bytes = sum(stored.image_bytes for stored in frames)
        self._manifest_bytes = sum(stored.line_bytes for stored in frames)
        self._remove_oldest(0)
        self._update_counts()

    def _update_counts(self) -> None:
        self.counts = CollectionCounts(len(self._frames), (self._image_bytes + self._manifest_bytes) / 1e6)

    def _unlock(self) -> None:
        if self._lock_file is not None:
            self._lock_file.close()
            self._lock_file = None

    def _add(self, frame: Frame, edge: EdgeResult, cloud: Detections) -> None:
        if self._lock_file is None or self._has_changed():
            self._open()
        jpeg = encode_jpeg(frame.pixels, longest_side=self._longest_side, quality=self._quality)
        height, width = np.asarray(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)).shape[:2]
        # The index distinguishes frames of the same microsecond.
        name = f"{frame.captured_at.astimezone(timezone.utc):%Y%m%dT%H%M%S.%fZ}-{frame.index}.jpg"
        image = f"{IMAGES}/{name}"
        for label in (*edge.detections.labels, *cloud.labels):
            self._classes.setdefault(label, len(self._classes))
        line = store.format_line(
            image, size=(width, height), edge=edge, cloud=cloud, captured_at=frame.captured_at,
            collected_at=datetime.now(timezone.utc), origin=self._origin, classes=self._classes,
        )  # fmt: skip
        encoded = line.encode() + b"\n"
        size = len(jpeg) + len(encoded)
        if size > self._quota:
            raise BeeagentError(f"a single frame is larger than the quota of {self._quota / 1e6:g} MB")
        self._remove_oldest(size)
        disk = os.statvfs(self._folder)
        if self._spare and disk.f_bavail * disk.f_frsize < self._spare + size:
            raise BeeagentError(f"less than {self._spare / 1e6:g} MB are free on the disk, and those are reserved")
        try:
            write_file(self._folder / image, [jpeg])
            store.append_line(self._folder / MANIFEST, encoded)
        except OSError:
            with suppress(OSError):
                (self._folder / image).unlink(missing_ok=True)
            raise
        self._frames.append(StoredFrame(image, len(jpeg), len(encoded)))
        self._image_bytes += len(jpeg)
        self._manifest_bytes += len(encoded)

    def _has_changed(self) -> bool:
        """Return True if the manifest was changed or removed by others, for example for relabelling."""
        try:
            return (self._folder / MANIFEST).stat().st_size != self._manifest_bytes
        except FileNotFoundError:
            return bool(self._frames)

    def _remove_oldest(self, size: int) -> None:
        """Remove the oldest frames, first their lines, then their images, until `size` bytes are free."""
        used = self._image_bytes + self._manifest_bytes
        if used + size <= self._quota:
            return
        removed: list[StoredFrame] = []
        for stored in self._frames:
            if used <= self._quota * (1 - _FREED_SHARE) - size:
                break
            removed.append(stored)
            used -= stored.image_bytes + stored.line_bytes
        store.rewrite_lines(self._folder / MANIFEST, (index >= len(removed) for index in range(len(self._frames))))
        for stored in removed:
            self._frames.popleft()
            self._image_bytes -= stored.image_bytes
            self._manifest_bytes -= stored.line_bytes
            (self._folder / stored.image).unlink(missing_ok=True)
