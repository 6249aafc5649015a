"""Recommend a model for a camera and this machine, from measurements on some frames of the camera."""

import math
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from beeagent.detection.boxes import box_areas
from beeagent.detection.bundle import InputSpec, ModelBundle
from beeagent.detection.detections import Detections
from beeagent.detection.detector import Detector, DetectorOptions
from beeagent.detection.tiling import Tiling, frame_regions, resolve_tiling
from beeagent.detection.transforms import input_transform

_SMALL, _LARGE_ENOUGH = 16.0, 24.0
"""Median sizes of the bees in pixels of the model's input. Below the first, few are detected; from the second on, a
larger input does not justify its longer inference.

A size is the square root of the box's area. AP50 of bees-lite0 0.3.0 by size: 0.19 for bees of 8 to 16 pixels at hive
entrances, 0.62 for 16 to 32, 0.77 for 32 to 96; 0.48, 0.76 and 0.65 in close-ups. So more pixels help much below 16,
and only at entrances from 16 to 32. With a median of 24, few of a camera's bees are below 16.
"""
_MEASURE_S = 0.4
_MIN_INFERENCES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelMeasurement:
    """Measurement of a model on frames of a camera.

    Attributes:
        name: name of the model.
        input_size: width and height of the model's input in pixels.
        bee_size: median size of the bees in pixels of the model's input; None if no bee was detected.
        frame_rate: maximum number of frames per second on this machine.
    """

    name: str
    input_size: tuple[int, int]
    bee_size: float | None
    frame_rate: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelAdvice:
    """The recommended model.

    Attributes:
        model: name of the model; None if the size of the bees is unknown.
        text: the recommendation and its reasons, in one line.
    """

    model: str | None
    text: str


def advise(models: Sequence[ModelMeasurement], *, current: str, wanted_rate: float | None) -> ModelAdvice:
    """Recommend the fastest model for which the bees are large enough, if it reaches the wanted rate.

    If it does not, recommend the model with the largest bees among those that reach the rate. If none does, recommend
    the fastest, which drops the fewest frames.

    Args:
        models: the installed models, at least one; `bee_size` is None for all or for none.
        current: name of the configured model.
        wanted_rate: frames per second to process; None if frames are never dropped, as those of a file.
    """
    by_speed = sorted(models, key=lambda model: -model.frame_rate)
    if any(model.bee_size is None for model in models):
        return ModelAdvice(
            model=None,
            text="no bee was detected, so their size is not known yet: run this again while bees are in view, or with "
            "a recording of them as --camera",
        )
    fitting = next((model for model in by_speed if _size(model) >= _LARGE_ENOUGH), max(by_speed, key=_size))
    keeping_up = [model for model in by_speed if wanted_rate is None or model.frame_rate >= wanted_rate]
    chosen = fitting if fitting in keeping_up else max(keeping_up or by_speed[:1], key=_size)
    sizes = " and ".join(
        f"{_size(model):.0f} px at {model.input_size[0]}x{model.input_size[1]}"
        for model in sorted(models, key=lambda model: math.prod(model.input_size))
    )
    verb = "keep" if chosen.name == current else "take"
    text = f"bees are about {sizes}: {verb} {chosen.name}, {_rate(chosen)} frames/s here"
    if wanted_rate is not None and chosen not in keeping_up:
        text += f" of {round(wanted_rate, 1):g}, the others are dropped"
    if chosen is not fitting:
        text += (
            f"; {fitting.name} would detect more bees, but at {_rate(fitting)} frames/s: take it if --max-rate "
            f"{_rate(fitting)} is enough"
        )
    if _size(chosen) < _SMALL:
        text += "; few bees of this size are detected: try --regions, or move the camera nearer"
    return ModelAdvice(model=chosen.name, text=text)


