"""Capture of frames in a separate thread, which reopens a source that fails."""

import logging
import threading
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace

from beeagent.camera.frame_queue import FrameQueue, QueueClosedError
from beeagent.camera.pacing import MonotonicClock, RateLimit
from beeagent.camera.sleep import Sleep
from beeagent.camera.source import (
    BadFrameError,
    Frame,
    FrameSource,
    GrabbingSource,
    SourceLostError,
    SourceUnreachableError,
)
from beeagent.camera.video import IncompleteVideoError
from beeagent.errors import BeeagentError, InputError
from beeagent.threads import Backoff, lower_thread_priority

_LOG = logging.getLogger(__name__)

_MAX_STUCK_THREADS = 3
"""Maximum number of threads stuck in a driver or library; another is started only when one of them has ended."""
_STUCK_CHECK_S = 0.2
_SLEEP_CHECK_S = 1.0  # short, since the clock may jump


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureLimits:
    """Limits for capture. Rates are in frames per second, times in seconds, each above 0.

    Attributes:
        max_rate: maximum frame rate; None for no limit. Frames of a live source that arrive early are dropped before
            they are decoded; a file is read more slowly.
        camera_timeout: time without a usable frame after which a live source is abandoned and reopened.
        open_timeout: time after which opening a source is abandoned and retried.
        await_camera: True to retry the first opening of a source that does not exist, instead of failing.
    """

    max_rate: float | None = None
    camera_timeout: float = 5.0
    open_timeout: float = 20.0
    await_camera: bool = False

    def __post_init__(self) -> None:
        for name in ("max_rate", "camera_timeout", "open_timeout"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name} must be above 0, not {value}")


@dataclass(slots=True)
class CaptureCounts:
    """Counters of capture since its start.

    Attributes:
        read: frames read, including those replaced later.
        bad: unusable frames, which were skipped.
        rate_limited: frames of a live source dropped because of `max_rate`.
        replaced: frames replaced by a newer one before they were taken.
        reconnects: number of times that the source was reopened.
    """

    read: int = 0
    bad: int = 0
    rate_limited: int = 0
    replaced: int = 0
    reconnects: int = 0


