"""Labelled pictures one by one, as their source states them: a data set of any length goes by in flat memory.

Where `Dataset` is for training and measuring (all of it, clipped and checked), this is for changing and looking.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from beeagent_models.datasets.box_check import Box


@dataclass(frozen=True, slots=True)
class StatedPicture:
    """What a source says of one picture.

    Attributes:
        where: file and line, for errors.
        reference: how the source names it.
        name: its path within the set, such as `ramp/0007.jpg`, without a folder `images` around all.
        size: width and height in pixels.
        boxes: left, top, right, bottom in pixels, as stated: neither clipped nor rounded.
        labels: the class name of each box.
    """

    where: str
    reference: str
    name: str
    size: tuple[int, int]
    boxes: tuple[Box, ...]
    labels: tuple[str, ...]


class Source(Protocol):
    """A data set that can be gone through, once or more."""

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the classes, in order; those without a box, too."""

    @property
    def left_out(self) -> dict[str, int]:
        """What the source has and a `StatedPicture` has no place for, in words, and how much of it."""

    def pictures(self) -> Iterator[StatedPicture]:
        """Give the pictures, in the order of the source.

        Raises:
            InputError: the source is defective; names file and line.
        """

    def find(self, picture: StatedPicture) -> Path:
        """Find the file of a picture.

        Raises:
            InputError: there is none.
        """


def name_within(path: str) -> str:
    """Make of a key or path the picture's path within its set: nothing absolute, no climbing, no `images` in front."""
    pure = PurePosixPath(path)
    parts = [pure.name] if pure.is_absolute() else [part for part in pure.parts if part not in {"/", "..", "."}]
    return "/".join(parts[1:] if len(parts) > 1 and parts[0] == "images" else parts)
