"""A collected frame's line in the manifest: what the cloud model saw as its labels, what the edge model saw beside it.

The labels have the form of SageMaker Ground Truth, https://docs.aws.amazon.com/sagemaker/latest/dg/sms-data-output.html,
"Bounding box job output"; what the edge model saw stands under `beeagent`, which no reader of that form looks at.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from beeagent.delivery.timestamps import rfc3339
from beeagent.detection.detections import Detections

ATTRIBUTE: Final = "bees"
_OURS: Final = "beeagent"


def collected_line(  # noqa: PLR0913 - each a thing that the line tells
    source_ref: str,
    *,
    size: tuple[int, int],
    edge: Detections,
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
        edge: what the edge model saw, down to the low end of its band.
        cloud: what the cloud model saw, with the same labels.
        captured_at: when the frame was taken, with a time zone.
        collected_at: now, with a time zone.
        origin: what the frames are from, such as `hive-7/front`.
        classes: the number of each label of the cloud model's, the same in every line of a manifest.
    """
    boxes = _pixels(cloud, size)
    return json.dumps(
        {
            "source-ref": source_ref,
            ATTRIBUTE: {
                "image_size": [{"width": size[0], "height": size[1], "depth": 3}],
                "annotations": [
                    {
                        "class_id": classes[cloud.labels[class_id]],
                        "left": left,
                        "top": top,
                        "width": width,
                        "height": height,
                    }
                    for class_id, (left, top, width, height) in boxes
                ],
            },
            f"{ATTRIBUTE}-metadata": {
                "objects": [{"confidence": round(float(value), 4)} for value in cloud.confidences],
                "class-map": {str(number): label for label, number in classes.items()},
                "type": "groundtruth/object-detection",
                "human-annotated": "no",
                "creation-date": rfc3339(collected_at),
                "job-name": f"beeagent-collect/{origin}",
            },
            _OURS: {"captured_at": rfc3339(captured_at), "edge": _told(edge, size)},
        },
        ensure_ascii=False,
    )


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
        if not isinstance(row[_OURS]["edge"], list):
            return None
        classes = {str(label): int(number) for number, label in row[f"{ATTRIBUTE}-metadata"]["class-map"].items()}
        return CollectedLine(str(row["source-ref"]), classes)
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError, IndexError):
        return None


def _pixels(found: Detections, size: tuple[int, int]) -> list[tuple[int, tuple[int, int, int, int]]]:
    """Give class and left, top, width, height of each box, in whole pixels within the picture, 1 at least."""
    boxes = []
    for class_id, (left, top, right, bottom) in zip(found.class_ids.tolist(), found.boxes.tolist(), strict=True):
        x0, y0 = (min(max(round(v * of), 0), of - 1) for v, of in zip((left, top), size, strict=True))
        x1, y1 = (min(round(v * of), of) for v, of in zip((right, bottom), size, strict=True))
        boxes.append((int(class_id), (x0, y0, max(x1 - x0, 1), max(y1 - y0, 1))))
    return boxes


def _told(found: Detections, size: tuple[int, int]) -> list[dict[str, Any]]:
    return [
        {
            "label": found.labels[class_id],
            "confidence": round(float(confidence), 4),
            "left": box[0],
            "top": box[1],
            "width": box[2],
            "height": box[3],
        }
        for (class_id, box), confidence in zip(_pixels(found, size), found.confidences, strict=True)
    ]
