"""The tracks of a video, and their files: MOT challenge text, our own JSON Lines, and messages of the agent."""

import configparser
import itertools
import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from beeagent.errors import InputError
from numpy.typing import NDArray
from pydantic import Field

from beeagent_models.datasets.atomic_write import atomic_write, make_folder
from beeagent_models.tracks.json_lines import MAX_FRAMES, MAX_TRACK, Row, lines_of, parse_row, schema_of

SCHEMA = "beeagent.tracks/1"
_DETECTIONS = "beeagent.detections/1"
MESSAGES = (_DETECTIONS, "beeagent.traffic/1", "beeagent.status/1")
"""Schemas of the agent's messages, which one file may mix."""

_MAX_SIDE = 65_536
_MAX_RATE = 10_000
_MIN_MOT_FIELDS = 6
_DECIMALS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracks:
    """The tracked objects in each frame of a video.

    Attributes:
        frame: int64, shape (n,): frame numbers, 1 for the first; ascending.
        track: int64, shape (n,): track numbers, unique within a frame.
        label: label of each object; empty if unknown.
        boxes: float64, shape (n, 4): left, top, width, height in pixels.
        size: width and height of a frame in pixels; None if unknown.
        rate: frames per second; None if unknown.
        frames: number of frames of the video; None if unknown.
    """

    frame: NDArray[np.int64]
    track: NDArray[np.int64]
    label: tuple[str, ...]
    boxes: NDArray[np.float64]
    size: tuple[int, int] | None = None
    rate: float | None = None
    frames: int | None = None

    @property
    def last_frame(self) -> int:
        """Number of the video's last frame, or of the last with an object if the length is unknown."""
        return self.frames if self.frames is not None else int(self.frame.max(initial=0))

    def scaled_to(self, size: tuple[int, int] | None) -> "Tracks":
        """Return the tracks in pixels of another frame size; unchanged if either size is unknown."""
        if self.size is None or size is None or self.size == size:
            return self
        factors = np.array(size * 2) / np.array(self.size * 2)
        return replace(self, boxes=self.boxes * factors, size=size)

    def every(self, step: int) -> "Tracks":
        """Return the objects in frames 1, 1 + step, 1 + 2 step and so on."""
        kept = (self.frame - 1) % step == 0
        label = tuple(label for label, keep in zip(self.label, kept, strict=True) if keep)
        return replace(self, frame=self.frame[kept], track=self.track[kept], label=label, boxes=self.boxes[kept])

    def by_frame(self) -> Iterator[tuple[int, slice]]:
        """Yield each frame with objects, and the slice of its objects."""
        numbers, starts, counts = np.unique(self.frame, return_index=True, return_counts=True)
        for number, start, count in zip(numbers.tolist(), starts.tolist(), counts.tolist(), strict=True):
            yield number, slice(start, start + count)


_Frame = Annotated[int, Field(ge=1, le=MAX_FRAMES)]
_Track = Annotated[int, Field(ge=-MAX_TRACK, le=MAX_TRACK)]
_Side = Annotated[int, Field(ge=1, le=_MAX_SIDE)]
_Ratio = Annotated[float, Field(ge=-100, le=100)]
_Extent = Annotated[float, Field(gt=0, le=100)]


class _Box(Row):
    left: _Ratio
    top: _Ratio
    width: _Extent
    height: _Extent


class _Object(Row):
    track: _Track
    label: str = ""
    box: _Box


class _Header(Row):
    format: Literal["beeagent.tracks/1"] = Field(alias="schema")
    width: _Side
    height: _Side
    rate: Annotated[float, Field(gt=0, le=_MAX_RATE)]
    frames: _Frame


class _FrameRow(Row):
    frame: _Frame
    tracks: list[_Object]


class _Size(Row):
    width: _Side
    height: _Side


class _Source(Row):
    position_s: Annotated[float, Field(ge=0, le=MAX_FRAMES)]


class _Detection(Row):
    track: _Track | None = None  # absent before its track is confirmed
    label: str = ""
    box: _Box


class _Message(Row):
    format: Literal["beeagent.detections/1"] = Field(alias="schema")
    frame: _Size
    source: _Source
    detections: list[_Detection]


@dataclass(frozen=True, slots=True)
class _Found:
    """An object of a file, with its line for errors."""

    line: int
    frame: int
    track: int
    label: str
    box: tuple[float, float, float, float]


