"""The options of a synthetic scene, and its camera address: `synthetic:640x480@15?seed=3&bees=2-10`."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar
from urllib.parse import parse_qsl

from beeagent.errors import InputError

MIN_SIDE, MAX_SIDE = 16, 8192
MAX_BEES = 200

N = TypeVar("N", int, float)


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneOptions:
    """Options of a synthetic scene.

    Attributes:
        width: width of the frame in pixels, 16 to 8192.
        height: height of the frame in pixels, 16 to 8192.
        fps: frames per second, above 0 and at most 1000.
        seed: random seed, 0 or more.
        bees: minimum and maximum number of bees in view; the number varies over time.
        bee_length: minimum and maximum body length, as a ratio of the frame's longer side. A scene chooses one length
            in between, from which its bees differ slightly.

    Raises:
        InputError: a value is out of range.
    """

    width: int = 1280
    height: int = 720
    fps: float = 30.0
    seed: int = 0
    bees: tuple[int, int] = (3, 14)
    bee_length: tuple[float, float] = (0.06, 0.16)

    def __post_init__(self) -> None:
        (few, many), (short, long) = self.bees, self.bee_length
        sides, order = f"{MIN_SIDE} to {MAX_SIDE} pixels", "the smaller number first"
        for name, value, valid, allowed in (
            ("width", self.width, MIN_SIDE <= self.width <= MAX_SIDE, sides),
            ("height", self.height, MIN_SIDE <= self.height <= MAX_SIDE, sides),
            ("fps", self.fps, 0 < self.fps <= 1000, "more than 0 and at most 1000"),
            ("seed", self.seed, self.seed >= 0, "0 or more"),
            ("bees", f"{few} to {many}", 0 <= few <= many <= MAX_BEES, f"0 to {MAX_BEES}, {order}"),
            ("bee_length", f"{short} to {long}", 0.005 <= short <= long <= 0.5, f"0.005 to 0.5, {order}"),
        ):
            if not valid:
                raise InputError(f"synthetic scene: {name} is {value}; use {allowed}")


@dataclass(frozen=True, slots=True)
class SyntheticAddress:
    """A synthetic scene as a camera.

    Attributes:
        scene: options of the scene.
        live: True to run at its own rate, like a camera; False to run as fast as it is read, like a file.
        frames: number of frames, 1 or more; None for no end.
    """

    scene: SceneOptions
    live: bool = True
    frames: int | None = None

    @property
    def description(self) -> str:
        """The address as text, for logs and errors."""
        return f"synthetic:{self.scene.width}x{self.scene.height}@{self.scene.fps:g}?seed={self.scene.seed}"


_FORMAT = re.compile(
    r"(?:(?P<width>[0-9]{1,5})x(?P<height>[0-9]{1,5}))?"
    r"(?:@(?P<fps>[0-9]{1,4}(?:\.[0-9]{1,6})?))?"
    r"(?:\?(?P<settings>.+))?"
)
_NUMBER = r"[0-9]{1,4}(?:\.[0-9]{1,6})?"


def _range(text: str, number: Callable[[str], N]) -> tuple[N, N]:
    minimum, _, maximum = text.partition("-")
    return number(minimum), number(maximum or minimum)


_SETTINGS: dict[str, tuple[str, str, Callable[[str], Any]]] = {
    "seed": (r"[0-9]{1,10}", "a whole number", int),
    "bees": (r"[0-9]{1,4}(-[0-9]{1,4})?", "one whole number or two, such as 2-10", partial(_range, number=int)),
    "length": (f"{_NUMBER}(-{_NUMBER})?", "one number or two, such as 0.05-0.1", partial(_range, number=float)),
    "live": ("yes|no", "yes or no", lambda text: text == "yes"),
    "frames": (r"0*[1-9][0-9]{0,8}", "a whole number of 1 or more", int),
}


def parse_synthetic(text: str) -> SyntheticAddress:
    """Parse `synthetic` or `synthetic:[WIDTHxHEIGHT][@FPS][?NAME=VALUE&NAME=VALUE…]`.

    The names are `seed`, an integer; `bees`, the number in view, as one number or a range (`2-10`); `length`, the
    length of a bee as a ratio of the frame's longer side, as one number or a range (`0.05-0.1`); `live`, `yes` for the
    scene's own rate or `no` for as fast as it is read; `frames`, the number of frames. The defaults are those of
    `SceneOptions` and `SyntheticAddress`.

    Raises:
        InputError: the text does not follow this format, or a value is out of range.
    """
    match = _FORMAT.fullmatch(text.removeprefix("synthetic").removeprefix(":"))
    if match is None:
        raise InputError(f"camera {text!r}: write it like synthetic, or like synthetic:640x480@15?seed=3&bees=2-10")
    settings = _parse_settings(text, match["settings"])
    live, frames = settings.pop("live", True), settings.pop("frames", None)
    if "length" in settings:
        settings["bee_length"] = settings.pop("length")
    for name, number in (("width", int), ("height", int), ("fps", float)):
        if match[name]:
            settings[name] = number(match[name])
    return SyntheticAddress(SceneOptions(**settings), live=live, frames=frames)


def _parse_settings(text: str, query: str | None) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    for name, value in parse_qsl(query or "", keep_blank_values=True):
        if name not in _SETTINGS:
            raise InputError(f"camera {text!r}: unknown setting {name!r}; use {', '.join(_SETTINGS)}")
        if name in settings:
            raise InputError(f"camera {text!r}: {name} is given twice")
        pattern, meaning, convert = _SETTINGS[name]
        if not re.fullmatch(pattern, value):
            raise InputError(f"camera {text!r}: {name} is {value!r}; use {meaning}")
        settings[name] = convert(value)
    return settings
