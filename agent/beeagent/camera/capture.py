"""Keeps frames coming: reads the source in a thread, and opens it again when it breaks."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

from beeagent.backoff import Backoff
from beeagent.camera.capture_run import CaptureRun, Phase, RunEnd, Tally
from beeagent.camera.frame import Frame
from beeagent.camera.frame_queue import Handoff
from beeagent.camera.source import FrameSource, NotReachedError, SourceLostError
from beeagent.errors import BeeagentError, InputError

_MOST_LEFT_BEHIND = 3
"""Threads stuck in foreign code at the same time; more are not started before one of these has ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureLimits:
    """What capture puts up with. Rates in frames a second, times in seconds, each above 0.

    Attributes:
        max_rate: no more frames than this are handed over; None for no limit. Of a live source, those between are
            dropped before they are decoded; a file is read more slowly.
        stall_after: without a usable frame for so long, a live source is given up and opened again.
        open_within: opening that takes longer is given up and tried again.
        await_first: whether a source that is refused at the very first opening is tried again too, as if it had
            been there and had gone.
    """

    max_rate: float | None = None
    stall_after: float = 5.0
    open_within: float = 20.0
    await_first: bool = False

    def __post_init__(self) -> None:
        for name, value in (
            ("max_rate", self.max_rate),
            ("stall_after", self.stall_after),
            ("open_within", self.open_within),
        ):
            if value is not None and not value > 0:
                raise ValueError(f"{name} must be above 0, not {value}")


@dataclass(frozen=True, slots=True)
class CaptureCounts:
    """What capture has done so far.

    Attributes:
        read: frames handed over, those replaced later among them.
        bad: frames that were unusable and left out.
        skipped: frames of a live source left out because of `max_rate`.
        replaced: frames that a newer one replaced before anyone took them.
        reopened: how many times the source was opened again.
    """

    read: int
    bad: int
    skipped: int
    replaced: int
    reopened: int


class _Event(Enum):
    STOPPED = auto()
    ENDED = auto()
    GIVEN_UP = auto()
    SLOW = auto()


