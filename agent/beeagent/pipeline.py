"""The stages between a frame and its detections, overlapping in threads of their own."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from beeagent.detection.detections import Detections
from beeagent.detection.detector import Detector, PreparedInput, RawOutputs
from beeagent.detection.geometry import Placement
from beeagent.frames.frame import Frame
from beeagent.frames.handoff import Handoff, HandoffClosedError
from beeagent.priority import give_way


@dataclass(frozen=True, slots=True)
class FrameResult:
    """What was found in one frame.

    Attributes:
        frame: what was looked at.
        detections: what was found.
        inference_ms: time in the model alone, in milliseconds.
    """

    frame: Frame
    detections: Detections
    inference_ms: float


@dataclass(frozen=True, slots=True)
class _Prepared:
    frame: Frame
    input: PreparedInput


@dataclass(frozen=True, slots=True)
class _Inferred:
    frame: Frame
    placement: Placement
    raw: RawOutputs
    inference_ms: float


class Pipeline:
    """Turns frames into results, in order.

    While the model computes one frame, the next is laid into its input form and the last one's outputs are read,
    so that the model never waits for either. Of a live source only the newest prepared frame is kept, so that a
    result is never older than one wait for the model and one inference; of files, every frame is looked at.

    Iterating gives the results, and ends when the frames have ended or `stop` was called. What a stage raises is
    raised there.
    """

    def __init__(self, *, detector: Detector, frames: Handoff[Frame], keep: Literal["newest", "every"]) -> None:
        """Set up the stages; nothing runs before `start`.

        Args:
            detector: used by this pipeline alone from here on.
            frames: where the frames come from; closed at their end by whoever fills it.
            keep: `newest` for a live source, `every` for files.
        """
        self._detector = detector
        self._frames = frames
        self._prepared: Handoff[_Prepared] = Handoff(keep)
        self._inferred: Handoff[_Inferred] = Handoff("every")
        self._failure: Exception | None = None
        self._threads = [
            threading.Thread(target=self._run, args=(stage,), name=name, daemon=True)
            for name, stage in (("prepare", self._prepare), ("infer", self._infer))
        ]

    def start(self) -> None:
        """Start the stages."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let the stages end after the frame they are at. Safe to call twice, from any thread."""
        for handoff in (self._frames, self._prepared, self._inferred):
            handoff.close()

    def join(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds for the stages to end, and say whether they did."""
        deadline = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def __iter__(self) -> Iterator[FrameResult]:
        """Give the results as they come.

        Raises:
            InputError: the model gave a class that the labels do not name.
        """
        for item in self._inferred:
            yield FrameResult(item.frame, self._detector.decode(item.raw, item.placement), item.inference_ms)
        if self._failure is not None:
            raise self._failure

    def _prepare(self) -> None:
        give_way()
        try:
            for frame in self._frames:
                self._prepared.put(_Prepared(frame, self._detector.prepare(frame.pixels)))
        finally:
            self._prepared.close()

    def _infer(self) -> None:
        try:
            for item in self._prepared:
                began = time.perf_counter_ns()
                raw = self._detector.infer(item.input)
                took = (time.perf_counter_ns() - began) / 1e6
                self._inferred.put(_Inferred(item.frame, item.input.placement, raw, took))
        finally:
            self._inferred.close()

    def _run(self, stage: Callable[[], None]) -> None:
        try:
            stage()
        except HandoffClosedError:
            pass  # stopped: nobody wants what this stage had
        except Exception as error:  # noqa: BLE001 - kept for whoever iterates, who is on another thread
            self._failure = error
            self.stop()
