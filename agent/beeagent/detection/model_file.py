"""Read the number of classes and the name of the labels file from a .tflite file: the runtimes do not report them.

A .tflite is a FlatBuffer (https://flatbuffers.dev/internals); the options of its custom ops are FlexBuffers. They are
parsed here, since tflite-runtime does not depend on the `flatbuffers` package.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

# Field numbers from tensorflow/compiler/mlir/lite/schema/schema.fbs and metadata_schema.fbs.
_OPERATOR_CODES, _SUBGRAPHS, _BUFFERS, _METADATA = 1, 2, 4, 6
_CUSTOM_CODE = 1
_OPERATORS = 3
_OPCODE_INDEX, _CUSTOM_OPTIONS = 0, 5
_NAME, _BUFFER = 0, 1
_DATA = 0
_SUBGRAPH_METADATA, _OUTPUT_TENSORS, _TENSOR_FILES, _FILE_NAME, _FILE_TYPE, _FILE_LOCALE = 3, 3, 6, 0, 2, 3

_POST_PROCESS = b"TFLite_Detection_PostProcess"
_METADATA_NAME = b"TFLITE_METADATA"
_LABEL_TYPES = frozenset({2, 3})  # TENSOR_AXIS_LABELS, TENSOR_VALUE_LABELS

_FLEX_MAP = 9
_FLEX_INTEGERS = frozenset({1, 2})  # signed, unsigned
_FLEX_FORMATS = {1: "B", 2: "H", 4: "I", 8: "Q"}


@dataclass(frozen=True, slots=True)
class _Table:
    """A table of a FlatBuffer; a read outside of the buffer raises struct.error or IndexError."""

    content: bytes
    at: int

    def field(self, number: int) -> int | None:
        """Return the position of a field; None if the field has its default value."""
        table = self.at - _read("<i", self.content, self.at)
        size = _read("<H", self.content, table)
        slot = 4 + 2 * number
        offset = _read("<H", self.content, table + slot) if slot + 2 <= size else 0
        return self.at + offset if offset else None

    def number(self, number: int, form: str) -> int:
        at = self.field(number)
        return 0 if at is None else _read(form, self.content, at)

    def bytes(self, number: int) -> bytes:
        """Return a string, or a vector of bytes."""
        at = self.field(number)
        if at is None:
            return b""
        at += _read("<I", self.content, at)
        return self.content[at + 4 : at + 4 + _read("<I", self.content, at)]

    def tables(self, number: int) -> "Iterator[_Table]":
        """Yield the tables of a vector."""
        at = self.field(number)
        if at is None:
            return
        at += _read("<I", self.content, at)
        for index in range(_read("<I", self.content, at)):
            entry = at + 4 + 4 * index
            yield _Table(self.content, entry + _read("<I", self.content, entry))


def post_process_classes(model: bytes) -> int | None:
    """Return `num_classes` of the model's TFLite_Detection_PostProcess op: the classes without the background.

    Args:
        model: the content of a .tflite file.

    Returns:
        The number; None for a model without the op, or if it cannot be read.
    """
    try:
        root = _root(model)
        codes = [code.bytes(_CUSTOM_CODE) for code in root.tables(_OPERATOR_CODES)]
        for subgraph in root.tables(_SUBGRAPHS):
            for operator in subgraph.tables(_OPERATORS):
                if codes[operator.number(_OPCODE_INDEX, "<I")] == _POST_PROCESS:
                    return _flex_integers(operator.bytes(_CUSTOM_OPTIONS)).get(b"num_classes")
    except (struct.error, IndexError, KeyError, ValueError):
        return None
    return None


def label_file_name(model: bytes) -> str | None:
    """Return the name of the packed file with the labels of the model's outputs, from the model's metadata.

    Args:
        model: the content of a .tflite file.

    Returns:
        The name; a file without a locale is preferred. None if the metadata name no file.
    """
    try:
        root = _root(model)
        buffers = list(root.tables(_BUFFERS))
        for entry in root.tables(_METADATA):
            if entry.bytes(_NAME) == _METADATA_NAME:
                files = list(_label_files(_root(buffers[entry.number(_BUFFER, "<I")].bytes(_DATA))))
                files.sort(key=lambda file: bool(file.bytes(_FILE_LOCALE)))
                return files[0].bytes(_FILE_NAME).decode("utf-8", "replace") if files else None
    except (struct.error, IndexError):
        return None
    return None


def _label_files(metadata: _Table) -> Iterator[_Table]:
    for subgraph in metadata.tables(_SUBGRAPH_METADATA):
        for tensor in subgraph.tables(_OUTPUT_TENSORS):
            for file in tensor.tables(_TENSOR_FILES):
                if file.number(_FILE_TYPE, "<b") in _LABEL_TYPES:
                    yield file


def _root(content: bytes) -> _Table:
    return _Table(content, _read("<I", content, 0))


def _read(form: str, content: bytes, at: int) -> int:
    if at < 0:
        raise IndexError(at)
    value: int = struct.unpack_from(form, content, at)[0]
    return value


def _flex_integers(content: bytes) -> dict[bytes, int]:
    """Return the integers of a FlexBuffer that is a map, by their keys.

    The layout, from the end backwards: the width of the root, its type (shifted by 2), the offset back to the map's
    values. The values are preceded by their number, the width of the keys and the offset back to the keys, and followed
    by their types, one byte each.
    """
    root_width, root_type = content[-1], content[-2]
    if root_type >> 2 != _FLEX_MAP:
        return {}
    at = len(content) - 2 - root_width
    values, width = at - _flex(content, at, root_width), 1 << (root_type & 3)
    count = _flex(content, values - width, width)
    key_width = _flex(content, values - 2 * width, width)
    keys = values - 3 * width - _flex(content, values - 3 * width, width)
    integers = {}
    for index in range(count):
        entry = keys + index * key_width
        key = entry - _flex(content, entry, key_width)
        kind = content[values + count * width + index]
        if kind >> 2 in _FLEX_INTEGERS:
            integers[content[key : content.index(0, key)]] = _flex(content, values + index * width, width)
    return integers


def _flex(content: bytes, at: int, width: int) -> int:
    return _read(f"<{_FLEX_FORMATS[width]}", content, at)
