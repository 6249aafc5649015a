import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from beeagent.mqtt import BrokerAddress, MqttOptions, MqttPublisher
from beeagent.outbox import DiscardPublisher, Outbox, OutboxCounts, Sender
from support.mosquitto import Mosquitto, free_port, running_mosquitto
from support.mqtt_subscriber import subscriber
from support.tcp_proxy import tcp_proxy

DEADLINE = 45.0
NEVER = 3600.0
TOPIC = "bees/hive/front/detections"


class Line:
    """Outbox, sender and publisher, as the agent puts them together."""

    def __init__(self, options: MqttOptions, path: Path | None, **changes: Any) -> None:  # noqa: ANN401 - arguments
        self.outbox = Outbox(path, commit_interval_s=0.01)
        self.publisher = MqttPublisher(
            options=options,
            status_topic="bees/hive/status",
            last_will=lambda: b"offline",
            first_wait_s=0.05,
            longest_wait_s=0.2,
        )
        self.state_changed = threading.Event()
        self.publisher.listen(self.state_changed.set)
        self.sender = Sender(outbox=self.outbox, publisher=self.publisher, **({"retry_after_s": 0.05} | changes))

    def start(self) -> None:
        self.publisher.start()
        self.sender.start()

    def put(self, count: int = 1) -> None:
        for _ in range(count):
            self.outbox.put(stream="hive/front", topic=TOPIC, payload=b"%d" % self.outbox.next_number("hive/front"))

    def wait_state(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self.state_changed.clear()
            if not condition():
                assert self.state_changed.wait(DEADLINE), self.publisher.state

    def wait_empty(self) -> None:
        """Wait until everything is delivered, over reconnections too, which `drain` does not wait for."""
        assert self.sender.wait_for(lambda: self.outbox.depth() == 0, timeout=DEADLINE)

    def stop(self) -> None:
        self.publisher.stop(farewell=None, timeout=2.0)
        assert self.sender.stop(timeout=DEADLINE)
        assert self.outbox.close(timeout=DEADLINE)


@contextmanager
def carrying(options: MqttOptions, path: Path | None = None, **changes: Any) -> Iterator[Line]:  # noqa: ANN401 - arguments
    line = Line(options, path, **changes)
    line.start()
    try:
        yield line
    finally:
        line.stop()


def numbers(payloads: list[bytes]) -> list[int]:
    return [int(payload) for payload in payloads]


def first_arrivals(payloads: list[bytes]) -> list[int]:
    return list(dict.fromkeys(numbers(payloads)))


def test_results_arrive_once_in_order_and_leave_the_outbox(mosquitto: Mosquitto, tmp_path: Path) -> None:
    with subscriber(mosquitto.port, TOPIC) as seen, carrying(mosquitto.options, tmp_path / "o") as line:
        line.wait_state(lambda: line.publisher.state.connected)
        line.put(200)
        assert line.sender.drain(timeout=DEADLINE)
        seen.wait_for(200)
        assert numbers(seen.payloads()) == list(range(1, 201))
        assert line.outbox.counts() == OutboxCounts(produced=200, delivered=200, dropped={})
    outbox = Outbox(tmp_path / "o")
    assert outbox.waiting() == []
    outbox.close()


def test_result_stays_in_the_outbox_until_acknowledged(mosquitto: Mosquitto) -> None:
    with tcp_proxy(mosquitto.port) as proxy, subscriber(mosquitto.port, TOPIC) as seen:
        options = replace(mosquitto.options, address=BrokerAddress("127.0.0.1", proxy.port, tls=False))
        with carrying(options) as line:
            line.wait_state(lambda: line.publisher.state.connected)
            proxy.hold_answers()
            line.put()
            seen.wait_for(1)  # delivered, but not acknowledged
            assert line.outbox.depth() == 1
            assert line.outbox.counts().delivered == 0
            proxy.let_answers_through()
            assert line.sender.drain(timeout=DEADLINE)
            assert line.outbox.counts().delivered == 1


def test_unacknowledged_results_are_published_again(mosquitto: Mosquitto) -> None:
    with tcp_proxy(mosquitto.port) as proxy, subscriber(mosquitto.port, TOPIC) as seen:
        options = replace(mosquitto.options, address=BrokerAddress("127.0.0.1", proxy.port, tls=False))
        with carrying(options) as line:
            line.wait_state(lambda: line.publisher.state.connected)
            proxy.hold_answers()
            line.put(5)
            seen.wait_for(5)
            proxy.cut()
            proxy.let_answers_through()
            line.wait_empty()
            seen.wait_for(10)
            assert numbers(seen.payloads()) == [1, 2, 3, 4, 5, 1, 2, 3, 4, 5]


def test_max_in_flight_holds(mosquitto: Mosquitto) -> None:
    with tcp_proxy(mosquitto.port) as proxy, subscriber(mosquitto.port, TOPIC) as seen:
        options = replace(mosquitto.options, address=BrokerAddress("127.0.0.1", proxy.port, tls=False))
        with carrying(options, max_in_flight=3) as line:
            line.wait_state(lambda: line.publisher.state.connected)
            proxy.hold_answers()
            line.put(10)
            seen.wait_for(3)
            assert line.sender.in_flight == {1, 2, 3}
            proxy.let_answers_through()
            assert line.sender.drain(timeout=DEADLINE)
            seen.wait_for(10)
            assert numbers(seen.payloads()) == list(range(1, 11))


def test_late_broker_gets_everything_in_order(mosquitto: Mosquitto, tmp_path: Path) -> None:
    # The broker comes into being for the agent when a proxy opens its port; so the subscriber can be there first.
    port = free_port()
    options = replace(mosquitto.options, address=BrokerAddress("127.0.0.1", port, tls=False))
    with subscriber(mosquitto.port, TOPIC) as seen, carrying(options, tmp_path / "o") as line:
        line.wait_state(lambda: "nothing listens" in line.publisher.state.reason)
        line.put(30)
        assert not line.sender.drain(timeout=NEVER)  # gives up at once: there is no connection
        assert line.outbox.depth() == 30
        with tcp_proxy(mosquitto.port, port=port):
            line.wait_state(lambda: line.publisher.state.connected)
            line.put(10)
            assert line.sender.drain(timeout=DEADLINE)
            seen.wait_for(40)
            assert numbers(seen.payloads()) == list(range(1, 41))


def test_restart_of_the_broker_loses_nothing(tmp_path: Path) -> None:
    # mosquitto keeps a persistent session over its restart, so the subscriber misses nothing that was acknowledged.
    settings = f"allow_anonymous true\npersistence true\npersistence_location {tmp_path}/\nautosave_interval 1\n"
    with (
        running_mosquitto(tmp_path, settings=settings) as broker,
        subscriber(broker.port, TOPIC, persistent=True) as seen,
        carrying(broker.options) as line,
    ):
        line.wait_state(lambda: line.publisher.state.connected)
        line.put(100)
        seen.wait_for(10)
        broker.stop()
        line.wait_state(lambda: not line.publisher.state.connected)
        line.put(100)
        broker.start()
        line.wait_empty()
        seen.wait_until(lambda: len(set(seen.payloads())) == 200)
        assert first_arrivals(seen.payloads()) == list(range(1, 201))
        assert line.outbox.counts() == OutboxCounts(produced=200, delivered=200, dropped={})


def test_restart_continues_numbers_and_delivers_the_rest(tmp_path: Path) -> None:
    with running_mosquitto(tmp_path) as broker, subscriber(broker.port, TOPIC) as seen:
        nowhere = replace(broker.options, address=BrokerAddress("127.0.0.1", free_port(), tls=False))
        with carrying(nowhere, tmp_path / "o") as line:
            line.put(5)
        with carrying(broker.options, tmp_path / "o") as line:
            line.put(5)
            assert line.sender.drain(timeout=DEADLINE)
        seen.wait_for(10)
        assert numbers(seen.payloads()) == list(range(1, 11))


def test_refused_result_is_dropped_and_the_next_are_delivered(tmp_path: Path) -> None:
    with (
        running_mosquitto(tmp_path, settings="allow_anonymous true\nmax_packet_size 2000") as broker,
        subscriber(broker.port, TOPIC) as seen,
        carrying(broker.options) as line,
    ):
        line.put()
        line.outbox.put(stream="hive/front", topic=TOPIC, payload=bytes(5000))
        line.put()
        assert line.sender.drain(timeout=DEADLINE)
        seen.wait_for(2)
        assert numbers(seen.payloads()) == [1, 3]
        assert line.outbox.counts() == OutboxCounts(produced=3, delivered=2, dropped={"refused": 1})


def test_forbidden_topic_is_reported_and_delivered_once_allowed(tmp_path: Path) -> None:
    acl = tmp_path / "acl"
    acl.write_text("topic read bees/#\n")
    with (
        running_mosquitto(tmp_path, settings=f"allow_anonymous true\nacl_file {acl}") as broker,
        subscriber(broker.port, TOPIC) as seen,
        carrying(broker.options) as line,
    ):
        line.put(3)
        assert line.sender.wait_for(lambda: line.sender.problem is not None, timeout=DEADLINE)
        assert line.sender.problem is not None
        assert "not authorized" in line.sender.problem
        assert line.outbox.depth() == 3
        acl.write_text("topic readwrite bees/#\n")
        broker.reload()
        assert line.sender.drain(timeout=DEADLINE)
        seen.wait_for(3)
        assert sorted(numbers(seen.payloads())) == [1, 2, 3]
        assert line.sender.problem is None


def test_without_broker_results_are_numbered_and_removed() -> None:
    outbox, publisher = Outbox(None), DiscardPublisher()
    sender = Sender(outbox=outbox, publisher=publisher)
    publisher.start()
    sender.start()
    for expected in itertools.islice(itertools.count(1), 50):
        assert outbox.put(stream="s", topic="t", payload=b"x") == expected
    assert sender.drain(timeout=DEADLINE)
    publisher.stop(farewell=b"offline", timeout=1.0)
    assert sender.stop(timeout=DEADLINE)
    outbox.close()


def test_bounds_must_be_positive() -> None:
    outbox = Outbox(None)
    with pytest.raises(ValueError, match="max_in_flight 0"):
        Sender(outbox=outbox, publisher=DiscardPublisher(), max_in_flight=0)
    outbox.close()
