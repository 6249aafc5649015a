"""Converts a .tflite file to an object tree and back."""

from typing import Any

import flatbuffers
from ai_edge_litert import schema_py_generated as schema

_FILE_IDENTIFIER = b"TFL3"
_BUFFER_ALIGNMENT = 16


def unpack(model: bytes) -> schema.ModelT:
    """Return the object tree of a .tflite file."""
    return schema.ModelT.InitFromPackedBuf(model)


def pack(tree: schema.ModelT) -> bytes:
    """Return the .tflite file of an object tree."""
    builder = _AligningBuilder(1024)
    builder.Finish(tree.Pack(builder), file_identifier=_FILE_IDENTIFIER)
    return bytes(builder.Output())


def set_fields(table: Any, **fields: object) -> Any:  # noqa: ANN401 - any class of the schema
    """Set fields of a table of the schema and return the table."""
    for name, value in fields.items():
        setattr(table, name, value)
    return table


class _AligningBuilder(flatbuffers.Builder):  # type: ignore[misc]  # flatbuffers ships no types
    """Aligns vectors to 16 bytes, as TFLite's schema requires for buffers; the generated code aligns to elements only.

    An unaligned access is slow on some processors and a fault on others.
    """

    def StartVector(self, elemSize: int, numElems: int, alignment: int) -> int:  # noqa: N802, N803 - the base's names
        return int(super().StartVector(elemSize, numElems, max(alignment, _BUFFER_ALIGNMENT)))
