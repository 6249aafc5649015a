"""Understands what Amazon Rekognition Custom Labels answers, and the plain list of boxes that is made of it.

The form of the answer: https://docs.aws.amazon.com/rekognition/latest/APIReference/API_DetectCustomLabels.html.
"""

import numpy as np
from beeagent.detection import Detections
from pydantic import BaseModel, Field, FiniteFloat, TypeAdapter

NO_LABEL = "object"
"""What is written beside a box of a list that says where things are, but not what they are."""


class _BoundingBox(BaseModel):
    # Ratios of the picture. The service lets a box reach beyond the picture, so nothing holds them to 0 and 1.
    left: FiniteFloat = Field(alias="Left")
    top: FiniteFloat = Field(alias="Top")
    width: FiniteFloat = Field(alias="Width", ge=0)
    height: FiniteFloat = Field(alias="Height", ge=0)


class _Geometry(BaseModel):
    box: _BoundingBox = Field(alias="BoundingBox")


class _CustomLabel(BaseModel):
    name: str = Field(alias="Name")
    confidence: float = Field(alias="Confidence", ge=0, le=100)
    # A label of the whole picture has none.
    geometry: _Geometry | None = Field(alias="Geometry", default=None)


class RekognitionResponse(BaseModel):
    """A response of `DetectCustomLabels`; boxes in ratios of the picture, confidences in percent.

    `beeagent compare` keeps with it which model was asked and how long the call took.
    """

    custom_labels: list[_CustomLabel] = Field(alias="CustomLabels")
    model: str | None = Field(alias="ProjectVersionArn", default=None)
    milliseconds: FiniteFloat | None = Field(alias="Milliseconds", default=None, ge=0)

    def detections(self) -> Detections:
        """Give the labels that have a box; those of the whole picture are nowhere in it and left out."""
        rows = [
            (label.name, label.confidence / 100, label.geometry.box)
            for label in self.custom_labels
            if label.geometry is not None
        ]
        return strongest_first(
            [
                (name, confidence, (box.left, box.top, box.left + box.width, box.top + box.height))
                for name, confidence, box in rows
            ]
        )


class PixelBox(BaseModel):
    """One entry of a list of boxes in pixels; confidence in percent."""

    left: FiniteFloat
    top: FiniteFloat
    width: FiniteFloat = Field(ge=0)
    height: FiniteFloat = Field(ge=0)
    confidence: float = Field(ge=0, le=100)
    label: str = NO_LABEL


PIXEL_BOXES = TypeAdapter(list[PixelBox])


def pixel_detections(boxes: list[PixelBox], *, width: int, height: int) -> Detections:
    """Turn boxes in pixels into detections.

    Args:
        boxes: in pixels of the picture.
        width: of the picture in pixels.
        height: likewise.
    """
    return strongest_first(
        [
            (
                box.label,
                box.confidence / 100,
                (
                    box.left / width,
                    box.top / height,
                    (box.left + box.width) / width,
                    (box.top + box.height) / height,
                ),
            )
            for box in boxes
        ]
    )


def strongest_first(rows: list[tuple[str, float, tuple[float, float, float, float]]]) -> Detections:
    """Put detections together.

    Args:
        rows: label, confidence from 0 to 1, and left, top, right, bottom in ratios; boxes are clipped to 0 and 1.
    """
    labels = tuple(dict.fromkeys(label for label, _, _ in rows))
    ordered = sorted(rows, key=lambda row: -row[1])
    return Detections(
        boxes=np.clip(np.array([box for _, _, box in ordered], np.float32).reshape(-1, 4), 0, 1),
        confidences=np.array([confidence for _, confidence, _ in ordered], np.float32),
        class_ids=np.array([labels.index(label) for label, _, _ in ordered], np.int64),
        labels=labels,
    )
