"""Carries results from the outbox to the publisher."""

import threading
import time
from collections import defaultdict, deque
from datetime import datetime, timezone
from functools import partial

from beeagent.delivery.outbox import Outbox
from beeagent.delivery.outbox_file import Row
from beeagent.delivery.publisher import Outcome, Publisher, Receipt
from beeagent.delivery.quarantine import Quarantine


class Courier:
    """A thread that publishes waiting results in their order, and removes each once it is delivered.

    It sleeps until the outbox has stored something, a receipt has come, or the publisher's state has changed. What
    is lost on the way is published again, from the oldest on.

    To end in order: `drain` if the results should get out, then stop the publisher, the courier, the outbox.
    """

    def __init__(
        self,
        *,
        outbox: Outbox,
        publisher: Publisher,
        quarantine: Quarantine | None = None,
        max_in_flight: int = 16,
        retry_after_s: float = 1.0,
    ) -> None:
        """Connect the two; nothing happens before `start`.

        Args:
            outbox: where the results are.
            publisher: where they go. Its `listen` is used, so it must not have been started.
            quarantine: where results are kept that the publisher refuses; None for nowhere.
            max_in_flight: results on their way at any time, at most.
            retry_after_s: pause after a publish that failed though there is a connection, in seconds.

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
        self._cursor = 0  # rows up to this one were handed over
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
            return self._trouble or self._quarantine.trouble

    @property
    def last_delivery(self) -> datetime | None:
        """When a result was last delivered, in UTC; None if none was since the start."""
        with self._settled:
            return self._last_delivery

    def start(self) -> None:
        """Begin to carry."""
        self._thread.start()

    def drain(self, *, timeout: float) -> bool:
        """Wait until nothing waits any more; say whether it came to that.

        Gives up after `timeout` seconds, or as soon as the publisher has tried to connect and could not.
        """
        deadline = time.monotonic() + timeout
        self._outbox.flush(timeout=timeout)

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
        while True:
            pause = self._pause_until - time.monotonic()
            self._wake.wait(pause if pause > 0 else None)
            self._wake.clear()
            self._settle()
            if self._stopping.is_set():
                return
            self._send()

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
                self._cursor = min(self._cursor, row.id - 1)
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

    def _send(self) -> None:
        connected = self._publisher.state.connected
        self._outbox.hurry = connected
        if not connected or time.monotonic() < self._pause_until:
            return
        while (room := self._max_in_flight - len(self._in_flight)) > 0:
            rows = self._outbox.waiting(after=self._cursor, limit=room)
            if not rows:
                return
            for row in rows:
                self._cursor = row.id
                if row.id not in self._in_flight:
                    self._in_flight.add(row.id)
                    self._publisher.publish(topic=row.topic, payload=row.payload, done=partial(self._handle_end, row))

    def _handle_end(self, row: Row, receipt: Receipt) -> None:
        self._receipts.append((row, receipt))
        self._wake.set()
