"""The backlog of an outage is sent in order, and live results do not wait for it."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from beeagent.mqtt import BrokerAddress, MqttPublisher
from beeagent.outbox import DiscardPublisher, Outbox, Outcome, Receipt, Sender
from support.mosquitto import Mosquitto, free_port
from support.mqtt_subscriber import Subscriber, subscriber
from support.outbox_disk import Disk
from support.tcp_proxy import tcp_proxy

DEADLINE = 45.0
TOPIC = "bees/hive/front/detections"


class Line:
    """Outbox, sender and publisher, with a proxy before the broker that is not there at first."""

    def __init__(self, broker: Mosquitto, **changes: Any) -> None:  # noqa: ANN401 - arguments
        self.port = free_port()
        self.outbox = Outbox(None, commit_interval_s=0.01)
        options = replace(broker.options, address=BrokerAddress("127.0.0.1", self.port, tls=False))
        self.publisher = MqttPublisher(
            options=options, status_topic="s", last_will=lambda: b"off", first_wait_s=0.05, longest_wait_s=0.2
        )
        self.sender = Sender(outbox=self.outbox, publisher=self.publisher, **changes)
        self.publisher.start()
        self.sender.start()

    def put(self, count: int) -> None:
        for _ in range(count):
            self.outbox.put(stream="s", topic=TOPIC, payload=b"%d" % self.outbox.next_number("s"))
        assert self.outbox.flush(timeout=DEADLINE)


@contextmanager
def backlog_of(count: int, broker: Mosquitto, **changes: Any) -> Iterator[Line]:  # noqa: ANN401 - arguments
    """Let results gather, and then open the way to the broker."""
    line = Line(broker, **changes)
    line.put(count)
    try:
        with tcp_proxy(broker.port, port=line.port):
            yield line
    finally:
        line.publisher.stop(farewell=None, timeout=2.0)
        assert line.sender.stop(timeout=DEADLINE)
        line.outbox.close()


def numbers(seen: Subscriber) -> list[int]:
    return [int(payload) for payload in seen.payloads()]


def test_live_results_do_not_wait_for_the_backlog(mosquitto: Mosquitto) -> None:
    with subscriber(mosquitto.port, TOPIC) as seen, backlog_of(60, mosquitto, drain_rate=1) as line:
        seen.wait_for(1)
        line.put(30)
        seen.wait_until(lambda: 90 in numbers(seen))
        # A minute of backlog at this rate; all of it was older.
        assert line.outbox.depth() > 0
        assert [number for number in numbers(seen) if number > 60] == list(range(61, 91))
        assert line.sender.drain(timeout=DEADLINE)  # knows no rate
        seen.wait_for(90)
        assert [number for number in numbers(seen) if number <= 60] == list(range(1, 61))


def test_backlog_is_sent_at_its_rate(mosquitto: Mosquitto) -> None:
    with subscriber(mosquitto.port, TOPIC) as seen, backlog_of(40, mosquitto, drain_rate=20):
        seen.wait_for(40)  # nothing else happens that would wake the sender but its own clock
        assert numbers(seen) == list(range(1, 41))


class PatientPublisher(DiscardPublisher):
    """Accepts every publish, and reports its outcome only on request."""

    def __init__(self) -> None:
        super().__init__()
        self.taken: list[int] = []
        self._ends: list[Callable[[Receipt], None]] = []

    def publish(self, *, topic: str, payload: bytes, done: Callable[[Receipt], None]) -> None:  # noqa: ARG002 - of the interface
        self.taken.append(int(payload))
        self._ends.append(done)

    def end_all(self, outcome: Outcome) -> None:
        ends, self._ends = self._ends, []
        for end in ends:
            end(Receipt(outcome, "a reason"))


class Steps:
    """A sender that runs on the test's thread, so that its steps are deterministic."""

    def __init__(self, **changes: Any) -> None:  # noqa: ANN401 - arguments
        self.outbox, self.publisher = Outbox(None, commit_interval_s=0.01), PatientPublisher()
        self.sender = Sender(outbox=self.outbox, publisher=self.publisher, **changes)

    def put(self, count: int) -> None:
        for _ in range(count):
            self.outbox.put(stream="s", topic=TOPIC, payload=b"%d" % self.outbox.next_number("s"))
        assert self.outbox.flush(timeout=DEADLINE)

    def sent(self) -> list[int]:
        """Run the sender once, and return what it has published."""
        self.publisher.taken.clear()
        self.sender.run_once()
        return list(self.publisher.taken)


