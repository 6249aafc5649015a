"""Captures frames in a thread of its own, and reopens a source that fails."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum, auto
from functools import partial

from beeagent.backoff import Backoff
from beeagent.camera.frame_queue import FrameQueue, QueueClosedError
from beeagent.camera.pacing import MonotonicClock, RateLimit
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
        for name, value in (
            ("max_rate", self.max_rate),
            ("camera_timeout", self.camera_timeout),
            ("open_timeout", self.open_timeout),
        ):
            if value is not None and not value > 0:
                raise ValueError(f"{name} must be above 0, not {value}")


@dataclass(slots=True)
class CaptureCounts:
    """Counters of capture since its start.

    Attributes:
        read: frames put into the queue, including those replaced later.
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
    """Reads a source in a thread of its own and puts its frames into a queue; closes the queue at the end.

    A live source that fails, blocks, delivers only bad frames or cannot be opened is reopened, after waits that grow.
    A read that blocks is abandoned in its thread. Capture ends with the source, with `stop`, and at the very first
    opening with SourceUnreachableError or any error but SourceLostError, above all InputError, since the user named
    something that does not exist; later, or with `await_camera`, the same error is a camera that was unplugged, and
    capture goes on trying.

    A source that is not live is never reopened, as that would start it over. When its file is slow, the state
    says so, and reading goes on.

    Args:
        open_source: opens the source, anew at each call. Runs in a capture thread.
        frames: receives the frames: with `drop_oldest` for live sources, without for others; see `is_live`.
        on_state: called with (True, "") once frames flow, and with (False, reason) once they do not; only when
            that changes, from capture threads, one call at a time. It must return soon, not raise, and not
            call `stop`.
        limits: rates and time-outs.
        backoff: the waits between openings; None for half a second to 15 seconds.
    """

    def __init__(
        self,
        open_source: Callable[[], FrameSource],
        frames: FrameQueue[Frame],
        *,
        on_state: Callable[[bool, str], None],
        limits: CaptureLimits | None = None,
        backoff: Backoff | None = None,
    ) -> None:
        self._open_source = open_source
        self._frames = frames
        self._on_state = on_state
        self._limits = CaptureLimits() if limits is None else limits
        self._backoff = Backoff(first=0.5, longest=15.0) if backoff is None else backoff
        self._changed = threading.Condition()
        self._counts = CaptureCounts()
        self._stopping = threading.Event()
        self._run: _CaptureRun | None = None
        self._runs = 0
        self._stuck: list[_CaptureRun] = []
        self._failure: BeeagentError | None = None
        self._reporting = threading.Lock()
        self._state: tuple[bool, str] | None = None
        self._reported_slow: float | None = None
        self._thread = threading.Thread(target=self._supervise, name="capture", daemon=True)

    def start(self) -> None:
        """Start to open the source. Once only."""
        self._thread.start()

    def stop(self, timeout: float = 2.0) -> bool:
        """End capture and close the queue. Safe to call twice.

        Args:
            timeout: seconds to wait for the threads at most.

        Returns:
            False if a thread is stuck in a driver or library; it cannot keep the process alive.
        """
        self._stopping.set()
        self._frames.close()
        with self._changed:
            self._changed.notify_all()
        if self._thread.ident is None:  # never started
            return True
        deadline = time.monotonic() + timeout
        self._thread.join(timeout)
        with self._changed:
            runs = [*self._stuck, *([self._run] if self._run is not None else [])]
        for run in runs:
            run.thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in (self._thread, *(run.thread for run in runs)))

    @property
    def counts(self) -> CaptureCounts:
        """A copy of the counters."""
        with self._changed:
            return replace(self._counts, replaced=self._frames.replaced, reconnects=max(0, self._runs - 1))

    @property
    def failure(self) -> BeeagentError | None:
        """Why capture ended by itself before the source's proper end; set before the queue is closed.

        InputError: the source was refused at the first opening. IncompleteVideoError: the file ended too early, after
        all its readable frames. Another BeeagentError: a source that is not live failed.
        """
        return self._failure

    def _supervise(self) -> None:
        try:
            while not self._stopping.is_set():
                run = self._start_run()
                end = self._watch(run)
                if end is None:
                    return
                never_opened = self._runs == 1 and run.live is None and not self._limits.await_camera
                if not end.reopen or (never_opened and not isinstance(end.error, SourceLostError)):
                    self._failure = end.error
                    return
                if never_opened and isinstance(end.error, SourceUnreachableError):
                    self._failure = InputError(f"camera {end.error}; --await-camera waits for it")
                    return
                self._report(ok=False, reason=str(end.error))
                started = run.first_frame_at
                if started is not None and time.monotonic() - started > self._limits.camera_timeout:
                    self._backoff.reset()
                self._stopping.wait(self._backoff.next())
                self._await_stuck_threads()
        finally:
            self._frames.close()

    def _start_run(self) -> "_CaptureRun":
        with self._changed:
            self._runs += 1
            run = self._run = _CaptureRun(
                self._open_source,
                frames=self._frames,
                max_rate=self._limits.max_rate,
                counts=self._counts,
                changed=self._changed,
                on_frame=self._note_frame,
                name=f"capture-{self._runs}",
            )
        run.thread.start()
        return run

    def _watch(self, run: "_CaptureRun") -> "_RunEnd | None":
        """Wait until a run has ended or must be abandoned; None when capture is to stop."""
        while True:
            event = self._await_event(run)
            if event is _Event.STOPPED:
                run.abandon()
                return None
            if event is _Event.ENDED:
                return run.end
            reason = self._stall_reason(run)
            if event is _Event.ABANDONED:
                self._stuck.append(run)
                return _RunEnd(SourceLostError(reason), reopen=True)
            self._report(ok=False, reason=reason)

    def _await_event(self, run: "_CaptureRun") -> "_Event":
        slow_after = self._limits.camera_timeout
        with self._changed:
            while True:
                if self._stopping.is_set():
                    return _Event.STOPPED
                if run.end is not None:
                    return _Event.ENDED
                timeout = self._timeout(run)
                waited = time.monotonic() - run.since
                if run.phase is not _Phase.PUTTING:
                    if timeout is not None and waited >= timeout:
                        run.abandon()  # while the lock is held, so that it cannot put another frame
                        return _Event.ABANDONED
                    if waited >= slow_after and run.since != self._reported_slow:
                        self._reported_slow = run.since
                        return _Event.SLOW
                    moments = (slow_after - waited, (timeout or 0) - waited)
                    self._changed.wait(min((left for left in moments if left > 0), default=slow_after))
                else:
                    # Nobody notifies of each new phase: a reading that begins now stalls no sooner than this.
                    self._changed.wait(slow_after)

    def _timeout(self, run: "_CaptureRun") -> float | None:
        """Return the seconds after which a run is abandoned in its phase; None for never."""
        if run.phase is _Phase.OPENING:
            return self._limits.open_timeout
        return self._limits.camera_timeout if run.live else None

    def _stall_reason(self, run: "_CaptureRun") -> str:
        seconds = f"{time.monotonic() - run.since:.3g} s"
        if run.description is None:
            return f"opening the camera has taken {seconds} so far"
        return f"{run.description}: no usable frame for {seconds}"

    def _await_stuck_threads(self) -> None:
        """Wait until few enough threads are stuck."""
        with self._changed:
            while not self._stopping.is_set():
                self._stuck = [run for run in self._stuck if run.end is None]
                if len(self._stuck) < _MAX_STUCK_THREADS:
                    return
                self._changed.wait()

    def _note_frame(self) -> None:
        if self._state != (True, ""):
            self._report(ok=True, reason="")

    def _report(self, *, ok: bool, reason: str) -> None:
        with self._reporting:
            if self._state != (ok, reason):
                self._state = (ok, reason)
                self._on_state(ok, reason)


