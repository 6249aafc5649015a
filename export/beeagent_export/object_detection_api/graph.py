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
_SAME_ANCHORS = 1e-3  # of the input; rounding of float32 is far below


@dataclass(frozen=True, slots=True)
class CutGraph:
    """A detector without what stands before and behind its network.

    Attributes:
        network: takes the normalised image, float32, shape (1, height, width, 3), and gives box codes, shape
            (1, n, 4), and scores within 0 to 1, shape (1, n, classes).
        height: of the image, in pixels.
        width: of the image, in pixels.
        gain: float32, shape (3,): a pixel (0 to 255, RGB) times this
        offset: plus this, shape (3,), is the normalised one.
        anchors: float32, shape (n, 4): y_center, x_center, height, width as ratios of the image.
        classes: how many the scores are of.
    """

    network: Any
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
    from tensorflow.python.framework.convert_to_constants import (  # noqa: PLC0415
        convert_variables_to_constants_v2,
    )

    try:
        loaded = tf.saved_model.load(str(folder))
    except (OSError, ValueError, RuntimeError, LookupError, tf.errors.OpError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"the SavedModel {folder} cannot be loaded: {reason}; export it anew") from None
    signature = loaded.signatures.get("serving_default")
    if signature is None or "raw_detection_boxes" not in signature.structured_outputs:
        raise _other_make(folder, "has no signature serving_default that gives raw_detection_boxes")
    frozen = convert_variables_to_constants_v2(signature, lower_control_flow=False)
    whole = _without_gradients(frozen.graph.as_graph_def())
    image = _image(whole.graph, folder)
    codes, scores = _heads(whole.graph, folder)
    network = whole.prune(feeds=[image], fetches=[codes, scores])
    normalising = whole.prune(feeds=[whole.graph.get_tensor_by_name(frozen.inputs[0].name)], fetches=[image])
    _, height, width, _ = image.shape
    gain, offset = _normalisation(normalising, height, width, folder)
    boxes = _decoded_boxes(signature)
    anchors = _anchors(
        lambda picture: (_run(network, _run(normalising, picture)[0])[0][0], boxes(picture)),
        size=(height, width),
        scales=box_scales,
        folder=folder,
    )
    return CutGraph(network, int(height), int(width), gain, offset, anchors, int(scores.shape[-1]))


def _without_gradients(graph: Any) -> Any:  # noqa: ANN401 - TensorFlow ships no types
    """Give a graph as a function, without its words on gradients of its own.

    The converter saves what it converts, and saving fails on those (TensorFlow 2.21): it then goes on without the
    signature.
    """
    import tensorflow as tf  # noqa: PLC0415 - takes seconds

    for nodes in (graph.node, *(function.node_def for function in graph.library.function)):
        for node in nodes:
            if "_gradient_op_type" in node.attr:
                del node.attr["_gradient_op_type"]
    return tf.compat.v1.wrap_function(lambda: tf.graph_util.import_graph_def(graph, name=""), [])


def _image(graph: Any, folder: Path) -> Any:  # noqa: ANN401 - TensorFlow ships no types
    stems = [
        operation.inputs[0]
        for operation in graph.get_operations()
        if operation.type == "Conv2D" and operation.inputs[1].shape.rank == 4 and operation.inputs[1].shape[2] == 3
    ]
    if len(stems) != 1:
        raise _other_make(folder, f"has {len(stems)} convolutions on three channels where one is expected")
    if not stems[0].shape.is_fully_defined() or stems[0].shape[0] != 1:
        raise _other_make(folder, f"gives its network images of shape {stems[0].shape}, which is not fixed")
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


def _normalisation(
    normalising: Any,  # noqa: ANN401
    height: int,
    width: int,
    folder: Path,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Measure what becomes of black, grey and white pixels."""
    seen = [_run(normalising, np.full((1, height, width, 3), value, np.uint8))[0] for value in (0, 128, 255)]
    black, grey, white = (picture[0, height // 2, width // 2].astype(np.float64) for picture in seen)
    gain, offset = (white - black) / 255, black
    if not np.allclose(grey, gain * 128 + offset, atol=1e-3) or not np.all(gain > 0):
        raise _other_make(folder, "does not normalise pixels by a factor and an offset for each channel")
    return gain.astype(np.float32), offset.astype(np.float32)


def _decoded_boxes(signature: Any) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:  # noqa: ANN401
    """Give what tells the model's own boxes for a picture, before any is dropped."""
    name = next(iter(signature.structured_input_signature[1]))
    return lambda picture: np.asarray(signature(**{name: _constant(picture)})["raw_detection_boxes"].numpy()[0])


def _anchors(
    codes_and_boxes: Callable[[NDArray[np.uint8]], tuple[NDArray[np.float32], NDArray[np.float32]]],
    *,
    size: tuple[int, int],
    scales: BoxScales,
    folder: Path,
) -> NDArray[np.float32]:
    """Find the anchors that make the model's boxes of its box codes; two pictures must lead to the same."""
    found = []
    for seed in (0, 1):
        picture = np.random.default_rng(seed).integers(0, 256, (1, *size, 3), np.uint8)
        codes, boxes = (part.astype(np.float64) for part in codes_and_boxes(picture))
        sides = (boxes[:, 2:] - boxes[:, :2]) / np.exp(codes[:, 2:] / [scales.height, scales.width])
        centers = (boxes[:, 2:] + boxes[:, :2]) / 2 - codes[:, :2] / [scales.y, scales.x] * sides
        found.append(np.concatenate([centers, sides], axis=1))
    if not np.allclose(found[0], found[1], atol=_SAME_ANCHORS):
        raise InputError(
            f"the SavedModel {folder} decodes its boxes otherwise than pipeline.config says: is the file of this model?"
        )
    return np.asarray((found[0] + found[1]) / 2, np.float32)


def _run(function: Any, value: NDArray[Any]) -> list[NDArray[np.float32]]:  # noqa: ANN401
    outputs = function(_constant(value))
    return [np.asarray(one.numpy()) for one in (outputs if isinstance(outputs, (list, tuple)) else [outputs])]


def _constant(value: NDArray[Any]) -> Any:  # noqa: ANN401
    import tensorflow as tf  # noqa: PLC0415 - takes seconds

    return tf.constant(value)


def _other_make(folder: Path, what: str) -> InputError:
    return InputError(
        f"the SavedModel {folder} {what}: it is no EfficientDet of the TensorFlow 2 Object Detection API, and of other "
        "SavedModels none can be exported"
    )
