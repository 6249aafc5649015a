"""The one form in which labelled pictures are passed around."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class LabelledImage:
    """One picture on disk and the boxes drawn on it.

    Attributes:
        path: the picture.
        width: in pixels.
        height: in pixels.
        boxes: float32, shape (n, 4): left, top, right, bottom in pixels, within the picture.
        class_ids: int64, shape (n,): indices into the data set's labels.
    """

    path: Path
    width: int
    height: int
    boxes: NDArray[np.float32]
    class_ids: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Dataset:
    """Labelled pictures that share their labels.

    Attributes:
        name: what it is called in reports.
        images: the pictures, in the order of their source.
        labels: the names of the classes.
    """

    name: str
    images: tuple[LabelledImage, ...]
    labels: tuple[str, ...]
