"""What a contender of a comparison found, whatever it is."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, Protocol

import numpy as np
from beeagent.cloud import encode_jpeg
from beeagent.detection import Detections
from numpy.typing import NDArray

from beeagent_models.datasets.dataset import Dataset

Kind = Literal["device", "messages", "answers", "cloud"]
"""A model that runs here, messages of the agent, answers of Rekognition, a model in the cloud."""

# As the agent's settings have them by default, `rekognition_longest_side` and `rekognition_jpeg_quality`.
LONGEST_SIDE: Final = 1280
QUALITY: Final = 85


@dataclass(frozen=True, slots=True)
class Findings:
    """What one contender found.

    Attributes:
        name: what it is called.
        kind: what it is.
        found: the detections in each picture, in the order of the data set.
        seconds: float64, shape (n,): what each picture took, those without a result left out; None where that is not
            known.
        sent: int64, shape (n,): bytes that leave the device for each picture: its JPEG for the cloud, its message
            for a model of the device.
    """

    name: str
    kind: Kind
    found: tuple[Detections, ...]
    seconds: NDArray[np.float64] | None
    sent: NDArray[np.int64]

    @property
    def in_cloud(self) -> bool:
        """Whether the pictures went, or would go, to a cloud model, which costs by the hour."""
        return self.kind in {"answers", "cloud"}


class Source(Protocol):
    """A contender that is ready to look, or to be read."""

    def find(self, dataset: Dataset, step: Callable[[], object]) -> Findings:
        """Give what it finds in the pictures of the data set.

        Args:
            dataset: the one that it was made for.
            step: called after each picture.

        Raises:
            InputError: a picture or a result cannot be used.
        """
        ...


def jpeg_bytes(pixels: NDArray[np.uint8]) -> int:
    """Give the size of a picture's JPEG as the agent sends it to a cloud model.

    Args:
        pixels: uint8, shape (height, width, 3), BGR.
    """
    return len(encode_jpeg(pixels, longest_side=LONGEST_SIDE, quality=QUALITY))
