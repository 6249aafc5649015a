"""The threads in which the model runs."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from beeagent.backoff import Backoff
from beeagent.camera import Frame, FrameQueue, QueueClosedError
from beeagent.detection.detector import RawOutputs
from beeagent.detection.loaded import LoadedModel
from beeagent.detection.tiled import Layout, PreparedFrame
from beeagent.runtime.reorder import ReorderBuffer, ReorderClosedError

_MOST_LEFT_BEHIND = 3
"""Threads that do not come back from the model; more are not started before one of these does."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A frame, and the model that is to look at it with what that model takes."""

    frame: Frame
    model: LoadedModel
    input: PreparedFrame


@dataclass(frozen=True, slots=True)
class Inferred:
    """A frame, and what the model gave for it; `inference_ms` is the time in the model alone."""

    frame: Frame
    model: LoadedModel
    layout: Layout
    raw: tuple[RawOutputs, ...]
    inference_ms: float


class _Worker:
    """What one thread is at; under the lock of `InferenceWorkers`."""

    def __init__(self, place: int) -> None:
        self.place = place
        self.number: int | None = None
        self.model: LoadedModel | None = None
        self.since = 0.0
        self.left_behind = False
        self.thread: threading.Thread | None = None


class InferenceWorkers:
    """Runs the model on several frames at the same time, each in a thread of its own.

    An inference that takes longer than `stuck_after` is taken to be stuck. Its thread cannot be ended: it is left
    behind with its frame and its interpreter, and after a wait that grows another takes its place. Meanwhile the
    other places go on. The results are given on in the order of the frames, without those of frames left behind.

    The results are closed when the frames have ended and all that were taken are through. What an inference
    raises is given to `on_failure`, and ends its worker.
    """

    def __init__(  # noqa: PLR0913 - the two ends of a stage, and what it puts up with and tells
        self,
        *,
        places: int,
        prepared: FrameQueue[Prepared],
        inferred: ReorderBuffer[Inferred],
        on_failure: Callable[[Exception], None],
        on_trouble: Callable[[str | None], None],
        stuck_after: float = 10.0,
        backoff: Backoff | None = None,
    ) -> None:
        """Set up the threads; nothing runs before `start`.

        Args:
            places: how many frames at the same time; the models must have as many places.
            prepared: where the frames come from.
            inferred: where the results go.
            on_failure: told what an inference raised, on its thread.
            on_trouble: told that an inference is stuck, and with None once one has come through after that; from
                threads of its own and with a lock held: it must return soon and not call back.
            stuck_after: seconds, above 0.
            backoff: the waits before a stuck worker is replaced; None for one second to a minute.
        """
        if stuck_after <= 0:
            raise ValueError(f"stuck_after must be above 0, not {stuck_after}")
        self._prepared = prepared
        self._inferred = inferred
        self._on_failure = on_failure
        self._on_trouble = on_trouble
        self._stuck_after = stuck_after
        self._backoff = Backoff(first=1.0, longest=60.0) if backoff is None else backoff
        self._taking = threading.Lock()
        self._taken = 0
        self._changed = threading.Condition()
        self._workers = [_Worker(place) for place in range(places)]
        self._left_behind: list[_Worker] = []
        self._lost = 0
        self._fine = True
        self._stopping = False
        self._watcher = threading.Thread(target=self._watch, name="infer-watch", daemon=True)

    @property
    def lost(self) -> int:
        """How many frames were left behind in the model."""
        with self._changed:
            return self._lost

    @property
    def at_one_frame_s(self) -> float:
        """Seconds for which the place that is longest at its frame has been at it; 0 if all wait for frames."""
        with self._changed:
            busy = [worker.since for worker in self._workers if worker.number is not None or worker.thread is None]
        return max(0.0, time.monotonic() - min(busy)) if busy else 0.0

    def start(self) -> None:
        """Start the threads."""
        # Of a copy: a worker that finds nothing to do leaves the list while the next is started.
        for worker in list(self._workers):
            self._start(worker)
        self._watcher.start()

    def stop(self) -> None:
        """Let no worker be replaced any more. Safe to call twice; closing the two ends is what ends the workers."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()

    def join(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds for the threads to end, but for those left behind; say whether they did."""
        deadline = time.monotonic() + timeout
        with self._changed:
            threads = [worker.thread for worker in self._workers if worker.thread is not None]
        for thread in (*threads, self._watcher):
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in (*threads, self._watcher))

    def _start(self, worker: _Worker) -> None:
        worker.thread = threading.Thread(
            target=self._run, args=(worker,), name=f"infer-{worker.place + 1}", daemon=True
        )
        worker.thread.start()

    def _run(self, worker: _Worker) -> None:
        try:
            while self._look(worker):
                pass
        except (QueueClosedError, ReorderClosedError):
            pass  # at the end of the frames, or stopped: nobody wants what this worker had
        except Exception as error:  # noqa: BLE001 - kept for whoever wants the results, who is on another thread
            if not worker.left_behind:
                self._on_failure(error)
        finally:
            self._end(worker)

    def _look(self, worker: _Worker) -> bool:
        """Look at one frame; False if that took so long that another has taken this worker's place."""
        number, item = self._take(worker)
        began = time.perf_counter_ns()
        raw = item.model.infer(worker.place, item.input)
        took = (time.perf_counter_ns() - began) / 1e6
        with self._changed:
            if worker.left_behind:
                return False
            worker.number = None
            self._tell(fine=True)
        self._inferred.put(number, Inferred(item.frame, item.model, item.input.layout, raw, took))
        return True

    def _take(self, worker: _Worker) -> tuple[int, Prepared]:
        """Take the next frame and its number, from 0; one thread at a time, or the two would not agree."""
        with self._taking:
            item = self._prepared.get()
            number = self._taken
            self._taken += 1
        with self._changed:
            worker.number, worker.model, worker.since = number, item.model, time.monotonic()
            self._changed.notify_all()
        return number, item

    def _end(self, worker: _Worker) -> None:
        """Let the results end when no worker is left that could add to them."""
        with self._changed:
            if worker in self._left_behind:
                self._left_behind.remove(worker)
            else:
                self._workers.remove(worker)
            over = not self._workers
            self._changed.notify_all()
        if over:
            self._inferred.close()

    def _watch(self) -> None:
        while True:
            with self._changed:
                stuck = self._await_stuck()
                if stuck is None:
                    return
                self._leave_behind(stuck)
            with self._changed:
                self._changed.wait_for(lambda: self._stopping, self._backoff.next())
                self._changed.wait_for(lambda: self._stopping or len(self._left_behind) < _MOST_LEFT_BEHIND)
                successor = next(worker for worker in self._workers if worker.thread is None)
            # Started when stopping too: it finds its two ends closed, and so the results come to their end.
            self._start(successor)

    def _await_stuck(self) -> _Worker | None:
        """Wait until an inference takes too long; None at the end. Under the lock, which waiting lets go."""
        while self._workers and not self._stopping:
            busy = [worker for worker in self._workers if worker.number is not None]
            oldest = min(busy, key=lambda worker: worker.since, default=None)
            left = None if oldest is None else oldest.since + self._stuck_after - time.monotonic()
            if left is not None and left <= 0:
                return oldest
            self._changed.wait(left)
        return None

    def _leave_behind(self, worker: _Worker) -> None:
        worker.left_behind = True
        self._lost += 1
        self._left_behind.append(worker)
        successor = _Worker(worker.place)
        successor.since = worker.since
        self._workers[self._workers.index(worker)] = successor
        if worker.model is not None:
            worker.model.give_up(worker.place)
        if worker.number is not None:
            self._inferred.skip(worker.number)
        self._tell(fine=False)

    def _tell(self, *, fine: bool) -> None:
        if fine == self._fine:
            return
        self._fine = fine
        if fine:
            self._backoff.reset()
        self._on_trouble(
            None if fine else f"an inference has taken more than {self._stuck_after:g} s; another thread goes on"
        )