def test_backlog_uses_half_of_max_in_flight() -> None:
    steps = Steps(max_in_flight=4)
    steps.put(10)
    steps.publisher.start()
    assert steps.sent() == [1, 2]
    steps.put(5)
    assert steps.sent() == [11, 12]
    steps.publisher.end_all(Outcome.DELIVERED)
    assert steps.sent() == [3, 4, 13, 14]
    steps.outbox.close()


def test_backlog_yields_to_live_results_that_fall_behind() -> None:
    steps = Steps(max_in_flight=4)
    steps.put(10)
    steps.publisher.start()
    assert steps.sent() == [1, 2]
    steps.put(12)
    assert steps.sent() == [11, 12]
    steps.publisher.end_all(Outcome.DELIVERED)
    assert steps.sent() == [3, 13, 14, 15]
    steps.publisher.end_all(Outcome.DELIVERED)
    assert steps.sent() == [4, 16, 17, 18]
    steps.publisher.end_all(Outcome.DELIVERED)
    assert steps.sent() == [5, 6, 19, 20]
    steps.outbox.close()


def test_drain_sends_the_backlog_without_limits() -> None:
    steps = Steps(max_in_flight=4, drain_rate=0.001)
    steps.put(10)
    steps.publisher.start()
    steps.sender.drain(timeout=0)
    assert steps.sent() == [1, 2, 3, 4]
    steps.outbox.close()


def test_second_outage_makes_one_backlog() -> None:
    steps = Steps(max_in_flight=8)
    steps.put(6)
    steps.publisher.start()
    assert steps.sent() == [1, 2, 3, 4]
    steps.put(2)
    assert steps.sent() == [7, 8]
    steps.publisher.stop(farewell=None, timeout=0)
    steps.publisher.end_all(Outcome.LOST)
    assert steps.sent() == []
    steps.put(2)
    steps.publisher.start()
    assert steps.sent() == [1, 2, 3, 4]
    steps.publisher.end_all(Outcome.DELIVERED)
    assert steps.sent() == [5, 6, 7, 8]
    steps.publisher.end_all(Outcome.DELIVERED)
    assert steps.sent() == [9, 10]
    steps.outbox.close()


def test_lost_results_are_published_again_in_order() -> None:
    steps = Steps(max_in_flight=8, retry_after_s=1e-9)
    steps.put(3)
    steps.publisher.start()
    assert steps.sent() == [1, 2, 3]
    steps.put(2)
    assert steps.sent() == [4, 5]
    steps.publisher.end_all(Outcome.LOST)
    assert (steps.sent() or steps.sent()) == [1, 2, 3, 4, 5]  # the pause may have passed at once
    steps.outbox.close()


def test_unreadable_file_is_a_problem_until_it_can_be_read() -> None:
    failures = iter(range(3))

    def fail(sql: str) -> None:
        if sql.startswith("SELECT id, topic") and next(failures, None) is not None:
            raise sqlite3.OperationalError("disk I/O error")

    disk, publisher = Disk(), DiscardPublisher()
    outbox = Outbox(None, commit_interval_s=0.01, connect=disk.connect)
    disk.before = fail
    sender = Sender(outbox=outbox, publisher=publisher, retry_after_s=0.01)
    outbox.put(stream="s", topic="t", payload=b"x")
    publisher.start()
    assert outbox.flush(timeout=DEADLINE)
    sender.start()
    assert sender.drain(timeout=DEADLINE)
    assert next(failures, None) is None
    assert outbox.counts().delivered == 1
    assert sender.problem is None
    publisher.stop(farewell=None, timeout=1.0)
    assert sender.stop(timeout=DEADLINE)
    outbox.close()


def test_unreadable_file_is_reported() -> None:
    def fail(sql: str) -> None:
        if sql.startswith("SELECT id, topic"):
            raise sqlite3.OperationalError("disk I/O error")

    disk, publisher = Disk(), DiscardPublisher()
    outbox = Outbox(None, connect=disk.connect)
    disk.before = fail
    sender = Sender(outbox=outbox, publisher=publisher, retry_after_s=0.01)
    publisher.start()
    sender.start()
    assert sender.wait_for(lambda: sender.problem == "results cannot be read: disk I/O error", timeout=DEADLINE)
    assert sender.stop(timeout=DEADLINE)
    outbox.close()
