"""Cuts a SavedModel of the Object Detection API between its normalised image and its raw heads.

The nodes are found by their place in the graph and their shapes, for their names differ from release to release: the
image is what the only convolution on three channels reads; the heads are the two concatenations of all pyramid levels,
and the class head is the one that a sigmoid follows.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from beeagent.errors import InputError
from numpy.typing import NDArray

from beeagent_export.heads import BoxScales

_LEVELS = 3  # at least; a pyramid of EfficientDet has five
_STEPS_TO_SIGMOID = 4
_RAW_BOXES = "raw_detection_boxes"
_SAME_BOXES = 1e-4  # of the input; rounding of float32 is far below
_SAME_PIXELS = 1e-3  # normalised ones are within -3 to 3


@dataclass(frozen=True, slots=True)
class CutGraph:
    """A detector without what stands before and behind its network.

    Attributes:
        network: puts the network into the TensorFlow graph that is being built. It takes a tensor, the normalised
            image, float32, shape (1, height, width, 3), and gives box codes, shape (1, n, 4), and scores within 0 to
            1, shape (1, n, classes).
        height: of the image, in pixels.
        width: of the image, in pixels.
        gain: float32, shape (3,): a pixel (0 to 255, RGB) times this
        offset: plus this, shape (3,), is the normalised one.
        anchors: float32, shape (n, 4): y_center, x_center, height, width as ratios of the image.
        classes: how many the scores are of.
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
        folder: with `saved_model.pb`.
        box_scales: what its box codes are divided by.

    Raises:
        InputError: the files are defective, or the graph is not that of an EfficientDet of the API.
    """
    import tensorflow as tf  # noqa: PLC0415 - takes seconds

    nodes, boxes_name = _freeze(folder)
    graph = tf.Graph()
    with graph.as_default():
        tf.graph_util.import_graph_def(nodes, name="")
    model_input = _model_input(graph, folder)
    image = _image(graph, folder)
    codes, scores = _heads(graph, folder)
    boxes = graph.get_tensor_by_name(boxes_name)
    with tf.compat.v1.Session(graph=graph) as session:
        gain, offset = _normalisation(session, model_input, image, folder)
        anchors = _anchors(session, model_input, codes, boxes, scales=box_scales, folder=folder)
    return CutGraph(
        network=_between(nodes, image, (codes, scores)),
        height=int(image.shape[1]),
        width=int(image.shape[2]),
        gain=gain,
        offset=offset,
        anchors=anchors,
        classes=int(scores.shape[-1]),
    )


def _freeze(folder: Path) -> tuple[Any, str]:
    """Load a SavedModel as a graph with variables replaced by constants, and name the tensor of all decoded boxes."""
    import tensorflow as tf  # noqa: PLC0415 - takes seconds
    from tensorflow.python.framework import convert_to_constants as tf_constants  # noqa: PLC0415

    try:
        loaded = tf.saved_model.load(str(folder))
    except Exception as error:  # noqa: BLE001 - on damaged files, TensorFlow raises whatever its many parts do
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"the SavedModel {folder} cannot be loaded: {reason}; export it again") from None
    signature = loaded.signatures.get("serving_default")
    if signature is None or _RAW_BOXES not in signature.structured_outputs:
        raise _other_make(folder, f"has no signature serving_default that returns {_RAW_BOXES}")
    # As `convert_variables_to_constants_v2` does it, but for its end: that makes a function of the graph, and as
    # TensorFlow gives the loops of all such functions the same names, a second one fails in the same process.
    inlined = tf_constants._FunctionConverterDataInEager(  # noqa: SLF001
        func=signature, lower_control_flow=False, aggressive_inlining=False
    )
    nodes, _ = tf_constants._replace_variables_by_constants(converter_data=inlined)  # noqa: SLF001
    # A signature's outputs come in the order of their names.
    return nodes, str(signature.outputs[sorted(signature.structured_outputs).index(_RAW_BOXES)].name)


def _between(nodes: Any, image: Any, fetched: tuple[Any, ...]) -> Callable[[Any], list[Any]]:  # noqa: ANN401 - TensorFlow ships no types
    """Return a function that adds the part of a graph between a tensor and others to the current graph."""
    import tensorflow as tf  # noqa: PLC0415 - takes seconds

    wanted: set[str] = set()
    waiting = [one.op for one in fetched]
    while waiting:
        operation = waiting.pop()
        if operation.name not in wanted:
            wanted.add(operation.name)
            waiting += [one.op for one in operation.inputs if one.name != image.name]
    part = tf.compat.v1.GraphDef(versions=nodes.versions)
    for node in nodes.node:
        if node.name in wanted:
            copy = part.node.add()
            copy.CopyFrom(node)
            # What else has to have run before, such as a check of the image, stays behind.
            copy.input[:] = [one for one in copy.input if not one.startswith("^")]
            # The converter saves what it converts, which fails where a node speaks of gradients of its own.
            copy.attr.pop("_gradient_op_type", None)
    names = [one.name for one in fetched]
    # The importer knows a node's first output by the bare name of the node.
    source = image.op.name if image.value_index == 0 else image.name

    def network(normalised: Any) -> list[Any]:  # noqa: ANN401
        parts = tf.graph_util.import_graph_def(part, input_map={source: normalised}, return_elements=names, name="")
        return list(parts)

    return network


def _model_input(graph: Any, folder: Path) -> Any:  # noqa: ANN401 - TensorFlow ships no types
    tensors = [operation.outputs[0] for operation in graph.get_operations() if operation.type == "Placeholder"]
    if len(tensors) != 1 or tensors[0].dtype.name not in {"uint8", "float32"} or tensors[0].shape.rank != 4:
        kinds = ", ".join(f"{one.dtype.name} {one.shape}" for one in tensors)
        raise InputError(
            f"the SavedModel {folder} takes {kinds}, not one image: run exporter_main_v2.py with "
            "--input_type image_tensor"
        )
    return tensors[0]


def _image(graph: Any, folder: Path) -> Any:  # noqa: ANN401 - TensorFlow ships no types
    stems = [
        operation.inputs[0]
        for operation in graph.get_operations()
        if operation.type == "Conv2D" and operation.inputs[1].shape.rank == 4 and operation.inputs[1].shape[2] == 3
    ]
    if len(stems) != 1:
        raise _other_make(folder, f"has {len(stems)} convolutions on three channels where one is expected")
    if not stems[0].shape.is_fully_defined() or stems[0].shape[0] != 1:
        raise _other_make(folder, f"feeds its network images of shape {stems[0].shape}, which is not fixed")
    return stems[0]


def _heads(graph: Any, folder: Path) -> tuple[Any, Any]:  # noqa: ANN401
    joined = [
        operation.outputs[0]
        for operation in graph.get_operations()
        if operation.type == "ConcatV2"
        and operation.outputs[0].shape.rank == 3
        and operation.outputs[0].shape.is_fully_defined()
        and sum(one.op.type == "Reshape" for one in operation.inputs) >= _LEVELS
    ]
    scores = {one.name: next(_sigmoids_behind(one), None) for one in joined}
    classes = [one for one in joined if scores[one.name] is not None]
    boxes = [one for one in joined if scores[one.name] is None and one.shape[-1] == 4]
    if len(classes) != 1 or len(boxes) != 1 or classes[0].shape[1] != boxes[0].shape[1]:
        raise _other_make(
            folder, f"has {len(boxes)} box heads and {len(classes)} class heads where one of each is expected"
        )
    return boxes[0], scores[classes[0].name]


def _sigmoids_behind(tensor: Any) -> Iterator[Any]:  # noqa: ANN401
    """Find what follows a tensor without changing its shape, up to a sigmoid."""
    reached = [tensor]
    for _ in range(_STEPS_TO_SIGMOID):
        after = [operation for one in reached for operation in one.consumers()]
        yield from (operation.outputs[0] for operation in after if operation.type == "Sigmoid")
        reached = [
            operation.outputs[0]
            for operation in after
            if operation.outputs and operation.outputs[0].shape == tensor.shape
        ]


_TensorFlow = Any  # ships no types


def _normalisation(
    session: _TensorFlow, model_input: _TensorFlow, image: _TensorFlow, folder: Path
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Measure what becomes of black and white pixels, and see that it explains what becomes of others."""
    shape, dtype = tuple(int(side) for side in image.shape), model_input.dtype.as_numpy_dtype
    noise = np.random.default_rng(0).integers(0, 256, shape).astype(dtype)
    samples = (np.zeros(shape, dtype), np.full(shape, 255, dtype), noise)
    black, white, normalised = (session.run(image, {model_input: pixels}).astype(np.float64) for pixels in samples)
    offset = black[0, 0, 0]
    gain = (white[0, 0, 0] - offset) / 255
    if not np.allclose(normalised, noise * gain + offset, atol=_SAME_PIXELS) or not np.all(gain > 0):
        raise _other_make(folder, "does not normalise pixels by a factor and an offset for each channel")
    return gain.astype(np.float32), offset.astype(np.float32)


def _anchors(  # noqa: PLR0913 - what is run, and what is expected
    session: _TensorFlow,
    model_input: _TensorFlow,
    codes: _TensorFlow,
    boxes: _TensorFlow,
    *,
    scales: BoxScales,
    folder: Path,
) -> NDArray[np.float32]:
    """Return the anchors, which the model decodes from zero box codes, after checking how it decodes others."""
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
    if not np.allclose(shifted, expected, atol=_SAME_BOXES, rtol=_SAME_BOXES):
        raise InputError(
            f"the SavedModel {folder} does not decode its boxes as box_coder in its pipeline.config "
            "says: give it the file that it was exported with"
        )
    return anchors.astype(np.float32)


def _centers_and_sides(boxes: NDArray[np.float32]) -> NDArray[np.float64]:
    """Turn top, left, bottom, right into y_center, x_center, height, width."""
    corners = boxes.astype(np.float64)
    return np.concatenate([(corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]], axis=1)


def _other_make(folder: Path, what: str) -> InputError:
    return InputError(
        f"the SavedModel {folder} {what}: it is not an EfficientDet of the TensorFlow 2 Object Detection API, and "
        "other SavedModels cannot be exported"
    )
