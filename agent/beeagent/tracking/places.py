"""Places: named lines, zones and masks in the frame, defined in a TOML file.

[lines.door]                             # counts crossings, in each direction
points = [[0.20, 0.55], [0.80, 0.55]]    # from, to: x and y in ratios of the frame's width and height
in = "up"                                # a bee that crosses it upwards flies in

[zones.entrance]                         # counts arrivals and departures, and the bees in it
points = [[0.25, 0.30], [0.75, 0.30], [0.75, 0.50], [0.25, 0.50]]

[masks.flag]                             # detections whose centre is in it are dropped
points = [[0.90, 0.00], [1.00, 0.00], [1.00, 0.10]]
"""

import sys
from pathlib import Path
from typing import Annotated, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from beeagent.detection import Masks, inside_polygon
from beeagent.errors import InputError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Direction = Literal["up", "down", "left", "right"]
Kind = Literal["line", "zone", "mask"]

MAX_PLACES: Final = 32
_MAX_POINTS: Final = 64
_MAX_BYTES: Final = 256 * 1024
_MIN_AREA: Final = 1e-6  # of a zone or mask, as a ratio of the frame
_MIN_LENGTH: Final = 1e-3  # of a line, as a ratio of the frame's side
_STEPS: Final[dict[Direction, tuple[float, float]]] = {
    "up": (0.0, -1.0),
    "down": (0.0, 1.0),
    "left": (-1.0, 0.0),
    "right": (1.0, 0.0),
}

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,32}$")]
_Ratio = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Point = Annotated[tuple[_Ratio, _Ratio], Field(description="x and y in ratios of the frame's width and height.")]


class _Place(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Line(_Place):
    """A line that bees cross."""

    points: tuple[Point, Point] = Field(description="Its two ends.")
    in_: Direction = Field(alias="in", description="The direction in which a bee that crosses it comes in.")

    @model_validator(mode="after")
    def _check(self) -> "Line":
        along = np.subtract(self.points[1], self.points[0])
        if np.hypot(*along) < _MIN_LENGTH:
            raise ValueError("its two points are the same: give two ends of a line")
        step = _STEPS[self.in_]
        if abs(along[0] * step[1] - along[1] * step[0]) < 0.1 * np.hypot(*along):
            axis = "left or right" if step[0] == 0 else "up or down"
            raise ValueError(f"in is {self.in_!r}, along the line: give {axis}")
        return self

    @property
    def in_sign(self) -> int:
        """1 if the inward direction is to the right of the line from the first to the second point; else -1."""
        along = np.subtract(self.points[1], self.points[0])
        step = _STEPS[self.in_]
        return 1 if along[0] * step[1] - along[1] * step[0] > 0 else -1


class Area(_Place):
    """A polygon."""

    points: Annotated[tuple[Point, ...], Field(min_length=3, max_length=_MAX_POINTS)] = Field(
        description="Its corners in order; the last is joined to the first."
    )

    @model_validator(mode="after")
    def _check(self) -> "Area":
        x, y = np.array(self.points).T
        if abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2 < _MIN_AREA:
            raise ValueError("its points enclose no area: give the corners in order")
        return self

    def contains(self, points: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return a boolean for each point, shape (n,): True if it is in the area.

        Args:
            points: shape (n, 2): x and y in ratios of the frame.
        """
        return inside_polygon(points, self.points)


class Places(_Place):
    """The lines, zones and masks of a camera, by name."""

    model_config = ConfigDict(
        title="beeagent places", json_schema_extra={"$schema": "https://json-schema.org/draft/2020-12/schema"}
    )

    lines: dict[Name, Line] = Field(default={}, description="They count crossings in each direction.")
    zones: dict[Name, Area] = Field(
        default={}, description="They count arrivals and departures, and the bees that are in them."
    )
    masks: dict[Name, Area] = Field(default={}, description="They drop detections whose centre is in them.")

    @model_validator(mode="after")
    def _check(self) -> "Places":
        names = [*self.lines, *self.zones, *self.masks]
        if len(names) > MAX_PLACES:
            raise ValueError(f"there are {len(names)} places, but at most {MAX_PLACES} are allowed")
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"{name!r} is the name of two places: give each its own")
        return self

    @property
    def all_masks(self) -> Masks:
        """The masks, in the order of the file."""
        return Masks(tuple(mask.points for mask in self.masks.values()))


def load_places(path: Path) -> Places:
    """Read a file of places.

    Raises:
        InputError: the file cannot be read, is not TOML, or has an invalid place. The message contains the file, the
            place and the allowed values.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise InputError(f"places {path}: cannot be read: {error.strerror or error}") from error
    if len(content) > _MAX_BYTES:
        raise InputError(
            f"places {path}: is larger than {_MAX_BYTES // 1024} KiB: give a file of lines, zones and masks"
        )
    try:
        return parse_places(content)
    except InputError as error:
        raise InputError(f"places {path}: {error}") from error


def parse_places(content: bytes) -> Places:
    """Parse the content of a file of places.

    Raises:
        InputError: the content is invalid; the message does not contain the name of the file.
    """
    try:
        document = tomllib.loads(content.decode())
    except UnicodeDecodeError as error:
        raise InputError(f"is not UTF-8 at byte {error.start}") from error
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise InputError(f"is not TOML: {error}") from error
    return validate_places(document)


def validate_places(document: object) -> Places:
    """Validate places parsed from TOML or JSON.

    Raises:
        InputError: a place is invalid.
    """
    try:
        return Places.model_validate(document)
    except ValidationError as error:
        raise InputError(_explain(error)) from error


def format_places(places: Places) -> str:
    """Return the TOML text of places, the inverse of `parse_places`."""
    tables = []
    for kind, named in places.model_dump(by_alias=True).items():
        for name, place in named.items():
            points = ", ".join(f"[{x!r}, {y!r}]" for x, y in place["points"])
            direction = f'in = "{place["in"]}"\n' if "in" in place else ""
            tables.append(f"[{kind}.{name}]\npoints = [{points}]\n{direction}")
    return "\n".join(tables)


def _explain(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    parts = [part for part in first["loc"] if part != "[key]"]
    if first["type"] == "extra_forbidden":
        if len(parts) == 1:
            return f"[{parts[0]}] is unknown: give lines, zones or masks"
        known = "points and in" if parts[0] == "lines" else "points"
        return f"{_place(parts)} is unknown: give {known}"
    if first["type"] == "string_pattern_mismatch":
        return f"the name {first['input']!r} in [{parts[0]}]: give 1 to 32 letters, digits, - or _"
    if first["type"] == "missing":
        needed = {"in": "up, down, left or right", "points": "a list of [x, y]"}.get(str(parts[-1]), "a value")
        return f"{_place(parts)} is missing: give {needed}"
    message = first["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    if first["type"] == "value_error":
        return f"{_place(parts)}: {message}" if parts else message
    return f"{_place(parts)} is {first['input']!r}: {message}"


def _place(parts: list[int | str]) -> str:
    """Return the path of a value as in the file: `[lines.door] points[1][0]`."""
    keys = [str(part) for part in parts if isinstance(part, str)]
    indices = "".join(f"[{part}]" for part in parts if isinstance(part, int))
    table, rest = ".".join(keys[:2]), ".".join(keys[2:])
    return f"[{table}] {rest}{indices}".strip()
