"""The TFLite detector: a frame's pixels in, `Detections` out."""

import re
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from beeagent.detection.bundle import InputSpec, ModelBundle
from beeagent.detection.detections import Detections
from beeagent.detection.geometry import Fit, Placement, lay_in, neutral_fill, place
from beeagent.detection.model_file import post_process_classes
from beeagent.detection.outputs import dequantize, find_outputs
from beeagent.detection.runtime import Interpreter, TensorDetails, load_interpreter
from beeagent.errors import InputError

_CHANNELS = 3
_NO_CLASS = re.compile(r"\?\?\?|_*background_*", re.IGNORECASE)
"""What label files call the background in their first line, where no class of the model stands for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorOptions:
    """How to run a model.

    Attributes:
        threads: CPU threads an inference computes with, 1 to 64.
        threshold: confidence from which a detection counts, 0 to 1; None takes the bundle's.
        labels_wanted: the classes to report; None for all.

    Raises:
        InputError: a value is out of its range.
    """

    threads: int = 2
    threshold: float | None = None
    labels_wanted: frozenset[str] | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.threads <= 64:
            raise InputError(f"threads is {self.threads}: allowed are 1 to 64")
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise InputError(f"threshold is {self.threshold}: allowed are 0 to 1")


@dataclass(frozen=True, slots=True)
class PreparedInput:
    """A frame made ready for the model.

    Attributes:
        tensor: shape (1, input_height, input_width, 3), in the type of the model's input.
        placement: where the frame lies in it.
    """

    tensor: NDArray[Any]
    placement: Placement


@dataclass(frozen=True, slots=True)
class RawOutputs:
    """What the model gave for one input.

    Attributes:
        boxes: float32, shape (n, 4): top, left, bottom, right as ratios of the input.
        classes: float32, shape (n,): class ids.
        scores: float32, shape (n,).
    """

    boxes: NDArray[np.float32]
    classes: NDArray[np.float32]
    scores: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class _ImageInput:
    index: int
    width: int
    height: int
    fit: Fit
    fill: int
    # One entry for each of the 256 values of a pixel; None where the model takes pixels as they are.
    table: NDArray[Any] | None = field(repr=False)


class Detector:
    """Runs a TFLite object detection model.

    The model takes one picture, shape (1, height, width, 3), RGB, as uint8 (pixels as they are), int8 or float32
    (normalised with the bundle's mean and std, then quantized where the input is int8). Further inputs, such as
    the state of a recurrent model, are held at zero: each frame is looked at on its own. It gives boxes (1, n, 4)
    as top, left, bottom, right in ratios of the input, classes (1, n), scores (1, n) and, usually, their count
    (1,), in any order, beside whatever else it may give.

    The three steps are separate so that preparing the next frame and reading the last result can overlap with
    `infer`. `prepare` and `decode` may be called from any thread; `infer`, and so `detect`, from one thread at a
    time.

    Attributes:
        labels: the names of the classes, in the order of their ids.
        threshold: the confidence from which a detection counts.
        input_size: width and height of the model's input in pixels.
    """

    def __init__(self, bundle: ModelBundle, options: DetectorOptions) -> None:
        """Load the model and run it once.

        Raises:
            InputError: the model is not a detection model, or does not fit its labels or its manifest.
            BeeagentError: there is no working TFLite runtime.
        """
        self._name = f"the model {bundle.path}"
        self.labels = bundle.labels
        self.threshold = bundle.threshold if options.threshold is None else options.threshold
        self._wanted = _wanted_ids(bundle.labels, options.labels_wanted)
        self._interpreter = load_interpreter(bundle.model, name=self._name, threads=options.threads)
        try:
            self._image = _image_input(self._interpreter, bundle.input, self._name)
            _hold_other_inputs_at_zero(self._interpreter, self._image.index)
            # Noise makes most models see something, if weakly: values that tell classes and scores apart.
            noise = np.random.default_rng(0).integers(0, 256, (*self.input_size[::-1], _CHANNELS), dtype=np.uint8)
            self._interpreter.set_tensor(self._image.index, self.prepare(noise).tensor)
            self._outputs = find_outputs(self._interpreter, name=self._name)
            self._quantization = {
                int(output["index"]): output["quantization"] for output in self._interpreter.get_output_details()
            }
            classes = post_process_classes(bundle.model)
            self._first_label = _first_label(self._outputs.class_count, classes, bundle.labels, self._name)
            # Run it, so that a model that cannot be run is refused at start, not at a frame.
            self.detect(noise)
        except (ValueError, RuntimeError) as error:
            raise InputError(f"{self._name} cannot be run: {' '.join(str(error).split())}") from error

    @property
    def input_size(self) -> tuple[int, int]:
        """Width and height of the model's input in pixels."""
        return self._image.width, self._image.height

    @property
    def interpreter(self) -> Interpreter:
        """The runtime's interpreter, for measuring it alone."""
        return self._interpreter

    def detect(self, pixels: NDArray[np.uint8]) -> Detections:
        """Find what is in one picture.

        Args:
            pixels: uint8, shape (height, width, 3), BGR, of any size.

        Returns:
            The detections at or above the threshold, boxes in ratios of the picture.

        Raises:
            InputError: the model gave a class that the labels do not name.
        """
        prepared = self.prepare(pixels)
        return self.decode(self.infer(prepared), prepared.placement)

    def prepare(self, pixels: NDArray[np.uint8]) -> PreparedInput:
        """Lay a picture into the model's input; arguments as in `detect`."""
        image = self._image
        placement = place(
            frame_width=pixels.shape[1],
            frame_height=pixels.shape[0],
            input_width=image.width,
            input_height=image.height,
            fit=image.fit,
        )
        laid = lay_in(pixels, placement, fill=image.fill)
        tensor: NDArray[Any] = laid if image.table is None else cv2.LUT(laid, image.table)
        return PreparedInput(tensor[np.newaxis], placement)

    def feed(self, prepared: PreparedInput) -> None:
        """Copy an input into the model: the first part of `infer`, for measuring the rest alone."""
        self._interpreter.set_tensor(self._image.index, prepared.tensor)

    def infer(self, prepared: PreparedInput) -> RawOutputs:
        """Run the model."""
        self.feed(prepared)
        self._interpreter.invoke()
        boxes = self._output(self._outputs.boxes).reshape(-1, 4)
        count = len(boxes)
        if self._outputs.count is not None:
            # In this order, what is not a number counts as none.
            count = round(min(count, max(0.0, float(self._output(self._outputs.count).reshape(-1)[0]))))
        return RawOutputs(
            boxes[:count],
            self._output(self._outputs.classes).reshape(-1)[:count],
            self._output(self._outputs.scores).reshape(-1)[:count],
        )

    def decode(self, raw: RawOutputs, placement: Placement) -> Detections:
        """Turn raw outputs into detections in ratios of the frame.

        Detections that are not finite, and boxes of which nothing lies within the frame, are left out.

        Raises:
            InputError: the model gave a class that the labels do not name.
        """
        corners = raw.boxes[:, [1, 0, 3, 2]]
        with np.errstate(invalid="ignore", over="ignore"):
            boxes = placement.to_frame(corners)
            kept = (
                (raw.scores >= self.threshold)
                & np.isfinite(raw.scores)
                & np.isfinite(raw.classes)
                & np.isfinite(corners).all(axis=1)
                & (boxes[:, 0] < boxes[:, 2])
                & (boxes[:, 1] < boxes[:, 3])
            )
        class_ids = np.rint(raw.classes[kept]).astype(np.int64)
        self._check_classes(class_ids)
        class_ids += self._first_label
        boxes, scores = boxes[kept], np.clip(raw.scores[kept], 0.0, 1.0)
        if self._wanted is not None:
            chosen = np.isin(class_ids, self._wanted)
            boxes, scores, class_ids = boxes[chosen], scores[chosen], class_ids[chosen]
        order = np.argsort(-scores, kind="stable")
        return Detections(boxes[order], scores[order], class_ids[order], self.labels)

    def _output(self, index: int) -> NDArray[np.float32]:
        return dequantize(self._interpreter.get_tensor(index), self._quantization[index])

    def _check_classes(self, class_ids: NDArray[np.int64]) -> None:
        known = len(self.labels) - self._first_label
        unknown = class_ids[(class_ids < 0) | (class_ids >= known)]
        if unknown.size:
            raise InputError(
                f"{self._name} found class {int(unknown[0])}, but there are only {known} labels: "
                "give it the labels it was trained with"
            )


def _image_input(interpreter: Interpreter, spec: InputSpec | None, name: str) -> _ImageInput:
    details = [d for d in interpreter.get_input_details() if _is_picture(d)]
    if len(details) != 1:
        shapes = [tuple(int(size) for size in d["shape"]) for d in interpreter.get_input_details()]
        raise InputError(
            f"{name} is not a detection model of the usual kind: it needs one picture input (1, height, width, 3), "
            f"and has inputs {shapes}"
        )
    _, height, width, _ = (int(size) for size in details[0]["shape"])
    if any(int(size) < 0 for size in details[0]["shape_signature"][1:3]):
        raise InputError(f"{name} takes pictures of any size: convert it again with the size it is to work at")
    if spec is None:
        spec = InputSpec(width=width, height=height, fit=Fit.STRETCH)
    if (spec.width, spec.height) != (width, height):
        raise InputError(
            f"{name} takes pictures of {width}x{height}, but its manifest says {spec.width}x{spec.height}: "
            "install the bundle again"
        )
    return _ImageInput(
        index=int(details[0]["index"]),
        width=width,
        height=height,
        fit=spec.fit,
        fill=neutral_fill(spec.mean),
        table=_pixel_table(details[0], spec, name),
    )


def _is_picture(details: TensorDetails) -> bool:
    shape = details["shape"]
    return len(shape) == 4 and int(shape[0]) == 1 and int(shape[3]) == _CHANNELS


def _pixel_table(details: TensorDetails, spec: InputSpec, name: str) -> NDArray[Any] | None:
    """Give what each pixel value 0 to 255 becomes in the input's type: one look-up does it all."""
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
    raise InputError(f"{name} takes its picture as {dtype}: supported are uint8, quantized int8 and float32")


def _hold_other_inputs_at_zero(interpreter: Interpreter, image: int) -> None:
    for details in interpreter.get_input_details():
        if int(details["index"]) != image:
            zero = details["quantization"][1]
            value = np.full([int(size) for size in details["shape"]], zero, dtype=details["dtype"])
            interpreter.set_tensor(int(details["index"]), value)


def _first_label(scored: int | None, classes: int | None, labels: tuple[str, ...], name: str) -> int:
    """Return the index of the label of class 0.

    A model may score a background class, in front of the others, that it never reports. The labels may have a line for
    it, whatever they call it.

    Args:
        scored: how many classes the model scores, the background included; None for a model without the op.
        classes: how many of them it reports, as the op says.
        labels: the classes' names.
        name: what to call the model in an error.

    Raises:
        InputError: there are too few or too many labels.
    """
    if scored is None or classes is None or len(labels) == classes:
        return 0
    # Where no background is scored, one label more may as well be a class that this model does not have; so the first
    # line must say itself that it is no class.
    if len(labels) == classes + 1 and (scored > classes or _NO_CLASS.fullmatch(labels[0])):
        return 1
    raise InputError(
        f"{name} tells {classes} classes apart, but there are {len(labels)} labels: give it the labels it was trained "
        "with"
    )


def _wanted_ids(labels: tuple[str, ...], wanted: frozenset[str] | None) -> NDArray[np.int64] | None:
    if wanted is None:
        return None
    unknown = sorted(wanted - set(labels))
    if unknown:
        raise InputError(f"the model knows no class {unknown[0]!r}: it knows {', '.join(labels[:20])}")
    return np.array([i for i, label in enumerate(labels) if label in wanted], dtype=np.int64)
