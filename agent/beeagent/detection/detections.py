"""The one form in which what was found in a frame is passed around."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Detections:
    """What was found in one frame, strongest first.

    Attributes:
        boxes: float32, shape (n, 4): left, top, right, bottom as ratios of the frame's width and height,
            each within 0 to 1, left <= right and top <= bottom.
        confidences: float32, shape (n,), within 0 to 1, descending.
        class_ids: int64, shape (n,): indices into `labels`.
        labels: the names of all classes the model knows.

    Raises:
        ValueError: the arrays do not fit together.
    """

    boxes: NDArray[np.float32]
    confidences: NDArray[np.float32]
    class_ids: NDArray[np.int64]
    labels: tuple[str, ...]

    def __post_init__(self) -> None:
        count = len(self.confidences)
        if self.boxes.shape != (count, 4) or self.class_ids.shape != (count,):
            raise ValueError(
                f"boxes {self.boxes.shape}, confidences {self.confidences.shape} and class ids "
                f"{self.class_ids.shape} do not fit together"
            )

    def __len__(self) -> int:
        return len(self.confidences)

    def label(self, index: int) -> str:
        """Give the name of the class of detection `index`."""
        return self.labels[int(self.class_ids[index])]

    def from_confidence(self, least: float) -> "Detections":
        """Give those of at least this confidence, 0 to 1."""
        # In float32, the type of the confidences, as the detector compares.
        kept = int(np.count_nonzero(self.confidences >= np.float32(least)))
        return Detections(self.boxes[:kept], self.confidences[:kept], self.class_ids[:kept], self.labels)

    def counts(self) -> dict[str, int]:
        """Count the detections of each class that was found, in the order of the labels."""
        ids, counts = np.unique(self.class_ids, return_counts=True)
        return {self.labels[int(i)]: int(n) for i, n in zip(ids, counts, strict=True)}