def read_tracks(path: Path, *, rate: float | None = None, is_truth: bool = False) -> Tracks:
    """Read tracks from a file; the format is detected.

    - MOT challenge text: `frame,track,left,top,width,height,…` in pixels. Size, rate and number of frames are read from
      a `seqinfo.ini` beside it or beside its folder `gt`. In a ground truth, objects whose seventh value is 0 are
      ignored, as the format defines.
    - JSON Lines of the schema beeagent.tracks/1.
    - Messages of the agent, beeagent.detections/1, with the frame from `position_s`. Detections without a `track` are
      ignored.

    Args:
        path: the file.
        rate: frame rate of the video; required for messages.
        is_truth: the file is a ground truth.

    Raises:
        InputError: the file cannot be read, or a line is invalid.
    """
    lines = lines_of(path)
    first = next(lines, None)
    if first is None:
        raise InputError(f"{path} is empty: give a file of tracks, in MOT challenge format or {SCHEMA}")
    if not first[1].startswith("{"):
        return _read_mot(path, itertools.chain([first], lines), is_truth=is_truth)
    schema = schema_of(first[1], path=path, number=first[0])
    if schema == SCHEMA:
        return _read_own(path, first, lines)
    if schema in MESSAGES:
        return _read_messages(path, itertools.chain([first], lines), rate=rate)
    raise InputError(f"{path}, line {first[0]}: schema is {schema!r}: allowed are {SCHEMA} and {_DETECTIONS}")


def _read_own(path: Path, first: tuple[int, str], lines: Iterable[tuple[int, str]]) -> Tracks:
    header = parse_row(_Header, first[1], path=path, number=first[0])
    found = []
    for number, text in lines:
        row = parse_row(_FrameRow, text, path=path, number=number)
        found += [_placed(number, row.frame, one.track, one, (header.width, header.height)) for one in row.tracks]
    size = (header.width, header.height)
    return _assembled(path, found, size=size, rate=header.rate, frames=header.frames)


def _read_messages(path: Path, lines: Iterable[tuple[int, str]], *, rate: float | None) -> Tracks:
    if rate is None:
        raise InputError(
            f"{path}: messages of the agent need the frame rate of the video, which the ground truth does not have"
        )
    found: list[_Found] = []
    size, detected = None, False
    for number, text in lines:
        schema = schema_of(text, path=path, number=number)
        if schema not in MESSAGES:
            raise InputError(f"{path}, line {number}: schema is {schema!r}: allowed are messages of the agent")
        if schema != _DETECTIONS:
            continue
        message = parse_row(_Message, text, path=path, number=number)
        size = (message.frame.width, message.frame.height)
        frame = round(message.source.position_s * rate) + 1
        detected = detected or bool(message.detections)
        found += [_placed(number, frame, one.track, one, size) for one in message.detections if one.track is not None]
    if size is None:
        raise InputError(f"{path} has no message {_DETECTIONS}: give one with the tracks")
    if detected and not found:
        raise InputError(f"{path} has no detection with a track: run the agent with --places or --track")
    return _assembled(path, found, size=size, rate=rate, frames=None)


def _placed(line: int, frame: int, track: int, one: _Object | _Detection, size: tuple[int, int]) -> _Found:
    width, height = size
    box = (one.box.left * width, one.box.top * height, one.box.width * width, one.box.height * height)
    return _Found(line, frame, track, one.label, box)


def _read_mot(path: Path, lines: Iterable[tuple[int, str]], *, is_truth: bool) -> Tracks:
    found = []
    for number, text in lines:
        values = _numbers(path, number, text)
        if is_truth and len(values) > _MIN_MOT_FIELDS and values[6] == 0:
            continue
        frame, track, left, top, width, height = values[:6]
        if not (frame.is_integer() and 1 <= frame <= MAX_FRAMES):
            raise InputError(f"{path}, line {number}: frame is {frame:g}: allowed are whole numbers of 1 or more")
        if not (track.is_integer() and abs(track) <= MAX_TRACK):
            raise InputError(f"{path}, line {number}: track is {track:g}: allowed are whole numbers")
        if width <= 0 or height <= 0:
            raise InputError(f"{path}, line {number}: the box is {width:g}x{height:g} pixels: allowed is more than 0")
        found.append(_Found(number, int(frame), int(track), "", (left, top, width, height)))
    size, rate, frames = _sequence_info(path)
    return _assembled(path, found, size=size, rate=rate, frames=frames)


def _numbers(path: Path, number: int, text: str) -> list[float]:
    fields = text.split(",")
    if len(fields) < _MIN_MOT_FIELDS:
        raise InputError(
            f"{path}, line {number}: {len(fields)} values with commas between them: the MOT challenge format has "
            "frame,track,left,top,width,height and more"
        )
    values = []
    for field in fields[: _MIN_MOT_FIELDS + 1]:
        try:
            value = float(field)
        except ValueError:
            value = math.nan
        if not math.isfinite(value) or abs(value) > MAX_TRACK:
            raise InputError(
                f"{path}, line {number}: {field.strip()[:40]!r} is not a number: give numbers and commas only"
            )
        values.append(value)
    return values


