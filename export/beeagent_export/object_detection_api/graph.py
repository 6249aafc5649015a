"""Cuts a SavedModel of the Object Detection API between its normalised image and its raw heads.

Nodes are identified by their position in the graph and their shapes, because names differ between releases: the image
is the input of the only convolution on three channels; the heads are the two concatenations of all pyramid levels, and
the class head is the one followed by a sigmoid.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from beeagent.errors import InputError
from numpy.typing import NDArray

from beeagent_export.heads import BoxScales

_MIN_LEVELS = 3  # an EfficientDet has five
_MAX_STEPS_TO_SIGMOID = 4
_RAW_BOXES = "raw_detection_boxes"
_BOX_TOLERANCE = 1e-4  # ratio of the input; the rounding of float32 is far below
_PIXEL_TOLERANCE = 1e-3  # normalised pixels are within -3 to 3


@dataclass(frozen=True, slots=True)
class CutGraph:
    """The network of a detector without preprocessing and post-processing.

    Attributes:
        network: function that adds the network to the current TensorFlow graph. It takes the normalised image, a
            float32 tensor of shape (1, height, width, 3), and returns box codes, shape (1, n, 4), and scores, shape
            (1, n, classes), 0 to 1.
        height: height of the image in pixels.
        width: width of the image in pixels.
        gain: factor of the normalisation per channel, float32, shape (3,), for RGB values of 0 to 255.
        offset: offset of the normalisation per channel, float32, shape (3,), added after the multiplication.
        anchors: float32, shape (n, 4): y_center, x_center, height, width as ratios of the image.
        classes: number of classes.
    """

    network: Callable[[Any], list[Any]]
    height: int
    width: int
    gain: NDArray[np.float32]
    offset: NDArray[np.float32]
    anchors: NDArray[np.float32]
    classes: int


def cut_saved_model(folder: Path, *, box_scales: BoxScales) -> CutGraph:
    """Load a SavedModel and cut it.

    Args:
        folder: folder of `saved_model.pb`.
        box_scales: divisors of the box codes.

    Raises:
        InputError: the files cannot be loaded, or the graph is not an EfficientDet of the API.
    """
    import tensorflow as tf  # noqa: PLC0415 - takes seconds

    nodes, boxes_name = _freeze(folder)
    graph = tf.Graph()
    with graph.as_default():
        tf.graph_util.import_graph_def(nodes, name="")
    model_input = _find_model_input(graph, folder)
    image = _find_network_input(graph, folder)
    codes, scores = _find_heads(graph, folder)
    boxes = graph.get_tensor_by_name(boxes_name)
    with tf.compat.v1.Session(graph=graph) as session:
        gain, offset = _measure_normalisation(session, model_input, image, folder)
        anchors = _measure_anchors(session, model_input, codes, boxes, scales=box_scales, folder=folder)
    return CutGraph(
        network=_subgraph(nodes, image, (codes, scores)),
        height=int(image.shape[1]),
        width=int(image.shape[2]),
        gain=gain,
        offset=offset,
        anchors=anchors,
        classes=int(scores.shape[-1]),
    )


def _freeze(folder: Path) -> tuple[Any, str]:
    """Load a SavedModel as a graph with constants for variables; return it and the name of the box tensor."""
    import tensorflow as tf  # noqa: PLC0415 - takes seconds
    from tensorflow.python.framework import convert_to_constants as tf_constants  # noqa: PLC0415

    try:
        loaded = tf.saved_model.load(str(folder))
    except Exception as error:  # noqa: BLE001 - TensorFlow raises many types on damaged files
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"the SavedModel {folder} cannot be loaded: {reason}; export it again") from None
    signature = loaded.signatures.get("serving_default")
    if signature is None or _RAW_BOXES not in signature.structured_outputs:
        raise _not_efficientdet(folder, f"has no signature serving_default that returns {_RAW_BOXES}")
    # `convert_variables_to_constants_v2` would also wrap the graph in a function. TensorFlow gives the loops of all
    # such functions the same names, so that a second export in the same process fails.
    inlined = tf_constants._FunctionConverterDataInEager(  # noqa: SLF001
        func=signature, lower_control_flow=False, aggressive_inlining=False
    )
    nodes, _ = tf_constants._replace_variables_by_constants(converter_data=inlined)  # noqa: SLF001
    # The outputs of a signature are sorted by name.
    return nodes, str(signature.outputs[sorted(signature.structured_outputs).index(_RAW_BOXES)].name)


def _subgraph(nodes: Any, image: Any, outputs: tuple[Any, ...]) -> Callable[[Any], list[Any]]:  # noqa: ANN401 - TensorFlow ships no types
    """Return a function that adds the subgraph between a tensor and some outputs to the current graph."""
    import tensorflow as tf  # noqa: PLC0415 - takes seconds

    needed: set[str] = set()
    pending = [tensor.op for tensor in outputs]
    while pending:
        operation = pending.pop()
        if operation.name not in needed:
            needed.add(operation.name)
            pending += [tensor.op for tensor in operation.inputs if tensor.name != image.name]
    part = tf.compat.v1.GraphDef(versions=nodes.versions)
    for node in nodes.node:
        if node.name in needed:
            copy = part.node.add()
            copy.CopyFrom(node)
            # Control dependencies, such as checks of the image, are outside the subgraph.
            copy.input[:] = [name for name in copy.input if not name.startswith("^")]
            # The converter saves the graph, which fails for nodes with custom gradients.
            copy.attr.pop("_gradient_op_type", None)
    names = [tensor.name for tensor in outputs]
    # The importer refers to the first output of a node by the node's name.
    source = image.op.name if image.value_index == 0 else image.name

    def network(normalised: Any) -> list[Any]:  # noqa: ANN401
        return list(
            tf.graph_util.import_graph_def(part, input_map={source: normalised}, return_elements=names, name="")
        )

    return network


def _find_model_input(graph: Any, folder: Path) -> Any:  # noqa: ANN401 - TensorFlow ships no types
    tensors = [operation.outputs[0] for operation in graph.get_operations() if operation.type == "Placeholder"]
    if len(tensors) != 1 or tensors[0].dtype.name not in {"uint8", "float32"} or tensors[0].shape.rank != 4:
        kinds = ", ".join(f"{one.dtype.name} {one.shape}" for one in tensors)
        raise InputError(
            f"the SavedModel {folder} takes {kinds}, not one image: run exporter_main_v2.py with "
            "--input_type image_tensor"
        )
    return tensors[0]


def _find_network_input(graph: Any, folder: Path) -> Any:  # noqa: ANN401 - TensorFlow ships no types
    stems = [
        operation.inputs[0]
        for operation in graph.get_operations()
        if operation.type == "Conv2D" and operation.inputs[1].shape.rank == 4 and operation.inputs[1].shape[2] == 3
    ]
    if len(stems) != 1:
        raise _not_efficientdet(folder, f"has {len(stems)} convolutions on three channels where one is expected")
    if not stems[0].shape.is_fully_defined() or stems[0].shape[0] != 1:
        raise _not_efficientdet(folder, f"has a network input of shape {stems[0].shape}, which is not fixed")
    return stems[0]


def _find_heads(graph: Any, folder: Path) -> tuple[Any, Any]:  # noqa: ANN401
    concatenations = [
        operation.outputs[0]
        for operation in graph.get_operations()
        if operation.type == "ConcatV2"
        and operation.outputs[0].shape.rank == 3
        and operation.outputs[0].shape.is_fully_defined()
        and sum(one.op.type == "Reshape" for one in operation.inputs) >= _MIN_LEVELS
    ]
    scores = {tensor.name: next(_sigmoids_after(tensor), None) for tensor in concatenations}
    classes = [tensor for tensor in concatenations if scores[tensor.name] is not None]
    boxes = [tensor for tensor in concatenations if scores[tensor.name] is None and tensor.shape[-1] == 4]
    if len(classes) != 1 or len(boxes) != 1 or classes[0].shape[1] != boxes[0].shape[1]:
        raise _not_efficientdet(
            folder, f"has {len(boxes)} box heads and {len(classes)} class heads where one of each is expected"
        )
    return boxes[0], scores[classes[0].name]


def _sigmoids_after(tensor: Any) -> Iterator[Any]:  # noqa: ANN401
    """Yield the sigmoids that are applied to a tensor, directly or after operations that keep its shape."""
    reached = [tensor]
    for _ in range(_MAX_STEPS_TO_SIGMOID):
        after = [operation for output in reached for operation in output.consumers()]
        yield from (operation.outputs[0] for operation in after if operation.type == "Sigmoid")
        reached = [
            operation.outputs[0]
            for operation in after
            if operation.outputs and operation.outputs[0].shape == tensor.shape
        ]


_TensorFlow = Any  # ships no types


def _measure_normalisation(
    session: _TensorFlow, model_input: _TensorFlow, image: _TensorFlow, folder: Path
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return gain and offset, measured with a black and a white image and checked with noise."""
    shape, dtype = tuple(int(side) for side in image.shape), model_input.dtype.as_numpy_dtype
    noise = np.random.default_rng(0).integers(0, 256, shape).astype(dtype)
    samples = (np.zeros(shape, dtype), np.full(shape, 255, dtype), noise)
    black, white, normalised = (session.run(image, {model_input: pixels}).astype(np.float64) for pixels in samples)
    offset = black[0, 0, 0]
    gain = (white[0, 0, 0] - offset) / 255
    if not np.allclose(normalised, noise * gain + offset, atol=_PIXEL_TOLERANCE) or not np.all(gain > 0):
        raise _not_efficientdet(folder, "does not normalise pixels by a factor and an offset for each channel")
    return gain.astype(np.float32), offset.astype(np.float32)


