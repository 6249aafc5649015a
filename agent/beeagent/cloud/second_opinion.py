"""Asks about unsure frames beside the pipeline, and gives each exactly one answer, in time."""

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Final

from beeagent.camera import Frame
from beeagent.cloud.collected_line import EdgeAnswer
from beeagent.cloud.duplicates import show_the_same
from beeagent.cloud.gate import Gate
from beeagent.cloud.opinion import Looker, Opinion, OpinionCounts
from beeagent.cloud.reason import NoOpinionError, Reason
from beeagent.cloud.running_time import RunningTime
from beeagent.detection.detections import Detections

_LOG: Final = logging.getLogger(__name__)

_KEPT_WITHIN_S: Final = 0.5  # how long an end waits for the frame that is just being kept
_REMEMBERED: Final = 16  # calls whose answers a frame that shows the same may get


@dataclass(slots=True)
class _Ticket:
    """A frame that waits for its answer."""

    detections: Detections
    deadline: float
    future: "Future[Opinion]" = field(default_factory=Future)
    answered: bool = False

    def __post_init__(self) -> None:
        self.future.set_running_or_notify_cancel()  # no one can cancel it: a frame always gets its answer


@dataclass(slots=True)
class _Call:
    """One question to the cloud model, and the frames that its answer is for."""

    frame: Frame | None  # None once it was asked about: pixels are large
    captured_ns: int
    edge: EdgeAnswer
    tickets: list[_Ticket] = field(default_factory=list)
    outcome: Detections | NoOpinionError | None = None


