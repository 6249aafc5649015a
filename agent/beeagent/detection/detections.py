"""The detections of one frame."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from beeagent.errors import requires_extra

if TYPE_CHECKING:
    import supervision


class Box(NamedTuple):
    """A box in ratios of the frame's width and height, each within 0 to 1."""

    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True, slots=True)
class Detection:
    """One detected object.

    Attributes:
        label: name of the class.
        confidence: score of the model, 0 to 1.
        box: bounding box in ratios of the frame.
    """

    label: str
    confidence: float
    box: Box


@dataclass(frozen=True, slots=True)
class Detections:
    """The detections of one frame, by descending confidence. Iterating yields a `Detection` for each.

    Attributes:
        boxes: float32, shape (n, 4): left, top, right, bottom in ratios of the frame's width and height, each within
            0 to 1, left <= right and top <= bottom.
        confidences: float32, shape (n,), within 0 to 1, descending.
        class_ids: int64, shape (n,): indices into `labels`.
        labels: names of all classes of the model.

    Raises:
        ValueError: the shapes of the arrays do not match.
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
                f"{self.class_ids.shape} do not match"
            )

    def __len__(self) -> int:
        return len(self.confidences)

    def __iter__(self) -> Iterator[Detection]:
        rows = zip(self.boxes.tolist(), self.confidences.tolist(), self.class_ids.tolist(), strict=True)
        for box, confidence, class_id in rows:
            yield Detection(self.labels[class_id], confidence, Box(*box))

    def label(self, index: int) -> str:
        """Return the label of detection `index`."""
        return self.labels[int(self.class_ids[index])]

    def at_least(self, confidence: float) -> "Detections":
        """Return the detections of at least this confidence, 0 to 1."""
        # In float32, the type of the confidences, as in the detector.
        kept = int(np.count_nonzero(self.confidences >= np.float32(confidence)))
        return Detections(self.boxes[:kept], self.confidences[:kept], self.class_ids[:kept], self.labels)

    def counts(self) -> dict[str, int]:
        """Return the number of detections by label, in the order of the labels, without zeros."""
        ids = self.class_ids.tolist()
        return {self.labels[class_id]: ids.count(class_id) for class_id in sorted(set(ids))}

    def xyxy(self, frame_size: tuple[int, int]) -> NDArray[np.float32]:
        """Return the boxes in pixels.

        Args:
            frame_size: width and height of the frame in pixels.

        Returns:
            float32, shape (n, 4): left, top, right, bottom.
        """
        return self.boxes * np.array(frame_size * 2, dtype=np.float32)

    def to_supervision(self, frame_size: tuple[int, int]) -> "supervision.Detections":
        """Convert to the detections of the package supervision, which draws, tracks and counts.

        Args:
            frame_size: width and height of the frame in pixels.

        Raises:
            InputError: supervision is not installed.
        """
        with requires_extra("evaluate", feature="to_supervision()"):
            import supervision  # noqa: PLC0415 - an extra
        return supervision.Detections(
            xyxy=self.xyxy(frame_size),
            confidence=self.confidences,
            class_id=self.class_ids,
            data={"class_name": np.array(self.labels)[self.class_ids]},
        )
