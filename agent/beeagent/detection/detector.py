"""The TFLite detector, which converts the pixels of a frame to `Detections`."""

import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from beeagent.camera import BadFrameError, Frame, read_image
from beeagent.detection.bundle import ModelBundle
from beeagent.detection.detections import Detections
from beeagent.detection.interpreter import Interpreter, load_interpreter
from beeagent.detection.model_file import post_process_classes
from beeagent.detection.motion import MotionDetector
from beeagent.detection.probe import load_probed_bundle
from beeagent.detection.regions import CONFIRMING, RegionPlanner
from beeagent.detection.tensors import dequantize, find_image_input, find_outputs, set_other_inputs_to_zero
from beeagent.detection.tiling import NO_TILES, Region, Tiling, frame_regions, merge_regions, resolve_tiling
from beeagent.detection.transforms import Channels, InputTransform, input_transform, letterbox
from beeagent.errors import InputError

_DEFAULT_THREADS = 2
_BACKGROUND_LABEL = re.compile(r"\?\?\?|_*background_*", re.IGNORECASE)
"""The first line of label files that list the background, which the model never returns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorOptions:
    """Options of a detector.

    Attributes:
        threads: CPU threads of an inference, 1 to 64.
        threshold: minimum confidence of a detection, 0 to 1; None for the bundle's.
        tiling: tiles on which the model runs in addition to the whole frame.
        classes: labels to detect; None for all.

    Raises:
        InputError: a value is out of its range.
    """

    threads: int = _DEFAULT_THREADS
    threshold: float | None = None
    tiling: Tiling = NO_TILES
    classes: frozenset[str] | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.threads <= 64:
            raise InputError(f"threads is {self.threads}: allowed are 1 to 64")
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise InputError(f"threshold is {self.threshold}: allowed are 0 to 1")


@dataclass(frozen=True, slots=True)
class FrameLayout:
    """The regions of a frame on which the model runs.

    Attributes:
        frame: width and height of the frame in pixels.
        regions: the whole frame and its tiles, or the regions chosen by activity.
        transforms: transform of each region to the model's input.
        at: time of the frame in seconds, if regions are chosen by activity.
        shift: displacement of its content by a shaking camera, to the right and down, in pixels; likewise.
    """

    frame: tuple[int, int]
    regions: tuple[Region, ...]
    transforms: tuple[InputTransform, ...]
    at: float | None = None
    shift: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True, slots=True)
class PreparedFrame:
    """A frame, ready for the model.

    Attributes:
        tensors: one per region, shape (1, input_height, input_width, 3), RGB, in the type of the model's input.
        layout: the regions.
        pixels: pixels of the frame, if its regions are not chosen yet.
    """

    tensors: tuple[NDArray[Any], ...]
    layout: FrameLayout
    pixels: NDArray[np.uint8] | None = None


@dataclass(frozen=True, slots=True)
class RawOutputs:
    """The model's outputs for one region.

    Attributes:
        boxes: float32, shape (n, 4): top, left, bottom, right as ratios of the input.
        classes: float32, shape (n,): class ids.
        scores: float32, shape (n,): confidences.
    """

    boxes: NDArray[np.float32]
    classes: NDArray[np.float32]
    scores: NDArray[np.float32]


class Detector:
    """Runs a TFLite object detection model on frames and, optionally, on their tiles.

    The model has one image input, shape (1, height, width, 3), RGB, as uint8 (pixel values 0 to 255), int8 or float32
    (normalised with the bundle's mean and std, then quantized if the input is int8). Further inputs, such as the state
    of a recurrent model, stay at zero: each frame is processed on its own. Its outputs are boxes (1, n, 4) as top,
    left, bottom, right in ratios of the input, classes (1, n), scores (1, n) and, usually, their count (1,), in any
    order, and possibly others.

    `detect` processes one image, `detect_stream` the frames of a camera. Their steps are `prepare`, `infer` and
    `decode`, which allow preparing the next frame and decoding the last outputs during inference. `prepare` and
    `decode` may be called from any thread; `infer`, and thus `detect`, from one thread at a time.

    Attributes:
        labels: the labels of all classes, in the order of their ids.
        threshold: the minimum confidence of a detection.
    """

    @classmethod
    def load(  # noqa: PLR0913 - keywords
        cls,
        model: str | Path | None = None,
        *,
        labels: str | Path | None = None,
        threshold: float | None = None,
        tiles: str | None = None,
        classes: Collection[str] | None = None,
        threads: int = _DEFAULT_THREADS,
    ) -> "Detector":
        """Load a model by path or name.

        A bare `.tflite` has no hash to verify. It is first run in a child process, since it may crash the runtime.

        Args:
            model: a bundle folder, the name of a bundled model, or a .tflite file; None for the default model.
            labels: a text file with one label per line, for a .tflite without packed labels.
            threshold: minimum confidence of a detection, 0 to 1; None for the bundle's.
            tiles: overlapping tiles on which the model runs too, to detect small objects: `none`, `auto`, or columns
                and rows such as `3x2`; None for the tiles that the bundle recommends.
            classes: labels to detect; None for all.
            threads: CPU threads of an inference, 1 to 64.

        Raises:
            InputError: the model or an argument cannot be used.
            BeeagentError: there is no working TFLite runtime.
        """
        bundle = load_probed_bundle(model, labels=labels, threads=threads)
        options = DetectorOptions(
            threads=threads,
            threshold=threshold,
            tiling=resolve_tiling(tiles, bundle),
            classes=None if classes is None else frozenset(classes),
        )
        return cls(bundle, options)

    def __init__(self, bundle: ModelBundle, options: DetectorOptions | None = None) -> None:
        """Load the model and run it once.

        Args:
            bundle: the model.
            options: options; None for the defaults.

        Raises:
            InputError: the model is not a detection model, or does not match its labels or its manifest.
            BeeagentError: there is no working TFLite runtime.
        """
        options = DetectorOptions() if options is None else options
        self._name = f"the model {bundle.path}"
        self.labels = bundle.labels
        self.threshold = bundle.threshold if options.threshold is None else options.threshold
        self._tiling = options.tiling
        self._selected_ids = _class_ids(bundle.labels, options.classes)
        self._interpreter = load_interpreter(bundle.model, name=self._name, threads=options.threads)
        try:
            self._image = find_image_input(self._interpreter, bundle.input, name=self._name)
            set_other_inputs_to_zero(self._interpreter, self._image)
            # Most models detect something in noise, with low scores: values that distinguish classes from scores.
            size = self.input_size
            noise = np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
            self._whole_layout: FrameLayout | None = None  # of the last frame; reused for frames of the same size
            first = self.prepare(noise, regions=(Region(0, 0, *size),))
            self.feed(first.tensors[0])
            self._outputs = find_outputs(self._interpreter, name=self._name)
            self._quantization = {
                int(output["index"]): output["quantization"]
                for output in self._interpreter.get_output_details()
                if output["dtype"] != np.float32
            }
            classes = post_process_classes(bundle.model)
            self._first_label = _first_label(self._outputs.class_count, classes, bundle.labels, self._name)
            # Refuse a model that cannot be run now, not at the first frame.
            self.decode(self.infer(first), first.layout)
        except (ValueError, RuntimeError) as error:
            raise InputError(f"{self._name} cannot be run: {' '.join(str(error).split())}") from error

    @property
    def input_size(self) -> tuple[int, int]:
        """Width and height of the model's input in pixels."""
        return self._image.width, self._image.height

    @property
    def interpreter(self) -> Interpreter:
        """The interpreter, for benchmarks of the model alone."""
        return self._interpreter

    def detect(self, image: str | os.PathLike[str] | NDArray[Any], *, channels: Channels = "bgr") -> Detections:
        """Detect objects in one image.

        Args:
            image: path of an image file, or pixels: uint8, shape (height, width, 3), of any size.
            channels: order of the channels of pixels: `bgr` as in `Frame.pixels` and OpenCV, or `rgb`.

        Returns:
            The detections at or above the threshold, with boxes in ratios of the image.

        Raises:
            InputError: the image cannot be used, or the model returned a class without a label.
        """
        if isinstance(image, str | os.PathLike):
            pixels, channels = _read_image(Path(image)), "bgr"
        else:
            pixels = image
            _check_pixels(pixels, channels)
        prepared = self.prepare(pixels, channels=channels)
        return self.decode(self.infer(prepared), prepared.layout)

    def detect_stream(
        self, frames: Iterable[Frame], *, max_inference_rate: float | None = None
    ) -> Iterator[tuple[Frame, Detections]]:
        """Detect objects in successive frames of one camera or video, in regions that follow activity.

        The model runs where something moves, where objects are, and on every part of the frame in turn, at the
        resolution of the detector's tiles (2x2 if it has none), like the agent with `--regions`. Objects in parts of a
        frame that were not processed are carried over from earlier frames.

        Args:
            frames: frames in the order of their times, such as those of `open_camera`.
            max_inference_rate: maximum number of inferences per second of the frames' times, above 0; None for no
                limit.

        Returns:
            Each frame with its detections, with boxes in ratios of the frame.

        Raises:
            InputError: `max_inference_rate` is not above 0, or during iteration: the model returned a class without a
        """
        if max_inference_rate is not None and not max_inference_rate > 0:
            raise InputError(f"max_inference_rate is {max_inference_rate}: give a number above 0, or None")
        planner = RegionPlanner(model_input=self.input_size, tiling=self._tiling, max_inference_rate=max_inference_rate)
        return self._detect_stream(frames, planner)

    def _detect_stream(self, frames: Iterable[Frame], planner: RegionPlanner) -> Iterator[tuple[Frame, Detections]]:
        motion = MotionDetector()
        for frame in frames:
            moved = motion.update(frame.pixels, at=frame.at_s)
            planner.observe(moved, frame=frame.size, at=frame.at_s)
            plan = planner.plan(frame=frame.size, at=frame.at_s, shift=moved.shift)
            prepared = self.prepare(frame.pixels, regions=plan.regions)
            raw, threshold = self.infer(prepared), self.threshold
            of_regions = self.decode_regions(raw, prepared.layout, threshold=CONFIRMING * threshold)
            yield frame, planner.resolve(plan, of_regions, self.labels, threshold=threshold)[0]

    def prepare(
        self, pixels: NDArray[np.uint8], *, channels: Channels = "bgr", regions: tuple[Region, ...] | None = None
    ) -> PreparedFrame:
        """Convert each region of a frame to an input of the model.

        Args:
            pixels: uint8, shape (height, width, 3), of any size; not changed.
            channels: order of the channels.
            regions: regions to convert; None for the whole frame and its tiles.
        """
        frame, image = (int(pixels.shape[1]), int(pixels.shape[0])), self._image
        layout = self._whole_layout
        if regions is not None:
            layout = self._layout_of(frame, regions)
        elif layout is None or layout.frame != frame:
            regions = frame_regions(self._tiling, frame=frame, model_input=self.input_size)
            layout = self._whole_layout = self._layout_of(frame, regions)
        tensors: list[NDArray[Any]] = []
        for region, transform in zip(layout.regions, layout.transforms, strict=True):
            part = pixels[region.top : region.top + region.height, region.left : region.left + region.width]
            padded = letterbox(part, transform, padding=image.padding, channels=channels)
            tensors.append((padded if image.table is None else cv2.LUT(padded, image.table))[np.newaxis])
        return PreparedFrame(tuple(tensors), layout)

    def infer(
        self, prepared: PreparedFrame, *, on_inference: Callable[[], object] | None = None
    ) -> tuple[RawOutputs, ...]:
        """Run the model on each region, one after the other.

        Args:
            prepared: result of `prepare`.
            on_inference: called before each inference.
        """
        results: list[RawOutputs] = []
        for tensor in prepared.tensors:
            if on_inference is not None:
                on_inference()
            self.feed(tensor)
            self._interpreter.invoke()
            boxes = self._output(self._outputs.boxes).reshape(-1, 4)
            count = len(boxes)
            if self._outputs.count is not None:
                # This order of arguments converts NaN to 0.
                count = round(min(count, max(0.0, float(self._output(self._outputs.count).reshape(-1)[0]))))
            classes, scores = self._output(self._outputs.classes), self._output(self._outputs.scores)
            results.append(RawOutputs(boxes[:count], classes.reshape(-1)[:count], scores.reshape(-1)[:count]))
        return tuple(results)

    def decode(self, raw: Sequence[RawOutputs], layout: FrameLayout) -> Detections:
        """Convert the outputs of all regions to detections in ratios of the frame.

        Detections with non-finite values and boxes outside of the frame are dropped.

        Args:
            raw: outputs of `infer`.
            layout: layout of the prepared frame.

        Raises:
            InputError: the model returned a class without a label.
        """
        detections = self.decode_regions(raw, layout)
        return detections[0] if len(detections) == 1 else merge_regions(detections, layout.regions, frame=layout.frame)

    def decode_regions(
        self, raw: Sequence[RawOutputs], layout: FrameLayout, *, threshold: float | None = None
    ) -> list[Detections]:
        """Convert the outputs of each region to detections in ratios of the region; see `decode`.

        Args:
            raw: outputs of `infer`.
            layout: layout of the prepared frame.
            threshold: minimum confidence of a detection; None for the detector's.
        """
        threshold = self.threshold if threshold is None else threshold
        pairs = zip(raw, layout.transforms, strict=True)
        return [self._decode_region(outputs, transform, threshold) for outputs, transform in pairs]

    def feed(self, tensor: NDArray[Any]) -> None:
        """Copy a tensor of a prepared frame into the model; public for benchmarks of the interpreter alone."""
        self._interpreter.set_tensor(self._image.index, tensor)

    def _layout_of(self, frame: tuple[int, int], regions: tuple[Region, ...]) -> FrameLayout:
        image = self._image
        transforms = [
            input_transform(
                frame_width=region.width,
                frame_height=region.height,
                input_width=image.width,
                input_height=image.height,
                fit=image.fit,
            )
            for region in regions
        ]
        return FrameLayout(frame, regions, tuple(transforms))

    def _output(self, index: int) -> NDArray[np.float32]:
        value = self._interpreter.get_tensor(index)
        quantization = self._quantization.get(index)
        return value if quantization is None else dequantize(value, quantization)

    def _decode_region(self, raw: RawOutputs, transform: InputTransform, threshold: float) -> Detections:
        strong = np.flatnonzero(raw.scores >= threshold)
        corners, scores, classes = raw.boxes[strong].take((1, 0, 3, 2), axis=1), raw.scores[strong], raw.classes[strong]
        with np.errstate(invalid="ignore", over="ignore"):
            boxes = transform.to_frame(corners)
            kept = (
                np.isfinite(scores)
                & np.isfinite(classes)
                & np.isfinite(corners).all(axis=1)
                & (boxes[:, :2] < boxes[:, 2:]).all(axis=1)
            )
        class_ids = np.rint(classes[kept]).astype(np.int64)
        known = len(self.labels) - self._first_label
        for class_id in class_ids.tolist():
            if not 0 <= class_id < known:
                raise InputError(
                    f"{self._name} returned class {class_id}, but there are only {known} labels: "
                    "use the labels it was trained with"
                )
        class_ids += self._first_label
        boxes, scores = boxes[kept], np.clip(scores[kept], 0.0, 1.0)
        if self._selected_ids is not None:
            selected = np.isin(class_ids, self._selected_ids)
            boxes, scores, class_ids = boxes[selected], scores[selected], class_ids[selected]
        order = np.argsort(-scores, kind="stable")
        return Detections(boxes[order], scores[order], class_ids[order], self.labels)


def _read_image(path: Path) -> NDArray[np.uint8]:
    try:
        return read_image(path)
    except BadFrameError as error:
        raise InputError(str(error)) from error


def _check_pixels(pixels: NDArray[Any], channels: str) -> None:
    if channels not in get_args(Channels):
        raise InputError(f"channels is {channels!r}: allowed are {' and '.join(get_args(Channels))}")
    if not isinstance(pixels, np.ndarray):
        raise InputError(f"the image is a {type(pixels).__name__}: pass a path, or pixels as a NumPy array")
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise InputError(
            f"the image is {pixels.dtype} of shape {pixels.shape}: pass uint8 of shape (height, width, 3), not empty"
        )


def _first_label(scored: int | None, classes: int | None, labels: tuple[str, ...], name: str) -> int:
    """Return the index of the label of class 0.

    A model may score a background class before the others, but never return it. The labels may have a line for it,
    under any name.

    Args:
        scored: number of classes that the model scores, including the background; None for a model without the op.
        classes: number of classes that the model returns, according to the op.
        labels: labels of the classes.
        name: name of the model, for errors.

    Raises:
        InputError: there are too few or too many labels.
    """
    if scored is None or classes is None or len(labels) == classes:
        return 0
    # If no background is scored, the additional label may be a class that this model lacks, unless the first line names
    # the background.
    if len(labels) == classes + 1 and (scored > classes or _BACKGROUND_LABEL.fullmatch(labels[0])):
        return 1
    raise InputError(
        f"{name} distinguishes {classes} classes, but there are {len(labels)} labels: use the labels it was trained "
        "with"
    )


def _class_ids(labels: tuple[str, ...], classes: frozenset[str] | None) -> NDArray[np.int64] | None:
    if classes is None:
        return None
    unknown = sorted(classes - set(labels))
    if unknown:
        raise InputError(f"the model has no class {unknown[0]!r}: it has {', '.join(labels[:20])}")
    return np.array([i for i, label in enumerate(labels) if label in classes], dtype=np.int64)
