"""Crossings of lines and passages of zones: detection in tracks, and file formats."""

import itertools
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from beeagent.errors import InputError
from beeagent.tracking import Area
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from beeagent_models.datasets.atomic_write import atomic_write
from beeagent_models.tracks.json_lines import MAX_FRAMES, MAX_TRACK, Row, lines_of, parse_row, schema_of
from beeagent_models.tracks.tracks import MESSAGES, Tracks

SCHEMA = "beeagent.crossings/1"
TRAFFIC = "beeagent.traffic/1"

Counts = dict[str, dict[str, dict["Direction", int]]]
"""Number of crossings by line, label and direction."""

MARGIN = 0.25
"""Minimum distance from the line, in body lengths, of an object that is on one side of it."""

_DECIMALS = 6


class Direction(str, Enum):
    """The direction of a crossing: in is from the line's left-hand side to its right-hand side, seen along it."""

    IN = "in"
    OUT = "out"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A straight line across the frame.

    Attributes:
        name: name of the line.
        start: x and y of the start in ratios of the frame.
        end: x and y of the end in ratios of the frame; not the same point.
    """

    name: str
    start: tuple[float, float]
    end: tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Zone:
    """A polygon of the frame; passages in and out follow from the first and last positions of tracks.

    Attributes:
        name: name of the zone.
        points: x and y of three or more corners, in ratios of the frame.
    """

    name: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Crossing:
    """A crossing of a line, or a passage into or out of a zone.

    Attributes:
        line: name of the line or zone.
        direction: direction of the object.
        frame: first frame in which the object's centre is beyond the line, 1 for the first of the video; for a zone,
            the last frame of its track.
        position_s: position in the video in seconds.
        track: track number of the object; None if unknown.
        label: label of the object; empty if unknown.
    """

    line: str
    direction: Direction
    frame: int
    position_s: float
    track: int | None = None
    label: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Crossings:
    """All crossings in a video, in the order of their frames.

    Attributes:
        lines: counting lines.
        crossings: crossings of the lines and passages of the zones.
        size: width and height of a frame in pixels.
        rate: frame rate of the video.
        frames: number of frames of the video.
        zones: counting zones.
    """

    lines: tuple[Line, ...]
    crossings: tuple[Crossing, ...]
    size: tuple[int, int]
    rate: float
    frames: int
    zones: tuple[Zone, ...] = ()

    @property
    def places(self) -> tuple[str, ...]:
        """Names of the lines and zones."""
        return (*(line.name for line in self.lines), *(zone.name for zone in self.zones))


def parse_line(text: str, *, name: str = "line") -> Line:
    """Parse a line as on the command line: `X1,Y1,X2,Y2` in ratios of the frame.

    Raises:
        InputError: the text is not four numbers from 0 to 1, or the line has no length.
    """
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if len(values) != 4 or not all(0 <= value <= 1 for value in values):
        raise InputError(f"line is {text[:60]!r}: write X1,Y1,X2,Y2 in ratios of the frame, such as 1,0.4,0,0.4")
    if values[:2] == values[2:]:
        raise InputError(f"line is {text!r}: it starts where it ends: give two points")
    return Line(name=name, start=(values[0], values[1]), end=(values[2], values[3]))


def find_crossings(
    points: NDArray[np.float64],
    margins: NDArray[np.float64],
    *,
    start: tuple[float, float],
    end: tuple[float, float],
) -> list[tuple[float, Direction]]:
    """Find the crossings of a line by a path.

    An object is on a side of the line if its centre is at least `margins` away from it. It has crossed if the side has
    changed and its path intersects the line between the ends. So an object that stops, circles or jitters on the line
    crosses once or not at all.

    Args:
        points: float64, shape (n, 2): x and y of the centre in pixels.
        margins: float64, shape (n,): minimum distance from the line in pixels.
        start: start of the line in pixels.
        end: end of the line in pixels.

    Returns:
        The fractional index into the points and the direction of each crossing.
    """
    along = np.subtract(end, start)
    length = math.hypot(*along)
    ahead = along / length
    offset = points - start
    # To the right of the line, seen along it: y grows downwards.
    side = offset[:, 1] * ahead[0] - offset[:, 0] * ahead[1]
    place = offset @ ahead
    found: list[tuple[float, Direction]] = []
    settled = np.flatnonzero(np.abs(side) >= margins)
    for before, after in itertools.pairwise(settled.tolist()):
        if (side[before] > 0) == (side[after] > 0):
            continue
        right = side[before : after + 1] > 0
        last = before + int(np.flatnonzero(right[1:] != right[:-1])[-1])
        share = side[last] / (side[last] - side[last + 1])
        if 0 <= place[last] + share * (place[last + 1] - place[last]) <= length:
            found.append((last + float(share), Direction.IN if side[after] > 0 else Direction.OUT))
    return found


def find_track_crossings(
    tracks: Tracks, lines: Sequence[Line], *, size: tuple[int, int], rate: float
) -> list[Crossing]:
    """Find the crossings of lines by the box centres of tracks, with the longer side of a box as body length.

    Args:
        tracks: tracks in pixels of a frame of `size`.
        lines: counting lines.
        size: width and height of a frame in pixels.
        rate: frames per second of the video.

    Returns:
        The crossings in the order of their frames.
    """
    centres = tracks.boxes[:, :2] + tracks.boxes[:, 2:] / 2
    margins = MARGIN * tracks.boxes[:, 2:].max(axis=1, initial=0)
    found = []
    order = np.argsort(tracks.track, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(tracks.track[order])) + 1):
        for line in lines:
            start, end = _in_pixels(line, size)
            for index, direction in find_crossings(centres[rows], margins[rows], start=start, end=end):
                row = rows[math.floor(index) + 1]
                frame = int(tracks.frame[row])
                found.append(
                    Crossing(
                        line=line.name,
                        direction=direction,
                        frame=frame,
                        position_s=(frame - 1) / rate,
                        track=int(tracks.track[row]),
                        label=tracks.label[row],
                    )
                )
    return sorted(found, key=lambda one: (one.frame, one.track, one.line))


def find_zone_passages(tracks: Tracks, zones: Sequence[Zone], *, size: tuple[int, int], rate: float) -> list[Crossing]:
    """Find the passages of zones: tracks whose first and last box centres are on different sides of the boundary.

    Args:
        tracks: tracks in pixels of a frame of `size`.
        zones: counting zones.
        size: width and height of a frame in pixels.
        rate: frames per second of the video.

    Returns:
        The passages in the order of their frames, each at the last frame of its track.
    """
    centres = (tracks.boxes[:, :2] + tracks.boxes[:, 2:] / 2) / np.array(size)
    found = []
    order = np.argsort(tracks.track, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(tracks.track[order])) + 1) if len(order) else []:
        first, last = rows[np.argmin(tracks.frame[rows])], rows[np.argmax(tracks.frame[rows])]
        for zone in zones:
            began_in, is_in = Area(points=zone.points).contains(centres[[first, last]]).tolist()
            if began_in == is_in:
                continue
            frame = int(tracks.frame[last])
            found.append(
                Crossing(
                    line=zone.name,
                    direction=Direction.IN if is_in else Direction.OUT,
                    frame=frame,
                    position_s=(frame - 1) / rate,
                    track=int(tracks.track[last]),
                    label=tracks.label[last],
                )
            )
    return sorted(found, key=lambda one: (one.frame, one.track, one.line))


def _in_pixels(line: Line, size: tuple[int, int]) -> tuple[tuple[float, float], tuple[float, float]]:
    (x1, y1), (x2, y2) = line.start, line.end
    return (x1 * size[0], y1 * size[1]), (x2 * size[0], y2 * size[1])


_Ratio = Annotated[float, Field(ge=0, le=1)]
_Point = Annotated[list[_Ratio], Field(min_length=2, max_length=2)]


class _LineRow(Row):
    name: Annotated[str, Field(min_length=1)]
    start: _Point
    end: _Point


class _ZoneRow(Row):
    name: Annotated[str, Field(min_length=1)]
    points: Annotated[list[_Point], Field(min_length=3, max_length=1000)]


class _Header(Row):
    format: Literal["beeagent.crossings/1"] = Field(alias="schema")
    width: Annotated[int, Field(ge=1, le=65_536)]
    height: Annotated[int, Field(ge=1, le=65_536)]
    rate: Annotated[float, Field(gt=0, le=10_000)]
    frames: Annotated[int, Field(ge=1, le=MAX_FRAMES)]
    lines: Annotated[list[_LineRow], Field(max_length=1000)]
    zones: Annotated[list[_ZoneRow], Field(default_factory=list, max_length=1000)]


class _CrossingRow(Row):
    frame: Annotated[int, Field(ge=1, le=MAX_FRAMES)]
    line: str
    direction: Literal["in", "out"]
    track: Annotated[int, Field(ge=-MAX_TRACK, le=MAX_TRACK)] | None = None
    label: str = ""


class _InOut(Row):
    into: Annotated[int, Field(ge=0)] = Field(alias="in")
    out: Annotated[int, Field(ge=0)]


class _Traffic(Row):
    event_id: str
    lines: dict[str, dict[str, _InOut]]
    zones: dict[str, dict[str, _InOut]] = Field(default_factory=dict)


def read_counts(path: Path) -> Counts | None:
    """Read the counts of the agent: the sum of its messages beeagent.traffic/1 without duplicates.

    Args:
        path: JSON Lines file, which may contain other messages of the agent too.

    Returns:
        The counts; None if the file has no such message.

    Raises:
        InputError: the file cannot be read, or a message is invalid.
    """
    counts: Counts | None = None
    known: set[str] = set()
    for number, text in lines_of(path):
        if counts is None and not text.startswith("{"):
            return None
        schema = schema_of(text, path=path, number=number)
        if schema not in MESSAGES:
            return counts
        if schema != TRAFFIC:
            continue
        counts = {} if counts is None else counts
        message = parse_row(_Traffic, text, path=path, number=number)
        if message.event_id in known:
            continue
        known.add(message.event_id)
        # In a ground truth, names of zones and lines are distinct.
        for line, by_label in (message.zones | message.lines).items():
            of_line = counts.setdefault(line, {})
            for label, passed in by_label.items():
                both = of_line.setdefault(label, dict.fromkeys(Direction, 0))
                both[Direction.IN] += passed.into
                both[Direction.OUT] += passed.out
    return counts


def is_crossings_file(path: Path) -> bool:
    """Return True if the first line of a file has the schema beeagent.crossings/1.

    Raises:
        InputError: the file cannot be read.
    """
    first = next(lines_of(path), None)
    return first is not None and first[1].startswith("{") and f'"{SCHEMA}"' in first[1]


def read_crossings(path: Path) -> Crossings:
    """Read JSON Lines of the schema beeagent.crossings/1: a header, then one crossing per line.

    Raises:
        InputError: the file cannot be read, or a line is invalid.
    """
    rows = lines_of(path)
    first = next(rows, None)
    if first is None:
        raise InputError(f"{path} is empty: give a file of crossings, {SCHEMA}")
    if not first[1].startswith("{"):
        raise InputError(f"{path}, line {first[0]}: not a JSON object: give a file of crossings, {SCHEMA}")
    header = parse_row(_Header, first[1], path=path, number=first[0])
    lines = tuple(_line(path, one) for one in header.lines)
    zones = tuple(_zone(path, one) for one in header.zones)
    names = [*(line.name for line in lines), *(zone.name for zone in zones)]
    if not names:
        raise InputError(f"{path}, line {first[0]}: lines has no line and zones no zone: give at least one")
    for name in names:
        if names.count(name) > 1:
            raise InputError(
                f"{path}, line {first[0]}: the name {name!r} is duplicate: give each line and zone its own"
            )
    found = []
    for number, text in rows:
        row = parse_row(_CrossingRow, text, path=path, number=number)
        if row.line not in names:
            raise InputError(f"{path}, line {number}: line is {row.line!r}: the header has {', '.join(names)}")
        if row.frame > header.frames:
            raise InputError(f"{path}, line {number}: frame is {row.frame}: the video has {header.frames}")
        found.append(
            Crossing(
                line=row.line,
                direction=Direction(row.direction),
                frame=row.frame,
                position_s=(row.frame - 1) / header.rate,
                track=row.track,
                label=row.label,
            )
        )
    found.sort(key=lambda one: one.frame)
    size = (header.width, header.height)
    return Crossings(
        lines=lines, crossings=tuple(found), size=size, rate=header.rate, frames=header.frames, zones=zones
    )


def _line(path: Path, row: _LineRow) -> Line:
    if row.start == row.end:
        raise InputError(f"{path}: the line {row.name!r} starts where it ends, at {row.start}: give two points")
    return Line(name=row.name, start=(row.start[0], row.start[1]), end=(row.end[0], row.end[1]))


def _zone(path: Path, row: _ZoneRow) -> Zone:
    points = tuple((x, y) for x, y in row.points)
    try:
        Area(points=points)
    except ValidationError:
        raise InputError(f"{path}: the zone {row.name!r} has no area: give three or more corners in order") from None
    return Zone(name=row.name, points=points)


def write_crossings(path: Path, crossings: Crossings) -> None:
    """Write JSON Lines of the schema beeagent.crossings/1.

    Args:
        path: file in an existing folder.
        crossings: the crossings.

    Raises:
        InputError: the file cannot be written.
    """
    lines = [{"name": line.name, "start": _rounded(line.start), "end": _rounded(line.end)} for line in crossings.lines]
    zones = [{"name": zone.name, "points": [_rounded(point) for point in zone.points]} for zone in crossings.zones]
    header = {
        "schema": SCHEMA,
        "width": crossings.size[0],
        "height": crossings.size[1],
        "rate": crossings.rate,
        "frames": crossings.frames,
        "lines": lines,
        **({"zones": zones} if zones else {}),
    }
    with atomic_write(path) as file:
        file.write(json.dumps(header) + "\n")
        for one in crossings.crossings:
            row = {
                "frame": one.frame,
                "position_s": round(one.position_s, _DECIMALS),
                "line": one.line,
                "direction": one.direction.value,
                "track": one.track,
                "label": one.label,
            }
            file.write(json.dumps(row) + "\n")


def write_places(path: Path, lines: Sequence[Line], zones: Sequence[Zone] = ()) -> None:
    """Write a places.toml with lines and zones for the agent.

    Args:
        path: file in an existing folder.
        lines: counting lines, with names of letters, digits, - and _.
        zones: counting zones, with names of letters, digits, - and _.

    Raises:
        InputError: the file cannot be written.
    """
    with atomic_write(path) as file:
        for line in lines:
            file.write(f"[lines.{line.name}]\npoints = [{_rounded(line.start)}, {_rounded(line.end)}]\n")
            file.write(f'in = "{_way_in(line)}"\n')
        for zone in zones:
            file.write(f"[zones.{zone.name}]\npoints = [{', '.join(str(_rounded(one)) for one in zone.points)}]\n")


def _way_in(line: Line) -> str:
    """Return the direction in the image that is nearest to the line's right-hand side."""
    across, down = line.start[1] - line.end[1], line.end[0] - line.start[0]
    if abs(down) >= abs(across):
        return "down" if down > 0 else "up"
    return "right" if across > 0 else "left"


def _rounded(point: tuple[float, float]) -> list[float]:
    return [round(value, _DECIMALS) for value in point]
