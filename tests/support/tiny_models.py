"""Small real TFLite detection models with predictable detections."""

import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from support.tflite_graph import Graph, Quantization, quantize

OUTPUTS = ("boxes", "classes", "scores", "count")
POST_PROCESS = "TFLite_Detection_PostProcess"

RED, GREEN, BLUE = (0, 0, 255), (0, 255, 0), (255, 0, 0)
"""Colours for a frame, which is BGR. The models here give them the class ids 0, 1 and 2."""

_COLOURS = np.array([[1, -1, -1], [-1, 1, -1], [-1, -1, 1]], dtype=np.float32)
"""How much of each colour an RGB pixel has: what its channel has more than the two others together."""
_STATE_QUANTIZATION = Quantization(0.1, 7)


@dataclass(frozen=True, slots=True)
class InputType:
    """Normalisation of pixels p: (p - mean) / std, in `dtype`."""

    dtype: str
    mean: float
    std: float

    @property
    def quantization(self) -> Quantization | None:
        """Of the input tensor: as real models have it, so that uint8 takes pixels as they are."""
        if self.dtype == "float32":
            return None
        return Quantization(1 / self.std, round(self.mean) if self.dtype == "uint8" else 0)


UINT8 = InputType("uint8", 128.0, 128.0)
INT8 = InputType("int8", 128.0, 128.0)
FLOAT32 = InputType("float32", 127.5, 127.5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """An output tensor: its name, and its type if not float32."""

    name: str
    dtype: str = "float32"
    quantization: Quantization | None = None


def square_finder(  # noqa: PLR0913 - the ways in which such models differ
    *,
    size: tuple[int, int] = (64, 64),
    cells: tuple[int, int] = (8, 8),
    input_type: InputType = UINT8,
    classes: int = 1,
    background: bool = False,
    order: Sequence[str] = OUTPUTS,
    max_detections: int = 20,
    state: bool = False,
) -> bytes:
    """Build a model that finds squares of red, green and blue on a grid, and ends in TFLite_Detection_PostProcess.

    Its boxes are the cells of the grid. A cell's score for a class is the mean over the cell of what the class's
    colour channel (class 0: red, 1: green, 2: blue, others: none) has more than the two others together, in
    ratios of 255. So a cell that one colour fills scores 1, a grey one 0. Scores below 0.01 are not given.

    Args:
        size: width and height of the input.
        cells: columns and rows of the grid; they divide the size.
        input_type: element type of the image input.
        classes: number of classes.
        background: whether a background class comes first in the scores, as in SSD models; it scores high.
        order: order of the outputs.
        max_detections: number of rows of the outputs.
        state: add a state input and output as recurrent models have them, in front of the usual ones. Scores
            are as above only while the state fed stands for zeros.
    """
    graph = Graph()
    image, pixels = _image_input(graph, size, input_type)
    columns, rows = cells
    kernel_height, kernel_width = size[1] // rows, size[0] // columns
    channels = classes + background
    colours = np.zeros((channels, 3), dtype=np.float32)
    colours[background:][:3] = _COLOURS[:classes]
    weights = np.tile(colours[:, None, None, :], (1, kernel_height, kernel_width, 1))
    weights *= input_type.std / (255 * kernel_height * kernel_width)
    bias = input_type.mean * colours.sum(axis=1) / 255
    if background:
        bias[0] = 0.97
    scores = graph.operator(
        "CONV_2D",
        [pixels, graph.constant(weights), graph.constant(bias)],
        (1, rows, columns, channels),
        options_type="Conv2DOptions",
        strideW=kernel_width,
        strideH=kernel_height,
        padding=1,  # VALID
        fusedActivationFunction=1,  # RELU
    )
    flat_shape = (1, rows * columns, channels)
    flat = _reshape(graph, scores, flat_shape)
    inputs, outputs = [image], []
    if state:
        inputs.insert(0, graph.tensor(flat_shape, name="state", dtype="uint8", quantization=_STATE_QUANTIZATION))
        was = graph.operator("DEQUANTIZE", inputs[:1], flat_shape)
        flat = graph.operator("ADD", [flat, was], flat_shape, options_type="AddOptions")
        half = graph.constant(np.full(flat_shape, 0.5))
        outputs = [graph.operator("MUL", [flat, half], flat_shape, name="new_state", options_type="MulOptions")]
    found = _post_process(graph, flat, cells=cells, classes=classes, max_detections=max_detections)
    return graph.build(inputs, outputs + [found[kind] for kind in order])


def edge_finder(
    *,
    size: int = 64,
    input_type: InputType = UINT8,
    names: Mapping[str, str] | None = None,
    signature: Mapping[str, str] | None = None,
    order: Sequence[str] = OUTPUTS,
) -> bytes:
    """Build a model without a custom op that returns the exact box of the red, the green and the blue in an image.

    It gives three detections, one a colour, in this order, with class ids 0 to 2. A box encloses all pixels that
    have at least half the colour, its score is the strongest such pixel's (see `square_finder`). A colour that is
    absent scores 0.

    Args:
        size: width and height of the input.
        input_type: element type of the image input.
        names: names of the output tensors by kind; neutral by default.
        signature: names in the signature by kind; without, the model has none.
        order: order of the outputs; `count` is optional.
    """
    names = {kind: f"Identity_{index}" for index, kind in enumerate(OUTPUTS)} if names is None else names
    graph = Graph()
    image, pixels = _image_input(graph, (size, size), input_type)
    colour = _colour_of_pixels(graph, pixels, size, input_type, gain=1.0)
    whether = _colour_of_pixels(graph, pixels, size, input_type, gain=1000.0)
    along = np.arange(size)
    edges = []
    for axis, ends in ((1, False), (2, False), (1, True), (2, True)):  # top, left, bottom, right
        # What is left of the other axis tells where the colour is; the outermost place has the largest weight.
        weights = np.tile(((along + 1 if ends else size - along) / size)[None, :, None], (1, 1, 3))
        touched = _reduce(graph, "REDUCE_MAX", whether, 3 - axis, (1, size, 3))
        weighted = graph.operator("MUL", [touched, graph.constant(weights)], (1, size, 3), options_type="MulOptions")
        edge = _reduce(graph, "REDUCE_MAX", weighted, 1, (1, 3))
        if not ends:
            edge = graph.operator("SUB", [graph.constant(np.ones((1, 3))), edge], (1, 3), options_type="SubOptions")
        edges.append(_reshape(graph, edge, (1, 3, 1)))
    found = {
        "boxes": graph.operator(
            "CONCATENATION", edges, (1, 3, 4), name=names["boxes"], options_type="ConcatenationOptions", axis=2
        ),
        "scores": _reduce(graph, "REDUCE_MAX", colour, (1, 2), (1, 3), name=names["scores"]),
        "classes": _reshape(graph, graph.constant([[[0], [1], [2]]]), (1, 3), name=names["classes"]),
        "count": _reshape(graph, graph.constant([[3]]), (1,), name=names["count"]),
    }
    named = None if signature is None else {signature[kind]: found[kind] for kind in order}
    return graph.build([image], [found[kind] for kind in order], signature=named)


def fixed_outputs(
    values: Mapping[str, ArrayLike],
    outputs: Mapping[str, Output],
    *,
    input_type: InputType = UINT8,
    signature: Mapping[str, str] | None = None,
) -> bytes:
    """Build a model that returns the same outputs for any image of 8x8 pixels.

    Args:
        values: values of each output, in its shape.
        outputs: descriptions of the outputs, in the model's order.
        input_type: element type of the image input.
        signature: names in the signature by kind; without, the model has none.
    """
    graph = Graph()
    image, _ = _image_input(graph, (8, 8), input_type)
    indices = []
    for kind, output in outputs.items():
        array = np.asarray(values[kind], dtype=np.float32)
        stored = array if output.quantization is None else quantize(array, output.quantization, output.dtype)
        flat = graph.constant(stored.reshape(-1), dtype=output.dtype, quantization=output.quantization)
        indices.append(
            _reshape(graph, flat, array.shape, name=output.name, dtype=output.dtype, quantization=output.quantization)
        )
    named = None if signature is None else {signature[kind]: indices[i] for i, kind in enumerate(outputs)}
    return graph.build([image], indices, signature=named)


def with_packed_files(model: bytes, files: Mapping[str, str | bytes]) -> bytes:
    """Append a ZIP archive to a model, as TFLite metadata packs files in."""
    packed = io.BytesIO(model)
    with zipfile.ZipFile(packed, mode="a", compression=zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return packed.getvalue()


def painted(
    size: tuple[int, int], squares: Mapping[tuple[int, int, int], tuple[int, int, int, int]], *, grey: int = 90
) -> NDArray[np.uint8]:
    """Paint a BGR frame, grey but for rectangles given by colour as left, top, right, bottom in pixels."""
    frame = np.full((size[1], size[0], 3), grey, dtype=np.uint8)
    for colour, (left, top, right, bottom) in squares.items():
        frame[top:bottom, left:right] = colour
    return frame


def _image_input(graph: Graph, size: tuple[int, int], input_type: InputType) -> tuple[int, int]:
    """Add the image input; return it and its pixels as float32, normalised."""
    shape = (1, size[1], size[0], 3)
    image = graph.tensor(shape, name="image", dtype=input_type.dtype, quantization=input_type.quantization)
    if input_type.dtype == "float32":
        return image, image
    return image, graph.operator("DEQUANTIZE", [image], shape, version=2)


def _colour_of_pixels(graph: Graph, pixels: int, size: int, input_type: InputType, *, gain: float) -> int:
    """Return each pixel's share of the three colours, 0 to 1; with a high gain, whether it is above a half."""
    middle = 0.0 if gain == 1 else 0.5
    weights = (_COLOURS * gain * input_type.std / 255).reshape(3, 1, 1, 3)
    bias = gain * (input_type.mean * _COLOURS.sum(axis=1) / 255 - middle)
    shape = (1, size, size, 3)
    colour = graph.operator(
        "CONV_2D",
        [pixels, graph.constant(weights), graph.constant(bias)],
        shape,
        options_type="Conv2DOptions",
        strideW=1,
        strideH=1,
        padding=1,
        fusedActivationFunction=1,
    )
    return graph.operator("MINIMUM", [colour, graph.constant(np.ones(shape))], shape)


def _reduce(  # noqa: PLR0913 - as `Graph.operator`
    graph: Graph, kind: str, source: int, axes: int | tuple[int, ...], shape: Sequence[int], *, name: str | None = None
) -> int:
    along = graph.constant(np.atleast_1d(axes), dtype="int32")
    return graph.operator(kind, [source, along], shape, name=name, options_type="ReducerOptions", keepDims=False)


def _reshape(  # noqa: PLR0913 - as `Graph.operator`
    graph: Graph,
    source: int,
    shape: Sequence[int],
    *,
    name: str | None = None,
    dtype: str = "float32",
    quantization: Quantization | None = None,
) -> int:
    return graph.operator(
        "RESHAPE",
        [source, graph.constant(shape, dtype="int32")],
        shape,
        name=name,
        dtype=dtype,
        quantization=quantization,
        options_type="ReshapeOptions",
        newShape=list(shape),
    )


def _post_process(
    graph: Graph, scores: int, *, cells: tuple[int, int], classes: int, max_detections: int
) -> dict[str, int]:
    """Add the op, with the grid's cells as anchors and box codes that leave them as they are."""
    columns, rows = cells
    anchors = [
        ((row + 0.5) / rows, (column + 0.5) / columns, 1 / rows, 1 / columns)  # centre y and x, height, width
        for row in range(rows)
        for column in range(columns)
    ]
    shapes = ((1, max_detections, 4), (1, max_detections), (1, max_detections), (1,))
    outputs = {
        kind: graph.tensor(shape, name=f"{POST_PROCESS}:{index}" if index else POST_PROCESS)
        for index, (kind, shape) in enumerate(zip(OUTPUTS, shapes, strict=True))
    }
    graph.custom_operator(
        POST_PROCESS,
        [graph.constant(np.zeros((1, rows * columns, 4))), scores, graph.constant(anchors)],
        list(outputs.values()),
        {
            "max_detections": max_detections,
            "max_classes_per_detection": 1,
            "use_regular_nms": False,
            "nms_score_threshold": 0.01,
            "nms_iou_threshold": 0.5,
            "num_classes": classes,
            "y_scale": 10.0,
            "x_scale": 10.0,
            "h_scale": 5.0,
            "w_scale": 5.0,
        },
    )
    return outputs
