"""The stages from a frame to its detections: prepare, infer on several workers, decode in order."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from beeagent.backoff import Backoff
from beeagent.camera import Capture, Frame, FrameQueue, QueueClosedError
from beeagent.detection import NO_MASKS, Detections, DetectorPool, Masks, PreparedFrame, RawOutputs
from beeagent.errors import BeeagentError
from beeagent.threads import lower_thread_priority

T = TypeVar("T")

_MAX_STUCK = 3  # threads that do not return from the model; above that, none is replaced
_CHECK_EVERY_S = 0.1


@dataclass(frozen=True, slots=True)
class FrameResult:
    """What was detected in one frame.

    Attributes:
        frame: the frame.
        model: identity of the model that processed it.
        detections: the detections that count.
        inference_ms: time in the model alone, in milliseconds.
        unsure: where the model is unsure, all its detections, also those below the threshold; else None.
        candidates: for tracking, the detections followed by those of lower confidence; None for no others.
        preview: what another threshold would detect, likewise, for the page; None for `candidates`.
        inferences: number of regions that the model has processed.
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
    """The state of one inference thread; guarded by the pipeline's lock."""

    def __init__(self, place: int, *, since: float = 0.0) -> None:
        self.place = place
        self.number: int | None = None  # of the frame in the model; None while the worker waits for one
        self.model: DetectorPool | None = None
        self.since = since
        self.stuck = False
        self.thread: threading.Thread | None = None


