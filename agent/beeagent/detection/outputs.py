"""Telling a detection model's outputs apart: which tensor is boxes, classes, scores and count."""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from beeagent.detection.runtime import Interpreter, TensorDetails
from beeagent.errors import InputError

_POST_PROCESS = "TFLite_Detection_PostProcess"
_SCORE_OP_INPUT = 1
_OUTPUTS = ("boxes", "classes", "scores", "count")
_NAMES = {
    # The words that signatures and tensor names of TensorFlow's and other people's exporters use.
    "boxes": re.compile(r"box|location", re.IGNORECASE),
    "classes": re.compile(r"class|categor|label", re.IGNORECASE),
    "scores": re.compile(r"score|confidence|prob", re.IGNORECASE),
    "count": re.compile(r"num|count", re.IGNORECASE),
}


@dataclass(frozen=True, slots=True)
class OutputIndices:
    """The tensor indices of the four outputs.

    Attributes:
        boxes: tensor (1, n, 4): top, left, bottom, right as ratios of the input.
        classes: tensor (1, n): class ids.
        scores: tensor (1, n): confidences.
        count: tensor (1,): how many of the n are meant; None for a model that leaves it out.
        class_count: how many classes the model scores, a background included; None for a model without the op.
    """

    boxes: int
    classes: int
    scores: int
    count: int | None
    class_count: int | None


def find_outputs(interpreter: Interpreter, *, name: str) -> OutputIndices:
    """Find the four outputs of a detection model.

    In this order: by the post-processing op whose definition fixes the order of its outputs, by signature and
    tensor names together with shapes, and, for classes against scores, by the values of a first inference
    (class ids are whole numbers). Never by the position among the model's outputs: exporters differ in it.

    Args:
        interpreter: with tensors allocated; the values of its inputs are used as they are.
        name: what to call the model in an error.

    Raises:
        InputError: the outputs are not those of a detection model, or cannot be told apart.
    """
    details = {int(output["index"]): output for output in interpreter.get_output_details()}
    found = _by_operation(interpreter, details)
    if found is not None:
        return found
    return _by_name_and_shape(interpreter, details, name)


def _by_operation(interpreter: Interpreter, details: dict[int, TensorDetails]) -> OutputIndices | None:
    # Both runtimes have these two, though they do not document them; without them, names and shapes decide.
    operations = getattr(interpreter, "_get_ops_details", None)
    tensor = getattr(interpreter, "_get_tensor_details", None)
    if operations is None:
        return None
    for operation in operations():
        if operation["op_name"] != _POST_PROCESS:
            continue
        outputs = [int(index) for index in operation["outputs"]]
        if len(outputs) != len(_OUTPUTS) or any(index not in details for index in outputs):
            continue
        boxes, classes, scores, count = outputs
        class_count = _scores_width(tensor, int(operation["inputs"][_SCORE_OP_INPUT]))
        return OutputIndices(boxes, classes, scores, count, class_count)
    return None


def _scores_width(tensor: Any, index: int) -> int | None:  # noqa: ANN401 - an undocumented method of the runtime
    if tensor is None:
        return None
    try:
        shape = tensor(index, 0)["shape"]
    except (TypeError, ValueError, KeyError):
        return None
    return int(shape[-1])


def _by_name_and_shape(interpreter: Interpreter, details: dict[int, TensorDetails], name: str) -> OutputIndices:
    names = _names(interpreter, details)
    shapes = {index: _without_batch(output["shape"]) for index, output in details.items()}
    boxes = _pick(
        [i for i, shape in shapes.items() if len(shape) == 2 and shape[-1] == 4],
        names,
        "boxes",
        name,
    )
    most = shapes[boxes][0]
    rows = [i for i, shape in shapes.items() if shape == (most,) and i != boxes]
    singles = [i for i, shape in shapes.items() if shape in {(), (1,)} and i != boxes]
    count = _pick_count(singles, rows, names)
    rows = [i for i in rows if i != count]
    if len(rows) != 2:
        named = [i for i in rows if any(_NAMES[kind].search(names[i]) for kind in ("classes", "scores"))]
        rows = named if len(named) == 2 else rows
    if len(rows) != 2:
        raise InputError(
            f"{name} is not a detection model of the usual kind: beside boxes for {most} detections it needs one "
            f"output of classes and one of scores, and has {_describe(details)}"
        )
    classes, scores = _classes_then_scores(interpreter, {i: details[i] for i in rows}, names, name)
    return OutputIndices(boxes, classes, scores, count, class_count=None)


