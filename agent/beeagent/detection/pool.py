"""The detector pool: one detector per worker thread, since an interpreter is not thread-safe."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from beeagent.detection.advice import input_scale
from beeagent.detection.boxes import covered_ratios
from beeagent.detection.bundle import InputSpec, ModelBundle
from beeagent.detection.detections import Detections
from beeagent.detection.detector import Detector, DetectorOptions, FrameLayout, PreparedFrame, RawOutputs
from beeagent.detection.masks import NO_MASKS, Masks
from beeagent.detection.motion import MotionDetector
from beeagent.detection.regions import CONFIRMING, RegionOptions, RegionPlan, RegionPlanner
from beeagent.detection.tiling import merge_regions
from beeagent.detection.transforms import Fit
from beeagent.detection.uncertainty import UncertaintyRange

CANDIDATES: Final = 0.15
"""Confidence of the weakest candidates for tracking, as a ratio of the threshold."""

_SAME_COVER: Final = 0.5
"""A weak detection of which a stronger one covers this ratio is of the same object."""


class DecodedFrame(NamedTuple):
    """The detections of a frame.

    Attributes:
        detections: the detections at or above the threshold.
        unsure: all detections down to the low end of the uncertainty range if the model is unsure about the frame,
            else None.
        candidates: for tracking, `detections` followed by those of lower confidence.
        preview: what another threshold would detect: `candidates`, or with regions, `detections` followed by those of
            lower confidence in the regions that the model has processed.
    """

    detections: Detections
    unsure: Detections | None
    candidates: Detections
    preview: Detections


class _Levels(NamedTuple):
    """Minimum confidences of detections, of unsure detections and of candidates."""

    threshold: float
    uncertainty: UncertaintyRange | None
    unsure_from: float
    candidates_from: float


class DetectorPool:
    """Detectors of one model, one for each worker, which process different frames at the same time.

    Attributes:
        identity: name and short hash of the model, such as `bees-lite0@3f9c21d0`.
        size: number of workers.
    """

    def __init__(  # noqa: PLR0913 - keywords
        self,
        bundle: ModelBundle,
        options: DetectorOptions,
        *,
        size: int,
        uncertainty: UncertaintyRange | None = None,
        regions: RegionOptions | None = None,
        candidates: bool = False,
        preview: bool = False,
    ) -> None:
        """Load the model `size` times, and run each instance once.

        Args:
            bundle: the model.
            options: options of each detector.
            size: number of workers, 1 or more.
            uncertainty: confidences at which the model is unsure; lowers the detectors' threshold to their low end.
                None if `DecodedFrame.unsure` is not needed.
            regions: options for regions chosen by activity; None to process whole frames.
            candidates: True to return candidates down to `CANDIDATES` of the threshold; ignored with regions, which
                would follow every false candidate.
            preview: True to return a preview with detections down to `CANDIDATES` of the threshold, also with regions.

        Raises:
            InputError: the model cannot be used.
            BeeagentError: there is no working TFLite runtime.
        """
        self.identity = bundle.identity
        self._with_candidates = preview or (candidates and regions is None)
        self._levels = self._levels_for(
            bundle.threshold if options.threshold is None else options.threshold, uncertainty
        )
        if (lowest := min(self._levels.unsure_from, self._levels.candidates_from)) < self._levels.threshold:
            options = replace(options, threshold=lowest)
        self.size = size
        self._input, self._tiling = bundle.input, options.tiling
        self._load = partial(Detector, bundle, options)
        self._detectors: list[Detector | None] = [self._load() for _ in range(size)]
        self._generations = [0] * size
        self._lock = threading.Lock()
        # Preparing and decoding only read immutable state, so one detector does both for all workers.
        self._first = self._detector(0)
        self._motion = MotionDetector()
        self._planner: RegionPlanner | None = None
        if regions is not None:
            self._planner = RegionPlanner(
                model_input=self._first.input_size,
                tiling=options.tiling,
                max_inference_rate=regions.max_inference_rate,
            )

    @property
    def threshold(self) -> float:
        """The minimum confidence of a detection."""
        return self._levels.threshold

    @property
    def has_regions(self) -> bool:
        """True if only regions of a frame are processed, chosen by activity."""
        return self._planner is not None

    @property
    def lowest(self) -> float:
        """The minimum confidence of a candidate, or with regions, of the preview."""
        return self._levels.candidates_from

    def set_threshold(self, threshold: float, *, uncertainty: UncertaintyRange | None = None) -> None:
        """Change the threshold from the next frame on. Thread-safe.

        Args:
            threshold: minimum confidence of a detection, 0 to 1.
            uncertainty: confidences at which the model is unsure; None if `DecodedFrame.unsure` is not needed.
        """
        levels = self._levels_for(threshold, uncertainty)
        self._first.threshold = min(levels.unsure_from, levels.candidates_from)
        self._levels = levels

    def input_scale(self, frame: tuple[int, int]) -> float:
        """Return the pixels of the model's input per pixel of a frame, or of its tiles.

        Args:
            frame: width and height of the frame in pixels.
        """
        width, height = self._first.input_size
        return input_scale(frame, self._input or InputSpec(width=width, height=height, fit=Fit.STRETCH), self._tiling)

    def prepare(self, pixels: NDArray[np.uint8], *, at: float, masks: Masks = NO_MASKS) -> PreparedFrame:
        """Prepare a frame or, if regions are chosen by activity, only detect its motion. By one thread at a time.

        Args:
            pixels: see `Detector.prepare`.
            at: time of the frame in seconds.
            masks: parts of the frame in which regions do not follow motion.
        """
        if self._planner is None:
            return self._first.prepare(pixels)
        frame = (int(pixels.shape[1]), int(pixels.shape[0]))
        motion = self._motion.update(pixels, at=at, masks=masks)
        self._planner.observe(motion, frame=frame, at=at)
        return PreparedFrame((), FrameLayout(frame, (), (), at, motion.shift), pixels)

    def choose_regions(self, prepared: PreparedFrame) -> PreparedFrame:
        """Choose and prepare the regions of a frame that the model is to process now. Thread-safe.

        This is not part of `prepare`, since chosen regions count as processed but a prepared frame may be dropped.
        """
        if self._planner is None or prepared.pixels is None or prepared.layout.at is None:
            return prepared
        layout = prepared.layout
        plan = self._planner.plan(frame=layout.frame, at=prepared.layout.at, shift=layout.shift)
        chosen = self._first.prepare(prepared.pixels, regions=plan.regions)
        return replace(chosen, layout=replace(chosen.layout, at=plan.at, shift=plan.shift))

    def infer(
        self, worker: int, prepared: PreparedFrame, *, on_inference: Callable[[], object] | None = None
    ) -> tuple[RawOutputs, ...]:
        """Run the model on a frame, as `Detector.infer`.

        Args:
            worker: 0 to `size` - 1; each by one thread at a time.
            prepared: result of `choose_regions`.
            on_inference: called before each inference.
        """
        return self._detector(worker).infer(prepared, on_inference=on_inference)

    def decode(self, raw: Sequence[RawOutputs], layout: FrameLayout, *, masks: Masks = NO_MASKS) -> DecodedFrame:
        """Decode the outputs, as `Detector.decode`. By one thread at a time, in the order of the frames.

        Args:
            raw: outputs of `infer`.
            layout: layout of the frame.
            masks: parts of the frame in which detections are dropped, by their centre.

        Returns:
            The detections, including objects carried over from regions that were not processed. The model can be unsure
            only about detections in processed regions.
        """
        levels, per_region = self._levels, list[Detections]()
        if self._planner is None or layout.at is None:
            detections = processed = masks.unmasked(self._first.decode(raw, layout))
        else:
            plan = RegionPlan(layout.frame, layout.at, layout.regions, layout.shift)
            threshold, confirming = levels.unsure_from, CONFIRMING * levels.unsure_from
            lowest = min(confirming, levels.candidates_from)
            per_region = self._first.decode_regions(raw, layout, threshold=lowest)
            detections, processed = self._planner.resolve(
                plan,
                [one.at_least(confirming) for one in per_region],
                self._first.labels,
                threshold=threshold,
                masks=masks,
            )
        if levels.uncertainty is None and levels.candidates_from == levels.threshold:
            return DecodedFrame(detections, None, detections, detections)
        unsure = None
        if levels.uncertainty is not None and levels.uncertainty.contains_any(processed):
            unsure = detections.at_least(levels.unsure_from)
        certain = detections.at_least(levels.threshold)
        if self._planner is None:
            candidates = detections.at_least(levels.candidates_from)
            return DecodedFrame(certain, unsure, candidates, candidates)
        if not self._with_candidates:
            return DecodedFrame(certain, unsure, certain, certain)
        weak = detections
        if per_region:
            weak = masks.unmasked(merge_regions(per_region, layout.regions, frame=layout.frame))
        return DecodedFrame(certain, unsure, certain, _with_weaker(certain, weak, levels.threshold))

    def abandon(self, worker: int) -> None:
        """Abandon a worker's detector, in which a thread hangs; the next use loads another."""
        with self._lock:
            self._generations[worker] += 1
            self._detectors[worker] = None

    def _levels_for(self, threshold: float, uncertainty: UncertaintyRange | None) -> _Levels:
        return _Levels(
            threshold,
            uncertainty,
            unsure_from=threshold if uncertainty is None else min(threshold, uncertainty.low),
            candidates_from=threshold * CANDIDATES if self._with_candidates else threshold,
        )

    def _detector(self, worker: int) -> Detector:
        with self._lock:
            detector, generation = self._detectors[worker], self._generations[worker]
        if detector is None:
            detector = self._load()
            with self._lock:
                # If this thread was abandoned while loading, it keeps its own: an interpreter is not thread-safe.
                if self._generations[worker] == generation:
                    self._detectors[worker] = detector
        return detector


def _with_weaker(detections: Detections, all_found: Detections, threshold: float) -> Detections:
    """Return detections followed by those below the threshold, except those of the same objects."""
    above = len(all_found.at_least(threshold))
    covered = covered_ratios(all_found.boxes[above:, None], detections.boxes[None]).max(axis=1, initial=0)
    new = above + np.flatnonzero(covered < _SAME_COVER)
    return Detections(
        np.concatenate([detections.boxes, all_found.boxes[new]]),
        np.concatenate([detections.confidences, all_found.confidences[new]]),
        np.concatenate([detections.class_ids, all_found.class_ids[new]]),
        detections.labels,
    )
