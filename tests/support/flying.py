"""Tracked frames of bees on paths set by a test, without a camera."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from beeagent.detection import Detections
from beeagent.tracking import TrackedFrame

SIZE = (1000, 500)
LENGTH = 50.0  # of a bee, in pixels
_SIDE = LENGTH / 2**0.5  # the diagonal of the box is the length

Point = tuple[float, float]


def detections_at(
    points: Iterable[Point], *, confidence: float = 0.9, labels: Sequence[str] | None = None
) -> Detections:
    """Return a detection of a bee around each point in pixels."""
    centres = np.array(list(points), dtype=np.float64).reshape(-1, 2)
    boxes = np.concatenate((centres - _SIDE / 2, centres + _SIDE / 2), axis=1) / (SIZE * 2)
    names = ("bee", "wasp")
    class_ids = [names.index(label) for label in labels] if labels is not None else [0] * len(centres)
    return Detections(
        boxes.astype(np.float32),
        np.full(len(centres), confidence, np.float32),
        np.array(class_ids, np.int64),
        names,
    )


def frames_of(
    paths: Mapping[int, Sequence[Point | None]], *, first_is_interrupted: bool = False, confirmed_after: int = 2
) -> list[TrackedFrame]:
    """Return the frames of tracks by their numbers, each a list of places in pixels; None where it is missed.

    A track ends with its list: in the frame after, or at the latest in the last, which is empty.
    """
    count = max(len(path) for path in paths.values())
    hits = dict.fromkeys(paths, 0)
    frames = []
    for index in range(count + 1):
        seen = {number: path[index] for number, path in paths.items() if index < len(path)}
        present = {number: point for number, point in seen.items() if point is not None}
        for number in present:
            hits[number] += 1
        frames.append(
            TrackedFrame(
                detections=detections_at(present.values()),
                tracks=np.array(list(present), dtype=np.int64),
                confirmed=np.array([hits[number] >= confirmed_after for number in present], dtype=np.bool_),
                frame_size=SIZE,
                at_s=index / 30,
                ended=tuple(number for number, path in paths.items() if len(path) == index),
                interrupted=first_is_interrupted and index == 0,
            )
        )
    return frames
