"""How far a converted model's raw heads are from those it was made from."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from beeagent.detection import iou
from numpy.typing import NDArray

from beeagent_export.conversion import BOX_CODES_OUTPUT, SCORES_OUTPUT
from beeagent_export.heads import RawHeads

_MIN_BOXES = 10


@dataclass(frozen=True, slots=True)
class ImageParity:
    """The differences on one image.

    Attributes:
        name: of the image.
        boxes: how many anchors' boxes were compared: those that score at least the report's threshold in the
            source, or, if these are fewer than 10, its 10 strongest.
        strongest_source: the highest score that the source gives, 0 to 1.
        strongest_converted: the highest score that the converted model gives, 0 to 1.
        score_difference: the largest difference of a score, over all anchors and classes.
        box_difference: the largest difference of a box's side, as a ratio of the input.
        smallest_iou: the smallest overlap (IoU) of a box with itself in the other model.
    """

    name: str
    boxes: int
    strongest_source: float
    strongest_converted: float
    score_difference: float
    box_difference: float
    smallest_iou: float


@dataclass(frozen=True, slots=True)
class ParityReport:
    """The differences on some images, anchor by anchor, before post-processing.

    Attributes:
        score_threshold: from which score on boxes were compared.
        seen_in_calibration: whether the images were also used for calibration, which flatters the result.
        images: one entry an image, at least one.
    """

    score_threshold: float
    seen_in_calibration: bool
    images: tuple[ImageParity, ...]

    @property
    def score_difference(self) -> float:
        """The largest difference of a score."""
        return max(image.score_difference for image in self.images)

    @property
    def box_difference(self) -> float:
        """The largest difference of a box's side, as a ratio of the input."""
        return max(image.box_difference for image in self.images)

    @property
    def smallest_iou(self) -> float:
        """The smallest overlap of a box with itself in the other model."""
        return min(image.smallest_iou for image in self.images)

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return {
            "score_difference": self.score_difference,
            "box_difference": self.box_difference,
            "smallest_iou": self.smallest_iou,
            "score_threshold": self.score_threshold,
            "seen_in_calibration": self.seen_in_calibration,
            "pictures": [asdict(image) for image in self.images],
        }


def compare(
    heads: RawHeads,
    converted: bytes,
    images: Sequence[tuple[str, NDArray[np.uint8]]],
    *,
    score_threshold: float,
    seen_in_calibration: bool,
) -> ParityReport:
    """Run the source and the converted heads on the same images.

    Args:
        heads: the source.
        converted: the result of `convert_heads`.
        images: name and pixels, uint8, shape (height, width, 3), RGB; at least one.
        score_threshold: from which score on boxes are compared, 0 to 1.
        seen_in_calibration: for the report.

    Raises:
        ValueError: there is no image.
    """
    if not images:
        raise ValueError("parity needs at least one image")
    run = Interpreter(model_content=converted).get_signature_runner()
    compared = []
    for name, pixels in images:
        source = heads.run(heads.normalise(pixels))
        result = run(images=pixels[np.newaxis])
        other = (result[BOX_CODES_OUTPUT][0], result[SCORES_OUTPUT][0])
        compared.append(_compare_image(heads, name, source, other, score_threshold))
    return ParityReport(score_threshold, seen_in_calibration, tuple(compared))


def _compare_image(
    heads: RawHeads,
    name: str,
    source: tuple[NDArray[np.float32], NDArray[np.float32]],
    converted: tuple[NDArray[np.float32], NDArray[np.float32]],
    score_threshold: float,
) -> ImageParity:
    best = source[1].max(axis=1)
    strongest = np.argsort(-best)
    chosen = strongest[: max(_MIN_BOXES, int((best >= score_threshold).sum()))]
    boxes, others = heads.decode(source[0])[chosen], heads.decode(converted[0])[chosen]
    return ImageParity(
        name=name,
        boxes=len(chosen),
        strongest_source=float(best.max()),
        strongest_converted=float(converted[1].max()),
        score_difference=float(np.abs(source[1] - converted[1]).max()),
        box_difference=float(np.abs(boxes - others).max()),
        smallest_iou=float(iou(boxes, others).min()),
    )
