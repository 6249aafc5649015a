"""Outages between device and broker: results arrive in order afterwards, and none is lost."""

import signal
import subprocess
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from beeagent.mqtt import BrokerAddress, MqttPublisher
from beeagent.outbox import OutboxCounts
from support.delivery_line import TOPIC, DeliveryLine, line_to, line_to_broker
from support.mosquitto import Mosquitto, find_program, running_mosquitto
from support.mqtt_subscriber import Subscriber, subscriber
from support.network_namespace import network_namespace
from support.tcp_proxy import tcp_proxy

pytestmark = pytest.mark.faults


def _all_arrived(line: DeliveryLine, seen: Subscriber, count: int) -> None:
    """Wait until all is delivered, and see that each came, with duplicates perhaps, and none is lost.

    What was put while there was a connection may overtake what had gathered: test_sender_backlog.py has the order.
    """
    line.wait_empty()
    seen.wait_until(lambda: len(set(seen.payloads())) == count)
    assert sorted({int(payload) for payload in seen.payloads()}) == list(range(1, count + 1))
    assert line.outbox.counts() == OutboxCounts(produced=count, delivered=count, dropped={})


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_repeated_broker_stops_lose_nothing(tmp_path: Path, how: signal.Signals) -> None:
    # mosquitto keeps a persistent session over its stop; over its death only what it has saved, so nobody watches then.
    settings = f"allow_anonymous true\npersistence true\npersistence_location {tmp_path}/\n"
    with (
        running_mosquitto(tmp_path, settings=settings) as broker,
        subscriber(broker.port, TOPIC, persistent=True) as seen,
        line_to_broker(broker.options, tmp_path / "o") as line,
    ):
        for _ in range(3):
            line.wait_state(lambda: line.publisher.state.connected)
            line.put(30)
            broker.stop(how=how)
            line.wait_state(lambda: not line.publisher.state.connected)
            line.put(30)
            broker.start()
        if how is signal.SIGTERM:
            _all_arrived(line, seen, 180)
        else:
            line.wait_empty()
            assert line.outbox.counts() == OutboxCounts(produced=180, delivered=180, dropped={})


def test_unplugged_cable_loses_nothing(tmp_path: Path) -> None:
    with (
        network_namespace() as cable,
        running_mosquitto(tmp_path, host=cable.host, namespace=cable.name) as broker,
        subscriber(broker.port, TOPIC, persistent=True, host=cable.host) as seen,
    ):
        options = replace(broker.options, keepalive_s=1, connect_timeout_s=1.0, acknowledge_timeout_s=2.0)
        with line_to_broker(options, tmp_path / "o") as line:
            for count in (20, 40):
                line.put(10)
                seen.wait_until(lambda count=count: len(set(seen.payloads())) >= count - 10)
                line.wait_empty()
                cable.pull()
                line.put(10)  # into the void: TCP does not notice
                line.wait_state(lambda: not line.publisher.state.connected)
                line.wait_state(
                    lambda: (
                        "does not answer" in line.publisher.state.reason
                        or "cannot be reached" in line.publisher.state.reason
                    )
                )
                cable.plug_in()
                _all_arrived(line, seen, count)


def test_silent_connection_is_detected_without_a_publish(mosquitto: Mosquitto) -> None:
    with tcp_proxy(mosquitto.port) as proxy:
        address = BrokerAddress("127.0.0.1", proxy.port, tls=False)
        with line_to_broker(replace(mosquitto.options, address=address, keepalive_s=1)) as line:
            line.wait_state(lambda: line.publisher.state.connected)
            proxy.hold_answers()
            line.wait_state(lambda: not line.publisher.state.connected)
            proxy.cut()
            proxy.let_answers_through()
            line.wait_state(lambda: line.publisher.state.connected)


def test_slow_connection_delivers_everything_once(mosquitto: Mosquitto, tmp_path: Path) -> None:
    with tcp_proxy(mosquitto.port) as proxy, subscriber(mosquitto.port, TOPIC) as seen:
        proxy.drip(16, 0.002)
        address = BrokerAddress("127.0.0.1", proxy.port, tls=False)
        with line_to_broker(replace(mosquitto.options, address=address), tmp_path / "o") as line:
            line.put(30)
            _all_arrived(line, seen, 30)
        assert [int(payload) for payload in seen.payloads()] == list(range(1, 31))
        assert proxy.accepted == 1


def test_repeated_resets_lose_nothing(mosquitto: Mosquitto, tmp_path: Path) -> None:
    with tcp_proxy(mosquitto.port) as proxy, subscriber(mosquitto.port, TOPIC) as seen:
        address = BrokerAddress("127.0.0.1", proxy.port, tls=False)
        with line_to_broker(replace(mosquitto.options, address=address), tmp_path / "o") as line:
            for _ in range(8):
                line.wait_state(lambda: line.publisher.state.connected)
                delivered = line.outbox.counts().delivered
                line.put(10)
                # Some get through each time: a reset right after the same one each time would be that one's fault.
                line.wait_settled(lambda delivered=delivered: line.outbox.counts().delivered > delivered)
                proxy.cut()
                line.wait_state(lambda: not line.publisher.state.connected)
            _all_arrived(line, seen, 80)


def test_refused_credentials_are_tried_again(tmp_path: Path) -> None:
    passwords = tmp_path / "passwords"

    def let_in(user: str) -> None:
        subprocess.run([find_program("mosquitto_passwd"), "-b", "-c", str(passwords), user, "w0rd"], check=True)

    let_in("wasp")
    with running_mosquitto(tmp_path, settings=f"allow_anonymous false\npassword_file {passwords}") as broker:
        options = replace(broker.options, username="bee", password="w0rd")  # noqa: S106 - of this test
        with line_to_broker(options, tmp_path / "o") as line:
            line.put(5)
            line.wait_state(lambda: "refuses the user name or password" in line.publisher.state.reason)
            assert line.outbox.depth() == 5
            let_in("bee")
            broker.reload()
            line.wait_empty()
            assert line.outbox.counts() == OutboxCounts(produced=5, delivered=5, dropped={})


def test_pauses_grow_during_a_long_outage(mosquitto: Mosquitto) -> None:
    """An hour of attempts, with the waits recorded and skipped."""
    mosquitto.stop()
    waits: list[float] = []

    class Stopping(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            if sum(waits) < 3600:
                waits.append(timeout or 0.0)
            elif len(waits) and waits[-1]:
                mosquitto.start()
                waits.append(0.0)
            return self.is_set()

    publisher = MqttPublisher(options=mosquitto.options, status_topic="t", last_will=lambda: b"", stopping=Stopping())
    with line_to(publisher) as line:
        line.put(50)
        line.wait_empty()
        assert line.outbox.counts().delivered == 50
    pauses = [pause for pause in waits if pause]
    assert 2.0 <= pauses[0] <= 4.0
    assert max(pauses) <= 30.0
    assert all(pause >= 15.0 for pause in pauses[3:])
    assert len(set(pauses[3:])) > len(pauses[3:]) // 2  # spread at random
    assert 120 <= len(pauses) <= 250
