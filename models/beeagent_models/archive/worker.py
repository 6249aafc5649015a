"""Counts the detections in a video per interval, with one processor core per worker."""

import math
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from beeagent import Detector, Frame, ModelBundle, open_camera
from beeagent.detection import NO_MASKS, Detections
from beeagent.errors import BeeagentError, InputError
from beeagent.tracking import PlaceCounter, Places, Tracker, TrackerOptions
from numpy.typing import NDArray

Row = dict[str, str | int | float]

MIN_TRACKING_RATE = 5.0
"""Minimum frames per second with places: the lowest rate at which the tracker was evaluated."""

_MIN_INTERVAL_S, _MAX_INTERVAL_S = 1.0, 86_400.0
_SLOT_TOLERANCE = 1e-6  # for rounded time stamps


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveOptions:
    """Options of the counting; they, the model and the video determine the results.

    Attributes:
        model: bundle folder, name of a bundled model, or .tflite file; None for the default model.
        labels: labels file of a .tflite without packed labels.
        threshold: minimum confidence of a detection, 0 to 1; None for the bundle's.
        tiles: tiles in the agent's notation; None for the bundle's recommendation.
        rate: frames to process per second of the video; None for all frames. With places, 5 or more.
        interval_s: length of an interval in seconds of the video, 1 to 86,400.
        places: lines, zones and masks; None to count detections only.

    Raises:
        InputError: a value is out of its range.
    """

    model: str | None = None
    labels: str | None = None
    threshold: float | None = None
    tiles: str | None = None
    rate: float | None = None
    interval_s: float = 60.0
    places: Places | None = None

    def __post_init__(self) -> None:
        if self.rate is not None and not 0 < self.rate < math.inf:
            raise InputError(f"rate is {self.rate:g}: give a number of frames per second above 0")
        if self.rate is not None and self.places is not None and self.rate < MIN_TRACKING_RATE:
            raise InputError(
                f"rate is {self.rate:g}: give {MIN_TRACKING_RATE:g} frames per second or more with places, for tracking"
            )
        if not _MIN_INTERVAL_S <= self.interval_s <= _MAX_INTERVAL_S:
            raise InputError(
                f"interval is {self.interval_s:g}: allowed are {_MIN_INTERVAL_S:g} to {_MAX_INTERVAL_S:g} seconds"
            )

    @property
    def columns(self) -> dict[str, type]:
        """Name and type of each column of the rows, in order."""
        counted = () if self.places is None else (*self.places.lines, *self.places.zones)
        return {
            "file": str,
            "position_s": float,
            "label": str,
            "frames": int,
            "detections": int,
            "mean": float,
            "max": int,
            **{f"{place}_{direction}": int for place in counted for direction in ("in", "out")},
        }


@dataclass(frozen=True, slots=True)
class VideoCounts:
    """The counts of one video.

    Attributes:
        file: path of the video, relative to the folder of the archive.
        rows: one row per interval with a frame and per label, with the columns of `ArchiveOptions.columns`.
        problem: reason why the video could not be read completely; None if it was. The rows are those of the frames
            before.
        version: size in bytes and modification time in ns of the file; None if it does not exist.
    """

    file: str
    rows: list[Row]
    problem: str | None
    version: tuple[int, int] | None


