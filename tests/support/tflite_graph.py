"""Writes TFLite models op by op, without TensorFlow, for tests that need models with known outputs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray

# LiteRT's wheel has the flatbuffer schema; tflite-runtime's has not.
schema: Any = pytest.importorskip(
    "ai_edge_litert.schema_py_generated", reason="models for tests are written with ai-edge-litert's flatbuffer schema"
)
flatbuffers: Any = pytest.importorskip("flatbuffers")
flexbuffers: Any = pytest.importorskip("flatbuffers.flexbuffers")

_TYPES = {
    "float32": schema.TensorType.FLOAT32,
    "float16": schema.TensorType.FLOAT16,
    "int32": schema.TensorType.INT32,
    "int64": schema.TensorType.INT64,
    "uint8": schema.TensorType.UINT8,
    "int8": schema.TensorType.INT8,
}
_BUFFER_ALIGNMENT = 16


@dataclass(frozen=True, slots=True)
class Quantization:
    """A quantized integer q stands for (q - zero_point) * scale."""

    scale: float
    zero_point: int


class Graph:
    """A model under construction. Tensors are identified by the index that adding them returns."""

    def __init__(self) -> None:
        self._tensors: list[Any] = []
        self._buffers: list[Any] = [schema.BufferT()]  # by convention the first one is empty
        self._codes: list[Any] = []
        self._operators: list[Any] = []

    def tensor(
        self,
        shape: Sequence[int],
        *,
        name: str | None = None,
        dtype: str = "float32",
        quantization: Quantization | None = None,
        any_size: Sequence[int] = (),
    ) -> int:
        """Add a tensor that is computed or fed; the axes in `any_size` can be resized before running."""
        tensor = schema.TensorT()
        tensor.name = f"t{len(self._tensors)}" if name is None else name
        tensor.shape = list(shape)
        tensor.type = _TYPES[dtype]
        tensor.buffer = 0
        if any_size:
            tensor.shapeSignature = [-1 if axis in any_size else size for axis, size in enumerate(shape)]
        if quantization is not None:
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale = [quantization.scale]
            tensor.quantization.zeroPoint = [quantization.zero_point]
        self._tensors.append(tensor)
        return len(self._tensors) - 1

    def constant(self, values: ArrayLike, *, dtype: str = "float32", quantization: Quantization | None = None) -> int:
        """Add a tensor whose values, as they are stored, are part of the model."""
        array = np.ascontiguousarray(values, dtype=dtype)
        index = self.tensor(array.shape, dtype=dtype, quantization=quantization)
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(array.tobytes(), dtype=np.uint8)
        self._tensors[index].buffer = len(self._buffers)
        self._buffers.append(buffer)
        return index

    def operator(  # noqa: PLR0913 - the fields that an operator has
        self,
        kind: str,
        inputs: Sequence[int],
        shape: Sequence[int],
        *,
        version: int = 1,
        name: str | None = None,
        dtype: str = "float32",
        quantization: Quantization | None = None,
        **options: object,
    ) -> int:
        """Add a builtin operator, such as `CONV_2D`, and its one output; options are those of the schema.

        `options_type`, such as `Conv2DOptions`, names the options' table for an operator that has one.
        """
        output = self.tensor(shape, name=name, dtype=dtype, quantization=quantization)
        operator = self._operator(self._code(kind, version), inputs, [output])
        table = options.pop("options_type", None)
        if table is not None:
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, str(table))
            operator.builtinOptions = getattr(schema, f"{table}T")()
            for key, value in options.items():
                setattr(operator.builtinOptions, key, value)
        return output

    def custom_operator(
        self, kind: str, inputs: Sequence[int], outputs: Sequence[int], options: Mapping[str, float]
    ) -> None:
        """Add a custom operator with outputs that are there already; options become a flexbuffer map."""
        operator = self._operator(self._code("CUSTOM", 1, kind), inputs, outputs)
        builder = flexbuffers.Builder()
        with builder.Map():
            for key, value in options.items():
                add = {bool: builder.Bool, int: builder.Int, float: builder.Float}[type(value)]
                add(key, value)
        operator.customOptions = np.frombuffer(bytes(builder.Finish()), dtype=np.uint8)
        operator.customOptionsFormat = schema.CustomOptionsFormat.FLEXBUFFERS

    def build(
        self,
        inputs: Sequence[int],
        outputs: Sequence[int],
        *,
        signature: Mapping[str, int] | None = None,
    ) -> bytes:
        """Write the .tflite file.

        Args:
            inputs: the model's inputs, in its order.
            outputs: the model's outputs, in its order.
            signature: names for the outputs in a signature `serving_default`; without, the model has none.
        """
        subgraph = schema.SubGraphT()
        subgraph.name = "main"
        subgraph.tensors = self._tensors
        subgraph.operators = self._operators
        subgraph.inputs, subgraph.outputs = list(inputs), list(outputs)
        model = schema.ModelT()
        model.version = 3
        model.description = "written by a test"
        model.buffers, model.operatorCodes, model.subgraphs = self._buffers, self._codes, [subgraph]
        if signature is not None:
            definition = schema.SignatureDefT()
            definition.signatureKey = "serving_default"
            definition.subgraphIndex = 0
            definition.inputs = [_tensor_map(f"input_{index}", index) for index in inputs]
            definition.outputs = [_tensor_map(name, index) for name, index in signature.items()]
            model.signatureDefs = [definition]
        builder = _AligningBuilder(1024)
        builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
        return bytes(builder.Output())

    def _code(self, kind: str, version: int, custom: str | None = None) -> int:
        code = schema.OperatorCodeT()
        code.builtinCode = getattr(schema.BuiltinOperator, kind)
        # Readers from before there were more than 127 operators look here.
        code.deprecatedBuiltinCode = min(code.builtinCode, 127)
        code.customCode, code.version = custom, version
        self._codes.append(code)
        return len(self._codes) - 1

    def _operator(self, code: int, inputs: Sequence[int], outputs: Sequence[int]) -> Any:  # noqa: ANN401 - untyped schema
        operator = schema.OperatorT()
        operator.opcodeIndex = code
        operator.inputs, operator.outputs = list(inputs), list(outputs)
        self._operators.append(operator)
        return operator


def quantize(values: ArrayLike, quantization: Quantization, dtype: str) -> NDArray[Any]:
    """Return the quantized integers of the values, rounded to the nearest."""
    limits = np.iinfo(dtype)
    quantized = np.rint(np.asarray(values) / quantization.scale) + quantization.zero_point
    stored: NDArray[Any] = np.clip(quantized, limits.min, limits.max).astype(dtype)
    return stored


def _tensor_map(name: str, index: int) -> Any:  # noqa: ANN401 - untyped schema
    tensor_map = schema.TensorMapT()
    tensor_map.name, tensor_map.tensorIndex = name, index
    return tensor_map


class _AligningBuilder(flatbuffers.Builder):  # type: ignore[misc]  # flatbuffers ships no types
    """Aligns vectors as the schema requires for buffers; the generated code does not."""

    def StartVector(self, elemSize: int, numElems: int, alignment: int) -> int:  # noqa: N802, N803 - the base's names
        return int(super().StartVector(elemSize, numElems, max(alignment, _BUFFER_ALIGNMENT)))
