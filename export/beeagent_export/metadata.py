"""Writes TFLite metadata, which MediaPipe Tasks and other readers need.

The format is TensorFlow's `metadata_schema.fbs` (file identifier M001): a flatbuffer in the model's buffer
`TFLITE_METADATA`, and its associated files in a ZIP archive appended to the model. No maintained package writes it; the
slot numbers below are those of the fields in that schema.
"""

import io
import zipfile
from dataclasses import dataclass
from typing import Any, NamedTuple

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from beeagent_export.tflite_file import pack, set_fields, unpack

LABELS_FILE = "labels.txt"

_ENTRY = "TFLITE_METADATA"
_FILE_IDENTIFIER = b"M001"
_PARSER_VERSION = "1.0.0"  # the first version of the schema has all fields used here
_EARLIEST_ZIP_DATE = (1980, 1, 1, 0, 0, 0)  # constant, so that exports are reproducible

# Readers identify the outputs by these names.
_OUTPUTS = (
    ("location", "The boxes, as top, left, bottom, right in ratios of the input."),
    ("category", "The classes of the boxes."),
    ("score", "The confidences of the boxes, from 0 to 1."),
    ("number of detections", "The number of detected boxes."),
)


# Members of the schema's unions `ContentProperties` and `ProcessUnitOptions`, and of its enumerations.
_FEATURE, _IMAGE, _BOUNDING_BOX = np.uint8(1), np.uint8(2), np.uint8(3)
_NORMALIZATION, _SCORE_THRESHOLDING = np.uint8(1), np.uint8(3)
_TENSOR_VALUE_LABELS, _RGB, _BOUNDARIES = np.uint8(3), np.uint8(1), np.uint8(1)
# Indices of left, top, right, bottom in a box.
_BOX_INDEX = np.array([1, 0, 3, 2], np.uint32)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelDescription:
    """Content of the metadata.

    Attributes:
        name: name of the model.
        description: one sentence about the model.
        version: version of the model.
        licence: licence of the weights.
        labels: class names in the order of their ids.
        width: input width in pixels.
        height: input height in pixels.
        mean: mean of the normalisation, in RGB values of 0 to 255, for readers that feed float32.
        std: standard deviation of the normalisation.
        largest_input: maximum value of an input element: 255 for uint8.
        smallest_input: minimum value of an input element.
        score_threshold: recommended minimum confidence, 0 to 1.
    """

    name: str
    description: str
    version: str
    licence: str
    labels: tuple[str, ...]
    width: int
    height: int
    mean: float
    std: float
    largest_input: float
    smallest_input: float
    score_threshold: float


def add_metadata(model: bytes, description: ModelDescription) -> bytes:
    """Add metadata and the labels file to a model that ends in `TFLite_Detection_PostProcess`.

    Args:
        model: .tflite file with one image input and the four outputs of the op in their order.
        description: content of the metadata.
    """
    tree = unpack(model)
    data = np.frombuffer(encode_metadata(description), dtype=np.uint8)
    entry = set_fields(schema.MetadataT(), name=_ENTRY, buffer=len(tree.buffers))
    tree.buffers.append(set_fields(schema.BufferT(), data=data))
    tree.metadata = [*(tree.metadata or []), entry]
    return _with_file(pack(tree), LABELS_FILE, "".join(f"{label}\n" for label in description.labels))


def encode_metadata(description: ModelDescription) -> bytes:
    """Return the metadata flatbuffer."""
    subgraph = _Table(10, {0: description.name, 2: [_image(description)], 3: _outputs(description)})
    texts = {0: description.name, 1: description.description, 2: description.version, 5: description.licence}
    builder = flatbuffers.Builder(1024)
    root = _write(builder, _Table(8, {**texts, 3: [subgraph], 7: _PARSER_VERSION}))
    builder.Finish(root, file_identifier=_FILE_IDENTIFIER)
    return bytes(builder.Output())


class _Table(NamedTuple):
    """A flatbuffer table: number of slots, and fields by slot; missing fields have the default 0."""

    slots: int
    fields: dict[int, Any]


def _write(builder: flatbuffers.Builder, value: Any) -> int:  # noqa: ANN401 - any field type
    """Write a string, a vector of numbers, a list of tables or a table, and return its offset."""
    if isinstance(value, str):
        return int(builder.CreateString(value))
    if isinstance(value, np.ndarray):
        return int(builder.CreateNumpyVector(value))
    if isinstance(value, list):
        offsets = [_write(builder, each) for each in value]
        builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            builder.PrependUOffsetTRelative(offset)
        return int(builder.EndVector())
    fields = {
        slot: field if isinstance(field, np.generic) else _write(builder, field) for slot, field in value.fields.items()
    }
    builder.StartObject(value.slots)
    for slot, field in fields.items():
        if isinstance(field, np.generic):
            getattr(builder, f"Prepend{type(field).__name__.capitalize()}Slot")(slot, field.item(), 0)
        else:
            builder.PrependUOffsetTRelativeSlot(slot, field, 0)
    return int(builder.EndObject())


def _image(description: ModelDescription) -> _Table:
    mean, std, largest, smallest = (
        np.array([value], np.float32)
        for value in (description.mean, description.std, description.largest_input, description.smallest_input)
    )
    size = _Table(2, {0: np.uint32(description.width), 1: np.uint32(description.height)})
    content = {0: _IMAGE, 1: _Table(2, {0: _RGB, 1: size})}
    unit = _Table(2, {0: _NORMALIZATION, 1: _Table(2, {0: mean, 1: std})})
    text = f"The image, {description.width} x {description.height} pixels, RGB."
    stats = _Table(2, {0: largest, 1: smallest})
    return _Table(7, {0: "image", 1: text, 3: _Table(3, content), 4: [unit], 5: stats})


def _outputs(description: ModelDescription) -> list[_Table]:
    box = _Table(3, {0: _BOX_INDEX, 1: _BOUNDARIES})
    labels = _Table(5, {0: LABELS_FILE, 1: "The class names, one per line.", 2: _TENSOR_VALUE_LABELS})
    threshold = _Table(1, {0: np.float32(description.score_threshold)})
    feature, empty = {0: _FEATURE, 1: _Table(0, {})}, dict[int, Any]()
    # Range of the dimension that has the values.
    value_range = {2: _Table(2, {0: np.int32(2), 1: np.int32(2)})}
    contents = (
        {0: _BOUNDING_BOX, 1: box, **value_range},
        {**feature, **value_range},
        {**feature, **value_range},
        feature,
    )
    units = {4: [_Table(2, {0: _SCORE_THRESHOLDING, 1: threshold})]}
    return [
        _Table(7, {0: name, 1: text, 3: _Table(3, content), **more})
        for (name, text), content, more in zip(_OUTPUTS, contents, (empty, {6: [labels]}, units, empty), strict=True)
    ]


def _with_file(model: bytes, name: str, content: str) -> bytes:
    """Append a ZIP archive with one uncompressed file: readers map it into memory."""
    file = io.BytesIO(model)
    with zipfile.ZipFile(file, mode="a", compression=zipfile.ZIP_STORED) as archive:
        archive.writestr(zipfile.ZipInfo(name, date_time=_EARLIEST_ZIP_DATE), content.encode())
    return file.getvalue()
