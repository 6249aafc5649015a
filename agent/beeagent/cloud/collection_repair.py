"""Takes up what an earlier run collected, and mends what a crash, a power cut or a person did to it."""

import json
import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from beeagent.cloud.collected_line import LINE_START, CollectedLine, read_collected_line
from beeagent.cloud.collection_files import IMAGES, MANIFEST, rewrite_lines
from beeagent.errors import InputError

_LOG: Final = logging.getLogger(__name__)

_OUR_PICTURE: Final = re.compile(r"\.?\d{8}T\d{6}\.\d{6}Z-\d+\.jpg(\.partial)?")


@dataclass(frozen=True, slots=True)
class Found:
    """A frame that is kept.

    Attributes:
        picture: its path relative to the manifest.
        size: of the picture, in bytes.
        line: length of its line in the manifest, in bytes.
    """

    picture: str
    size: int
    line: int


def take_up(folder: Path) -> tuple[list[Found], dict[str, int]]:
    """Read a collection. Lines that are damaged or whose picture is gone go, and pictures without a line.

    Returns:
        The frames, the oldest first; and the number of each label.

    Raises:
        InputError: something in it was not collected; everything is as before.
        OSError: it cannot be read or mended.
    """
    manifest = folder / MANIFEST
    kept: list[Found] = []
    stays: list[bool] = []
    classes: dict[str, int] = {}
    for number, line in enumerate(_lines(manifest), start=1):
        read = read_collected_line(line)
        stays.append(False)
        if read is None and _is_damage(line):
            continue
        if read is None or not _is_ours(read, classes):
            raise InputError(
                f"collect {folder}: {MANIFEST} holds line {number} that this did not write: give a folder of its own"
            )
        classes.update(read.classes)
        size = _size(folder / read.picture)
        if size and line.endswith(b"\n"):
            stays[-1] = True
            kept.append(Found(read.picture, size, len(line)))
    named = {one.picture for one in kept}
    without_line = [path for path in (folder / IMAGES).iterdir() if f"{IMAGES}/{path.name}" not in named]
    for path in without_line:
        if not _OUR_PICTURE.fullmatch(path.name):
            raise InputError(
                f"collect {folder}: {IMAGES}/{path.name} is nothing that was collected: give a folder of its own"
            )
    if not all(stays):
        _LOG.warning("collect: %s: %d lines are damaged or have lost their picture, and go", folder, stays.count(False))
        rewrite_lines(manifest, stays)
    for path in without_line:
        path.unlink(missing_ok=True)
    return kept, classes


def _lines(manifest: Path) -> Iterator[bytes]:
    with suppress(FileNotFoundError), manifest.open("rb") as file:
        yield from file


def _size(picture: Path) -> int:
    try:
        return picture.stat().st_size
    except FileNotFoundError:
        return 0


def _is_damage(line: bytes) -> bool:
    """Tell what a crash left of a line of ours, cut short or filled with zeros, from what others wrote."""
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return not line.strip() or b"\0" in line or line.startswith(LINE_START) or LINE_START.startswith(line)
    return False


def _is_ours(read: CollectedLine, classes: Mapping[str, int]) -> bool:
    """Say whether a line is one of a collection in which the labels have these numbers so far."""
    joined = {**classes, **read.classes}
    agree = all(joined[label] == number for label, number in classes.items())
    in_a_row = sorted(joined.values()) == list(range(len(joined)))
    return agree and in_a_row and Path(read.picture).parent == Path(IMAGES)
