"""A collected frame's line in the manifest: what the cloud model saw as its labels, what the edge model saw beside it.

Both are label attributes as SageMaker Ground Truth has them,
https://docs.aws.amazon.com/sagemaker/latest/dg/sms-data-output.html, "Bounding box job output". That of the edge model
has a type of our own, so that whoever reads the manifest finds one attribute to train on, the cloud model's.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import numpy as np

from beeagent.detection import Detections
from beeagent.messages.timestamps import rfc3339

CLOUD: Final = "bees"
EDGE: Final = "edge"
LINE_START: Final = b'{"source-ref": "images/'

_LABELS: Final = "groundtruth/object-detection"
_BESIDE: Final = "beeagent/edge-detection"


@dataclass(frozen=True, slots=True)
class EdgeAnswer:
    """What the edge model saw in a frame.

    Attributes:
        detections: all of them, down to the low end of its band.
        told: how many of them, the strongest, count as found.
        model: its identity, such as `bees-lite0@3f9c21d0`.
    """

    detections: Detections
    told: int
    model: str


def collected_line(  # noqa: PLR0913 - each a thing that the line tells
    source_ref: str,
    *,
    size: tuple[int, int],
    edge: EdgeAnswer,
    cloud: Detections,
    captured_at: datetime,
    collected_at: datetime,
    origin: str,
    classes: Mapping[str, int],
) -> str:
    """Write one line, without the line's end.

    Args:
        source_ref: the picture, relative to the manifest.
        size: width and height of the picture in pixels.
        edge: what the edge model saw.
        cloud: what the cloud model saw.
        captured_at: when the frame was taken, with a time zone.
        collected_at: now, with a time zone.
        origin: what the frames are from, such as `hive-7/front`.
        classes: the number of each label of either model, the same in every line of a manifest.
    """
    common: dict[str, Any] = {
        "class-map": {str(number): label for label, number in classes.items()},
        "human-annotated": "no",
    }
    row = {
        "source-ref": source_ref,
        CLOUD: _annotations(cloud, size, classes),
        f"{CLOUD}-metadata": {
            "objects": [{"confidence": _confidence(value)} for value in cloud.confidences],
            **common,
            "type": _LABELS,
            "creation-date": rfc3339(collected_at),
            "job-name": f"beeagent-collect/{origin}",
        },
        EDGE: _annotations(edge.detections, size, classes),
        f"{EDGE}-metadata": {
            # The strongest come first.
            "objects": [
                {"confidence": _confidence(value), "told": index < edge.told}
                for index, value in enumerate(edge.detections.confidences)
            ],
            **common,
            "type": _BESIDE,
            "creation-date": rfc3339(captured_at),
            "job-name": f"beeagent/{edge.model}",
        },
    }
    return json.dumps(row, ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class CollectedLine:
    """What has to be known of a line.

    Attributes:
        picture: its path relative to the manifest.
        classes: the number of each label.
    """

    picture: str
    classes: Mapping[str, int]


def read_collected_line(line: bytes) -> CollectedLine | None:
    """Read what `collected_line` wrote; None for any other line."""
    try:
        row = json.loads(line)
        if row[f"{EDGE}-metadata"]["type"] != _BESIDE:
            return None
        classes = {str(label): int(number) for number, label in row[f"{CLOUD}-metadata"]["class-map"].items()}
        return CollectedLine(str(row["source-ref"]), classes)
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError, IndexError):
        return None


def _annotations(found: Detections, size: tuple[int, int], classes: Mapping[str, int]) -> dict[str, Any]:
    """Give the boxes in whole pixels within the picture, 1 at least."""
    annotations = []
    for class_id, (left, top, right, bottom) in zip(found.class_ids, found.boxes.tolist(), strict=True):
        x0, y0 = (min(max(round(v * of), 0), of - 1) for v, of in zip((left, top), size, strict=True))
        x1, y1 = (min(round(v * of), of) for v, of in zip((right, bottom), size, strict=True))
        annotations.append(
            {
                "class_id": classes[found.labels[int(class_id)]],
                "left": x0,
                "top": y0,
                "width": max(x1 - x0, 1),
                "height": max(y1 - y0, 1),
            }
        )
    return {"image_size": [{"width": size[0], "height": size[1], "depth": 3}], "annotations": annotations}


def _confidence(value: np.float32) -> float:
    return round(float(value), 4)
