"""Carries results from the outbox to the publisher."""

import threading
import time
from collections import defaultdict, deque
from datetime import datetime, timezone
from functools import partial

from beeagent.outbox.dead_letters import Quarantine
from beeagent.outbox.outbox import Outbox, UnreadableOutboxError
from beeagent.outbox.publisher import Outcome, Publisher, Receipt
from beeagent.outbox.rate_limit import RateLimit
from beeagent.outbox.records import Row


class Courier:
    """A thread that publishes waiting results in their order, and removes each once it is delivered.

    What waits when a connection comes about is the backlog; what is stored from then on is live. The backlog goes out
    from the oldest on, at a bounded rate and with at most half of what may be on its way, and live results go out
    beside it as they come: each of the two in its own order. A backlog of up to a second's worth of that rate goes
    out ahead of what is live, so that after a short outage all is in order. What is lost on the way is published
    again, from the oldest on.

    The thread sleeps until the outbox has stored something, a receipt has come, the publisher's state has changed, or
    the backlog may go on.

    To end in order: `drain` if the results should get out, then stop the publisher, the courier, the outbox.
    """

    def __init__(  # noqa: PLR0913 - the two ends, and how it carries between them
        self,
        *,
        outbox: Outbox,
        publisher: Publisher,
        quarantine: Quarantine | None = None,
        max_in_flight: int = 16,
        retry_after_s: float = 1.0,
        drain_rate: float = 50.0,
    ) -> None:
        """Connect the two; nothing happens before `start`.

        Args:
            outbox: where the results are.
            publisher: where they go. Its `listen` is used, so it must not have been started.
            quarantine: where results are kept that the publisher refuses; None for nowhere.
            max_in_flight: results on their way at any time, at most.
            retry_after_s: pause after a publish that failed though there is a connection, in seconds.
            drain_rate: results of the backlog per second, at most. The default leaves half of the 100 publishes per
                second that AWS IoT Core takes on a connection
                (https://docs.aws.amazon.com/general/latest/gr/iot-core.html#message-broker-limits).

        Raises:
            ValueError: a bound is not positive.
        """
        if max_in_flight < 1 or retry_after_s <= 0:
            raise ValueError(f"max_in_flight {max_in_flight} or retry_after_s {retry_after_s} is not positive")
        self._outbox = outbox
        self._publisher = publisher
        self._quarantine = quarantine or Quarantine(None)
        self._max_in_flight = max_in_flight
        self._retry_after = retry_after_s
        self._thread = threading.Thread(target=self._run, name="courier", daemon=True)
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._receipts: deque[tuple[Row, Receipt]] = deque()
        self._in_flight: set[int] = set()
        self._connected = False
        self._cursor = 0  # live rows up to this one were handed over
        self._backlog_cursor = 0  # rows of the backlog up to this one were handed over
        self._backlog_end = 0  # the last row of the backlog
        self._drain_limit = RateLimit(drain_rate)
        self._draining = threading.Event()  # the backlog is all that is left
        self._unreadable: str | None = None
        self._pause_until = 0.0
        self._settled = threading.Condition()
        self._trouble: str | None = None
        self._last_delivery: datetime | None = None
        outbox.listen(self._wake.set)
        publisher.listen(self._wake.set)

    @property
    def trouble(self) -> str | None:
        """Why results fail to be delivered though there is a connection, in plain words; None if they do not."""
        with self._settled:
            return self._trouble or self._unreadable or self._quarantine.trouble

    @property
    def last_delivery(self) -> datetime | None:
        """When a result was last delivered, in UTC; None if none was since the start."""
        with self._settled:
            return self._last_delivery

    def start(self) -> None:
        """Begin to carry."""
        self._thread.start()

    def drain(self, *, timeout: float) -> bool:
        """Wait until nothing waits any more; say whether it came to that. From now on, the backlog knows no limit.

        Gives up after `timeout` seconds, or as soon as the publisher has tried to connect and could not.
        """
        deadline = time.monotonic() + timeout
        self._draining.set()
        self._outbox.flush(timeout=timeout)
        self._wake.set()

        def ended() -> bool:
            state = self._publisher.state
            return self._outbox.depth() == 0 or not (state.connected or state.untried)

        with self._settled:
            self._settled.wait_for(ended, timeout=max(0.0, deadline - time.monotonic()))
        return self._outbox.depth() == 0

    def stop(self, *, timeout: float = 2.0) -> bool:
        """Take in the receipts that have come, and end; say whether that was within `timeout` seconds."""
        self._stopping.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        pause: float | None = None
        while True:
            self._wake.wait(pause)
            self._wake.clear()
            self._settle()
            if self._stopping.is_set():
                return
            try:
                pause = self._send()
                self._unreadable = None
            except UnreadableOutboxError as error:
                self._unreadable = str(error)
                pause = self._retry_after

    def _settle(self) -> None:
        delivered: list[int] = []
        refused: defaultdict[str, list[int]] = defaultdict(list)
        trouble = self._trouble
        while self._receipts:
            row, receipt = self._receipts.popleft()
            self._in_flight.discard(row.id)
            if receipt.outcome is Outcome.DELIVERED:
                delivered.append(row.id)
                trouble = None
            elif receipt.outcome is Outcome.REFUSED:
                self._quarantine.keep(row, receipt)
                refused[receipt.cause].append(row.id)
                trouble = None  # the quarantine tells
            else:
                self._go_back(row.id)
                if self._publisher.state.connected:
                    self._pause_until = time.monotonic() + self._retry_after
                    trouble = receipt.reason
        if delivered:
            self._outbox.delivered(delivered)
        for cause, ids in refused.items():
            self._outbox.drop(ids, reason=cause)
        with self._settled:
            self._trouble = trouble
            if delivered:
                self._last_delivery = datetime.now(timezone.utc)
            self._settled.notify_all()

    def _go_back(self, row_id: int) -> None:
        if row_id <= self._backlog_end:
            self._backlog_cursor = min(self._backlog_cursor, row_id - 1)
        else:
            self._cursor = min(self._cursor, row_id - 1)

    def _send(self) -> float | None:
        """Hand over what may go; give the seconds after which more may, or None if something else has to happen."""
        connected = self._publisher.state.connected
        self._outbox.hurry = connected
        if connected and not self._connected:
            self._backlog_cursor = 0
            self._backlog_end = self._cursor = self._outbox.stored_id
        self._connected = connected
        if not connected:
            return None
        if (pause := self._pause_until - time.monotonic()) > 0:
            return pause
        wait = self._send_backlog()
        while (room := self._max_in_flight - len(self._in_flight)) > 0:
            rows = self._outbox.waiting(after=self._cursor, limit=room)
            if not rows:
                break
            for row in rows:
                self._cursor = row.id
                self._publish(row)
        return wait

    def _send_backlog(self) -> float | None:
        most = self._max_in_flight if self._draining.is_set() else max(1, self._max_in_flight // 2)
        while self._backlog_cursor < self._backlog_end:
            of_backlog = sum(1 for row_id in self._in_flight if row_id <= self._backlog_end)
            room = min(most - of_backlog, self._max_in_flight - len(self._in_flight))
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
                    self._drain_limit.take()
                    self._publish(row)
        return None

    def _publish(self, row: Row) -> None:
        if row.id not in self._in_flight:
            self._in_flight.add(row.id)
            self._publisher.publish(topic=row.topic, payload=row.payload, done=partial(self._handle_end, row))

    def _handle_end(self, row: Row, receipt: Receipt) -> None:
        self._receipts.append((row, receipt))
        self._wake.set()