def _measure_anchors(  # noqa: PLR0913
    session: _TensorFlow,
    model_input: _TensorFlow,
    codes: _TensorFlow,
    boxes: _TensorFlow,
    *,
    scales: BoxScales,
    folder: Path,
) -> NDArray[np.float32]:
    """Return the anchors, decoded from zero box codes, and check the decoding of random codes."""
    blank = np.zeros([side or 64 for side in model_input.shape], model_input.dtype.as_numpy_dtype)
    shape = tuple(int(side) for side in codes.shape)
    shifts = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
    anchors, shifted = (
        _centers_and_sides(session.run(boxes, {model_input: blank, codes: values})[0])
        for values in (np.zeros(shape, np.float32), shifts)
    )
    scaled = shifts[0].astype(np.float64) / [scales.y, scales.x, scales.height, scales.width]
    expected = np.concatenate(
        [anchors[:, :2] + scaled[:, :2] * anchors[:, 2:], anchors[:, 2:] * np.exp(scaled[:, 2:])], axis=1
    )
    if not np.allclose(shifted, expected, atol=_BOX_TOLERANCE, rtol=_BOX_TOLERANCE):
        raise InputError(
            f"the SavedModel {folder} does not decode boxes as box_coder in its pipeline.config says: use the "
            "pipeline.config of its export"
        )
    return anchors.astype(np.float32)


def _centers_and_sides(boxes: NDArray[np.float32]) -> NDArray[np.float64]:
    """Convert top, left, bottom, right to y_center, x_center, height, width."""
    corners = boxes.astype(np.float64)
    return np.concatenate([(corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]], axis=1)


def _not_efficientdet(folder: Path, reason: str) -> InputError:
    return InputError(
        f"the SavedModel {folder} {reason}: it is not an EfficientDet of the TensorFlow 2 Object Detection API, and "
        "other SavedModels cannot be exported"
    )
