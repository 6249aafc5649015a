"""Track metrics computed by the library motrics: HOTA, IDF1, MOTA and identity switches."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import motrics
import numpy as np

from beeagent_models.tracks import Tracks

MIN_IOU = 0.5
"""Minimum IoU of matching boxes for MOTA, IDF1 and switches; HOTA averages over 0.05 to 0.95."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackMetrics:
    """Metrics of predicted tracks. Ratios are 0 to 1, but MOTA may be negative.

    Attributes:
        hota: higher order tracking accuracy.
        deta: detection accuracy, a component of HOTA.
        assa: association accuracy, a component of HOTA.
        idf1: identity F1.
        mota: multiple object tracking accuracy.
        switches: number of identity switches.
        fragments: number of interruptions of true tracks.
        misses: number of true boxes without a matching predicted box.
        false_alarms: number of predicted boxes without a matching true box.
        truth_boxes: number of true boxes.
        predicted_boxes: number of predicted boxes.
        truth_tracks: number of true tracks.
        predicted_tracks: number of predicted tracks.
        frames: number of evaluated frames.
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
        """Return the metrics as JSON values."""
        return {name: round(value, 6) if isinstance(value, float) else value for name, value in asdict(self).items()}


def measure_tracks(truth: Tracks, predicted: Tracks, *, every: int = 1) -> TrackMetrics:
    """Evaluate predicted tracks on the frames 1, 1 + every, 1 + 2 every and so on.

    Boxes of different labels do not match; an empty label matches any.

    Args:
        truth: true tracks, with at least one object in these frames.
        predicted: predicted tracks, in pixels of the same frame size.
        every: frame step; 1 for all frames.
    """
    frames = range(1, max(truth.last_frame, predicted.last_frame) + 1, every)
    truth, predicted = truth.every(every), predicted.every(every)
    true_rows, predicted_rows = dict(truth.by_frame()), dict(predicted.by_frame())
    empty = slice(0, 0)
    ids, predicted_ids, similarities = [], [], []
    for frame in frames:
        rows, columns = true_rows.get(frame, empty), predicted_rows.get(frame, empty)
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
    """Return the IoU of each true and each predicted box of a frame; 0 for different labels."""
    iou = motrics.iou_matrix(truth.boxes[rows].tolist(), predicted.boxes[columns].tolist(), "xywh")
    labels: Sequence[str] = predicted.label[columns]
    return [
        [
            value if not (label and other and label != other) else 0.0
            for value, other in zip(values, labels, strict=True)
        ]
        for label, values in zip(truth.label[rows], iou, strict=True)
    ]