class Capture:
    """Reads a source in a thread of its own and hands its frames over; closes the hand-over at the end.

    A live source that breaks, blocks, gives only broken frames or cannot be opened is opened again, after waits
    that grow. A read that blocks is left behind in its thread. What ends capture: the end of the source, `stop`,
    and at the very first opening NotReachedError and any error but SourceLostError, above all InputError, since the
    user named something that is not there; later, or where the limits say so, the same error is a camera that was
    unplugged, and heals.

    A source that is not live is never opened again, as that would begin from the start. When its file is slow, the
    state says so, and reading goes on.

    Args:
        open_source: opens the source, each time anew. Runs in a thread of capture's.
        frames: where the frames go: in mode `newest` for live sources, `every` for others; see `is_live`.
        on_state: called with (True, "") once frames flow, and with (False, reason) once they do not; only when
            that changes, from threads of capture's, one call at a time. It must return soon, not raise, and not
            call `stop`.
        limits: how much to put up with.
        backoff: the waits between openings; None for half a second to 15 seconds.
    """

    def __init__(
        self,
        open_source: Callable[[], FrameSource],
        frames: Handoff[Frame],
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
        self._tally = Tally()
        self._stopping = threading.Event()
        self._run: CaptureRun | None = None
        self._runs = 0
        self._left_behind: list[CaptureRun] = []
        self._failure: BeeagentError | None = None
        self._reporting = threading.Lock()
        self._state: tuple[bool, str] | None = None
        self._complained: float | None = None
        self._thread = threading.Thread(target=self._supervise, name="capture", daemon=True)

    def start(self) -> None:
        """Begin to open the source. Once only."""
        self._thread.start()

    def stop(self, timeout: float = 2.0) -> bool:
        """End capture and close the hand-over. Safe to call twice.

        Args:
            timeout: seconds to wait for the threads at most.

        Returns:
            False if a thread is stuck in foreign code and was left behind; it cannot keep the process alive.
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
            runs = [*self._left_behind, *([self._run] if self._run is not None else [])]
        for run in runs:
            run.thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in (self._thread, *(run.thread for run in runs)))

    @property
    def counts(self) -> CaptureCounts:
        """What was done so far."""
        with self._changed:
            return CaptureCounts(
                read=self._tally.read,
                bad=self._tally.bad,
                skipped=self._tally.skipped,
                replaced=self._frames.replaced,
                reopened=max(0, self._runs - 1),
            )

    @property
    def failure(self) -> BeeagentError | None:
        """Why capture ended by itself before the source's proper end; set before the hand-over is closed.

        InputError: the source was refused at the first opening. IncompleteVideoError: the file ended too early, after
        all its readable frames were handed over. Another BeeagentError: a source that is not live broke.
        """
        return self._failure

    def _supervise(self) -> None:
        try:
            while not self._stopping.is_set():
                run = self._start_run()
                end = self._watch(run)
                if end is None:
                    return
                never_opened = self._runs == 1 and run.live is None and not self._limits.await_first
                if not end.heals or (never_opened and not isinstance(end.error, SourceLostError)):
                    self._failure = end.error
                    return
                if never_opened and isinstance(end.error, NotReachedError):
                    self._failure = InputError(f"camera {end.error}; --await-camera waits for it")
                    return
                self._report(ok=False, reason=str(end.error))
                if run.first_frame_at is not None and time.monotonic() - run.first_frame_at > self._limits.stall_after:
                    self._backoff.reset()
                self._stopping.wait(self._backoff.next())
                self._wait_for_room()
        finally:
            self._frames.close()

    def _start_run(self) -> CaptureRun:
        with self._changed:
            self._runs += 1
            run = CaptureRun(
                self._open_source,
                frames=self._frames,
                max_rate=self._limits.max_rate,
                tally=self._tally,
                changed=self._changed,
                on_frame=self._note_frame,
                name=f"capture-{self._runs}",
            )
            self._run = run
        run.thread.start()
        return run

    def _watch(self, run: CaptureRun) -> RunEnd | None:
        """Wait until a run has ended or has to be given up; None when capture is to stop."""
        while True:
            event = self._await_event(run)
            if event is _Event.STOPPED:
                run.give_up()
                return None
            if event is _Event.ENDED:
                return run.end
            reason = self._stall_reason(run)
            if event is _Event.GIVEN_UP:
                self._left_behind.append(run)
                return RunEnd(SourceLostError(reason), heals=True)
            self._report(ok=False, reason=reason)

    def _await_event(self, run: CaptureRun) -> _Event:
        with self._changed:
            while True:
                if self._stopping.is_set():
                    return _Event.STOPPED
                if run.end is not None:
                    return _Event.ENDED
                patience = self._patience(run)
                waited = time.monotonic() - run.since
                if run.phase is not Phase.HANDING_OVER:
                    if patience is not None and waited >= patience:
                        run.give_up()  # while the lock is held, so that it cannot hand over another frame
                        return _Event.GIVEN_UP
                    if waited >= self._limits.stall_after and run.since != self._complained:
                        self._complained = run.since
                        return _Event.SLOW
                    moments = (self._limits.stall_after - waited, (patience or 0) - waited)
                    self._changed.wait(min((left for left in moments if left > 0), default=self._limits.stall_after))
                else:
                    # Nobody notifies of each new phase: a reading that begins now stalls no sooner than this.
                    self._changed.wait(self._limits.stall_after)

    def _patience(self, run: CaptureRun) -> float | None:
        """Seconds after which a run is given up in its phase; None for never."""
        if run.phase is Phase.OPENING:
            return self._limits.open_within
        return self._limits.stall_after if run.live else None

    def _stall_reason(self, run: CaptureRun) -> str:
        seconds = f"{time.monotonic() - run.since:.3g} s"
        if run.description is None:
            return f"opening the camera has taken {seconds} so far"
        return f"{run.description}: no usable frame for {seconds}"

    def _wait_for_room(self) -> None:
        """Wait until few enough threads are stuck."""
        with self._changed:
            while not self._stopping.is_set():
                self._left_behind = [run for run in self._left_behind if run.end is None]
                if len(self._left_behind) < _MOST_LEFT_BEHIND:
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
