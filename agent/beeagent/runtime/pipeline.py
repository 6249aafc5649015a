"""The pipeline from frames to detections: prepare, infer on several workers, decode in order."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from beeagent.camera import Capture, Frame, FrameQueue, QueueClosedError
from beeagent.detection import NO_MASKS, Detections, DetectorPool, Masks, PreparedFrame, RawOutputs
from beeagent.errors import BeeagentError
from beeagent.threads import Backoff, lower_thread_priority

T = TypeVar("T")

_MAX_STUCK = 3  # maximum number of stuck threads that are replaced
_CHECK_EVERY_S = 0.1


@dataclass(frozen=True, slots=True)
class FrameResult:
    """The detections in a frame.

    Attributes:
        frame: the frame.
        model: identity of the model that processed it.
        detections: the detections at or above the threshold.
        inference_ms: duration of the inference in milliseconds.
        unsure: all detections, including those below the threshold, if the model is unsure; else None.
        candidates: for tracking, the detections followed by those of lower confidence; None without the latter.
        preview: for the page, what another threshold would detect; None for `candidates`.
        inferences: number of processed regions.
    """

    frame: Frame
    model: str
    detections: Detections
    inference_ms: float
    unsure: Detections | None = None
    candidates: Detections | None = None
    preview: Detections | None = None
    inferences: int = 1


@dataclass(frozen=True, slots=True)
class _Prepared:
    frame: Frame
    model: DetectorPool
    input: PreparedFrame


@dataclass(frozen=True, slots=True)
class _Inferred:
    prepared: _Prepared
    raw: tuple[RawOutputs, ...]
    inference_ms: float


class _Worker:
    """The state of one inference thread; guarded by the pipeline's lock, but for `begin_inference`."""

    def __init__(self, index: int, *, since: float = 0.0) -> None:
        self.index = index
        self.number: int | None = None  # number of the frame in the model; None while the worker waits
        self.model: DetectorPool | None = None
        self.since = since  # when the inference began; a frame with tiles or regions has several
        self.stuck = False
        self.thread: threading.Thread | None = None

    def begin_inference(self) -> None:
        self.since = time.monotonic()