def _names(interpreter: Interpreter, details: dict[int, TensorDetails]) -> dict[int, str]:
    """Give each output its tensor's name, with its signature's name in front where there is just one signature."""
    names = {index: str(output["name"]) for index, output in details.items()}
    signatures = interpreter.get_signature_list()
    if len(signatures) == 1:
        key = next(iter(signatures))
        runner = getattr(interpreter, "get_signature_runner", None)
        if runner is not None:
            for alias, output in runner(key).get_output_details().items():
                index = int(output["index"])
                if index in names:
                    names[index] = f"{alias} {names[index]}"
    return names


def _without_batch(shape: Any) -> tuple[int, ...]:  # noqa: ANN401 - whatever array the runtime gives
    sizes = tuple(int(size) for size in shape)
    return sizes[1:] if len(sizes) > 1 and sizes[0] == 1 else sizes


def _pick(candidates: list[int], names: dict[int, str], kind: str, name: str) -> int:
    if len(candidates) > 1:
        candidates = [i for i in candidates if _NAMES[kind].search(names[i])] or candidates
    if len(candidates) != 1:
        raise InputError(
            f"{name} is not a detection model of the usual kind: of its outputs, {len(candidates)} could be the "
            f"{kind} (1, n, 4); give a model that ends in {_POST_PROCESS}"
        )
    return candidates[0]


def _pick_count(singles: list[int], rows: list[int], names: dict[int, str]) -> int | None:
    if len(singles) == 1 and not (set(singles) & set(rows) and len(rows) == 2):
        return singles[0]
    named = [i for i in singles if _NAMES["count"].search(names[i])]
    return named[0] if len(named) == 1 else None


def _classes_then_scores(
    interpreter: Interpreter, details: dict[int, TensorDetails], names: dict[int, str], name: str
) -> tuple[int, int]:
    pair = list(details)
    for first, second in (pair, pair[::-1]):
        first_is_classes = _NAMES["classes"].search(names[first]) and not _NAMES["scores"].search(names[first])
        second_is_scores = _NAMES["scores"].search(names[second]) and not _NAMES["classes"].search(names[second])
        if first_is_classes or second_is_scores:
            return first, second
    interpreter.invoke()
    values = {
        index: dequantize(interpreter.get_tensor(index), output["quantization"]) for index, output in details.items()
    }
    whole = {index: bool(np.all(value == np.round(value))) for index, value in values.items()}
    for first, second in (pair, pair[::-1]):
        if whole[first] and not whole[second] and np.all((values[second] >= 0) & (values[second] <= 1)):
            return first, second
    raise InputError(
        f"the outputs of {name} cannot be told apart: neither names nor values say which are classes and which "
        f"scores; give a model that ends in {_POST_PROCESS} or name its outputs"
    )


def dequantize(value: NDArray[Any], quantization: tuple[float, int]) -> NDArray[np.float32]:
    """Give a tensor as float32, whatever type it has in the model.

    Args:
        value: any shape and numeric type.
        quantization: scale and zero point as the runtime's tensor details give them; scale 0 means none.
    """
    scale, zero_point = quantization
    if scale and np.issubdtype(value.dtype, np.integer):
        return ((value.astype(np.float32) - zero_point) * scale).astype(np.float32)
    return value.astype(np.float32, copy=False)


def _describe(details: dict[int, TensorDetails]) -> str:
    return ", ".join(f"{output['name']} {tuple(int(s) for s in output['shape'])}" for output in details.values())
