"""Who decides what is told of a frame: the model here, or a second opinion on it."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from functools import partial
from uuid import UUID, uuid4

from beeagent.cloud import CloudResult, SecondOpinion
from beeagent.detection import Detections
from beeagent.messages import DecidedBy
from beeagent.runtime.pipeline import FrameResult


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to be told of a frame.

    Attributes:
        result: of the model here.
        detections: what counts as found, by whoever decided.
        decided_by: who did.
        fallback: with `edge-degraded`, why there was no second opinion; else None.
        event_id: of what is told of this frame, whoever decides.
        held: whether `Decisions` had another decision of this `event_id` held for it.
    """

    result: FrameResult
    detections: Detections
    decided_by: DecidedBy
    fallback: str | None = None
    event_id: UUID = field(default_factory=uuid4)
    held: bool = False


class Decisions:
    """Passes sure frames on at once, and unsure ones when the second opinion is there or known not to come.

    A slow answer holds up its own frame alone. Decisions are told one at a time, in the order in which they fall:
    sure frames in theirs, a late answer between later frames.
    """

    def __init__(
        self, opinion: SecondOpinion | None, tell: Callable[[Decision], None], hold: Callable[[Decision], None]
    ) -> None:
        """Set up.

        Args:
            opinion: whom to ask; None to go by the model here alone.
            tell: told of each frame once, on the thread of `take` or on one of the second opinion's.
            hold: told, before a frame is asked about, what to tell of it should `tell` never be.
        """
        self._opinion = opinion
        self._tell = tell
        self._hold = hold
        self._telling = threading.Lock()
        self._failure: Exception | None = None

    @property
    def failure(self) -> Exception | None:
        """What `tell` raised of a frame that was asked about; None if it did not."""
        return self._failure

    def start(self) -> None:
        """Be ready to ask."""
        if self._opinion is not None:
            self._opinion.start()

    def take(self, result: FrameResult) -> None:
        """Decide on a frame, now or later; never waits for an answer.

        Raises:
            Exception: what `tell` raised, of this frame or one before.
        """
        if self._failure is not None:
            raise self._failure
        if self._opinion is None or result.unsure is None:
            with self._telling:
                self._tell(Decision(result, result.detections, "edge"))
        else:
            without = Decision(result, result.detections, "edge-degraded", "timeout", held=True)
            self._hold(without)
            future = self._opinion.submit(
                result.frame, result.unsure, above_threshold=len(result.detections), model=result.model
            )
            future.add_done_callback(partial(self._answered, without))

    def end(self, *, timeout: float, unless: threading.Event) -> None:
        """Wait up to `timeout` seconds for what was asked, unless told otherwise; then decide without."""
        if self._opinion is None:
            return
        by = time.monotonic() + timeout
        while not unless.is_set() and time.monotonic() < by:
            if self._opinion.drain(timeout=0.1):
                break
        self._opinion.stop()

    def _answered(self, without: Decision, future: "Future[CloudResult]") -> None:
        opinion = future.result()
        found = opinion.detections if opinion.decided_by == "cloud" else without.detections
        decided = replace(without, detections=found, decided_by=opinion.decided_by, fallback=opinion.reason)
        try:
            with self._telling:
                self._tell(decided)
        except Exception as error:  # noqa: BLE001 - a future would pass over it
            self._failure = error  # kept for whoever takes the next frame, who is on another thread
