"""TFLite metadata: what a model's tensors mean, written into its file for MediaPipe Tasks and other readers.

The form is that of TensorFlow's `metadata_schema.fbs` (file identifier M001): a flatbuffer in a buffer of the model
named `TFLITE_METADATA`, and the files it speaks of in a ZIP archive behind the model. No package that is still cared
for writes it, so this module does; the slot numbers below are the places of the fields in that schema.
"""

import io
import zipfile
from dataclasses import dataclass
from typing import Any, NamedTuple

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from beeagent_export.tflite_file import filled, pack, unpack

LABELS_FILE = "labels.txt"

_ENTRY = "TFLITE_METADATA"
_FILE_IDENTIFIER = b"M001"
_PARSER_VERSION = "1.0.0"  # every field used here was in the schema's first version
_EARLIEST_ZIP_DATE = (1980, 1, 1, 0, 0, 0)  # a fixed one, so that the same model is the same file

# Readers identify the outputs by these names.
_OUTPUTS = (
    ("location", "The boxes, as top, left, bottom, right in ratios of the input."),
    ("category", "The classes of the boxes."),
    ("score", "The confidences of the boxes, from 0 to 1."),
    ("number of detections", "How many of the boxes are meant."),
)


# Members of the schema's unions `ContentProperties` and `ProcessUnitOptions`, and of its enumerations.
_FEATURE, _IMAGE, _BOUNDING_BOX = np.uint8(1), np.uint8(2), np.uint8(3)
_NORMALIZATION, _SCORE_THRESHOLDING = np.uint8(1), np.uint8(3)
_TENSOR_VALUE_LABELS, _RGB, _BOUNDARIES = np.uint8(3), np.uint8(1), np.uint8(1)
# Where left, top, right, bottom stand in a box.
_BOX_INDEX = np.array([1, 0, 3, 2], np.uint32)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelDescription:
    """What the metadata says.

    Attributes:
        name: of the model.
        description: of the model, a sentence.
        version: of the model.
        licence: of the weights.
        labels: the names of the classes, in the order of their ids.
        width: of the input, in pixels.
        height: of the input, in pixels.
        mean: subtracted from every RGB value (0 to 255), where the input is float32.
        std: what the difference is divided by.
        largest_input: the largest value an input element takes: 255 for uint8.
        smallest_input: the smallest value an input element takes.
        score_threshold: the confidence from which a reader should count a detection, 0 to 1.
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
    """Write metadata into a model that ends in `TFLite_Detection_PostProcess`, and pack its labels behind it.

    Args:
        model: a .tflite file with one image input and the op's four outputs in their order.
        description: what to write.
    """
    tree = unpack(model)
    data = np.frombuffer(encode_metadata(description), dtype=np.uint8)
    entry = filled(schema.MetadataT(), name=_ENTRY, buffer=len(tree.buffers))
    tree.buffers.append(filled(schema.BufferT(), data=data))
    tree.metadata = [*(tree.metadata or []), entry]
    return _with_file(pack(tree), LABELS_FILE, "".join(f"{label}\n" for label in description.labels))


def encode_metadata(description: ModelDescription) -> bytes:
    """Write the metadata flatbuffer itself."""
    subgraph = _Table(10, {0: description.name, 2: [_image(description)], 3: _outputs(description)})
    texts = {0: description.name, 1: description.description, 2: description.version, 5: description.licence}
    builder = flatbuffers.Builder(1024)
    root = _write(builder, _Table(8, {**texts, 3: [subgraph], 7: _PARSER_VERSION}))
    builder.Finish(root, file_identifier=_FILE_IDENTIFIER)
    return bytes(builder.Output())


class _Table(NamedTuple):
    """A table with this number of slots, and its fields by slot; missing ones keep the schema's default, 0."""

    slots: int
    fields: dict[int, Any]


def _write(builder: flatbuffers.Builder, value: Any) -> int:  # noqa: ANN401 - what a field of a table may be
    """Write a text, a vector of numbers, a list of tables or a table, and return the offset to refer to it."""
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
    labels = _Table(5, {0: LABELS_FILE, 1: "The names of the classes, one a line.", 2: _TENSOR_VALUE_LABELS})
    threshold = _Table(1, {0: np.float32(description.score_threshold)})
    feature, empty = {0: _FEATURE, 1: _Table(0, {})}, dict[int, Any]()
    # The values meant lie along this dimension of the tensor.
    along = {2: _Table(2, {0: np.int32(2), 1: np.int32(2)})}
    contents = ({0: _BOUNDING_BOX, 1: box, **along}, {**feature, **along}, {**feature, **along}, feature)
    units = {4: [_Table(2, {0: _SCORE_THRESHOLDING, 1: threshold})]}
    return [
        _Table(7, {0: name, 1: text, 3: _Table(3, content), **more})
        for (name, text), content, more in zip(_OUTPUTS, contents, (empty, {6: [labels]}, units, empty), strict=True)
    ]


def _with_file(model: bytes, name: str, content: str) -> bytes:
    """Append a ZIP archive with one file, stored as it is: readers map it without unpacking."""
    file = io.BytesIO(model)
    with zipfile.ZipFile(file, mode="a", compression=zipfile.ZIP_STORED) as archive:
        archive.writestr(zipfile.ZipInfo(name, date_time=_EARLIEST_ZIP_DATE), content.encode())
    return file.getvalue()
