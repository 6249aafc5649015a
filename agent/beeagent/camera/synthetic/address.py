"""How a synthetic scene is written as a camera, such as `synthetic:640x480@15?seed=3&bees=2-10`."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import parse_qsl

from beeagent.camera.synthetic.options import SceneOptions
from beeagent.errors import InputError

N = TypeVar("N", int, float)


@dataclass(frozen=True, slots=True)
class SyntheticAddress:
    """The scene that the project draws itself.

    Attributes:
        scene: what to draw.
        live: whether it runs at its own rate, like a camera, or as fast as it is asked, like a file.
        frames: how many until it ends, 1 or more; None for no end.
    """

    scene: SceneOptions
    live: bool = True
    frames: int | None = None

    @property
    def description(self) -> str:
        """For logs and errors."""
        return f"synthetic:{self.scene.width}x{self.scene.height}@{self.scene.fps:g}?seed={self.scene.seed}"


_FORM = re.compile(
    r"(?:(?P<width>[0-9]{1,5})x(?P<height>[0-9]{1,5}))?"
    r"(?:@(?P<fps>[0-9]{1,4}(?:\.[0-9]{1,6})?))?"
    r"(?:\?(?P<settings>.+))?"
)
_NUMBER = r"[0-9]{1,4}(?:\.[0-9]{1,6})?"
_SETTINGS = {
    "seed": (r"[0-9]{1,10}", "a whole number"),
    "bees": (r"[0-9]{1,4}(-[0-9]{1,4})?", "one whole number or two, such as 2-10"),
    "length": (f"{_NUMBER}(-{_NUMBER})?", "one number or two, such as 0.05-0.1"),
    "live": ("yes|no", "yes or no"),
    "frames": (r"0*[1-9][0-9]{0,8}", "a whole number of 1 or more"),
}


def parse_synthetic(text: str) -> SyntheticAddress:
    """Understand `synthetic` or `synthetic:[WIDTHxHEIGHT][@FPS][?NAME=VALUE&NAME=VALUE…]`.

    The names: `seed`, a whole number; `bees`, how many are in view, one number or least and most (`2-10`);
    `length`, how long a bee is as a ratio of the frame's longer side, likewise (`0.05-0.1`); `live`, `yes` for the
    scene's own rate or `no` for as fast as it is asked; `frames`, after how many it ends. What is left out has the
    default of `SceneOptions` and `SyntheticAddress`.

    Raises:
        InputError: it is written otherwise, or a value is out of range.
    """
    match = _FORM.fullmatch(text.removeprefix("synthetic").removeprefix(":"))
    if match is None:
        raise InputError(f"camera {text!r}: write it like synthetic, or like synthetic:640x480@15?seed=3&bees=2-10")
    settings = _parse_settings(text, match["settings"])
    default = SceneOptions()
    return SyntheticAddress(
        scene=SceneOptions(
            width=int(match["width"] or default.width),
            height=int(match["height"] or default.height),
            fps=float(match["fps"] or default.fps),
            seed=int(settings.get("seed", default.seed)),
            bees=_least_and_most(settings["bees"], int) if "bees" in settings else default.bees,
            bee_length=_least_and_most(settings["length"], float) if "length" in settings else default.bee_length,
        ),
        live=settings.get("live", "yes") == "yes",
        frames=int(settings["frames"]) if "frames" in settings else None,
    )


def _least_and_most(text: str, number: Callable[[str], N]) -> tuple[N, N]:
    least, _, most = text.partition("-")
    return number(least), number(most or least)


def _parse_settings(text: str, query: str | None) -> dict[str, str]:
    settings: dict[str, str] = {}
    for name, value in parse_qsl(query or "", keep_blank_values=True):
        if name not in _SETTINGS:
            raise InputError(f"camera {text!r}: there is no setting {name!r}; use {', '.join(_SETTINGS)}")
        if name in settings:
            raise InputError(f"camera {text!r}: {name} is given twice")
        form, meaning = _SETTINGS[name]
        if not re.fullmatch(form, value):
            raise InputError(f"camera {text!r}: {name} is {value!r}; use {meaning}")
        settings[name] = value
    return settings
