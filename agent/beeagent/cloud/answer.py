"""What the cloud model answers, in the agent's own form."""

from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from beeagent.cloud.reason import NoOpinionError
from beeagent.detection import Detections


class _Lenient(BaseModel):
    # The service may add members; it may not leave out those that count, or give no numbers.
    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)


class _BoundingBox(_Lenient):
    left: float = Field(alias="Left")
    top: float = Field(alias="Top")
    width: Annotated[float, Field(alias="Width", ge=0)]
    height: Annotated[float, Field(alias="Height", ge=0)]


class _Geometry(_Lenient):
    box: _BoundingBox | None = Field(default=None, alias="BoundingBox")


class _CustomLabel(_Lenient):
    name: str = Field(alias="Name", min_length=1)
    confidence: Annotated[float, Field(alias="Confidence", ge=0, le=100)]
    geometry: _Geometry | None = Field(default=None, alias="Geometry")


class _Answer(_Lenient):
    custom_labels: list[_CustomLabel] = Field(alias="CustomLabels")


def detections_of(answer: Any, *, labels: tuple[str, ...], names: Mapping[str, str]) -> Detections:  # noqa: ANN401 - whatever came
    """Turn an answer of DetectCustomLabels into detections, strongest first.

    Boxes are clipped to the frame. Labels of the picture as a whole, which have no box, are passed over.

    Args:
        answer: as parsed from JSON.
        labels: the names of the edge model's classes; they come first in the detections' own.
        names: which name of the cloud model is which of ours; an empty one leaves its detections out. A name that
            is not in it stays as it is.

    Raises:
        NoOpinionError: that is no answer.
    """
    try:
        parsed = _Answer.model_validate(answer)
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise NoOpinionError("refused", f"the answer makes no sense: {where}: {error.errors()[0]['msg']}") from None
    boxed = [
        (names.get(label.name, label.name), label.confidence, label.geometry.box)
        for label in parsed.custom_labels
        if label.geometry is not None and label.geometry.box is not None
    ]
    found = sorted((one for one in boxed if one[0]), key=lambda one: -one[1])
    known = tuple(dict.fromkeys([*labels, *(name for name, _, _ in found)]))
    edges = [[box.left, box.top, box.left + box.width, box.top + box.height] for _, _, box in found]
    return Detections(
        boxes=np.clip(np.array(edges, np.float64).reshape(-1, 4), 0, 1).astype(np.float32),
        confidences=np.array([confidence / 100 for _, confidence, _ in found], np.float32),
        class_ids=np.array([known.index(name) for name, _, _ in found], np.int64),
        labels=known,
    )
