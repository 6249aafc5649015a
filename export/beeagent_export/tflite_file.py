"""A .tflite file as a tree of objects, and back."""

from typing import Any

import flatbuffers
from ai_edge_litert import schema_py_generated as schema

_FILE_IDENTIFIER = b"TFL3"
_BUFFER_ALIGNMENT = 16


def unpack(model: bytes) -> schema.ModelT:
    """Read a .tflite file."""
    return schema.ModelT.InitFromPackedBuf(model)


def pack(tree: schema.ModelT) -> bytes:
    """Write a .tflite file."""
    builder = _AligningBuilder(1024)
    builder.Finish(tree.Pack(builder), file_identifier=_FILE_IDENTIFIER)
    return bytes(builder.Output())


def filled(table: Any, **fields: object) -> Any:  # noqa: ANN401 - any class of the schema
    """Return a table of the schema with its fields set."""
    for name, value in fields.items():
        setattr(table, name, value)
    return table


class _AligningBuilder(flatbuffers.Builder):  # type: ignore[misc]  # flatbuffers ships no types
    """Aligns vectors to 16 bytes, as TFLite's schema asks for buffers; the generated code aligns to the element only.

    A float across a word boundary is slow on some processors and a fault on others.
    """

    def StartVector(self, elemSize: int, numElems: int, alignment: int) -> int:  # noqa: N802, N803 - the base's names
        return int(super().StartVector(elemSize, numElems, max(alignment, _BUFFER_ALIGNMENT)))
