"""A memory-mapped store of decoded images, shared by the loader processes."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

# The kinds of images in a store.
PHOTOGRAPH, SCENE, BACKGROUND, CUTOUT = "photograph", "scene", "background", "cutout"

_MIN_SIDE = 48
_HALVINGS = 3


@dataclass(frozen=True, slots=True)
class StoredImage:
    """An image for the store.

    Attributes:
        pixels: uint8, shape (height, width, channels), BGR or BGR with opacity.
        boxes: float32, shape (n, 4): left, top, right, bottom in pixels.
        class_ids: int64, shape (n,).
        ignored: float32, shape (m, 4): regions that may contain unlabelled objects.
        kind: `PHOTOGRAPH`, `SCENE`, `BACKGROUND` or `CUTOUT`.
        source: index of the dataset of a photograph or cut-out; -1 for synthetic images.
    """

    pixels: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    class_ids: NDArray[np.int64]
    ignored: NDArray[np.float32]
    kind: str
    source: int = -1


class ImageStore:
    """Images with labels; each image also at a half, a quarter and an eighth of its size.

    Args:
        folder: folder of `write_store`.
    """

    def __init__(self, folder: Path) -> None:
        index: list[dict[str, Any]] = json.loads((folder / "index.json").read_text())
        pixels = np.memmap(folder / "pixels.bin", np.uint8, mode="r")
        self._levels: list[list[NDArray[np.uint8]]] = []
        self._boxes: list[NDArray[np.float32]] = []
        self._class_ids: list[NDArray[np.int64]] = []
        self._ignored: list[NDArray[np.float32]] = []
        self._numbers: dict[tuple[str, int], list[int]] = {}
        for number, entry in enumerate(index):
            levels = []
            for start, shape in entry["levels"]:
                levels.append(pixels[start : start + int(np.prod(shape))].reshape(shape))
            self._levels.append(levels)
            self._boxes.append(np.asarray(entry["boxes"], np.float32).reshape(-1, 4))
            self._class_ids.append(np.asarray(entry["class_ids"], np.int64))
            self._ignored.append(np.asarray(entry["ignored"], np.float32).reshape(-1, 4))
            self._numbers.setdefault((entry["kind"], entry["source"]), []).append(number)

    def sources(self, kind: str) -> dict[int, list[int]]:
        """Return the numbers of the images of a kind by dataset."""
        return {source: numbers for (key, source), numbers in self._numbers.items() if key == kind}

    def pixels(self, number: int) -> NDArray[np.uint8]:
        """Return an image at full size, read-only."""
        return self._levels[number][0]

    def shrunk(self, number: int, scale: float) -> tuple[NDArray[np.uint8], float]:
        """Return the smallest stored level with at least this scale, and its scale."""
        levels = self._levels[number]
        level = 0
        while level + 1 < len(levels) and scale <= 0.5 ** (level + 1):
            level += 1
        return levels[level], 0.5**level

    def boxes(self, number: int) -> NDArray[np.float32]:
        """Return the boxes of an image: left, top, right, bottom in pixels of the full size."""
        return self._boxes[number]

    def class_ids(self, number: int) -> NDArray[np.int64]:
        """Return the class of each box."""
        return self._class_ids[number]

    def ignored(self, number: int) -> NDArray[np.float32]:
        """Return the regions of an image that may contain unlabelled objects."""
        return self._ignored[number]


def write_store(folder: Path, images: Iterable[StoredImage]) -> None:
    """Write images to a folder. `index.json` is written last, so a store that has it is complete."""
    folder.mkdir(parents=True, exist_ok=True)
    index, position = [], 0
    with (folder / "pixels.bin").open("wb") as file:
        for image in images:
            levels, pixels = [], image.pixels
            for halving in range(_HALVINGS + 1):
                if halving:
                    if min(pixels.shape[:2]) < 2 * _MIN_SIDE:
                        break
                    pixels = halve(pixels)
                levels.append((position, pixels.shape))
                position += file.write(np.ascontiguousarray(pixels).tobytes())
            index.append(
                {
                    "levels": levels,
                    "boxes": image.boxes.tolist(),
                    "class_ids": image.class_ids.tolist(),
                    "ignored": image.ignored.tolist(),
                    "kind": image.kind,
                    "source": image.source,
                }
            )
    partial = folder / "index.json.partial"
    partial.write_text(json.dumps(index))
    partial.replace(folder / "index.json")


def halve(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Downscale an image by 2 with area averaging; an odd last row or column is dropped."""
    height, width = pixels.shape[0] // 2, pixels.shape[1] // 2
    even = pixels[: 2 * height, : 2 * width]
    return np.asarray(cv2.resize(even, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
