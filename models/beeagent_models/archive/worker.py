"""Counts the detections of a video per interval. One worker is the work of one processor core."""

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

MIN_RATE_OF_PLACES = 5.0
"""Frames per second: the lowest rate at which the tracker was measured."""

_MIN_INTERVAL_S, _MAX_INTERVAL_S = 1.0, 86_400.0
_SLOT_TOLERANCE = 1e-6  # of time stamps that are rounded


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveOptions:
    """How to count. Results depend on these, the model and the video alone.

    Attributes:
        model: a bundle folder, the name of a bundled model, or a .tflite file; None for the default model.
        labels: a labels file, for a .tflite without labels packed in.
        threshold: minimum confidence of a detection, 0 to 1; None for the bundle's.
        tiles: as `--tiles` of the agent; None for what the bundle recommends.
        rate: frames per second of the video to process; None for all frames. With places, 5 or more.
        interval_s: length of an interval in seconds of the video, 1 to 86,400.
        places: lines and zones to count at, and masks; None to count detections only.

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
        if self.rate is not None and self.places is not None and self.rate < MIN_RATE_OF_PLACES:
            raise InputError(
                f"rate is {self.rate:g}: places need {MIN_RATE_OF_PLACES:g} frames per second or more, to follow bees"
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
        file: the video, relative to the folder of the archive.
        rows: one for each interval with a frame and each label, with the columns of `ArchiveOptions.columns`.
        problem: why the video could not be read, or not to its end; None if it was complete. The rows are those of
            the frames before.
        version: size in bytes and time of the last change in ns of the file; None if it does not exist.
    """

    file: str
    rows: list[Row]
    problem: str | None
    version: tuple[int, int] | None


class ArchiveWorker:
    """Counts the detections of one video after the other, each frame in order.

    Construct it once in each process: that loads the model. It uses one thread each for decoding and for inference,
    and keeps OpenCV in this process from using more. The same video gives the same rows on each machine with the same
    processor architecture and the same packages.

    Args:
        folder: of the archive.
        options: how to count.

    Raises:
        InputError: the model or an option cannot be used.
    """

    def __init__(self, folder: str | Path, options: ArchiveOptions) -> None:
        # As many workers as cores: more threads would only wait for each other. And what FFmpeg makes of a damaged
        # frame may depend on the number of its threads.
        cv2.setNumThreads(1)
        os.environ.setdefault("OPENCV_FFMPEG_CAPTURE_OPTIONS", "threads;1")
        self._folder = Path(folder)
        self._options = options
        threshold = options.threshold
        if threshold is None:
            threshold = ModelBundle.load(options.model, labels=options.labels).threshold
        self._threshold = threshold
        # The tracker continues tracks with weaker detections, as in the agent.
        lowest = self._threshold if options.places is None else self._threshold / 2
        self._detector = Detector.load(
            options.model, labels=options.labels, threshold=lowest, tiles=options.tiles, threads=1
        )

    def __call__(self, file: str) -> VideoCounts:
        """Count the detections of a video.

        Args:
            file: the video, relative to the folder.

        Returns:
            The counts. A video that cannot be read, or not to its end, has a `problem`.

        Raises:
            InputError: the model returned a class without a label.
        """
        path = (self._folder / file).absolute()
        version = file_version(path)
        counter = _Counter(self._detector.labels, self._threshold, self._options)
        problem: str | None = None
        try:
            with open_camera(str(path)) as frames:
                for frame in self._chosen(frames):
                    counter.add(frame, self._detector.detect(frame.pixels))
        except _UnreadableError as error:
            problem = str(error)
        if problem is None and file_version(path) != version:
            problem = f"video {path}: changed while it was read"
        return VideoCounts(file, counter.rows(file), problem, version)

    def _chosen(self, frames: Iterator[Frame]) -> Iterator[Frame]:
        """Yield the frames to process: the first of each 1/rate seconds of the video."""
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
    """A video cannot be read, or not to its end; as distinct from an error of the model."""


def file_version(path: Path) -> tuple[int, int] | None:
    """Return the size in bytes and the time of the last change in ns of a file; None if it cannot be read."""
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
    """Collects the counts of a video per interval and label."""

    def __init__(self, labels: tuple[str, ...], threshold: float, options: ArchiveOptions) -> None:
        self._labels = labels
        self._threshold = threshold
        self._options = options
        self._intervals: dict[int, _Interval] = {}
        self._tracker = Tracker(TrackerOptions(high_confidence=threshold))
        self._at_places = None if options.places is None else PlaceCounter(options.places)
        self._masks = NO_MASKS if options.places is None else options.places.all_masks

    def add(self, frame: Frame, found: Detections) -> None:
        position_s = frame.position_s or 0.0
        interval = self._intervals.setdefault(
            math.floor(position_s / self._options.interval_s), _Interval(*np.zeros((2, len(self._labels)), np.int64))
        )
        if self._at_places is not None:
            found = self._masks.unmasked(found)
            tracked = self._tracker.update(found, at_s=position_s, frame_size=frame.size)
            for passage in self._at_places.update(tracked):
                interval.passages[passage.label, passage.place, passage.direction] += 1
            found = found.at_least(self._threshold)
        counts = np.bincount(found.class_ids, minlength=len(self._labels))
        interval.frames += 1
        interval.sums += counts
        np.maximum(interval.largest, counts, out=interval.largest)

    def rows(self, file: str) -> list[Row]:
        name = file.encode(errors="backslashreplace").decode()  # a file name need not be text
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