def measure_models(
    bundles: Mapping[str, ModelBundle],
    frames: Sequence[NDArray[np.uint8]],
    *,
    current: str,
    options: DetectorOptions,
    tiles: str | None,
) -> list[ModelMeasurement]:
    """Measure models on frames of a camera, each for a fraction of a second.

    The sizes of bees are from the detections of the configured model or, if it detects nothing, of the next one.

    Args:
        bundles: the models by name; those without a manifest are skipped.
        frames: BGR, uint8, shape (height, width, 3); of any sizes, at least one.
        current: name of the configured model.
        options: options of the detectors; the tiling is ignored.
        tiles: see `Detector.load`; None for the tiles that each bundle recommends.

    Raises:
        InputError: a model cannot be used.
        BeeagentError: there is no working TFLite runtime.
    """
    measured: list[tuple[str, InputSpec, Tiling, float]] = []
    sample: list[Detections] = []
    for name, bundle in sorted(bundles.items(), key=lambda item: item[0] != current):
        if bundle.input is None:
            continue
        tiling = resolve_tiling(tiles, bundle)
        detector = Detector(bundle, replace(options, tiling=tiling))
        detections, rate = _detect(detector, frames)
        measured.append((name, bundle.input, tiling, rate))
        if not any(map(len, sample)):
            sample = detections
    return [
        ModelMeasurement(
            name=name,
            input_size=(spec.width, spec.height),
            bee_size=_median_size(sample, frames, spec, tiling),
            frame_rate=rate,
        )
        for name, spec, tiling, rate in measured
    ]


def _detect(detector: Detector, frames: Sequence[NDArray[np.uint8]]) -> tuple[list[Detections], float]:
    """Process frames for `_MEASURE_S`; return the detections, and the frames per second."""
    results: list[Detections] = []
    started = time.perf_counter()
    while (elapsed := time.perf_counter() - started) < _MEASURE_S or len(results) < _MIN_INFERENCES:
        results.append(detector.detect(frames[len(results) % len(frames)]))
    return results[: len(frames)], len(results) / elapsed


def _median_size(
    results: Sequence[Detections], frames: Sequence[NDArray[np.uint8]], spec: InputSpec, tiling: Tiling
) -> float | None:
    sizes: list[float] = []
    for detections, pixels in zip(results, frames, strict=False):
        frame = (int(pixels.shape[1]), int(pixels.shape[0]))
        scale = input_scale(frame, spec, tiling)
        sizes.extend(math.sqrt(area) * scale for area in box_areas(detections.xyxy(frame)).tolist())
    return statistics.median(sizes) if sizes else None


def size_advice(bee_size: float | None) -> str | None:
    """Return advice on the size of the bees, in one line; None if it is unknown.

    Args:
        bee_size: median size of the bees in pixels of the model's input.
    """
    if bee_size is None:
        return None
    if bee_size < _SMALL:
        return (
            f"bees are about {bee_size:.0f} px in the model's input, too small for it: move the camera closer, use "
            "--model bees-lite0-wide, or --tiles 2x2"
        )
    if bee_size < _LARGE_ENOUGH:
        return (
            f"bees are about {bee_size:.0f} px in the model's input: large enough, and better if the camera is closer"
        )
    return f"bees are about {bee_size:.0f} px in the model's input: large enough"


def input_scale(frame: tuple[int, int], spec: InputSpec, tiling: Tiling) -> float:
    """Return the pixels of the model's input per pixel of the frame, or of its tiles: the mean of both directions.

    Args:
        frame: width and height of the frame in pixels.
        spec: the model's input.
        tiling: the tiles of the frame.
    """
    scales = []
    for region in frame_regions(tiling, frame=frame, model_input=(spec.width, spec.height)):
        transform = input_transform(
            frame_width=region.width,
            frame_height=region.height,
            input_width=spec.width,
            input_height=spec.height,
            fit=spec.fit,
        )
        scales.append(math.sqrt(transform.width * transform.height / (region.width * region.height)))
    return max(scales)


def _size(model: ModelMeasurement) -> float:
    return model.bee_size or 0.0


def _rate(model: ModelMeasurement) -> str:
    """Return the frames per second, rounded down, so that the model keeps up with it as a limit."""
    return f"{math.floor(model.frame_rate * 10) / 10:g}" if model.frame_rate < 10 else str(math.floor(model.frame_rate))
