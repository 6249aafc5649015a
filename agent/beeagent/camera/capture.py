"""Captures frames in a thread of its own, and reopens a source that fails."""

import logging
import threading
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace

from beeagent.backoff import Backoff
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
from beeagent.threads import lower_thread_priority

_LOG = logging.getLogger(__name__)

_MAX_STUCK_THREADS = 3
"""Threads stuck in a driver or library at the same time; no more are started before one of these has ended."""
_STUCK_CHECK_S = 0.2
_SLEEP_CHECK_S = 1.0  # the clock may jump


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureLimits:
    """Limits for capture. Rates in frames per second, times in seconds, each above 0.

    Attributes:
        max_rate: maximum frame rate; None for no limit. Frames of a live source that come sooner are dropped before
            they are decoded; a file is read more slowly.
        camera_timeout: a live source without a usable frame for so long is abandoned and reopened.
        open_timeout: an opening that takes longer is abandoned and tried again.
        await_camera: whether a source that is refused at the very first opening is tried again, like one that
            worked before.
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
        bad: frames that were unusable and left out.
        rate_limited: frames of a live source dropped because of `max_rate`.
        replaced: frames that a newer one replaced before they were taken.
        reconnects: how many times the source was reopened.
    """

    read: int = 0
    bad: int = 0
    rate_limited: int = 0
    replaced: int = 0
    reconnects: int = 0


