"""The sender, which passes results from the outbox to the publisher."""

import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable
from functools import partial

from beeagent.outbox.dead_letters import DeadLetterFile
from beeagent.outbox.outbox import Outbox
from beeagent.outbox.publisher import Outcome, Publisher, Receipt
from beeagent.outbox.rows import Row, UnreadableOutboxError


class RateLimit:
    """Limits the rate of publishes, with bursts of up to one second's worth.

    Args:
        per_second: maximum number of publishes per second, above 0.
        now: returns the time in seconds; for tests.

    Raises:
        ValueError: the rate is not positive.
    """

    def __init__(self, per_second: float, *, now: Callable[[], float] = time.monotonic) -> None:
        if not per_second > 0:
            raise ValueError(f"rate {per_second} is not positive")
        self._rate = per_second
        self._burst = max(1.0, per_second)
        self._now = now
        self._left = self._burst
        self._counted_at = now()

    @property
    def allowed(self) -> int:
        """Number of publishes that are allowed now."""
        moment = self._now()
        self._left = min(self._burst, self._left + (moment - self._counted_at) * self._rate)
        self._counted_at = moment
        return max(0, int(self._left))

    @property
    def wait_s(self) -> float:
        """Seconds until the next publish is allowed; 0 if it is allowed now."""
        return 0.0 if self.allowed else (1 - self._left) / self._rate

    def count(self) -> None:
        """Count one publish, allowed or not."""
        self._left -= 1


