"""A dataset with detections of contenders, whose figures were calculated by hand."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from beeagent.detection import Detections
from beeagent_models.comparison.contenders import Findings, Kind
from beeagent_models.datasets.dataset import Dataset, LabelledImage

SIDE = 100
Box = tuple[int, int, int, int]
Row = tuple[Box, float]

# Four bees in three images; the last image is empty.
BEES: tuple[tuple[Box, ...], ...] = (((10, 10, 30, 30), (60, 60, 80, 80)), ((20, 20, 40, 40), (50, 10, 70, 30)), ())
# Finds three of four, all at 0.9 and 0.8, and at 0.3 a thing that is none.
CAREFUL: tuple[tuple[Row, ...], ...] = (
    (((10, 10, 30, 30), 0.9), ((60, 60, 80, 80), 0.8)),
    (((20, 20, 40, 40), 0.9),),
    (((0, 0, 20, 20), 0.3),),
)
# Finds the fourth too, not the second, and at 0.9 a thing that is none: above its strongest right one.
HASTY: tuple[tuple[Row, ...], ...] = (
    (((10, 10, 30, 30), 0.8),),
    (((20, 20, 40, 40), 0.7), ((50, 10, 70, 30), 0.6)),
    (((70, 70, 90, 90), 0.9),),
)


def bees(folder: Path, *, label: str = "bee", names: Sequence[str] = ("a.png", "b.png", "c.png")) -> Dataset:
    """Return the dataset, its images on disk."""
    images = []
    for name, boxes in zip(names, BEES, strict=True):
        pixels = np.full((SIDE, SIDE, 3), 60, np.uint8)
        for left, top, right, bottom in boxes:
            pixels[top:bottom, left:right] = (40, 160, 220)
        assert cv2.imwrite(str(folder / name), pixels)
        ids = np.zeros(len(boxes), np.int64)
        images.append(LabelledImage(folder / name, SIDE, SIDE, np.array(boxes, np.float32).reshape(-1, 4), ids))
    return Dataset("garden", tuple(images), (label,))


def manifest(folder: Path) -> Path:
    """Write the dataset as a Ground Truth manifest, and give that."""
    lines = [
        {
            "source-ref": image.path.name,
            "bees": {
                "image_size": [{"width": SIDE, "height": SIDE, "depth": 3}],
                "annotations": [
                    {"class_id": 0, "left": x, "top": y, "width": right - x, "height": bottom - y}
                    for x, y, right, bottom in boxes
                ],
            },
            "bees-metadata": {
                "objects": [{"confidence": 1} for _ in boxes],
                "class-map": {"0": "bee"},
                "type": "groundtruth/object-detection",
                "human-annotated": "yes",
                "creation-date": "2026-05-04T10:21:07",
                "job-name": "labeling-job/bees",
            },
        }
        for image, boxes in zip(bees(folder).images, BEES, strict=True)
    ]
    path = folder / "output.manifest"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def detections(rows: Sequence[Row], label: str = "bee") -> Detections:
    return Detections(
        np.array([box for box, _ in rows], np.float32).reshape(-1, 4) / np.float32(SIDE),
        np.array([confidence for _, confidence in rows], np.float32),
        np.zeros(len(rows), np.int64),
        (label,),
    )


def findings(
    name: str,
    rows: Sequence[Sequence[Row]],
    *,
    kind: Kind = "device",
    label: str = "bee",
    seconds: Sequence[float] | None = (0.02, 0.01, 0.06),
) -> Findings:
    return Findings(
        name=name,
        kind=kind,
        found=tuple(detections(row, label) for row in rows),
        seconds=None if seconds is None else np.array(seconds),
        sent=np.array([100, 200, 600], np.int64),
    )


def answer(rows: Sequence[Row], label: str = "bee") -> dict[str, Any]:
    """Return a response of Rekognition."""
    return {
        "CustomLabels": [
            {
                "Name": label,
                "Confidence": 100 * confidence,
                "Geometry": {
                    "BoundingBox": {
                        "Left": left / SIDE,
                        "Top": top / SIDE,
                        "Width": (right - left) / SIDE,
                        "Height": (bottom - top) / SIDE,
                    }
                },
            }
            for (left, top, right, bottom), confidence in rows
        ]
    }