class Pipeline:
    """Converts frames to results, in order.

    During an inference, the next frame is prepared and the last outputs are decoded, so that the model does not wait
    for either. Several frames are processed in parallel, one per detector. For a live source, only the newest prepared
    frame is kept, so that a result is at most as old as one wait for the model and one inference; for files, every
    frame is processed.

    Iterating yields the results, and ends when the frames have ended or `stopping` is set. It raises the exceptions of
    all stages.

    An inference that takes longer than `inference_timeout` counts as stuck. Its thread cannot be ended: it is abandoned
    with its frame and its interpreter, and replaced by another thread, with exponential backoff. The other workers
    continue. The iterating thread detects this while it waits for results.
    """

    def __init__(  # noqa: PLR0913 - keywords
        self,
        *,
        model: DetectorPool,
        frames: Capture | FrameQueue[Frame],
        drop_oldest: bool,
        on_problem: Callable[[str | None], None],
        stopping: threading.Event,
        inference_timeout: float = 10.0,
        backoff: Backoff | None = None,
        masks: Callable[[], Masks] = lambda: NO_MASKS,
        on_idle: Callable[[], None] = lambda: None,
    ) -> None:
        """Prepare the stages, which `start` starts.

        Args:
            model: detectors, for exclusive use by this pipeline.
            frames: input, which is iterated over on the thread that prepares frames.
            drop_oldest: True if a newer prepared frame replaces a waiting one: for live sources.
            on_problem: called with the problem when an inference is stuck, and with None when a later one has ended.
                Called with a lock held: it must return soon and not call the pipeline.
            stopping: event that ends the iteration.
            inference_timeout: seconds after which an inference counts as stuck, above 0.
            backoff: waits before a stuck worker is replaced; None for one second to a minute.
            masks: returns the masks in use; called for each frame, from any thread.
            on_idle: called repeatedly on the iterating thread while no frame is processed.
        """
        if inference_timeout <= 0:
            raise ValueError(f"inference_timeout must be above 0, not {inference_timeout}")
        self._model = model
        self._frames = frames
        self._on_problem = on_problem
        self._stopping = stopping
        self._inference_timeout = inference_timeout
        self._backoff = Backoff(first=1.0, longest=60.0) if backoff is None else backoff
        self._masks = masks
        self._on_idle = on_idle
        self._prepared: FrameQueue[_Prepared] = FrameQueue(drop_oldest=drop_oldest)
        self._inferred: ReorderBuffer[_Inferred] = ReorderBuffer(model.size)
        self._failure: Exception | None = None
        self._consumed_since: float | None = None  # time at which the result was yielded that is now consumed
        self._taking = threading.Lock()  # makes taking a frame and its number atomic
        self._taken = 0
        self._lock = threading.Lock()  # guards the following
        self._workers = [_Worker(index) for index in range(model.size)]
        self._stuck: list[_Worker] = []
        self._lost = 0
        self._replace_at: float | None = None  # time at which to replace the last abandoned worker
        self._healthy = True
        self._preparing = threading.Thread(target=self._prepare, name="prepare", daemon=True)

    @property
    def lost(self) -> int:
        """Number of frames abandoned because of a stuck inference."""
        with self._lock:
            return self._lost

    @property
    def replaced(self) -> int:
        """Number of prepared frames replaced by a newer one before their inference."""
        return self._prepared.replaced

    @property
    def busy_s(self) -> float:
        """Maximum time in seconds spent so far on an inference, or by the consumer on a frame."""
        with self._lock:
            starts = [worker.since for worker in self._workers if worker.number is not None or worker.thread is None]
        if (consumed_since := self._consumed_since) is not None:
            starts.append(consumed_since)
        return max(0.0, time.monotonic() - min(starts)) if starts else 0.0

    @property
    def model(self) -> str:
        """Identity of the model for the next frame."""
        return self._model.identity

    @property
    def detectors(self) -> DetectorPool:
        """The detectors for the next frame."""
        return self._model

    def start(self) -> None:
        """Start the stages."""
        self._preparing.start()
        # A copy, since a worker without frames may remove itself from the list while the next one is started.
        for worker in list(self._workers):
            self._start_worker(worker)

    def swap(self, model: DetectorPool) -> None:
        """Use another model from the next frame on, without skipping a frame.

        Args:
            model: the same number of detectors as before, for exclusive use by this pipeline.
        """
        if model.size != self._model.size:
            raise ValueError(f"the new model has {model.size} detectors and the old one {self._model.size}")
        self._model = model

    def stop(self) -> None:
        """Stop the stages after their current frame. Idempotent and thread-safe."""
        for queue in (self._frames, self._prepared, self._inferred):
            queue.close()

    def join(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds for the threads, except abandoned ones; return False if one is still alive."""
        deadline = time.monotonic() + timeout
        with self._lock:
            threads = [worker.thread for worker in self._workers if worker.thread is not None]
        for thread in (self._preparing, *threads):
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in (self._preparing, *threads))

    def __iter__(self) -> Iterator[FrameResult]:
        """Yield the results as they come.

        Raises:
            InputError: the model returned a class without a label.
        """
        check_at = 0.0
        while not self._stopping.is_set():
            now = time.monotonic()
            if now >= check_at:
                check_at = now + self._replace_stuck()
            try:
                item = self._inferred.get(timeout=check_at - now)
            except TimeoutError:
                if not self.busy_s:
                    self._on_idle()
                continue
            except ReorderClosedError:
                break
            frame, model = item.prepared.frame, item.prepared.model
            layout = item.prepared.input.layout
            decoded = model.decode(item.raw, layout, masks=self._masks())
            self._consumed_since = time.monotonic()
            try:
                yield FrameResult(
                    frame,
                    model.identity,
                    decoded.detections,
                    item.inference_ms,
                    decoded.unsure,
                    decoded.candidates,
                    decoded.preview,
                    inferences=len(layout.regions),
                )
            finally:
                self._consumed_since = None
        if self._failure is not None:
            raise self._failure

    def _prepare(self) -> None:
        lower_thread_priority()
        try:
            for frame in self._frames:
                model = self._model
                prepared = model.prepare(frame.pixels, at=frame.at_s, masks=self._masks())
                self._prepared.put(_Prepared(frame, model, prepared))
        except QueueClosedError:
            pass  # stopped
        except Exception as error:  # noqa: BLE001 - raised by the iteration on another thread
            self._fail(error)
        finally:
            self._prepared.close()

    def _start_worker(self, worker: _Worker) -> None:
        worker.thread = threading.Thread(
            target=self._work, args=(worker,), name=f"infer-{worker.index + 1}", daemon=True
        )
        worker.thread.start()

    def _work(self, worker: _Worker) -> None:
        try:
            while self._infer(worker):
                pass
        except (QueueClosedError, ReorderClosedError):
            pass  # end of the frames, or stopped
        except Exception as error:  # noqa: BLE001 - raised by the iteration, on another thread
            if not worker.stuck:
                self._fail(error)
        finally:
            with self._lock:
                (self._stuck if worker in self._stuck else self._workers).remove(worker)
                ended = not self._workers
            if ended:
                self._inferred.close()

    def _infer(self, worker: _Worker) -> bool:
        """Process one frame; return False if the worker was abandoned because it took too long."""
        with self._taking:
            item = self._prepared.get()
            number = self._taken
            self._taken += 1
        with self._lock:
            worker.number, worker.model, worker.since = number, item.model, time.monotonic()
        prepared = item.model.choose_regions(item.input)
        started = time.perf_counter_ns()
        raw = item.model.infer(worker.index, prepared, on_inference=worker.begin_inference)
        inference_ms = (time.perf_counter_ns() - started) / 1e6
        with self._lock:
            if worker.stuck:
                return False
            worker.number = None
            if not self._healthy:
                self._healthy = True
                self._backoff.reset()
                self._on_problem(None)
        done = _Prepared(item.frame, item.model, prepared)
        self._inferred.put(number, _Inferred(done, raw, inference_ms))
        return True

    def _replace_stuck(self) -> float:
        """Abandon a stuck worker, or replace an abandoned one; return the seconds until the next check."""
        with self._lock:
            now = time.monotonic()
            if self._replace_at is None:
                busy = [worker for worker in self._workers if worker.number is not None]
                oldest = min(busy, key=lambda worker: worker.since, default=None)
                if oldest is None:
                    return _CHECK_EVERY_S
                if (left := oldest.since + self._inference_timeout - now) > 0:
                    return min(left, _CHECK_EVERY_S)
                self._abandon(oldest)
                self._replace_at = now + self._backoff.next()
            if now < self._replace_at or len(self._stuck) >= _MAX_STUCK:
                return max(0.0, min(self._replace_at - now, _CHECK_EVERY_S)) or _CHECK_EVERY_S
            self._replace_at = None
            successor = next(worker for worker in self._workers if worker.thread is None)
        self._start_worker(successor)
        return _CHECK_EVERY_S

    def _abandon(self, worker: _Worker) -> None:
        worker.stuck = True
        self._lost += 1
        self._stuck.append(worker)
        self._workers[self._workers.index(worker)] = _Worker(worker.index, since=worker.since)
        if worker.model is not None:
            worker.model.abandon(worker.index)
        if worker.number is not None:
            self._inferred.skip(worker.number)
        if self._healthy:
            self._healthy = False
            self._on_problem(f"an inference has taken more than {self._inference_timeout:g} s; its thread is replaced")

    def _fail(self, error: Exception) -> None:
        self._failure = error
        self.stop()


class ReorderClosedError(BeeagentError):
    """The reorder buffer is closed: no item can be put, or the next item will not arrive."""


class ReorderBuffer(Generic[T]):
    """Returns numbered items, put by several threads in any order, to one thread in the order of their numbers.

    `put` blocks for an item that is too far ahead until earlier ones have been taken, so that at most `maxsize` items
    are kept. Every number from 0 on must be put or skipped once; closing ends the wait for missing ones.

    Args:
        maxsize: maximum number of items, 1 or more.
    """

    def __init__(self, maxsize: int) -> None:
        if maxsize < 1:
            raise ValueError(f"maxsize must be 1 or more, not {maxsize}")
        self._maxsize = maxsize
        self._items: dict[int, T] = {}
        self._skipped: set[int] = set()
        self._next = 0
        self._closed = False
        self._changed = threading.Condition()

    def put(self, number: int, item: T) -> None:
        """Put the item of a number; wait until there is space for it.

        Raises:
            ReorderClosedError: the buffer was closed before the item could be put.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._closed or number < self._next + self._maxsize)
            if self._closed:
                raise ReorderClosedError("the buffer is closed")
            self._items[number] = item
            self._changed.notify_all()

    def skip(self, number: int) -> None:
        """Skip a number, whose item will not arrive."""
        with self._changed:
            self._skipped.add(number)
            self._pass_skipped()
            self._changed.notify_all()

    def close(self) -> None:
        """Close the buffer and wake waiting threads. Idempotent and thread-safe."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def get(self, timeout: float | None = None) -> T:
        """Take the next item, waiting until it has been put.

        Args:
            timeout: maximum wait in seconds; None to wait until there is an item or the buffer is closed.

        Raises:
            TimeoutError: the item was not put in time.
            ReorderClosedError: the buffer is closed and does not contain the next item.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._closed or self._next in self._items, timeout):
                raise TimeoutError(f"no item within {timeout} s")
            if self._next not in self._items:
                raise ReorderClosedError("the buffer is closed")
            item = self._items.pop(self._next)
            self._next += 1
            self._pass_skipped()
            self._changed.notify_all()
            return item

    def _pass_skipped(self) -> None:
        while self._next in self._skipped:
            self._skipped.remove(self._next)
            self._next += 1
