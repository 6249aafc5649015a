"""Measuring tracks against a truth: HOTA, IDF1, MOTA and identity switches, all by the library motrics."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import motrics
import numpy as np

from beeagent_models.tracks import Tracks

MIN_IOU = 0.5
"""Overlap from which a box is found, for MOTA, IDF1 and switches; HOTA averages over 0.05 to 0.95."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackMetrics:
    """How well predicted tracks agree with the truth. Ratios are 0 to 1, but MOTA may be negative.

    Attributes:
        hota: higher order tracking accuracy.
        deta: its part for detection.
        assa: its part for association.
        idf1: identity F1.
        mota: multiple object tracking accuracy.
        switches: how often an object of the truth changed its predicted track.
        fragments: how often a track of the truth was interrupted.
        misses: boxes of the truth that were not found.
        false_alarms: predicted boxes that are none.
        truth_boxes: number of boxes of the truth.
        predicted_boxes: of the predictions.
        truth_tracks: number of tracks of the truth.
        predicted_tracks: of the predictions.
        frames: number of frames that were measured.
    """

    hota: float
    deta: float
    assa: float
    idf1: float
    mota: float
    switches: int
    fragments: int
    misses: int
    false_alarms: int
    truth_boxes: int
    predicted_boxes: int
    truth_tracks: int
    predicted_tracks: int
    frames: int

    def to_json(self) -> dict[str, float | int]:
        """Return all figures by their names."""
        return {name: round(value, 6) if isinstance(value, float) else value for name, value in asdict(self).items()}


def measure_tracks(truth: Tracks, predicted: Tracks, *, every: int = 1) -> TrackMetrics:
    """Measure predicted tracks on the frames 1, 1 + every, 1 + 2 every and so on.

    Boxes of two labels never match; an empty label matches any.

    Args:
        truth: with at least one object in these frames.
        predicted: in pixels of the same frame size.
        every: 1 for all frames.
    """
    frames = range(1, max(truth.last_frame, predicted.last_frame) + 1, every)
    truth, predicted = truth.every(every), predicted.every(every)
    places, predicted_places = dict(truth.by_frame()), dict(predicted.by_frame())
    nothing = slice(0, 0)
    ids, predicted_ids, similarities = [], [], []
    for frame in frames:
        rows, columns = places.get(frame, nothing), predicted_places.get(frame, nothing)
        ids.append(truth.track[rows].tolist())
        predicted_ids.append(predicted.track[columns].tolist())
        similarities.append(_similarity(truth, rows, predicted, columns))
    clear = motrics.compute_clear_from_similarity(ids, predicted_ids, similarities, MIN_IOU)
    identity = motrics.compute_identity_from_similarity(ids, predicted_ids, similarities, MIN_IOU)
    hota = motrics.compute_hota_from_similarity(ids, predicted_ids, similarities)
    return TrackMetrics(
        hota=hota.hota,
        deta=hota.deta,
        assa=hota.assa,
        idf1=identity.idf1,
        mota=clear.mota,
        switches=clear.num_switches,
        fragments=clear.frag,
        misses=clear.num_misses,
        false_alarms=clear.num_false_positives,
        truth_boxes=len(truth.frame),
        predicted_boxes=len(predicted.frame),
        truth_tracks=len(np.unique(truth.track)),
        predicted_tracks=len(np.unique(predicted.track)),
        frames=len(frames),
    )


def _similarity(truth: Tracks, rows: slice, predicted: Tracks, columns: slice) -> list[list[float]]:
    """Return the IoU of each box of a frame's truth with each predicted one; 0 for boxes of two labels."""
    iou = motrics.iou_matrix(truth.boxes[rows].tolist(), predicted.boxes[columns].tolist(), "xywh")
    labels: Sequence[str] = predicted.label[columns]
    return [
        [
            value if not (label and other and label != other) else 0.0
            for value, other in zip(values, labels, strict=True)
        ]
        for label, values in zip(truth.label[rows], iou, strict=True)
    ]
