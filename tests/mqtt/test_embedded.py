import socket
import subprocess
import sys
import threading
from dataclasses import replace

import pytest
from beeagent.errors import InputError
from beeagent.mqtt import BrokerAddress, EmbeddedBroker, MqttOptions, MqttPublisher
from beeagent.outbox import Outbox, Sender
from paho.mqtt.enums import MQTTProtocolVersion
from support.mosquitto import find_program, free_port
from support.mqtt_subscriber import subscriber
from support.tcp_proxy import tcp_proxy

pytest.importorskip("amqtt", reason="the extra `demo` is not installed")

DEADLINE = 45.0
MQTT_3 = MQTTProtocolVersion.MQTTv311


def publisher_to(address: BrokerAddress) -> MqttPublisher:
    return MqttPublisher(
        options=MqttOptions(address=address, client_id="beeagent-test"),
        status_topic="bees/hive/status",
        last_will=lambda: b"offline: lost",
        first_wait_s=0.05,
        longest_wait_s=0.2,
    )


def test_results_reach_a_subscriber_and_the_status_is_retained() -> None:
    broker = EmbeddedBroker(port=None)
    broker.start()
    outbox, publisher = Outbox(None), publisher_to(broker.address)
    sender = Sender(outbox=outbox, publisher=publisher)
    try:
        with subscriber(broker.address.port, protocol=MQTT_3) as seen:
            publisher.start()
            sender.start()
            publisher.report(b"online")
            for _ in range(300):
                outbox.put(stream="s", topic="bees/hive/front/detections", payload=b"%d" % outbox.next_number("s"))
            assert sender.drain(timeout=DEADLINE)
            seen.wait_for(300, topic_end="detections")
            assert seen.payloads("detections") == [b"%d" % number for number in range(1, 301)]
            seen.wait_for(1, topic_end="status")
            assert not [message.topic for message in seen.messages if message.topic.startswith("$")]
        with subscriber(broker.address.port, protocol=MQTT_3) as late:
            message = late.wait_for(1)[0]
            assert (message.topic, message.payload, message.retain) == ("bees/hive/status", b"online", True)
            publisher.stop(farewell=b"offline: stopped", timeout=5.0)
            late.wait_until(lambda: late.payloads()[-1] == b"offline: stopped")
            assert set(late.payloads()) == {b"online", b"offline: stopped"}  # amqtt may repeat what it retains
        assert sender.stop(timeout=DEADLINE)
        assert outbox.counts().delivered == 300
    finally:
        publisher.stop(farewell=None, timeout=5.0)
        sender.stop()
        outbox.close()
        broker.stop()


def test_embedded_broker_publishes_the_last_will() -> None:
    broker = EmbeddedBroker(port=None)
    broker.start()
    try:
        with tcp_proxy(broker.address.port) as proxy, subscriber(broker.address.port, protocol=MQTT_3) as seen:
            publisher = publisher_to(replace(broker.address, port=proxy.port))
            publisher.start()
            publisher.report(b"online")
            seen.wait_until(lambda: b"online" in seen.payloads())
            proxy.close()
            seen.wait_until(lambda: seen.payloads() == [b"online", b"offline: lost"])
            publisher.stop(farewell=None, timeout=5.0)
    finally:
        broker.stop()


def test_mosquittos_own_clients_can_use_it() -> None:
    publish, subscribe = find_program("mosquitto_pub"), find_program("mosquitto_sub")
    broker = EmbeddedBroker(port=None)
    broker.start()
    try:
        port = str(broker.address.port)
        subprocess.run(
            [publish, "-p", port, "-q", "1", "-r", "-t", "bees/x", "-m", "hello"], check=True, timeout=DEADLINE
        )
        found = subprocess.run(
            [subscribe, "-p", port, "-q", "1", "-t", "bees/#", "-C", "1", "-W", "20"],
            check=True,
            capture_output=True,
            text=True,
            timeout=DEADLINE,
        )
        assert found.stdout == "hello\n"
    finally:
        broker.stop()


def test_restarted_broker_has_no_retained_messages() -> None:
    before = set(threading.enumerate())
    port = free_port()
    broker = EmbeddedBroker(port=port)
    broker.start()
    its_threads = set(threading.enumerate()) - before
    assert its_threads
    broker.stop()
    broker.stop()
    assert not any(thread.is_alive() for thread in its_threads)
    again = EmbeddedBroker(port=port)
    again.start()
    again.stop()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


def test_it_stops_while_clients_are_connected() -> None:
    broker = EmbeddedBroker(port=None)
    broker.start()
    with subscriber(broker.address.port, protocol=MQTT_3):
        broker.stop()
        assert not broker._thread.is_alive()


def test_port_in_use_is_reported_with_remedy() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = int(taken.getsockname()[1])
        with pytest.raises(InputError, match=f"--broker mqtt://127.0.0.1:{port}"):
            EmbeddedBroker(port=port).start()


def test_it_listens_on_this_machine_only() -> None:
    broker = EmbeddedBroker(port=None)
    broker.start()
    try:
        assert broker.address.host == "127.0.0.1"
        with socket.create_connection(("127.0.0.1", broker.address.port)):
            pass
        with pytest.raises(OSError, match=r"."):
            socket.create_connection(("127.0.0.2", broker.address.port), timeout=DEADLINE)
    finally:
        broker.stop()


QUIET = """
import logging
logging.basicConfig(level=logging.INFO)
logging.captureWarnings(True)
import socket
from beeagent.mqtt import EmbeddedBroker
broker = EmbeddedBroker(port=None)
broker.start()
socket.create_connection(("127.0.0.1", broker.address.port)).close()
broker.stop()
"""


def test_it_says_nothing() -> None:
    done = subprocess.run([sys.executable, "-c", QUIET], check=True, capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    assert done.stdout == ""


MISSING = """
import sys
sys.modules["amqtt"] = None
from beeagent.errors import InputError
from beeagent.mqtt import EmbeddedBroker
try:
    EmbeddedBroker()
except InputError as error:
    print(error)
"""


def test_missing_package_is_reported_with_remedy() -> None:
    done = subprocess.run([sys.executable, "-c", MISSING], check=True, capture_output=True, text=True, timeout=60)
    assert "pip install '.[demo]'" in done.stdout