class _Event(Enum):
    STOPPED = auto()
    ENDED = auto()
    ABANDONED = auto()
    SLOW = auto()


class _Phase(Enum):
    """What a run is doing. Only in the first two can it be stuck in a driver or library."""

    OPENING = auto()
    READING = auto()
    PUTTING = auto()


@dataclass(frozen=True, slots=True)
class _RunEnd:
    """How a run ended: with what error (None at the end of the source), and whether reopening may help."""

    error: BeeagentError | None
    reopen: bool


class _CaptureRun:
    """Opens a source and reads it until it ends, fails or is abandoned, in a thread of its own.

    It never touches anything once abandoned. `changed` guards the state of all runs and the counters, and is notified
    when a run ends.
    """

    def __init__(  # noqa: PLR0913 - a part of Capture, which alone calls it
        self,
        open_source: Callable[[], FrameSource],
        *,
        frames: FrameQueue[Frame],
        max_rate: float | None,
        counts: CaptureCounts,
        changed: threading.Condition,
        on_frame: Callable[[], None],
        name: str,
    ) -> None:
        self._open_source = open_source
        self._frames = frames
        self._rate_limit = None if max_rate is None else RateLimit(max_rate, MonotonicClock())
        self._counts = counts
        self._changed = changed
        self._on_frame = on_frame
        self._abandoned = threading.Event()
        self._source: FrameSource | None = None
        self._incomplete: IncompleteVideoError | None = None
        self._last_was_bad = False
        # Guarded by `changed`.
        self.phase = _Phase.OPENING
        self.since = time.monotonic()
        self.first_frame_at: float | None = None
        self.end: _RunEnd | None = None
        self.thread = threading.Thread(target=self._run, name=name, daemon=True)

    @property
    def live(self) -> bool | None:
        """Whether the source is live; None until it is open."""
        return None if self._source is None else self._source.live

    @property
    def description(self) -> str | None:
        """The description of the source; None until it is open."""
        return None if self._source is None else self._source.description

    def abandon(self) -> None:
        """Let the run end without another frame. Returns at once, even if its thread is stuck."""
        self._abandoned.set()
        if (source := self._source) is not None:
            # Closing also ends a wait of the source's own. In a thread, as closing may be slow.
            threading.Thread(target=partial(_close, source), name="capture-close", daemon=True).start()

    def _run(self) -> None:
        lower_thread_priority()
        end = self._read_to_end()
        with self._changed:
            self.end = end
            self._changed.notify_all()

    def _read_to_end(self) -> _RunEnd:
        live = True
        try:
            source = self._open_source()
            live = source.live
            self._source = source
            try:
                self._read(source)
            finally:
                source.close()
        except QueueClosedError:  # nobody wants any more frames
            return _RunEnd(None, reopen=False)
        except BeeagentError as error:
            return _RunEnd(error, reopen=live)
        except Exception as error:  # noqa: BLE001 - whatever a driver's binding raises must not end capture silently
            _LOG.exception("capture failed with an unexpected error")
            return _RunEnd(BeeagentError(f"capture failed: {type(error).__name__}: {error}"), reopen=live)
        return _RunEnd(self._incomplete, reopen=False)

    def _read(self, source: FrameSource) -> None:
        grabbing = source if isinstance(source, GrabbingSource) else None
        while True:
            if self._rate_limit is not None and not source.live:
                self._abandoned.wait(self._rate_limit.seconds_early())
            # Bad frames alone are no sign of life in a camera; a folder may have many bad images.
            if not self._enter(_Phase.READING, alive=not (self._last_was_bad and source.live)):
                return
            try:
                ended, frame = self._next(source, grabbing)
            except BadFrameError as error:
                if self._abandoned.is_set():  # closed while it was read: the frame was fine
                    return
                self._note_bad(error, live=source.live)
                continue
            if ended:
                return
            self._last_was_bad = False
            if frame is None:
                continue
            if not self._enter(_Phase.PUTTING):
                return
            self._frames.put(frame)
            with self._changed:
                self._counts.read += 1
                self.first_frame_at = self.first_frame_at or time.monotonic()
            self._on_frame()

    def _next(self, source: FrameSource, grabbing: GrabbingSource | None) -> tuple[bool, Frame | None]:
        """Return whether the source has ended, and the next frame unless it came sooner than the rate allows."""
        if self._rate_limit is None:
            frame = source.read()
            return frame is None, frame
        if grabbing is not None and source.live:
            # What comes too early is not even decoded.
            if not grabbing.grab():
                return True, None
            if self._rate_limit.admit():
                return False, grabbing.retrieve()
        else:
            frame = source.read()
            if frame is None or self._rate_limit.admit():
                return frame is None, frame
        with self._changed:
            self._counts.rate_limited += 1
        return False, None

    def _enter(self, phase: _Phase, *, alive: bool = True) -> bool:
        """Change to a phase; False if the run was abandoned."""
        with self._changed:
            if self._abandoned.is_set():
                return False
            self.phase = phase
            if alive:
                self.since = time.monotonic()
            return True

    def _note_bad(self, error: BadFrameError, *, live: bool) -> None:
        with self._changed:
            self._counts.bad += 1
        if isinstance(error, IncompleteVideoError):
            self._incomplete = error
        # A camera that stutters would fill the log: there, only the first of several in a row is logged.
        if not (live and self._last_was_bad):
            _LOG.warning("%s", error)
        self._last_was_bad = True


def _close(source: FrameSource) -> None:
    try:
        source.close()
    except Exception:  # noqa: BLE001 - what a driver raises about a camera that is gone is no reason to end the agent
        _LOG.exception("closing the camera failed")