class Capture:
    """An iterator over the frames of a source, which is read in another thread. For one iteration, in one thread.

    A live source yields the newest frame at each step, other sources every frame. The iteration ends at the end of the
    source, or when the capture is closed.

    A live source that fails, blocks, delivers only bad frames or cannot be opened is reopened, with exponential
    backoff. A read that blocks is abandoned with its thread; the iterating thread detects this while it waits for
    frames. If the first opening fails with SourceUnreachableError or any error but SourceLostError, such as InputError,
    the iteration ends, since the source does not exist. Later, or with `await_camera`, the same error means that the
    camera was unplugged, and capture retries.

    A source that is not live is never reopened, as that would restart it. A slow read is reported and continued.

    During sleep, the source is closed. At the start it is nevertheless opened until its first frame, so that a source
    that does not exist is noticed at once.

    Args:
        open_source: opens the source; called again to reopen it. Runs in a capture thread.
        drop_oldest: True if a newer frame replaces one that was not taken yet: for live sources; see `is_live`.
        on_problem: called with None when frames arrive, and with the reason when they do not; only on changes, and from
            the iterating thread. It must not raise.
        limits: rates and time-outs.
        backoff: waits between openings; None for half a second to 15 seconds.
        sleep: decides when to close a live source, and for how long; None to keep it open.

    Attributes:
        failure: reason why the iteration ended before the end of the source, set before the iteration ends. InputError:
            the first opening failed. IncompleteVideoError: the file ended too early, after all its readable frames.
            Another BeeagentError: a source that is not live failed.
    """

    def __init__(  # noqa: PLR0913 - keywords
        self,
        open_source: Callable[[], FrameSource],
        *,
        drop_oldest: bool,
        on_problem: Callable[[str | None], None],
        limits: CaptureLimits | None = None,
        backoff: Backoff | None = None,
        sleep: Sleep | None = None,
    ) -> None:
        self._open_source = open_source
        self._drop_oldest = drop_oldest
        self._on_problem = on_problem
        self._limits = CaptureLimits() if limits is None else limits
        self._backoff = Backoff(first=0.5, longest=15.0) if backoff is None else backoff
        self._sleep = sleep
        self.failure: BeeagentError | None = None
        self._stopping = threading.Event()
        self._problem: str | None = ""  # last reported; "" differs from None and from every reason
        self._reported_slow: float | None = None  # start of the read that was reported as slow
        self._lock = threading.Lock()  # guards the following
        self._counts = CaptureCounts()
        self._run: _CaptureRun | None = None
        self._runs = 0
        self._sleeps = 0
        self._stuck: list[_CaptureRun] = []

    def __iter__(self) -> Iterator[Frame]:
        """Open the source and yield its frames."""
        try:
            while (run := self._start_run()) is not None:
                fell_asleep = yield from self._frames_of(run)
                if fell_asleep:
                    continue
                if self._stopping.is_set() or not self._may_reopen(run):
                    return
                self._report(str(run.error))
                if run.taken_at is not None and time.monotonic() - run.taken_at > self._limits.camera_timeout:
                    self._backoff.reset()
                self._stopping.wait(self._backoff.next())
        finally:
            self.close()

    def _frames_of(self, run: "_CaptureRun") -> Generator[Frame, None, bool]:
        """Yield the frames of a run until it ends or is abandoned; return True if it was closed for sleep."""
        while True:
            try:
                frame = run.frames.get(self._check_in_s(run))
            except QueueClosedError:
                return False
            except TimeoutError:
                if self._is_stuck(run):
                    return False
                if self._runs > 1 and self._closed_for_sleep(run):
                    return True
                continue
            if run.taken_at is None:
                run.taken_at = time.monotonic()
            if self._problem is not None:
                self._report(None)
            if self._sleep is None or self._sleep.admits(frame):
                yield frame
            elif self._closed_for_sleep(run):
                return True

    @property
    def counts(self) -> CaptureCounts:
        """A copy of the counters."""
        with self._lock:
            replaced = self._counts.replaced + (0 if self._run is None else self._run.frames.replaced)
            return replace(self._counts, replaced=replaced, reconnects=max(0, self._runs - 1 - self._sleeps))

    def close(self) -> None:
        """End the iteration without another frame. Returns at once; idempotent and thread-safe."""
        self._stopping.set()
        with self._lock:
            run = self._run
        if run is not None:
            run.abandon()

    def stop(self, timeout: float = 2.0) -> bool:
        """Close, and wait up to `timeout` seconds for the capture threads.

        Returns:
            False if a thread is stuck in a driver or library; it is a daemon thread.
        """
        deadline = time.monotonic() + timeout
        self.close()
        with self._lock:
            runs = [*self._stuck, *([] if self._run is None else [self._run])]
        # A thread still in OpenCV when the interpreter exits would abort the process: wait for closing threads too.
        threads = [thread for run in runs for thread in (run.thread, run.closing) if thread is not None]
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in threads)

    def _start_run(self) -> "_CaptureRun | None":
        """Wait for the end of sleep and for stuck threads, and start a run; return None if capture was closed."""
        while self._runs and self._sleep is not None and (closed_s := self._sleep.closed_s()) > 0:
            if self._stopping.wait(min(closed_s, _SLEEP_CHECK_S)):
                return None
        while not self._stopping.is_set():
            with self._lock:
                self._stuck = [run for run in self._stuck if run.thread.is_alive()]
                if not self._stopping.is_set() and len(self._stuck) < _MAX_STUCK_THREADS:
                    if self._run is not None:
                        self._counts.replaced += self._run.frames.replaced
                    self._runs += 1
                    self._run = run = _CaptureRun(
                        self._open_source,
                        frames=FrameQueue(drop_oldest=self._drop_oldest),
                        limits=self._limits,
                        counts=self._counts,
                        lock=self._lock,
                        name=f"capture-{self._runs}",
                    )
                    run.thread.start()
                    return run
            self._stopping.wait(_STUCK_CHECK_S)
        return None

    def _closed_for_sleep(self, run: "_CaptureRun") -> bool:
        """Close the source if it is time to sleep; return True if it was closed."""
        if self._sleep is None or self._sleep.closed_s() == 0:
            return False
        run.abandon()
        with self._lock:
            self._sleeps += 1
            self._stuck.append(run)  # until its thread has ended
        return True

    def _check_in_s(self, run: "_CaptureRun") -> float:
        """Return the seconds after which to check a run that delivers no frame."""
        longest = self._limits.camera_timeout if self._sleep is None else _SLEEP_CHECK_S
        if (since := run.since) is None:
            return longest
        limits = [] if since == self._reported_slow else [self._limits.camera_timeout]
        if run.time_limit is not None:
            limits.append(run.time_limit)
        return min(longest, max(0.0, since + min(limits) - time.monotonic())) if limits else longest

    def _is_stuck(self, run: "_CaptureRun") -> bool:
        """Abandon a run that exceeds its time limit and return True; report one that is only slow."""
        if (since := run.since) is None:
            return False
        waited, limit = time.monotonic() - since, run.time_limit
        if run.source is None:
            reason = f"opening the camera has taken {waited:.3g} s so far"
        else:
            reason = f"{run.source.description}: no usable frame for {waited:.3g} s"
        if limit is not None and waited >= limit:
            run.error, run.may_reopen = SourceLostError(reason), True
            run.abandon()
            with self._lock:
                self._stuck.append(run)
            return True
        if waited >= self._limits.camera_timeout and since != self._reported_slow:
            self._reported_slow = since
            self._report(reason)
        return False

    def _may_reopen(self, run: "_CaptureRun") -> bool:
        """Return True if the source is to be reopened after a run, else set `failure`."""
        never_opened = self._runs == 1 and run.source is None and not self._limits.await_camera
        if not run.may_reopen or (never_opened and not isinstance(run.error, SourceLostError)):
            self.failure = run.error
            return False
        if never_opened and isinstance(run.error, SourceUnreachableError):
            self.failure = InputError(f"camera {run.error}; --await-camera waits for it")
            return False
        return True

    def _report(self, problem: str | None) -> None:
        if problem != self._problem:
            self._problem = problem
            self._on_problem(problem)


