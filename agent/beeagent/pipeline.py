"""The stages between a frame and its detections, overlapping in threads of their own."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from beeagent.detection.detections import Detections
from beeagent.detection.detector import Detector, PreparedInput, RawOutputs
from beeagent.detection.geometry import Placement
from beeagent.frames.frame import Frame
from beeagent.frames.handoff import Handoff, HandoffClosedError
from beeagent.priority import give_way
from beeagent.reorder import ReorderBuffer, ReorderClosedError


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

    While the models compute, the next frame is laid into its input form and the last one's outputs are read, so that
    no model ever waits for either. With several detectors, as many frames are looked at at the same time, each by one
    of them. Of a live source only the newest prepared frame is kept, so that a result is never older than one wait
    for a model and one inference; of files, every frame is looked at.

    Iterating gives the results, and ends when the frames have ended or `stop` was called. What a stage raises is
    raised there.
    """

    def __init__(
        self, *, detectors: Sequence[Detector], frames: Handoff[Frame], keep: Literal["newest", "every"]
    ) -> None:
        """Set up the stages; nothing runs before `start`.

        Args:
            detectors: of the same model and options, one or more; used by this pipeline alone from here on.
            frames: where the frames come from; closed at their end by whoever fills it.
            keep: `newest` for a live source, `every` for files.
        """
        self._detectors = list(detectors)
        self._frames = frames
        self._prepared: Handoff[_Prepared] = Handoff(keep)
        self._taking = threading.Lock()
        self._taken = 0
        self._inferred: ReorderBuffer[_Inferred] = ReorderBuffer(len(self._detectors) + 1)
        self._failure: Exception | None = None
        self._working = len(self._detectors)
        stages = [("prepare", self._prepare)]
        stages += [(f"infer-{k}", partial(self._infer, detector)) for k, detector in enumerate(self._detectors, 1)]
        self._threads = [
            threading.Thread(target=self._run, args=(stage,), name=name, daemon=True) for name, stage in stages
        ]

    def start(self) -> None:
        """Start the stages."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let the stages end after the frame they are at. Safe to call twice, from any thread."""
        for passage in (self._frames, self._prepared, self._inferred):
            passage.close()

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
        decode = self._detectors[0].decode
        for item in self._inferred:
            yield FrameResult(item.frame, decode(item.raw, item.placement), item.inference_ms)
        if self._failure is not None:
            raise self._failure

    def _prepare(self) -> None:
        give_way()
        prepare = self._detectors[0].prepare
        try:
            for frame in self._frames:
                self._prepared.put(_Prepared(frame, prepare(frame.pixels)))
        finally:
            self._prepared.close()

    def _infer(self, detector: Detector) -> None:
        try:
            while True:
                number, item = self._take()
                began = time.perf_counter_ns()
                raw = detector.infer(item.input)
                took = (time.perf_counter_ns() - began) / 1e6
                self._inferred.put(number, _Inferred(item.frame, item.input.placement, raw, took))
        finally:
            self._end_worker()

    def _take(self) -> tuple[int, _Prepared]:
        """Take the next prepared frame and its number, from 0; one thread at a time, or the two would not agree."""
        with self._taking:
            item = self._prepared.get()
            number = self._taken
            self._taken += 1
            return number, item

    def _end_worker(self) -> None:
        """Let the results end when no worker is left that could add to them."""
        with self._taking:
            self._working -= 1
            if self._working == 0:
                self._inferred.close()

    def _run(self, stage: Callable[[], None]) -> None:
        try:
            stage()
        except (HandoffClosedError, ReorderClosedError):
            pass  # at the end of the frames, or stopped: nobody wants what this stage had
        except Exception as error:  # noqa: BLE001 - kept for whoever iterates, who is on another thread
            self._failure = error
            self.stop()
