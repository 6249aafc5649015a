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

_FEWEST_BOXES = 10


@dataclass(frozen=True, slots=True)
class PictureParity:
    """The differences on one picture.

    Attributes:
        name: of the picture.
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
    """The differences on some pictures, anchor by anchor, before post-processing.

    Attributes:
        score_threshold: from which score on boxes were compared.
        seen_in_calibration: whether the pictures were also used for calibration, which flatters the result.
        pictures: one entry a picture, at least one.
    """

    score_threshold: float
    seen_in_calibration: bool
    pictures: tuple[PictureParity, ...]

    @property
    def score_difference(self) -> float:
        """The largest difference of a score."""
        return max(picture.score_difference for picture in self.pictures)

    @property
    def box_difference(self) -> float:
        """The largest difference of a box's side, as a ratio of the input."""
        return max(picture.box_difference for picture in self.pictures)

    @property
    def smallest_iou(self) -> float:
        """The smallest overlap of a box with itself in the other model."""
        return min(picture.smallest_iou for picture in self.pictures)

    def to_json(self) -> dict[str, Any]:
        """Give the report as JSON knows it."""
        return {
            "score_difference": self.score_difference,
            "box_difference": self.box_difference,
            "smallest_iou": self.smallest_iou,
            "score_threshold": self.score_threshold,
            "seen_in_calibration": self.seen_in_calibration,
            "pictures": [asdict(picture) for picture in self.pictures],
        }


def compare(
    heads: RawHeads,
    converted: bytes,
    pictures: Sequence[tuple[str, NDArray[np.uint8]]],
    *,
    score_threshold: float,
    seen_in_calibration: bool,
) -> ParityReport:
    """Run the source and the converted heads on the same pictures.

    Args:
        heads: the source.
        converted: what `convert_heads` made of it.
        pictures: name and pixels, uint8, shape (height, width, 3), RGB; at least one.
        score_threshold: from which score on boxes are compared, 0 to 1.
        seen_in_calibration: for the report.

    Raises:
        ValueError: there is no picture.
    """
    if not pictures:
        raise ValueError("parity needs at least one picture")
    run = Interpreter(model_content=converted).get_signature_runner()
    compared = []
    for name, pixels in pictures:
        source = heads.run(heads.normalise(pixels))
        result = run(images=pixels[np.newaxis])
        other = (result[BOX_CODES_OUTPUT][0], result[SCORES_OUTPUT][0])
        compared.append(_compare_picture(heads, name, source, other, score_threshold))
    return ParityReport(score_threshold, seen_in_calibration, tuple(compared))


def _compare_picture(
    heads: RawHeads,
    name: str,
    source: tuple[NDArray[np.float32], NDArray[np.float32]],
    converted: tuple[NDArray[np.float32], NDArray[np.float32]],
    score_threshold: float,
) -> PictureParity:
    best = source[1].max(axis=1)
    strongest = np.argsort(-best)
    chosen = strongest[: max(_FEWEST_BOXES, int((best >= score_threshold).sum()))]
    boxes, others = heads.decode(source[0])[chosen], heads.decode(converted[0])[chosen]
    return PictureParity(
        name=name,
        boxes=len(chosen),
        strongest_source=float(best.max()),
        strongest_converted=float(converted[1].max()),
        score_difference=float(np.abs(source[1] - converted[1]).max()),
        box_difference=float(np.abs(boxes - others).max()),
        smallest_iou=float(iou(boxes, others).min()),
    )