class Pipeline:
    """Turns frames into results, in order.

    While the model runs, the next frame is prepared and the outputs of the last one are decoded, so that the model
    never waits for either. Several frames are processed in parallel, one per detector. Of a live source only
    the newest prepared frame is kept, so that a result is never older than one wait for the model and one inference;
    of files, every frame is processed.

    Iterating yields the results, and ends when the frames have ended or `stopping` is set. An exception in a stage is
    raised there.

    An inference that takes longer than `inference_timeout` counts as stuck. Its thread cannot be ended: it is abandoned
    with its frame and its interpreter, and after a wait that grows another thread takes its place. The other workers go
    on. The thread that iterates checks for this, since it is the one that waits for results.
    """

    def __init__(  # noqa: PLR0913 - both ends of the stages, and their limits
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
        """Set up the stages; nothing runs before `start`.

        Args:
            model: used by this pipeline alone from here on.
            frames: the input, iterated over on the thread that prepares the frames.
            drop_oldest: whether a newer prepared frame replaces one that waits: for live sources.
            on_problem: called with the problem when an inference is stuck, and with None once one has ended after
                that; with a lock held: it must return soon and not call back.
            stopping: ends the results when set.
            inference_timeout: seconds after which an inference counts as stuck, above 0.
            backoff: the waits before a stuck worker is replaced; None for one second to a minute.
            masks: returns the masks in use, in which nothing counts; called for each frame, from any thread.
            on_idle: called again and again while no frame is being processed, on the thread that iterates.
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
        self._consumed_since: float | None = None  # when the result that the consumer is handling was yielded
        self._taking = threading.Lock()  # a worker takes a frame and its number under it, or the two would not agree
        self._taken = 0
        self._lock = threading.Lock()  # of everything below
        self._workers = [_Worker(place) for place in range(model.size)]
        self._stuck: list[_Worker] = []
        self._lost = 0
        self._replace_at: float | None = None  # when the stuck worker that was abandoned last is replaced
        self._healthy = True
        self._preparing = threading.Thread(target=self._prepare, name="prepare", daemon=True)

    @property
    def lost(self) -> int:
        """Number of frames that were abandoned because the model did not return from them."""
        with self._lock:
            return self._lost

    @property
    def replaced(self) -> int:
        """Number of prepared frames that a newer one replaced before the model took them."""
        return self._prepared.replaced

    @property
    def busy_s(self) -> float:
        """Seconds spent so far on one and the same frame, in the model or by the consumer; the most of these."""
        with self._lock:
            began = [worker.since for worker in self._workers if worker.number is not None or worker.thread is None]
        if (consumed_since := self._consumed_since) is not None:
            began.append(consumed_since)
        return max(0.0, time.monotonic() - min(began)) if began else 0.0

    @property
    def model(self) -> str:
        """Identity of the model that the next frame goes to."""
        return self._model.identity

    @property
    def detectors(self) -> DetectorPool:
        """The detectors that the next frame goes to."""
        return self._model

    def start(self) -> None:
        """Start the stages."""
        self._preparing.start()
        # A copy: a worker that finds nothing to do leaves the list while the next one is started.
        for worker in list(self._workers):
            self._start_worker(worker)

    def swap(self, model: DetectorPool) -> None:
        """Use another model from the next frame on; no frame is skipped for it.

        Args:
            model: with as many detectors as the one before; used by this pipeline alone from here on.
        """
        if model.size != self._model.size:
            raise ValueError(f"the new model has {model.size} detectors and the old one {self._model.size}")
        self._model = model

    def stop(self) -> None:
        """Let the stages end after their current frame. Safe to call twice, from any thread."""
        for queue in (self._frames, self._prepared, self._inferred):
            queue.close()

    def join(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds for the stages to end, abandoned threads aside; return whether they did."""
        deadline = time.monotonic() + timeout
        with self._lock:
            threads = [worker.thread for worker in self._workers if worker.thread is not None]
        for thread in (self._preparing, *threads):
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in (self._preparing, *threads))

    def __iter__(self) -> Iterator[FrameResult]:
        """Yield the results as they come.

        Raises:
            InputError: the model returned a class that the labels do not name.
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
        except Exception as error:  # noqa: BLE001 - raised by the iteration, on another thread
            self._fail(error)
        finally:
            self._prepared.close()

    def _start_worker(self, worker: _Worker) -> None:
        worker.thread = threading.Thread(
            target=self._work, args=(worker,), name=f"infer-{worker.place + 1}", daemon=True
        )
        worker.thread.start()

    def _work(self, worker: _Worker) -> None:
        try:
            while self._infer(worker):
                pass
        except (QueueClosedError, ReorderClosedError):
            pass  # at the end of the frames, or stopped
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
        """Process one frame; return False if that took so long that the worker was abandoned."""
        with self._taking:
            item = self._prepared.get()
            number = self._taken
            self._taken += 1
        with self._lock:
            worker.number, worker.model, worker.since = number, item.model, time.monotonic()
        prepared = item.model.choose_regions(item.input)
        began = time.perf_counter_ns()
        raw = item.model.infer(worker.place, prepared)
        inference_ms = (time.perf_counter_ns() - began) / 1e6
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
        """Abandon a worker that is stuck, or replace one that was; return the seconds until the next check."""
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
        self._workers[self._workers.index(worker)] = _Worker(worker.place, since=worker.since)
        if worker.model is not None:
            worker.model.abandon(worker.place)
        if worker.number is not None:
            self._inferred.skip(worker.number)
        if self._healthy:
            self._healthy = False
            self._on_problem(f"an inference has taken more than {self._inference_timeout:g} s; another thread goes on")

    def _fail(self, error: Exception) -> None:
        self._failure = error
        self.stop()


class ReorderClosedError(BeeagentError):
    """The reorder buffer is closed: nothing more can be put, and the next item will not come."""


class ReorderBuffer(Generic[T]):
    """Returns numbered items that several threads put in any order, to one thread in the order of their numbers.

    An item that is too far ahead waits, with the thread that puts it, until the ones before it have been taken. So at
    most `maxsize` items are kept. Every number, from 0 on, must be put or skipped once; closing ends the wait for those
    that are not.

    Args:
        maxsize: number of items to keep, 1 or more.
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
        """Put the item of a number; wait until there is room for it.

        Raises:
            ReorderClosedError: the buffer was closed before the item could be put; it was not.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._closed or number < self._next + self._maxsize)
            if self._closed:
                raise ReorderClosedError("the buffer is closed")
            self._items[number] = item
            self._changed.notify_all()

    def skip(self, number: int) -> None:
        """Go on without the item of a number, which will not come."""
        with self._changed:
            self._skipped.add(number)
            self._pass_skipped()
            self._changed.notify_all()

    def close(self) -> None:
        """Let nothing more be put. Safe to call twice, from any thread."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def get(self, timeout: float | None = None) -> T:
        """Take the next item, waiting until it is there.

        Args:
            timeout: maximum wait in seconds; None to wait until there is an item or the buffer is closed.

        Raises:
            TimeoutError: it did not come in time.
            ReorderClosedError: the buffer is closed and the item of the next number is not in it.
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
