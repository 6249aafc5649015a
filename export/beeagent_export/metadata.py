"""TFLite metadata: what a model's tensors mean, written into its file for MediaPipe Tasks and other readers.

The form is that of TensorFlow's `metadata_schema.fbs` (file identifier M001): a flatbuffer in a buffer of the model
named `TFLITE_METADATA`, and the files it speaks of in a ZIP archive behind the model. No package that is still cared
for writes it, so this module does; the slot numbers below are the places of the fields in that schema.
"""

import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from beeagent_export.tflite_file import pack, unpack

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


class _Properties(IntEnum):
    """Members of the schema's union `ContentProperties`."""

    FEATURE = 1
    IMAGE = 2
    BOUNDING_BOX = 3


class _Unit(IntEnum):
    """Members of the schema's union `ProcessUnitOptions`."""

    NORMALIZATION = 1
    SCORE_THRESHOLDING = 3


_TENSOR_VALUE_LABELS = 3
_RGB = 1
_BOUNDARIES = 1
# Where left, top, right, bottom stand in a box.
_BOX_INDEX = (1, 0, 3, 2)


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
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(encode_metadata(description), dtype=np.uint8)
    entry = schema.MetadataT()
    entry.name = _ENTRY
    entry.buffer = len(tree.buffers)
    tree.buffers.append(buffer)
    tree.metadata = [*(tree.metadata or []), entry]
    return _with_file(pack(tree), LABELS_FILE, "".join(f"{label}\n" for label in description.labels))


def encode_metadata(description: ModelDescription) -> bytes:
    """Write the metadata flatbuffer itself."""
    writer = _Writer()
    subgraph = writer.table(
        10,
        {
            0: writer.text(description.name),
            2: writer.offsets([_image_metadata(writer, description)]),
            3: writer.offsets(_output_metadata(writer, description)),
        },
    )
    model = writer.table(
        8,
        {
            0: writer.text(description.name),
            1: writer.text(description.description),
            2: writer.text(description.version),
            3: writer.offsets([subgraph]),
            5: writer.text(description.licence),
            7: writer.text(_PARSER_VERSION),
        },
    )
    return writer.finish(model)


def _image_metadata(writer: "_Writer", description: ModelDescription) -> int:
    size = writer.table(2, {}, uints={0: description.width, 1: description.height})
    image = writer.table(2, {1: size}, bytes_={0: _RGB})
    normalization = writer.table(2, {0: writer.floats([description.mean]), 1: writer.floats([description.std])})
    stats = writer.table(
        2, {0: writer.floats([description.largest_input]), 1: writer.floats([description.smallest_input])}
    )
    return _tensor_metadata(
        writer,
        name="image",
        text=f"The image, {description.width} x {description.height} pixels, RGB.",
        content=_content(writer, _Properties.IMAGE, image),
        process_unit=_process_unit(writer, _Unit.NORMALIZATION, normalization),
        stats=stats,
    )


def _output_metadata(writer: "_Writer", description: ModelDescription) -> list[int]:
    box = writer.table(3, {0: writer.uints(_BOX_INDEX)}, bytes_={1: _BOUNDARIES})
    labels = writer.table(
        5,
        {0: writer.text(LABELS_FILE), 1: writer.text("The names of the classes, one a line.")},
        bytes_={2: _TENSOR_VALUE_LABELS},
    )
    threshold = writer.table(1, {}, floats={0: description.score_threshold})
    contents = [
        _content(writer, _Properties.BOUNDING_BOX, box, dimension=2),
        _content(writer, _Properties.FEATURE, writer.table(0, {}), dimension=2),
        _content(writer, _Properties.FEATURE, writer.table(0, {}), dimension=2),
        _content(writer, _Properties.FEATURE, writer.table(0, {})),
    ]
    files = (None, labels, None, None)
    units = (None, None, _process_unit(writer, _Unit.SCORE_THRESHOLDING, threshold), None)
    return [
        _tensor_metadata(writer, name=name, text=text, content=content, process_unit=unit, file=file)
        for (name, text), content, unit, file in zip(_OUTPUTS, contents, units, files, strict=True)
    ]


def _tensor_metadata(  # noqa: PLR0913 - the fields of the schema's table
    writer: "_Writer",
    *,
    name: str,
    text: str,
    content: int,
    process_unit: int | None = None,
    stats: int | None = None,
    file: int | None = None,
) -> int:
    offsets = {0: writer.text(name), 1: writer.text(text), 3: content}
    if process_unit is not None:
        offsets[4] = writer.offsets([process_unit])
    if stats is not None:
        offsets[5] = stats
    if file is not None:
        offsets[6] = writer.offsets([file])
    return writer.table(7, offsets)


def _content(writer: "_Writer", kind: _Properties, properties: int, *, dimension: int | None = None) -> int:
    offsets = {1: properties}
    if dimension is not None:
        # The values meant lie along this dimension of the tensor.
        offsets[2] = writer.table(2, {}, ints={0: dimension, 1: dimension})
    return writer.table(3, offsets, bytes_={0: kind})


def _process_unit(writer: "_Writer", kind: _Unit, options: int) -> int:
    return writer.table(2, {1: options}, bytes_={0: kind})


class _Writer:
    """Writes tables by slot number; everything returned is an offset to refer to from a later table."""

    def __init__(self) -> None:
        self._builder = flatbuffers.Builder(1024)

    def text(self, value: str) -> int:
        return int(self._builder.CreateString(value))

    def floats(self, values: Sequence[float]) -> int:
        return int(self._builder.CreateNumpyVector(np.array(values, dtype=np.float32)))

    def uints(self, values: Sequence[int]) -> int:
        return int(self._builder.CreateNumpyVector(np.array(values, dtype=np.uint32)))

    def offsets(self, values: Sequence[int]) -> int:
        self._builder.StartVector(4, len(values), 4)
        for value in reversed(values):
            self._builder.PrependUOffsetTRelative(value)
        return int(self._builder.EndVector())

    def table(  # noqa: PLR0913 - one argument a type
        self,
        slots: int,
        offsets: dict[int, int],
        *,
        bytes_: dict[int, int] | None = None,
        uints: dict[int, int] | None = None,
        ints: dict[int, int] | None = None,
        floats: dict[int, float] | None = None,
    ) -> int:
        """Write a table with this number of slots; missing fields keep the schema's default, 0."""
        builder = self._builder
        builder.StartObject(slots)
        for slot, offset in offsets.items():
            builder.PrependUOffsetTRelativeSlot(slot, offset, 0)
        for slot, value in (uints or {}).items():
            builder.PrependUint32Slot(slot, value, 0)
        for slot, value in (ints or {}).items():
            builder.PrependInt32Slot(slot, value, 0)
        for slot, number in (floats or {}).items():
            builder.PrependFloat32Slot(slot, number, 0.0)
        for slot, value in (bytes_ or {}).items():
            builder.PrependUint8Slot(slot, int(value), 0)
        return int(builder.EndObject())

    def finish(self, root: int) -> bytes:
        self._builder.Finish(root, file_identifier=_FILE_IDENTIFIER)
        return bytes(self._builder.Output())


def _with_file(model: bytes, name: str, content: str) -> bytes:
    """Append a ZIP archive with one file, stored as it is: readers map it without unpacking."""
    file = io.BytesIO(model)
    with zipfile.ZipFile(file, mode="a", compression=zipfile.ZIP_STORED) as archive:
        archive.writestr(zipfile.ZipInfo(name, date_time=_EARLIEST_ZIP_DATE), content.encode())
    return file.getvalue()