class Capture:
    """The frames of a source, to be iterated over once, by one thread, while another thread reads the source.

    Of a live source, each step yields the newest frame; of others, every frame. The iteration ends with the source,
    and when it is closed.

    A live source that fails, blocks, delivers only bad frames or cannot be opened is reopened, after waits that grow.
    A read that blocks is abandoned in its thread. The iterating thread checks for this, since it is the one that waits
    for frames. A source that is refused at the very first opening, with SourceUnreachableError or any error but
    SourceLostError, above all InputError, ends the iteration, since the user named something that does not exist;
    later, or with `await_camera`, the same error is a camera that was unplugged, and capture goes on trying.

    A source that is not live is never reopened, as that would start it over. When its file is slow, that is reported,
    and reading goes on.

    During sleep, the source is closed. Only at the start it is opened all the same, up to its first frame, so that a
    source that does not exist is noticed at once.

    Args:
        open_source: opens the source, anew at each call. Runs in a capture thread.
        drop_oldest: whether a newer frame replaces one that was not taken yet: for live sources; see `is_live`.
        on_problem: called with None once frames flow, and with the reason once they do not; only when that changes,
            from the iterating thread. It must not raise.
        limits: rates and time-outs.
        backoff: the waits between openings; None for half a second to 15 seconds.
        sleep: decides when to close a live source, and for how long; None to keep it open.

    Attributes:
        failure: why the iteration ended before the source's proper end; set before it ends. InputError: the source was
            refused at the first opening. IncompleteVideoError: the file ended too early, after all its readable frames.
            Another BeeagentError: a source that is not live failed.
    """

    def __init__(  # noqa: PLR0913 - when to open it, and when to open it again
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
        self._problem: str | None = ""  # the last one that was reported; at first neither None nor a reason
        self._reported_slow: float | None = None  # when the reading began that was reported as slow
        self._lock = threading.Lock()  # of the following
        self._counts = CaptureCounts()
        self._run: _CaptureRun | None = None
        self._runs = 0
        self._sleeps = 0
        self._stuck: list[_CaptureRun] = []

    def __iter__(self) -> Iterator[Frame]:
        """Open the source, and yield its frames."""
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
        """Yield the frames of a run until it ends or is abandoned; return whether that is for sleep."""
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
        """Let the iteration end without another frame. Returns at once; safe to call twice, from any thread."""
        self._stopping.set()
        with self._lock:
            run = self._run
        if run is not None:
            run.abandon()

    def stop(self, timeout: float = 2.0) -> bool:
        """Close, and wait up to `timeout` seconds for the capture threads.

        Returns:
            False if a thread is stuck in a driver or library; it cannot keep the process alive.
        """
        deadline = time.monotonic() + timeout
        self.close()
        with self._lock:
            runs = [*self._stuck, *([] if self._run is None else [self._run])]
        # A thread that is still in OpenCV when the interpreter ends would abort the process: also wait for the closing.
        threads = [thread for run in runs for thread in (run.thread, run.closing) if thread is not None]
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in threads)

    def _start_run(self) -> "_CaptureRun | None":
        """Start to read once that is due and few enough threads are stuck; return None if capture was closed."""
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
        """Return whether it is time to sleep; if so, the source is closed."""
        if self._sleep is None or self._sleep.closed_s() == 0:
            return False
        run.abandon()
        with self._lock:
            self._sleeps += 1
            self._stuck.append(run)  # until its thread has ended
        return True

    def _check_in_s(self, run: "_CaptureRun") -> float:
        """Return the seconds after which a run without another frame is to be checked."""
        longest = self._limits.camera_timeout if self._sleep is None else _SLEEP_CHECK_S
        if (since := run.since) is None:
            return longest
        moments = [] if since == self._reported_slow else [self._limits.camera_timeout]
        if run.time_limit is not None:
            moments.append(run.time_limit)
        return min(longest, max(0.0, since + min(moments) - time.monotonic())) if moments else longest

    def _is_stuck(self, run: "_CaptureRun") -> bool:
        """Return whether a run takes too long and was abandoned; report it if it is only slow."""
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
        """Return whether to open the source again after a run; set `failure` if not."""
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
    """Opens a source and reads it until it ends, fails or is abandoned, in a thread of its own.

    Its queue is closed at its end. Once it is abandoned, it puts and counts nothing.

    Attributes:
        source: the source; None until it is open.
        since: when the opening or reading under way began; None while a frame waits to be taken.
        time_limit: seconds after which what is under way counts as stuck; None for never.
        error: why it has ended, or what is missing at the end of the source; None if nothing is.
        may_reopen: whether opening the source again may help.
        taken_at: when its first frame was taken; None before.
        closing: the thread that closes the source of a run that was abandoned.
    """

    def __init__(  # noqa: PLR0913 - a part of Capture, which alone calls it
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
        """Let the run end without another frame. Returns at once, even if its thread is stuck."""
        with self._abandoning:
            if self._abandoned.is_set():
                return
            self._abandoned.set()
            self.frames.close()
            if (source := self.source) is not None:
                # Closing also ends a wait of the source's own. In a thread, as closing may be slow.
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
        except QueueClosedError:  # nobody wants any more frames
            return
        except BeeagentError as failure:
            error = failure
        except Exception as failure:  # noqa: BLE001 - whatever a driver's binding raises must not end capture silently
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
            # Bad frames alone are no sign of life in a camera; a folder may have many bad images.
            if not (self._last_was_bad and source.live):
                self.since = time.monotonic()
            try:
                if rate is not None and source.live and isinstance(source, GrabbingSource):
                    ended = not source.grab()
                    early = not ended and not rate.admit()
                    frame = None if ended or early else source.retrieve()  # what comes too early is not even decoded
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
        if self._abandoned.is_set():  # closed while it was read: the frame was fine
            return
        with self._lock:
            self._counts.bad += 1
        if isinstance(error, IncompleteVideoError):
            self.error = error  # unless another follows
        # A camera that stutters would fill the log: there, only the first of several in a row is logged.
        if not (live and self._last_was_bad):
            _LOG.warning("%s", error)
        self._last_was_bad = True


def _close(source: FrameSource) -> None:
    try:
        source.close()
    except Exception:  # noqa: BLE001 - what a driver raises about a camera that is gone is no reason to end the agent
        _LOG.exception("closing the camera failed")
