"""The tensors of a detection model: the image input, and the outputs for boxes, classes, scores and count."""

import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from beeagent.detection.bundle import InputSpec
from beeagent.detection.interpreter import Interpreter, TensorDetails
from beeagent.detection.transforms import Fit, padding_value
from beeagent.errors import InputError

_CHANNELS = 3

_POST_PROCESS = "TFLite_Detection_PostProcess"
_SCORE_OP_INPUT = 1
_OUTPUTS = ("boxes", "classes", "scores", "count")
_NAMES = {
    # Words in signatures and tensor names, as written by the exporters of TensorFlow and others.
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
        count: tensor (1,): number of detections, at most n; None for a model without it.
        class_count: number of classes that the model scores, including a background; None without the op.
    """

    boxes: int
    classes: int
    scores: int
    count: int | None
    class_count: int | None


@dataclass(frozen=True, slots=True)
class ImageInput:
    """The model's image input: shape (1, height, width, 3), RGB.

    Attributes:
        index: index of the tensor.
        width: width in pixels.
        height: height in pixels.
        fit: method of resizing frames to this size.
        padding: pixel value of the padding, 0 to 255.
        table: lookup table from pixel values 0 to 255 to values of the input, shape (256,), in the input's type; None
            for a uint8 input, which takes pixel values unchanged.
    """

    index: int
    width: int
    height: int
    fit: Fit
    padding: int
    table: NDArray[Any] | None = field(repr=False)


def find_image_input(interpreter: Interpreter, spec: InputSpec | None, *, name: str) -> ImageInput:
    """Find the one image input of a detection model.

    Args:
        interpreter: an interpreter with allocated tensors.
        spec: input of the manifest; None for a bare model, whose frames are stretched and normalised to -1 to 1.
        name: name of the model, for errors.

    Raises:
        InputError: there is not exactly one, it has no fixed size or an unsupported type, or it does not match `spec`.
    """
    details = [d for d in interpreter.get_input_details() if _is_image(d)]
    if len(details) != 1:
        shapes = [tuple(int(size) for size in d["shape"]) for d in interpreter.get_input_details()]
        raise InputError(
            f"{name} is not a detection model of the usual kind: it needs one image input (1, height, width, 3), "
            f"and has inputs {shapes}"
        )
    _, height, width, _ = (int(size) for size in details[0]["shape"])
    if any(int(size) < 0 for size in details[0]["shape_signature"][1:3]):
        raise InputError(f"{name} takes images of any size: convert it again with a fixed input size")
    if spec is None:
        spec = InputSpec(width=width, height=height, fit=Fit.STRETCH)
    if (spec.width, spec.height) != (width, height):
        raise InputError(
            f"{name} takes images of {width}x{height}, but its manifest says {spec.width}x{spec.height}: "
            "install the bundle again"
        )
    return ImageInput(
        index=int(details[0]["index"]),
        width=width,
        height=height,
        fit=spec.fit,
        padding=padding_value(spec.mean),
        table=_pixel_table(details[0], spec, name),
    )


def _is_image(details: TensorDetails) -> bool:
    shape = details["shape"]
    return len(shape) == 4 and int(shape[0]) == 1 and int(shape[3]) == _CHANNELS


def _pixel_table(details: TensorDetails, spec: InputSpec, name: str) -> NDArray[Any] | None:
    dtype = np.dtype(details["dtype"])
    if dtype == np.uint8:
        return None
    normalised = (np.arange(256, dtype=np.float64) - spec.mean) / spec.std
    if dtype == np.float32:
        return normalised.astype(np.float32)
    if dtype == np.int8:
        scale, zero_point = details["quantization"]
        if scale:
            quantized: NDArray[np.int8] = np.clip(np.rint(normalised / scale) + zero_point, -128, 127).astype(np.int8)
            return quantized
    raise InputError(f"{name} takes its image as {dtype}: supported are uint8, quantized int8 and float32")


def set_other_inputs_to_zero(interpreter: Interpreter, image: ImageInput) -> None:
    """Set all inputs except the image, such as the state of a recurrent model, to zero."""
    for details in interpreter.get_input_details():
        if int(details["index"]) != image.index:
            zero = details["quantization"][1]
            value = np.full([int(size) for size in details["shape"]], zero, dtype=details["dtype"])
            interpreter.set_tensor(int(details["index"]), value)


def find_outputs(interpreter: Interpreter, *, name: str) -> OutputIndices:
    """Find the four outputs of a detection model.

    They are identified by the post-processing op, whose definition fixes the order of its outputs; else by names in the
    signature, names of tensors and shapes; and classes and scores, if necessary, by the values of a first inference
    (class ids are whole numbers). The order of the model's outputs is not used, since it depends on the exporter.

    Args:
        interpreter: an interpreter with allocated tensors and set inputs.
        name: name of the model, for errors.

    Raises:
        InputError: the outputs are not those of a detection model, or cannot be distinguished.
    """
    details = {int(output["index"]): output for output in interpreter.get_output_details()}
    return _by_operation(interpreter, details) or _by_name_and_shape(interpreter, details, name)


def _by_operation(interpreter: Interpreter, details: dict[int, TensorDetails]) -> OutputIndices | None:
    # Both runtimes have these undocumented methods; if one is missing, names and shapes are used.
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
    max_detections = shapes[boxes][0]
    rows = [i for i, shape in shapes.items() if shape == (max_detections,) and i != boxes]
    singles = [i for i, shape in shapes.items() if shape in {(), (1,)} and i != boxes]
    count = _pick_count(singles, rows, names)
    rows = [i for i in rows if i != count]
    if len(rows) != 2:
        named = [i for i in rows if any(_NAMES[kind].search(names[i]) for kind in ("classes", "scores"))]
        rows = named if len(named) == 2 else rows
    if len(rows) != 2:
        raise InputError(
            f"{name} is not a detection model of the usual kind: beside boxes for {max_detections} detections it "
            f"needs one output of classes and one of scores, and has {_describe(details)}"
        )
    classes, scores = _classes_then_scores(interpreter, {i: details[i] for i in rows}, names, name)
    return OutputIndices(boxes, classes, scores, count, class_count=None)


def _names(interpreter: Interpreter, details: dict[int, TensorDetails]) -> dict[int, str]:
    """Return each output's tensor name, prefixed with its signature name if the model has exactly one signature."""
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


def _without_batch(shape: Any) -> tuple[int, ...]:  # noqa: ANN401 - an array of the runtime
    sizes = tuple(int(size) for size in shape)
    return sizes[1:] if len(sizes) > 1 and sizes[0] == 1 else sizes


def _pick(candidates: list[int], names: dict[int, str], kind: str, name: str) -> int:
    if len(candidates) > 1:
        candidates = [i for i in candidates if _NAMES[kind].search(names[i])] or candidates
    if len(candidates) != 1:
        raise InputError(
            f"{name} is not a detection model of the usual kind: of its outputs, {len(candidates)} could be the "
            f"{kind} (1, n, 4); use a model that ends in {_POST_PROCESS}"
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
        f"the outputs of {name} cannot be distinguished: neither names nor values show which are classes and which "
        f"scores; use a model that ends in {_POST_PROCESS} or name its outputs"
    )


def dequantize(value: NDArray[Any], quantization: tuple[float, int]) -> NDArray[np.float32]:
    """Convert a tensor to float32.

    Args:
        value: array of any shape and numeric type.
        quantization: scale and zero point from the runtime's tensor details; scale 0 for a tensor without quantization.
    """
    scale, zero_point = quantization
    if scale and np.issubdtype(value.dtype, np.integer):
        return ((value.astype(np.float32) - zero_point) * scale).astype(np.float32)
    return value.astype(np.float32, copy=False)


def _describe(details: dict[int, TensorDetails]) -> str:
    return ", ".join(f"{output['name']} {tuple(int(s) for s in output['shape'])}" for output in details.values())
