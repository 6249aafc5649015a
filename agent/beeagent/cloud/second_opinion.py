"""Second opinions on unsure frames, concurrent with the pipeline: exactly one result for each frame, in time."""

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol

import numpy as np

from beeagent.camera import Frame
from beeagent.cloud.guard import CallGuard, CloudDetectionError, FailureReason, RunningTime
from beeagent.detection import Detections, iou

_LOG: Final = logging.getLogger(__name__)

_COLLECT_WITHIN_S: Final = 0.5  # time limit of `stop` for a frame that is being collected
_MAX_RECENT_CALLS: Final = 16  # calls whose results are reused for duplicate frames
_SAME_BOX_IOU: Final = 0.8  # exceeded by a box of 20 pixels that jitters by one or two


class CloudDetector(Protocol):
    """Detects objects in the cloud: `RekognitionClient`, or a fake in a test."""

    def detect(self, frame: Frame, labels: tuple[str, ...]) -> Detections:
        """Return the detections of the cloud model; `labels` are the edge model's classes.

        Raises:
            CloudDetectionError: there is no result.
        """


@dataclass(frozen=True, slots=True)
class EdgeResult:
    """The edge model's result for a frame.

    Attributes:
        detections: all detections down to the low end of the uncertainty range, by descending confidence.
        above_threshold: number of detections at or above the threshold.
        model: identity of the edge model, such as `bees-lite0@3f9c21d0`.
    """

    detections: Detections
    above_threshold: int
    model: str


@dataclass(frozen=True, slots=True)
class CloudResult:
    """The final result for a frame.

    Attributes:
        decided_by: `cloud`, or `edge-degraded` if the cloud model has no result.
        detections: detections of the cloud model, or of the edge model.
        reason: reason for the missing result of the cloud model; None with `cloud`.
    """

    decided_by: Literal["cloud", "edge-degraded"]
    detections: Detections
    reason: FailureReason | None = None


@dataclass(frozen=True, slots=True)
class SecondOpinionCounts:
    """Counts of frames since the start.

    Attributes:
        asked: frames for which a second opinion was requested.
        cloud: frames with a result of the cloud model.
        degraded: frames without one, by reason.
        calls: calls of the cloud model.
        saved: duplicate frames that reused the call of another frame.
        seen_running_s: observed running time of the cloud model in seconds; see `RunningTime`.
    """

    asked: int
    cloud: int
    degraded: Mapping[FailureReason, int]
    calls: int
    saved: int
    seen_running_s: float = 0.0


@dataclass(slots=True)
class _Request:
    """A frame that waits for its result."""

    detections: Detections
    deadline: float
    future: "Future[CloudResult]" = field(default_factory=Future)
    resolved: bool = False

    def __post_init__(self) -> None:
        self.future.set_running_or_notify_cancel()  # cannot be cancelled: every frame has a result


@dataclass(slots=True)
class _Call:
    """One call of the cloud model, and the frames that share its result."""

    frame: Frame | None  # None after the call, to free its memory
    captured_ns: int
    edge: EdgeResult
    requests: list[_Request] = field(default_factory=list)
    outcome: Detections | CloudDetectionError | None = None