def _sequence_info(path: Path) -> tuple[tuple[int, int] | None, float | None, int | None]:
    """Return size, rate and number of frames from the sequence's `seqinfo.ini`, or None for each."""
    folders = (path.parent, path.parent.parent) if path.parent.name == "gt" else (path.parent,)
    file = next((folder / "seqinfo.ini" for folder in folders if (folder / "seqinfo.ini").is_file()), None)
    if file is None:
        return None, None, None
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(file.read_text(encoding="utf-8"), source=str(file))
        section = parser["Sequence"]
        size = (int(section["imWidth"]), int(section["imHeight"]))
        rate, frames = float(section["frameRate"]), int(section["seqLength"])
    except (configparser.Error, KeyError, ValueError, OSError):
        size, rate, frames = (0, 0), 0.0, 0
    if not (
        min(size) > 0 and max(size) <= _MAX_SIDE and 0 < rate <= _MAX_RATE and 1 <= frames <= MAX_FRAMES
    ):  # NaN fails too
        raise InputError(
            f"{file} is not in MOT challenge format: give imWidth, imHeight, frameRate and seqLength in [Sequence]"
        )
    return size, rate, frames


def _assembled(
    path: Path, found: list[_Found], *, size: tuple[int, int] | None, rate: float | None, frames: int | None
) -> Tracks:
    """Sort the objects by frame, and refuse duplicate tracks in a frame and frames after the last."""
    found.sort(key=lambda one: (one.frame, one.track, one.line))
    for one, next_one in itertools.pairwise(found):
        if (one.frame, one.track) == (next_one.frame, next_one.track):
            raise InputError(
                f"{path}, line {next_one.line}: track {one.track} is already in frame {one.frame}, by line {one.line}: "
                "give each object its own number"
            )
    if frames is not None and found and found[-1].frame > frames:
        last = found[-1]
        raise InputError(f"{path}, line {last.line}: frame is {last.frame}: the video has {frames}")
    return Tracks(
        frame=np.array([one.frame for one in found], dtype=np.int64),
        track=np.array([one.track for one in found], dtype=np.int64),
        label=tuple(one.label for one in found),
        boxes=np.array([one.box for one in found], dtype=np.float64).reshape(-1, 4),
        size=size,
        rate=rate,
        frames=frames,
    )


def write_tracks(path: Path, tracks: Tracks) -> None:
    """Write JSON Lines of the schema beeagent.tracks/1: a header, then one line per frame.

    Args:
        path: file in an existing folder.
        tracks: tracks with size, rate and number of frames.

    Raises:
        InputError: the file cannot be written.
    """
    (width, height), rate, frames = _complete(tracks)
    places = dict(tracks.by_frame())
    with atomic_write(path) as file:
        header = {"schema": SCHEMA, "width": width, "height": height, "rate": rate, "frames": frames}
        file.write(json.dumps(header) + "\n")
        for frame in range(1, frames + 1):
            objects = []
            for index in range(*places.get(frame, slice(0, 0)).indices(len(tracks.frame))):
                ratios = tracks.boxes[index] / (width, height, width, height)
                box = dict(zip(("left", "top", "width", "height"), ratios.round(_DECIMALS).tolist(), strict=True))
                objects.append({"track": int(tracks.track[index]), "label": tracks.label[index], "box": box})
            row = {"frame": frame, "position_s": round((frame - 1) / rate, _DECIMALS), "tracks": objects}
            file.write(json.dumps(row) + "\n")


def write_mot(folder: Path, tracks: Tracks) -> Path:
    """Write a folder in MOT challenge format: `gt/gt.txt` and `seqinfo.ini`, with pixels from 0.

    Args:
        folder: folder to create if missing.
        tracks: tracks with size, rate and number of frames.

    Returns:
        The file `gt.txt`.

    Raises:
        InputError: the folder cannot be written to.
    """
    (width, height), rate, frames = _complete(tracks)
    make_folder(folder / "gt")
    truth = folder / "gt" / "gt.txt"
    with atomic_write(truth) as file:
        for frame, track, box in zip(tracks.frame, tracks.track, tracks.boxes, strict=True):
            left, top, across, down = (f"{value:.6g}" for value in box)
            # Fields after the box: considered, class 1, fully visible.
            file.write(f"{frame},{track},{left},{top},{across},{down},1,1,1\n")
    with atomic_write(folder / "seqinfo.ini") as file:
        file.write(
            f"[Sequence]\nname={folder.name}\nimDir=img1\nframeRate={rate:g}\nseqLength={frames}\n"
            f"imWidth={width}\nimHeight={height}\nimExt=.jpg\n"
        )
    return truth


def _complete(tracks: Tracks) -> tuple[tuple[int, int], float, int]:
    if tracks.size is None or tracks.rate is None or tracks.frames is None:
        raise ValueError("tracks to write need size, rate and number of frames")
    return tracks.size, tracks.rate, tracks.frames
