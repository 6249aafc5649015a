"""Outbox, sender and publisher, as the agent puts them together."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from beeagent.mqtt import MqttOptions, MqttPublisher, PoisonDetector
from beeagent.outbox import DeadLetterFile, Outbox, Publisher, Sender

DEADLINE = 45.0
TOPIC = "bees/hive/front/detections"
STATUS = "bees/hive/status"


class DeliveryLine:
    """Results go in by `put`; what becomes of them can be waited for."""

    def __init__(self, publisher: Publisher, path: Path | None, **changes: Any) -> None:  # noqa: ANN401 - arguments
        self.outbox = Outbox(path, commit_interval_s=0.01)
        self.publisher = publisher
        self.state_changed = threading.Event()
        publisher.listen(self.state_changed.set)
        self.sender = Sender(
            outbox=self.outbox,
            publisher=publisher,
            dead_letters=DeadLetterFile.beside(path),
            **({"retry_after_s": 0.05} | changes),
        )

    def put(self, count: int = 1, *, topic: str = TOPIC, text: bytes = b"") -> None:
        """Put results whose payload is their number and the text."""
        for _ in range(count):
            self.outbox.put(
                stream="hive/front", topic=topic, payload=b"%d" % self.outbox.next_number("hive/front") + text
            )

    def wait_state(self, condition: Callable[[], bool]) -> None:
        """Wait for a condition on the publisher's state."""
        while not condition():
            self.state_changed.clear()
            if not condition():
                assert self.state_changed.wait(DEADLINE), self.publisher.state

    def wait_settled(self, condition: Callable[[], bool]) -> None:
        """Wait for a condition on what receipts have done to the outbox."""
        assert self.sender.wait_for(condition, timeout=DEADLINE), self.outbox.counts()

    def wait_empty(self) -> None:
        """Wait until nothing waits, over reconnections too, which `drain` does not wait for."""
        self.wait_settled(lambda: self.outbox.depth() == 0)


@contextmanager
def line_to(publisher: Publisher, path: Path | None = None, **changes: Any) -> Iterator[DeliveryLine]:  # noqa: ANN401 - arguments
    """Deliver by any publisher for as long as the context lasts."""
    line = DeliveryLine(publisher, path, **changes)
    publisher.start()
    line.sender.start()
    try:
        yield line
    finally:
        publisher.stop(farewell=None, timeout=2.0)
        assert line.sender.stop(timeout=DEADLINE)
        assert line.outbox.close(timeout=DEADLINE)


@contextmanager
def line_to_broker(
    options: MqttOptions, path: Path | None = None, *, poison: PoisonDetector | None = None
) -> Iterator[DeliveryLine]:
    """Deliver to a broker, with short waits, and with a status as the agent has it."""
    publisher = MqttPublisher(
        options=options,
        status_topic=STATUS,
        last_will=lambda: b"offline",
        first_wait_s=0.05,
        longest_wait_s=0.2,
        poison=poison or PoisonDetector(settle_s=0.1),
    )
    with line_to(publisher, path) as line:
        publisher.report(b"online")
        yield line