class SecondOpinion:
    """Worker threads that call the cloud model, and a thread that watches the deadlines.

    `submit` never blocks. A frame's future is resolved on one of these threads, in any order: when the cloud model
    responds or the call fails, and after `timeout` at the latest. A duplicate of a recent frame shares that frame's
    call, also while it is in progress.

    A result that arrives after its frame's time-out is used only for later duplicates.
    """

    def __init__(  # noqa: PLR0913 - keywords
        self,
        detector: CloudDetector,
        guard: CallGuard,
        *,
        workers: int = 2,
        queue: int = 4,
        timeout: float = 10.0,
        same_for: float = 10.0,
        collect: Callable[[Frame, EdgeResult, Detections], None] | None = None,
    ) -> None:
        """Prepare the threads, which `start` starts.

        Args:
            detector: the cloud model.
            guard: guard of the calls.
            workers: number of concurrent calls, 1 or more.
            queue: maximum number of frames that wait for a worker, 1 or more. Each keeps its pixels in memory.
            timeout: seconds from `submit` until a frame is resolved without the cloud model, above 0.
            same_for: seconds for which a result is reused for duplicate frames; 0 for never.
            collect: called with each frame that has a result of the cloud model, and both models' detections, on a
                worker thread after the future is resolved; must not raise.
        """
        self._detector = detector
        self._guard = guard
        self._queue_limit = queue
        self._timeout = timeout
        self._same_ns = int(same_for * 1e9)
        self._collect = collect
        # The following are guarded by `_changed`, which is held only briefly; futures are resolved outside of it.
        self._changed = threading.Condition()
        self._queue: deque[_Call] = deque()
        self._recent: deque[_Call] = deque(maxlen=_MAX_RECENT_CALLS)
        self._waiting: deque[_Request] = deque()  # in the order of their deadlines
        self._stopped = False
        self._asked = self._resolved = self._cloud = self._calls = self._saved = self._collecting = 0
        self._degraded: Counter[FailureReason] = Counter()
        self._running = RunningTime()
        self._threads = [
            threading.Thread(target=self._work, name=f"second-opinion-{i}", daemon=True) for i in range(workers)
        ] + [threading.Thread(target=self._watch_deadlines, name="second-opinion-deadlines", daemon=True)]

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def drain(self, *, timeout: float) -> bool:
        """Wait up to `timeout` seconds until every frame has its result; return False if one has none.

        Callbacks that were added to the futures before the result have then returned too.
        """
        with self._changed:
            return self._changed.wait_for(lambda: self._resolved == self._asked, timeout)

    def stop(self) -> None:
        """Resolve the waiting frames without the cloud model.

        On return, every frame has its result, and its future's callbacks have returned; frames submitted later are
        resolved at once. Must not be called from a callback.
        """
        with self._changed:
            self._stopped = True
            unresolved = list(self._waiting)
            self._queue.clear()
            self._changed.notify_all()
        for request in unresolved:
            self._resolve(request, CloudDetectionError("timeout", "the agent is stopping"))
        with self._changed:  # another thread may be about to resolve one of them
            self._changed.wait_for(lambda: self._resolved == self._asked)
            self._changed.wait_for(lambda: not self._collecting, _COLLECT_WITHIN_S)
        self._guard.close()

    def counts(self) -> SecondOpinionCounts:
        """Return the counts so far."""
        with self._changed:
            return SecondOpinionCounts(
                self._asked, self._cloud, dict(self._degraded), self._calls, self._saved, self._running.seconds
            )

    def submit(
        self, frame: Frame, detections: Detections, *, above_threshold: int | None = None, model: str = "unknown"
    ) -> "Future[CloudResult]":
        """Request a second opinion on a frame.

        Args:
            frame: the frame, which is kept in memory until the call is made.
            detections: detections of the edge model down to the low end of the uncertainty range, which are the result
                if the cloud model has none.
            above_threshold: see `EdgeResult`; None for all detections. Used only by `collect`, like `model`.
            model: identity of the edge model.
        """
        request = _Request(detections, time.monotonic() + self._timeout)
        outcome: Detections | CloudDetectionError | None = None
        with self._changed:
            self._asked += 1
            self._waiting.append(request)
            call = None if self._stopped else self._call_of_duplicate(frame, detections)
            if self._stopped:
                outcome = CloudDetectionError("timeout", "the agent is stopping")
            elif call is not None:
                self._saved += 1
                outcome = call.outcome
                if outcome is None:
                    call.requests.append(request)
            elif len(self._queue) >= self._queue_limit:
                outcome = CloudDetectionError("queue-full", f"{self._queue_limit} frames are already waiting")
            else:
                edge = EdgeResult(detections, len(detections) if above_threshold is None else above_threshold, model)
                call = _Call(frame, frame.captured_ns, edge, [request])
                self._queue.append(call)
                self._recent.append(call)
            self._changed.notify_all()
        if outcome is not None:
            self._resolve(request, outcome)
        return request.future

    def _call_of_duplicate(self, frame: Frame, detections: Detections) -> _Call | None:
        """Return the recent call whose result can be reused for this frame."""
        for call in reversed(self._recent):
            if abs(frame.captured_ns - call.captured_ns) >= self._same_ns:
                continue
            if not isinstance(call.outcome, CloudDetectionError) and is_same_scene(call.edge.detections, detections):
                return call
        return None

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stopped or self._queue)
                if self._stopped:
                    return
                call = self._queue.popleft()
                frame, call.frame = call.frame, None
                expired = all(request.resolved for request in call.requests)
            outcome: Detections | CloudDetectionError
            if expired or frame is None:  # no frame waits for the result: save the cost
                outcome = CloudDetectionError("timeout", "the timeout passed before the call was made")
            else:
                outcome = self._detect(frame, call.edge.detections.labels)
            with self._changed:
                call.outcome = outcome
                if not isinstance(outcome, CloudDetectionError):
                    self._running.note_result()
                    self._collecting += 1
                elif outcome.reason == "model-not-running":
                    self._running.note_not_running()
                requests, call.requests = call.requests, []
            for request in requests:
                self._resolve(request, outcome)
            if frame is not None and not isinstance(outcome, CloudDetectionError):
                self._call_collect(frame, call.edge, outcome)

    def _detect(self, frame: Frame, labels: tuple[str, ...]) -> Detections | CloudDetectionError:
        def detect() -> Detections:
            with self._changed:
                self._calls += 1
            return self._detector.detect(frame, labels)

        try:
            return self._guard.call(detect)
        except CloudDetectionError as error:
            return error
        except Exception:  # noqa: BLE001 - every frame needs a result, and the worker must continue
            _LOG.exception("second opinion: unexpected failure")
            return CloudDetectionError("refused", "unexpected failure")

    def _call_collect(self, frame: Frame, edge: EdgeResult, cloud: Detections) -> None:
        try:
            if self._collect is not None:
                self._collect(frame, edge, cloud)
        except Exception:  # noqa: BLE001 - the worker must continue
            _LOG.exception("second opinion: a frame could not be collected")
        finally:
            with self._changed:
                self._collecting -= 1
                self._changed.notify_all()

    def _watch_deadlines(self) -> None:
        while True:
            with self._changed:
                while self._waiting and self._waiting[0].resolved:
                    self._waiting.popleft()
                if self._stopped:
                    return
                left = self._waiting[0].deadline - time.monotonic() if self._waiting else None
                if left is None or left > 0:
                    self._changed.wait(left)
                    continue
                request = self._waiting.popleft()
            self._resolve(request, CloudDetectionError("timeout", "no result arrived in time"))

    def _resolve(self, request: _Request, outcome: Detections | CloudDetectionError) -> None:
        """Set the result of a frame; later ones are ignored."""
        if isinstance(outcome, CloudDetectionError):
            result = CloudResult("edge-degraded", request.detections, outcome.reason)
        else:
            result = CloudResult("cloud", outcome)
        with self._changed:
            if request.resolved:
                return
            request.resolved = True
            if result.reason is None:
                self._cloud += 1
            else:
                self._degraded[result.reason] += 1
        request.future.set_result(result)  # runs its callbacks
        with self._changed:
            self._resolved += 1
            self._changed.notify_all()


def is_same_scene(one: Detections, other: Detections) -> bool:
    """Return True if two frames show the same scene: each box matches exactly one box of the same class.

    All detections are compared, also those below the threshold, since the result of one frame is reused for the other.
    """
    if len(one) != len(other) or one.labels != other.labels:
        return False
    overlap = iou(one.boxes[:, None], other.boxes)
    overlap[one.class_ids[:, None] != other.class_ids[None, :]] = 0
    for row in range(len(one)):
        best = int(np.argmax(overlap[row]))
        if overlap[row, best] < _SAME_BOX_IOU:
            return False
        overlap[:, best] = 0
    return True