class ArchiveWorker:
    """Counts the detections in one video after the other.

    Create one per process, because the constructor loads the model. It uses one thread each for decoding and inference,
    and limits OpenCV in this process to one. The rows of a video are the same on all machines with the same processor
    architecture and the same packages.

    Args:
        folder: folder of the archive.
        options: options of the counting.

    Raises:
        InputError: the model or an option cannot be used.
    """

    def __init__(self, folder: str | Path, options: ArchiveOptions) -> None:
        # There is a worker per core, so more threads would only compete. And FFmpeg's output for a damaged frame may
        # depend on the number of threads.
        cv2.setNumThreads(1)
        os.environ.setdefault("OPENCV_FFMPEG_CAPTURE_OPTIONS", "threads;1")
        self._folder = Path(folder)
        self._options = options
        threshold = options.threshold
        if threshold is None:
            threshold = ModelBundle.load(options.model, labels=options.labels).threshold
        self._threshold = threshold
        # The tracker continues tracks with detections of lower confidence, as in the agent.
        lowest = self._threshold if options.places is None else self._threshold / 2
        self._detector = Detector.load(
            options.model, labels=options.labels, threshold=lowest, tiles=options.tiles, threads=1
        )

    def __call__(self, file: str) -> VideoCounts:
        """Count the detections in a video.

        Args:
            file: path of the video, relative to the folder.

        Returns:
            The counts, with a `problem` if the video cannot be read completely.

        Raises:
            InputError: the model returned a class without a label.
        """
        path = (self._folder / file).absolute()
        version = file_version(path)
        counter = _Counter(self._detector.labels, self._threshold, self._options)
        problem: str | None = None
        try:
            with open_camera(str(path)) as frames:
                for frame in self._sample(frames):
                    counter.add(frame, self._detector.detect(frame.pixels))
        except _UnreadableError as error:
            problem = str(error)
        if problem is None and file_version(path) != version:
            problem = f"video {path}: changed while it was being read"
        return VideoCounts(file, counter.rows(file), problem, version)

    def _sample(self, frames: Iterator[Frame]) -> Iterator[Frame]:
        """Yield the first frame in each 1/rate seconds of the video."""
        slot = None
        while True:
            try:
                frame = next(frames)
            except StopIteration:
                return
            except BeeagentError as error:
                raise _UnreadableError(str(error)) from error
            if self._options.rate is not None:
                last, slot = slot, math.floor((frame.position_s or 0.0) * self._options.rate + _SLOT_TOLERANCE)
                if slot == last:
                    continue
            yield frame


class _UnreadableError(BeeagentError):
    """A video cannot be read completely; distinguishes it from errors of the model."""


def file_version(path: Path) -> tuple[int, int] | None:
    """Return size in bytes and modification time in ns of a file, or None if it cannot be read."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


@dataclass(slots=True)
class _Interval:
    sums: NDArray[np.int64]
    largest: NDArray[np.int64]
    frames: int = 0
    passages: Counter[tuple[str, str, str]] = field(default_factory=Counter)


class _Counter:
    """Accumulates the counts of a video per interval and label."""

    def __init__(self, labels: tuple[str, ...], threshold: float, options: ArchiveOptions) -> None:
        self._labels = labels
        self._threshold = threshold
        self._options = options
        self._intervals: dict[int, _Interval] = {}
        self._tracker = Tracker(TrackerOptions(high_confidence=threshold))
        self._at_places = None if options.places is None else PlaceCounter(options.places)
        self._masks = NO_MASKS if options.places is None else options.places.all_masks

    def add(self, frame: Frame, detections: Detections) -> None:
        position_s = frame.position_s or 0.0
        interval = self._intervals.setdefault(
            math.floor(position_s / self._options.interval_s), _Interval(*np.zeros((2, len(self._labels)), np.int64))
        )
        if self._at_places is not None:
            detections = self._masks.unmasked(detections)
            tracked = self._tracker.update(detections, at_s=position_s, frame_size=frame.size)
            for passage in self._at_places.update(tracked):
                interval.passages[passage.label, passage.place, passage.direction] += 1
            detections = detections.at_least(self._threshold)
        counts = np.bincount(detections.class_ids, minlength=len(self._labels))
        interval.frames += 1
        interval.sums += counts
        np.maximum(interval.largest, counts, out=interval.largest)

    def rows(self, file: str) -> list[Row]:
        name = file.encode(errors="backslashreplace").decode()  # file names may not be valid Unicode
        places = self._options.places
        counted = () if places is None else (*places.lines, *places.zones)
        return [
            {
                "file": name,
                "position_s": index * self._options.interval_s,
                "label": label,
                "frames": interval.frames,
                "detections": total,
                "mean": round(total / interval.frames, 4),
                "max": largest,
                **{
                    f"{place}_{direction}": interval.passages[label, place, direction]
                    for place in counted
                    for direction in ("in", "out")
                },
            }
            for index, interval in sorted(self._intervals.items())
            for label, total, largest in zip(
                self._labels, interval.sums.tolist(), interval.largest.tolist(), strict=True
            )
        ]