class SecondOpinion:
    """A few threads that ask the cloud model, and one that minds the time.

    `ask` never waits. A frame's future gets its result on one of these threads, in any order: when the answer comes,
    when it is known that none will come, or at the latest after `timeout`, whatever the service does. A frame that
    shows the same as one of a moment ago goes with that one's call, also while it is under way.

    An answer that comes after its frame's time is not told of that frame any more, but is there for those that show
    the same.
    """

    def __init__(  # noqa: PLR0913 - each a limit of its own
        self,
        looker: Looker,
        gate: Gate,
        *,
        workers: int = 2,
        queue: int = 4,
        timeout: float = 10.0,
        same_for: float = 10.0,
        keep: Callable[[Frame, EdgeAnswer, Detections], None] = lambda *_: None,
    ) -> None:
        """Set up; nothing runs before `start`.

        Args:
            looker: is asked.
            gate: through which every call goes.
            workers: calls at the same time, 1 or more.
            queue: frames that may wait for a worker, 1 or more. Each holds its pixels.
            timeout: seconds from `ask` until a frame goes without an answer, above 0.
            same_for: seconds for which an answer stands for frames that show the same; 0 for none.
            keep: told of each frame that was asked about and answered, with what the edge and the cloud model saw,
                on one of these threads, after the frame has its answer; must not raise.
        """
        self._looker = looker
        self._gate = gate
        self._queue_limit = queue
        self._timeout = timeout
        self._same_ns = int(same_for * 1e9)
        self._keep = keep
        # Everything below is used under `_changed`, which is held for moments; futures are resolved outside of it.
        self._changed = threading.Condition()
        self._queue: deque[_Call] = deque()
        self._recent: deque[_Call] = deque(maxlen=_REMEMBERED)
        self._waiting: deque[_Ticket] = deque()  # in the order of their deadlines
        self._stopped = False
        self._asked = self._told = self._cloud = self._calls = self._saved = self._keeping = 0
        self._degraded: Counter[Reason] = Counter()
        self._running = RunningTime(time.monotonic)
        self._threads = [
            threading.Thread(target=self._work, name=f"second-opinion-{i}", daemon=True) for i in range(workers)
        ] + [threading.Thread(target=self._mind_the_time, name="second-opinion-deadlines", daemon=True)]

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def drain(self, *, timeout: float) -> bool:
        """Wait up to `timeout` seconds for the answers that are on their way, and say whether all have come.

        The callbacks of their futures, where they were there before the answer, have then ended too.
        """
        with self._changed:
            return self._changed.wait_for(lambda: self._told == self._asked, timeout)

    def stop(self) -> None:
        """Go without the answers that have not come.

        When it returns, every frame has its answer, its future's callbacks have ended, and what is asked from now on
        gets an answer at once. Not to be called from a callback.
        """
        with self._changed:
            self._stopped = True
            left = list(self._waiting)
            self._queue.clear()
            self._changed.notify_all()
        for ticket in left:
            self._answer(ticket, NoOpinionError("timeout", "the agent stops"))
        with self._changed:  # another thread may be about to give one of them its answer
            self._changed.wait_for(lambda: self._told == self._asked)
            self._changed.wait_for(lambda: not self._keeping, _KEPT_WITHIN_S)
        self._gate.close()

    def counts(self) -> OpinionCounts:
        """Tell what became of the frames so far."""
        with self._changed:
            return OpinionCounts(
                self._asked, self._cloud, dict(self._degraded), self._calls, self._saved, self._running.seconds
            )

    def ask(
        self, frame: Frame, detections: Detections, *, told: int | None = None, model: str = "unknown"
    ) -> "Future[Opinion]":
        """Ask about a frame.

        Args:
            frame: what was looked at. Its pixels are kept until it was asked about.
            detections: what the edge model found, down to the band's low end; given back where no answer comes.
            told: how many of them, the strongest, count as found; None for all. This and the next for `keep` alone.
            model: identity of the edge model.
        """
        ticket = _Ticket(detections, time.monotonic() + self._timeout)
        now: Detections | NoOpinionError | None = None
        with self._changed:
            self._asked += 1
            self._waiting.append(ticket)
            call = None if self._stopped else self._same(frame, detections)
            if self._stopped:
                now = NoOpinionError("timeout", "the agent stops")
            elif call is not None:
                self._saved += 1
                now = call.outcome
                if now is None:
                    call.tickets.append(ticket)
            elif len(self._queue) >= self._queue_limit:
                now = NoOpinionError("queue-full", f"{self._queue_limit} frames wait already")
            else:
                edge = EdgeAnswer(detections, len(detections) if told is None else told, model)
                call = _Call(frame, frame.captured_ns, edge, [ticket])
                self._queue.append(call)
                self._recent.append(call)
            self._changed.notify_all()
        if now is not None:
            self._answer(ticket, now)
        return ticket.future

    def _same(self, frame: Frame, detections: Detections) -> _Call | None:
        """Find the call whose answer will do for this frame too."""
        for call in reversed(self._recent):
            if abs(frame.captured_ns - call.captured_ns) >= self._same_ns:
                continue
            if not isinstance(call.outcome, NoOpinionError) and show_the_same(call.edge.detections, detections):
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
                # Nobody waits for it any more: it is not worth the money.
                late = all(ticket.answered for ticket in call.tickets)
            outcome: Detections | NoOpinionError
            try:
                if late or frame is None:
                    raise NoOpinionError("timeout", "its time was over before it could be asked about")  # noqa: TRY301
                outcome = self._consult(frame, call.edge.detections)
            except NoOpinionError as error:
                outcome = error
            except Exception:  # noqa: BLE001 - no defect may leave a frame without its answer, nor end the worker
                _LOG.exception("second opinion: unexpected failure")
                outcome = NoOpinionError("refused", "unexpected failure")
            with self._changed:
                call.outcome = outcome
                if not isinstance(outcome, NoOpinionError):
                    self._running.answered()
                elif outcome.reason == "model-not-running":
                    self._running.not_running()
                tickets, call.tickets = call.tickets, []
                self._keeping += frame is not None and not isinstance(outcome, NoOpinionError)
            for ticket in tickets:
                self._answer(ticket, outcome)
            if frame is not None and not isinstance(outcome, NoOpinionError):
                self._hand_on(frame, call.edge, outcome)

    def _hand_on(self, frame: Frame, edge: EdgeAnswer, cloud: Detections) -> None:
        try:
            self._keep(frame, edge, cloud)
        except Exception:  # noqa: BLE001 - no defect may end the worker
            _LOG.exception("second opinion: a frame could not be kept")
        finally:
            with self._changed:
                self._keeping -= 1
                self._changed.notify_all()

    def _consult(self, frame: Frame, detections: Detections) -> Detections:
        def call() -> Detections:
            with self._changed:
                self._calls += 1
            return self._looker.look(frame, detections.labels)

        return self._gate.through(call)

    def _mind_the_time(self) -> None:
        while True:
            with self._changed:
                while self._waiting and self._waiting[0].answered:
                    self._waiting.popleft()
                if self._stopped:
                    return
                left = self._waiting[0].deadline - time.monotonic() if self._waiting else None
                if left is None or left > 0:
                    self._changed.wait(left)
                    continue
                ticket = self._waiting.popleft()
            self._answer(ticket, NoOpinionError("timeout", "no answer came in time"))

    def _answer(self, ticket: _Ticket, outcome: Detections | NoOpinionError) -> None:
        """Give a frame its one answer; whoever comes second is not heard."""
        if isinstance(outcome, NoOpinionError):
            opinion = Opinion("edge-degraded", ticket.detections, outcome.reason)
        else:
            opinion = Opinion("cloud", outcome)
        with self._changed:
            if ticket.answered:
                return
            ticket.answered = True
            if opinion.reason is None:
                self._cloud += 1
            else:
                self._degraded[opinion.reason] += 1
        ticket.future.set_result(opinion)  # and run its callbacks, which are to have ended when it counts as told
        with self._changed:
            self._told += 1
            self._changed.notify_all()