class _CaptureRun:
    """Opens a source and reads it in a thread until it ends, fails or is abandoned.

    The queue is then closed. An abandoned run neither puts nor counts frames.

    Attributes:
        source: the source; None until it is open.
        since: start time of the current opening or read; None while a frame waits to be taken.
        time_limit: seconds after which the current opening or read counts as stuck; None for no limit.
        error: reason for the end of the run, or the error of an incomplete source; None without an error.
        may_reopen: True if reopening the source may help.
        taken_at: time at which the first frame was taken; None before.
        closing: thread that closes the source of an abandoned run.
    """

    def __init__(  # noqa: PLR0913 - keywords
        self,
        open_source: Callable[[], FrameSource],
        *,
        frames: FrameQueue[Frame],
        limits: CaptureLimits,
        counts: CaptureCounts,
        lock: threading.Lock,
        name: str,
    ) -> None:
        self._open_source = open_source
        self.frames = frames
        self._limits = limits
        self._counts = counts
        self._lock = lock
        self._abandoned = threading.Event()
        self._last_was_bad = False
        self.source: FrameSource | None = None
        self.since: float | None = time.monotonic()
        self.time_limit: float | None = limits.open_timeout
        self.error: BeeagentError | None = None
        self.may_reopen = False
        self.taken_at: float | None = None
        self.closing: threading.Thread | None = None
        self._abandoning = threading.Lock()
        self.thread = threading.Thread(target=self._run, name=name, daemon=True)

    def abandon(self) -> None:
        """End the run without another frame. Returns at once, even if its thread is stuck."""
        with self._abandoning:
            if self._abandoned.is_set():
                return
            self._abandoned.set()
            self.frames.close()
            if (source := self.source) is not None:
                # Closing interrupts a wait of the source. In a thread, since closing may be slow.
                self.closing = threading.Thread(target=_close, args=(source,), name="capture-close", daemon=True)
                self.closing.start()

    def _run(self) -> None:
        lower_thread_priority()
        error: BeeagentError | None = None
        try:
            self.source = source = self._open_source()
            self.time_limit = self._limits.camera_timeout if source.live else None
            try:
                self._read(source)
            finally:
                source.close()
        except QueueClosedError:  # the run was abandoned
            return
        except BeeagentError as failure:
            error = failure
        except Exception as failure:  # noqa: BLE001 - an unexpected error of a driver must not end capture silently
            _LOG.exception("capture failed with an unexpected error")
            error = BeeagentError(f"capture failed: {type(failure).__name__}: {failure}")
        if not self._abandoned.is_set():
            if error is not None:
                self.error, self.may_reopen = error, self.source is None or self.source.live
            self.frames.close()

    def _read(self, source: FrameSource) -> None:
        rate = None if self._limits.max_rate is None else RateLimit(self._limits.max_rate, MonotonicClock())
        while True:
            if rate is not None and not source.live:
                self._abandoned.wait(rate.seconds_early())
            if self._abandoned.is_set():
                return
            # A camera that delivers only bad frames counts as stuck; a folder may have many bad images.
            if not (self._last_was_bad and source.live):
                self.since = time.monotonic()
            try:
                if rate is not None and source.live and isinstance(source, GrabbingSource):
                    ended = not source.grab()
                    early = not ended and not rate.admit()
                    frame = None if ended or early else source.retrieve()  # an early frame is not decoded
                else:
                    frame = source.read()
                    ended = frame is None
                    early = not ended and rate is not None and not rate.admit()
            except BadFrameError as error:
                self._note_bad(error, live=source.live)
                continue
            if ended:
                return
            self._last_was_bad = False
            if early or frame is None:
                with self._lock:
                    self._counts.rate_limited += 1
                continue
            self.since = None
            self.frames.put(frame)
            with self._lock:
                self._counts.read += 1

    def _note_bad(self, error: BadFrameError, *, live: bool) -> None:
        if self._abandoned.is_set():  # closed during the read: the frame is not bad
            return
        with self._lock:
            self._counts.bad += 1
        if isinstance(error, IncompleteVideoError):
            self.error = error  # a later error replaces it
        # Log only the first of consecutive bad frames of a camera, which would flood the log.
        if not (live and self._last_was_bad):
            _LOG.warning("%s", error)
        self._last_was_bad = True


def _close(source: FrameSource) -> None:
    try:
        source.close()
    except Exception:  # noqa: BLE001 - a driver's error about an unplugged camera must not end the agent
        _LOG.exception("closing the camera failed")
