"""One life of a source: opened, read until it ends, breaks or is given up, in a thread of its own."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from functools import partial

from beeagent.camera.frame import Frame
from beeagent.camera.frame_queue import Handoff, HandoffClosedError
from beeagent.camera.pacing import MonotonicClock, RateLimit
from beeagent.camera.source import BadFrameError, FrameSource, GrabbingSource
from beeagent.camera.video import IncompleteVideoError
from beeagent.errors import BeeagentError
from beeagent.priority import give_way

_LOG = logging.getLogger(__name__)


class Phase(Enum):
    """What a run is at. Only in the first two can it be stuck in foreign code."""

    OPENING = auto()
    READING = auto()
    HANDING_OVER = auto()


@dataclass(frozen=True, slots=True)
class RunEnd:
    """How a run ended.

    Attributes:
        error: why; None where the source came to its end.
        heals: whether opening the source again may help.
    """

    error: BeeagentError | None
    heals: bool


@dataclass(slots=True)
class Tally:
    """What was counted over all runs; guarded by the condition that the runs share.

    Attributes:
        read: frames handed over.
        bad: frames that were unusable.
        skipped: frames of a live source that came sooner than the rate allows.
    """

    read: int = 0
    bad: int = 0
    skipped: int = 0


class CaptureRun:
    """Opens a source and hands its frames over, until one of many ends. Never touches anything once given up.

    Args:
        open_source: gives the source; runs in the run's thread.
        frames: where the frames go.
        max_rate: frames a second at most, or None.
        tally: where to count.
        changed: guards the state of all runs and the tally; notified when a run ends.
        on_frame: called after each frame was handed over.
        name: of the thread.
    """

    def __init__(  # noqa: PLR0913 - a part of Capture, which alone calls it
        self,
        open_source: Callable[[], FrameSource],
        *,
        frames: Handoff[Frame],
        max_rate: float | None,
        tally: Tally,
        changed: threading.Condition,
        on_frame: Callable[[], None],
        name: str,
    ) -> None:
        self._open_source = open_source
        self._frames = frames
        self._pace = None if max_rate is None else RateLimit(max_rate, MonotonicClock())
        self._tally = tally
        self._changed = changed
        self._on_frame = on_frame
        self._given_up = threading.Event()
        self._source: FrameSource | None = None
        self._incomplete: IncompleteVideoError | None = None
        self._last_was_bad = False
        # Guarded by `changed`.
        self.phase = Phase.OPENING
        self.since = time.monotonic()
        self.first_frame_at: float | None = None
        self.end: RunEnd | None = None
        self.thread = threading.Thread(target=self._run, name=name, daemon=True)

    @property
    def live(self) -> bool | None:
        """Whether the source is live; None until it is open."""
        return None if self._source is None else self._source.live

    @property
    def description(self) -> str | None:
        """What the source calls itself; None until it is open."""
        return None if self._source is None else self._source.description

    def give_up(self) -> None:
        """Let the run end without another frame. Returns at once; what is stuck is left behind."""
        self._given_up.set()
        if (source := self._source) is not None:
            # A wait of the source's own is ended by closing it. In a thread, as closing may be slow.
            threading.Thread(target=partial(_close, source), name="capture-close", daemon=True).start()

    def _run(self) -> None:
        give_way()
        end = self._live()
        with self._changed:
            self.end = end
            self._changed.notify_all()

    def _live(self) -> RunEnd:
        live = True
        try:
            source = self._open_source()
            live = source.live
            self._source = source
            try:
                self._read(source)
            finally:
                source.close()
        except HandoffClosedError:  # nobody wants any more frames
            return RunEnd(None, heals=False)
        except BeeagentError as error:
            return RunEnd(error, heals=live)
        except Exception as error:  # noqa: BLE001 - whatever a driver's binding raises must not end capturing without a word
            _LOG.exception("capture failed in an unforeseen way")
            return RunEnd(BeeagentError(f"capture failed: {type(error).__name__}: {error}"), heals=live)
        return RunEnd(self._incomplete, heals=False)

    def _read(self, source: FrameSource) -> None:
        grabbing = source if isinstance(source, GrabbingSource) else None
        while True:
            if self._pace is not None and not source.live:
                self._given_up.wait(self._pace.seconds_early())
            # Broken frames alone are no sign of life in a camera; a folder may have many broken pictures.
            if not self._enter(Phase.READING, alive=not (self._last_was_bad and source.live)):
                return
            try:
                ended, frame = self._next(source, grabbing)
            except BadFrameError as error:
                if self._given_up.is_set():  # closed while it was read: no fault of the frame's
                    return
                self._note_bad(error, live=source.live)
                continue
            if ended:
                return
            self._last_was_bad = False
            if frame is None:
                continue
            if not self._enter(Phase.HANDING_OVER):
                return
            self._frames.put(frame)
            with self._changed:
                self._tally.read += 1
                self.first_frame_at = self.first_frame_at or time.monotonic()
            self._on_frame()

    def _next(self, source: FrameSource, grabbing: GrabbingSource | None) -> tuple[bool, Frame | None]:
        """Give whether the source has ended, and the next frame unless it came sooner than the rate allows."""
        if self._pace is None:
            frame = source.read()
            return frame is None, frame
        if grabbing is not None and source.live:
            # What comes too early is not even decoded.
            if not grabbing.grab():
                return True, None
            if self._pace.admit():
                return False, grabbing.retrieve()
        else:
            frame = source.read()
            if frame is None or self._pace.admit():
                return frame is None, frame
        with self._changed:
            self._tally.skipped += 1
        return False, None

    def _enter(self, phase: Phase, *, alive: bool = True) -> bool:
        """Change to a phase; False if the run was given up."""
        with self._changed:
            if self._given_up.is_set():
                return False
            self.phase = phase
            if alive:
                self.since = time.monotonic()
            return True

    def _note_bad(self, error: BadFrameError, *, live: bool) -> None:
        with self._changed:
            self._tally.bad += 1
        if isinstance(error, IncompleteVideoError):
            self._incomplete = error
        # A camera that stutters would fill the log: there, only the first of several in a row is told.
        if not (live and self._last_was_bad):
            _LOG.warning("%s", error)
        self._last_was_bad = True


def _close(source: FrameSource) -> None:
    try:
        source.close()
    except Exception:  # noqa: BLE001 - what a driver raises about a camera that is gone is no reason to end the agent
        _LOG.exception("closing the camera failed")
