"""Compares the raw heads of a converted model with those of its source."""

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
        name: file name of the image.
        boxes: number of compared boxes: those of the anchors whose source score is at or above the threshold, but at
            least the 10 with the highest scores.
        strongest_source: highest score of the source, 0 to 1.
        strongest_converted: highest score of the converted model, 0 to 1.
        score_difference: maximum absolute difference of scores over all anchors and classes.
        box_difference: maximum absolute difference of box coordinates, as a ratio of the input.
        smallest_iou: minimum IoU of the two boxes of an anchor.
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
    """The differences per anchor on some images, before post-processing.

    Attributes:
        score_threshold: minimum source score of the compared boxes.
        seen_in_calibration: True if the images were also used for calibration, which makes the result optimistic.
        images: differences per image, at least one.
    """

    score_threshold: float
    seen_in_calibration: bool
    images: tuple[ImageParity, ...]

    @property
    def score_difference(self) -> float:
        """Maximum absolute difference of scores."""
        return max(image.score_difference for image in self.images)

    @property
    def box_difference(self) -> float:
        """Maximum absolute difference of box coordinates, as a ratio of the input."""
        return max(image.box_difference for image in self.images)

    @property
    def smallest_iou(self) -> float:
        """Minimum IoU of the two boxes of an anchor."""
        return min(image.smallest_iou for image in self.images)

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return {
            "score_difference": self.score_difference,
            "box_difference": self.box_difference,
            "smallest_iou": self.smallest_iou,
            "score_threshold": self.score_threshold,
            "seen_in_calibration": self.seen_in_calibration,
            "images": [asdict(image) for image in self.images],
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
        heads: raw heads of the source model.
        converted: TFLite model from `convert_heads`.
        images: name and pixels of at least one image, uint8, shape (height, width, 3), RGB.
        score_threshold: minimum source score of the compared boxes, 0 to 1.
        seen_in_calibration: True if the images were also used for calibration.

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
    compared = strongest[: max(_MIN_BOXES, int((best >= score_threshold).sum()))]
    boxes, others = heads.decode(source[0])[compared], heads.decode(converted[0])[compared]
    return ImageParity(
        name=name,
        boxes=len(compared),
        strongest_source=float(best.max()),
        strongest_converted=float(converted[1].max()),
        score_difference=float(np.abs(source[1] - converted[1]).max()),
        box_difference=float(np.abs(boxes - others).max()),
        smallest_iou=float(iou(boxes, others).min()),
    )