class Sender:
    """A thread that publishes waiting results in order, and removes each from the outbox once it is delivered.

    The results that wait when a connection is established are the backlog; results stored later are live. The backlog
    is sent from the oldest on, at a limited rate and with at most half of `max_in_flight`. Live results are sent at the
    same time; each of the two is in order. A backlog of at most one second of that rate is sent before live results, so
    that all results are in order after a short outage. While more live results wait than may be in flight, since the
    broker or the device is too slow for both, the backlog is limited to one in flight. Lost results are published
    again, from the oldest on.

    The thread waits until the outbox has stored a result, a receipt has arrived, the publisher's state has changed, or
    the rate limit allows more of the backlog.

    To shut down, call `drain` if the results are to be sent, then stop the publisher, the sender and the outbox.
    """

    def __init__(  # noqa: PLR0913 - keywords
        self,
        *,
        outbox: Outbox,
        publisher: Publisher,
        dead_letters: DeadLetterFile | None = None,
        max_in_flight: int = 16,
        retry_after_s: float = 1.0,
        drain_rate: float = 50.0,
    ) -> None:
        """Connect the outbox and the publisher; `start` begins sending.

        Args:
            outbox: source of the results.
            publisher: destination of the results; not started yet, since `listen` is called.
            dead_letters: file for results that the publisher refuses; None to keep none.
            max_in_flight: maximum number of unacknowledged results.
            retry_after_s: pause in seconds after a publish that failed despite a connection.
            drain_rate: maximum number of results of the backlog per second. The default is half of the 100 publishes
                per second that AWS IoT Core accepts on a connection
                (https://docs.aws.amazon.com/general/latest/gr/iot-core.html#message-broker-limits).

        Raises:
            ValueError: a limit is not positive.
        """
        if max_in_flight < 1 or retry_after_s <= 0:
            raise ValueError(f"max_in_flight {max_in_flight} or retry_after_s {retry_after_s} is not positive")
        self._outbox = outbox
        self._publisher = publisher
        self._dead_letters = dead_letters or DeadLetterFile(None)
        self._max_in_flight = max_in_flight
        self._retry_after = retry_after_s
        self._thread = threading.Thread(target=self._run, name="sender", daemon=True)
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._receipts: deque[tuple[Row, Receipt]] = deque()
        self._in_flight: set[int] = set()
        self._connected = False
        self._cursor = 0  # last live row passed to the publisher
        self._backlog_cursor = 0  # last row of the backlog passed to the publisher
        self._backlog_end = 0  # last row of the backlog
        self._drain_limit = RateLimit(drain_rate)
        self._draining = threading.Event()  # no more live results follow
        self._unreadable: str | None = None
        self._readable = False  # True if the file was read on this connection
        self._pause_until = 0.0
        self._settled = threading.Condition()
        self._failing: str | None = None  # the reason of the last lost publish
        outbox.listen(self._wake.set)
        publisher.listen(self._wake.set)

    @property
    def problem(self) -> str | None:
        """Reason why results are not delivered despite a connection; None if they are delivered."""
        with self._settled:
            return self._failing or self._unreadable or self._dead_letters.problem

    @property
    def broker_problem(self) -> str | None:
        """Reason for the missing connection to the broker; None if connected or during the first attempt."""
        state = self._publisher.state
        return None if state.connected or state.untried else state.reason

    @property
    def delivering(self) -> bool:
        """True if there are waiting results and a connection."""
        return self._publisher.state.connected and self._outbox.depth() > 0

    @property
    def in_flight(self) -> frozenset[int]:
        """The ids of the rows that were passed to the publisher and have no receipt yet."""
        return frozenset(self._in_flight)

    def start(self) -> None:
        """Start to send."""
        self._thread.start()

    def wait_for(self, condition: Callable[[], bool], *, timeout: float) -> bool:
        """Wait until a condition is true, checked after receipts; return False after `timeout` seconds."""
        with self._settled:
            return self._settled.wait_for(condition, timeout)

    def drain(self, *, timeout: float) -> bool:
        """Wait until all results are delivered, without a rate limit for the backlog; return False if some remain.

        The wait ends after `timeout` seconds, or when the publisher has failed to connect.
        """
        deadline = time.monotonic() + timeout
        self._draining.set()
        self._outbox.flush(timeout=timeout)
        self._wake.set()

        left = max(0.0, deadline - time.monotonic())
        self.wait_for(lambda: self._outbox.depth() == 0 or self.broker_problem is not None, timeout=left)
        return self._outbox.depth() == 0

    def stop(self, *, timeout: float = 2.0) -> bool:
        """Process the pending receipts and stop; return False if that takes more than `timeout` seconds."""
        self._stopping.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def run_once(self) -> float | None:
        """Process receipts and publish results, as far as allowed now, on the caller's thread.

        Returns:
            The seconds after which more may be published; None if it depends on another event.
        """
        self._settle()
        if self._stopping.is_set():
            return None
        try:
            pause = self._send()
        except UnreadableOutboxError as error:
            self._unreadable = str(error)
            return self._retry_after
        self._unreadable = None
        return pause

    def _run(self) -> None:
        pause: float | None = None
        stopping = False
        while not stopping:
            self._wake.wait(pause)
            self._wake.clear()
            stopping = self._stopping.is_set()  # before processing receipts, so that none remains
            pause = self.run_once()

    def _settle(self) -> None:
        delivered: list[int] = []
        refused: defaultdict[str, list[int]] = defaultdict(list)
        failing = self._failing
        while self._receipts:
            row, receipt = self._receipts.popleft()
            self._in_flight.discard(row.id)
            if receipt.outcome is Outcome.DELIVERED:
                delivered.append(row.id)
                failing = None
            elif receipt.outcome is Outcome.REFUSED:
                self._dead_letters.append(row, receipt)
                refused[receipt.cause].append(row.id)
                failing = None  # reported by the dead-letter file
            else:
                self._go_back(row.id)
                if self._publisher.state.connected:
                    self._pause_until = time.monotonic() + self._retry_after
                    failing = receipt.reason
        if delivered:
            self._outbox.delivered(delivered)
        for cause, ids in refused.items():
            self._outbox.drop(ids, reason=cause)
        with self._settled:
            self._failing = failing
            self._settled.notify_all()

    def _go_back(self, row_id: int) -> None:
        if row_id <= self._backlog_end:
            self._backlog_cursor = min(self._backlog_cursor, row_id - 1)
        else:
            self._cursor = min(self._cursor, row_id - 1)

    def _send(self) -> float | None:
        connected = self._publisher.state.connected
        if connected != self._connected:
            self._connected = self._outbox.commit_immediately = connected
            if connected:
                self._readable = False
                self._backlog_cursor = 0
                self._backlog_end = self._cursor = self._outbox.stored_id
        if not connected:
            return None
        if (pause := self._pause_until - time.monotonic()) > 0:
            return pause
        wait = self._send_backlog()
        while (room := self._max_in_flight - len(self._in_flight)) > 0:
            if self._readable and self._cursor >= self._outbox.stored_id:
                break  # no new rows: avoid reading the file
            rows = self._outbox.waiting(after=self._cursor, limit=room)
            self._readable = True
            if not rows:
                break
            for row in rows:
                self._cursor = row.id
                self._publish(row)
        return wait

    def _send_backlog(self) -> float | None:
        if self._draining.is_set():
            share = self._max_in_flight
        elif self._outbox.stored_id - self._cursor > self._max_in_flight:  # ids rise by one
            share = 1
        else:
            share = max(1, self._max_in_flight // 2)
        while self._backlog_cursor < self._backlog_end:
            of_backlog = sum(1 for row_id in self._in_flight if row_id <= self._backlog_end)
            room = min(share - of_backlog, self._max_in_flight - len(self._in_flight))
            if not self._draining.is_set():
                if not self._drain_limit.allowed:
                    return self._drain_limit.wait_s
                room = min(room, self._drain_limit.allowed)
            if room <= 0:
                return None
            rows = self._outbox.waiting(after=self._backlog_cursor, limit=room)
            if not rows or rows[-1].id > self._backlog_end:
                self._backlog_cursor = self._backlog_end
            for row in rows:
                if row.id <= self._backlog_end:
                    self._backlog_cursor = max(self._backlog_cursor, row.id)
                    self._drain_limit.count()
                    self._publish(row)
        return None

    def _publish(self, row: Row) -> None:
        if row.id not in self._in_flight:
            self._in_flight.add(row.id)
            self._publisher.publish(topic=row.topic, payload=row.payload, done=partial(self._handle_receipt, row))

    def _handle_receipt(self, row: Row, receipt: Receipt) -> None:
        self._receipts.append((row, receipt))
        self._wake.set()
