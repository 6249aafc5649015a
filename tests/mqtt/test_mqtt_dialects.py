"""Brokers without MQTT 5 or with parts of it: mosquitto with such settings, and scripted brokers."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from beeagent.errors import InputError
from beeagent.mqtt import BrokerAddress, MqttOptions, MqttPublisher, Subscription, Version
from beeagent.mqtt.client import RetainedMessage, connect_size, make_client
from beeagent.mqtt.errors import MQTT_3, MQTT_5, Dialect, DialectChoice, Ending
from beeagent.outbox import Outcome, PublisherState, Receipt
from paho.mqtt.enums import MQTTProtocolVersion
from support.mosquitto import Mosquitto, running_mosquitto
from support.mqtt_subscriber import subscriber
from support.scripted_broker import OK_3, Connect, Published, connack_5, disconnect_5, scripted_broker

DEADLINE = 45.0
STATUS = "bees/hive/status"
TOPIC = "bees/hive/front/detections"
DELIVERED = Receipt(Outcome.DELIVERED)
OLD_REFUSAL = b"\x20\x02\x00\x01"


class Watched:
    """A publisher that allows waiting for states and acknowledgements."""

    def __init__(self, options: MqttOptions) -> None:
        self.publisher = MqttPublisher(
            options=options,
            status_topic=STATUS,
            last_will=lambda: b"offline",
            first_wait_s=0.01,
            longest_wait_s=0.05,
        )
        self.receipts: list[Receipt] = []
        self.states: list[PublisherState] = []
        self._changed = threading.Condition()
        self.publisher.listen(self._note_state)

    def publish(self, payload: bytes) -> None:
        self.publisher.publish(topic=TOPIC, payload=payload, done=self._note_receipt)

    def wait_until(self, condition: Callable[[], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(condition, DEADLINE), (self.states, self.receipts)

    def wait_connected(self) -> None:
        self.wait_until(lambda: self.publisher.state.connected)

    def wait_receipts(self, count: int) -> list[Receipt]:
        self.wait_until(lambda: len(self.receipts) >= count)
        return self.receipts

    def wait_reason(self, *parts: str) -> None:
        self.wait_until(lambda: any(all(part in state.reason for part in parts) for state in self.states))

    def _note_receipt(self, receipt: Receipt) -> None:
        with self._changed:
            self.receipts.append(receipt)
            self._changed.notify_all()

    def _note_state(self) -> None:
        with self._changed:
            self.states.append(self.publisher.state)
            self._changed.notify_all()


@contextmanager
def publishing(options: MqttOptions) -> Iterator[Watched]:
    watched = Watched(options)
    watched.publisher.start()
    try:
        yield watched
    finally:
        watched.publisher.stop(farewell=None, timeout=5.0)


def _ended(choice: DialectChoice, **how: Any) -> bool:  # noqa: ANN401 - arguments of the ending
    return choice.note(Ending(reason="", **{"opened": False, "dialect": choice.current} | how), healthy_after_s=10)


def test_guessed_dialect_is_abandoned_after_a_stable_connection() -> None:
    choice = DialectChoice("auto", has_will=True)
    assert _ended(choice, unanswered=True)
    assert choice.current == Dialect(MQTT_3)
    assert not _ended(choice, opened=True, lasted_s=9.0)
    assert choice.current == Dialect(MQTT_3), "which may have been lost for any reason"
    assert not _ended(choice, opened=True, lasted_s=11.0)
    assert choice.current == Dialect(MQTT_5), "the broker may have been restarting"


def test_refused_version_is_not_tried_again() -> None:
    choice = DialectChoice("auto", has_will=True)
    assert _ended(choice, refusal=0x84)
    assert not _ended(choice, opened=True, lasted_s=3600.0)
    assert choice.current == Dialect(MQTT_3)


@pytest.mark.parametrize(("version", "tries"), [("auto", 3), ("5", 1), ("3.1.1", 2)])
def test_unanswered_connections_try_all_dialects_and_then_pause(version: Version, tries: int) -> None:
    choice = DialectChoice(version, has_will=True)
    for _ in range(2):
        assert [_ended(choice, unanswered=True) for _ in range(tries)] == [True] * (tries - 1) + [False]


def _3_alone(to_5: bytes | None) -> Callable[[Connect], bytes | None]:
    """Answer MQTT 3.1.1, and MQTT 5 with something else; None closes the connection."""
    return lambda asked: OK_3 if asked.version == 4 else to_5


@pytest.mark.parametrize(
    "to_5",
    [None, b"", OK_3, OLD_REFUSAL, b"\x20\x02\x00\x02", b"\x20\x02\x00\x05", connack_5(0x84), b"HTTP/1.1 400\r\n\r\n"],
    ids=["closes", "silent", "old form", "old refusal", "old id refusal", "old login refusal", "refuses", "not MQTT"],
)
def test_broker_without_mqtt_5_gets_3_1_1(to_5: bytes | None) -> None:
    with scripted_broker(_3_alone(to_5)) as broker:
        options = MqttOptions(address=broker.address, client_id="bee", connect_timeout_s=0.3)
        with publishing(options) as watched:
            watched.wait_connected()
            watched.publish(b"1")
            assert watched.wait_receipts(1) == [DELIVERED]
        assert [asked.version for asked in broker.connects] == [5, 4]
        assert watched.states[0].connected, "no state of a lost connection in between"


@pytest.mark.parametrize("to_5", [None, b"", OK_3])
def test_reader_gets_3_1_1_as_well(to_5: bytes | None) -> None:
    with scripted_broker(_3_alone(to_5)) as broker:
        options = MqttOptions(address=broker.address, client_id="bee", connect_timeout_s=0.3)
        opened = threading.Event()

        def handle_open() -> None:
            opened.set()
            subscription.stop()

        subscription = Subscription(
            options=options, filters=("a/+",), on_open=handle_open, on_message=lambda _: None, on_lost=lambda _: None
        )
        subscription.run()
        assert opened.is_set()
        assert [asked.version for asked in broker.connects] == [5, 4]


def test_version_can_be_set() -> None:
    with scripted_broker(lambda asked: OK_3 if asked.version == 4 else connack_5()) as broker:
        for version in ("3.1.1", "5"):
            options = MqttOptions(address=broker.address, client_id="bee", version=version)  # type: ignore[arg-type] # a loop
            with publishing(options) as watched:
                watched.wait_connected()
        assert [asked.version for asked in broker.connects] == [4, 5]


def test_version_5_alone_names_the_possible_cause() -> None:
    with scripted_broker(_3_alone(None)) as broker:
        with publishing(MqttOptions(address=broker.address, client_id="bee", version="5")) as watched:
            watched.wait_reason("without an answer to MQTT 5", "a broker that supports MQTT 3.1.1 only")
        assert {asked.version for asked in broker.connects} == {5}


def test_automatic_version_is_not_advised_to_leave_out() -> None:
    def answer(asked: Connect) -> bytes:
        return connack_5(0x84) if asked.version == 5 else OLD_REFUSAL

    with scripted_broker(answer) as broker:
        with publishing(MqttOptions(address=broker.address, client_id="bee")) as watched:
            watched.wait_reason("does not answer MQTT 3.1.1 correctly")
            assert not any("leave mqtt_version out" in state.reason for state in watched.states)
        for version in ("3.1.1", "5"):
            options = MqttOptions(address=broker.address, client_id="bee", version=version)  # type: ignore[arg-type] # a loop
            with publishing(options) as watched:
                watched.wait_reason(f"MQTT {version}", "leave mqtt_version out")


def test_maximum_packet_size_below_connect_is_reported(tmp_path: Path) -> None:
    with running_mosquitto(tmp_path, settings="allow_anonymous true\nmax_packet_size 40") as mosquitto:
        with publishing(mosquitto.options) as watched:
            watched.wait_reason("maximum packet size is below the about", "bytes of CONNECT")
        mosquitto.wait_for_log("oversize packet")


@pytest.mark.parametrize("version", [MQTT_5, MQTT_3])
def test_size_of_connect_is_about_that_of_the_packet(version: MQTTProtocolVersion) -> None:
    address = BrokerAddress("127.0.0.1", 1, tls=False)
    options = MqttOptions(address=address, client_id="bee-7", username="bee", password="hive")  # noqa: S106
    will = RetainedMessage(STATUS, b"x" * 400)
    client = make_client(options=options, dialect=Dialect(version), will=will)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        client._sock = ours
        client._send_connect(options.keepalive_s)
        client.loop_write()
        packet = theirs.recv(4096)
    assert packet[0] == 0x10
    assert abs(len(packet) - connect_size(options, Dialect(version), will)) <= 12


def test_mqtt_3_broker_without_retain_or_qos_1_gets_a_plain_will() -> None:
    def answer(asked: Connect) -> bytes | None:
        return None if asked.version == 5 or asked.will_retain else OK_3

    with scripted_broker(answer) as broker, publishing(MqttOptions(address=broker.address, client_id="bee")) as watched:
        watched.publisher.report(b"online")
        watched.wait_connected()
        watched.publish(b"1")
        assert watched.wait_receipts(1) == [DELIVERED]
        broker.wait_for(lambda: len(broker.published) >= 2)
        assert not any(one.retain or one.qos for one in broker.published)


@pytest.mark.parametrize("announced", [True, False])
def test_scripted_broker_without_retained_messages(announced: bool) -> None:  # noqa: FBT001 - a parameter
    def answer(asked: Connect) -> bytes:
        if asked.will_retain:
            return connack_5(0x9A)
        return connack_5(retain_available=0) if announced else connack_5()

    def end_with(published: Published) -> bytes | None:
        return disconnect_5(0x9A) if published.retain else None

    with scripted_broker(answer, end_with) as broker:
        with publishing(MqttOptions(address=broker.address, client_id="bee")) as watched:
            watched.publisher.report(b"online")
            watched.wait_connected()
            broker.wait_for(lambda: [one.payload for one in broker.published] == [b"online"])
        assert not any(one.retain for one in broker.published)
        assert len(broker.connects) == 2


def test_mosquitto_without_retained_messages(tmp_path: Path) -> None:
    settings = "allow_anonymous true\nretain_available false"
    for version in ("auto", "3.1.1"):
        with running_mosquitto(tmp_path, settings=settings) as broker, subscriber(broker.port) as seen:
            options = replace(broker.options, version=version)  # type: ignore[arg-type] # a loop
            with publishing(options) as watched:
                watched.publisher.report(b"online")
                watched.wait_connected()
                watched.publish(b"1")
                assert watched.wait_receipts(1) == [DELIVERED]
                seen.wait_for(2)
                assert sorted(seen.payloads()) == [b"1", b"online"]


@pytest.mark.parametrize("highest", [0, 1])
def test_mosquitto_with_a_maximum_qos(tmp_path: Path, highest: int) -> None:
    settings = f"max_qos {highest}\nallow_anonymous true"
    with running_mosquitto(tmp_path, settings=settings) as broker, subscriber(broker.port) as seen:
        with publishing(broker.options) as watched:
            watched.publisher.report(b"online")
            watched.wait_connected()
            for number in range(50):
                watched.publish(b"%d" % number)
            assert watched.wait_receipts(50) == [DELIVERED] * 50
            seen.wait_for(51)
        assert set(seen.payloads()) == {b"online", *(b"%d" % number for number in range(50))}


def test_without_qos_1_pingresp_confirms_delivery() -> None:
    with scripted_broker(lambda asked: connack_5(0x9B) if asked.will_qos else connack_5(maximum_qos=0)) as broker:
        broker.deaf_to_pings = True
        with publishing(MqttOptions(address=broker.address, client_id="bee")) as watched:
            watched.wait_connected()
            watched.publish(b"1")
            broker.wait_for(lambda: 12 in broker.kinds)
            assert not watched.receipts
        assert [receipt.outcome for receipt in watched.wait_receipts(1)] == [Outcome.LOST]


def test_announced_keep_alive_is_obeyed() -> None:
    # One second: the broker would end the connection 1.5 s after the last packet.
    with (
        scripted_broker(lambda _: connack_5(server_keep_alive=1)) as broker,
        publishing(MqttOptions(address=broker.address, client_id="bee")) as watched,
    ):
        watched.wait_connected()
        broker.wait_for(lambda: broker.kinds.count(12) >= 2)


def test_payload_limit_follows_the_announced_packet_size(tmp_path: Path) -> None:
    with running_mosquitto(tmp_path, settings="allow_anonymous true\nmax_packet_size 2000") as broker:
        watched = Watched(broker.options)
        assert watched.publisher.payload_limit == 128 * 1024
        watched.publisher.start()
        watched.wait_connected()
        limit = watched.publisher.payload_limit
        assert 1000 < limit < 2000
        watched.publish(b"x" * limit)
        assert watched.wait_receipts(1) == [DELIVERED]
        watched.publisher.stop(farewell=None, timeout=5.0)


def test_broker_without_wildcard_subscriptions_is_reported() -> None:
    with scripted_broker(lambda _: connack_5(wildcard_available=0)) as broker:
        subscription = Subscription(
            options=MqttOptions(address=broker.address, client_id="bee"),
            filters=("bees/+/status",),
            on_open=lambda: None,
            on_message=lambda _: None,
            on_lost=lambda _: None,
        )
        with pytest.raises(
            InputError, match=r"no subscription with wildcards, such as bees/\+/status: give the device"
        ):
            subscription.run()
        assert not broker.kinds, "nothing was subscribed to"


@pytest.mark.parametrize("answer", [connack_5(0x85), OLD_REFUSAL[:3] + b"\x02"])
def test_refused_client_id_is_named(answer: bytes) -> None:
    version = "5" if answer[1] == 3 else "3.1.1"
    with scripted_broker(lambda _: answer) as broker:
        options = MqttOptions(address=broker.address, client_id="beeagent-hive-7-front", version=version)  # type: ignore[arg-type]
        with publishing(options) as watched:
            watched.wait_reason("client id 'beeagent-hive-7-front'", "mqtt_client_id", "shorten device or camera_name")
            # mosquitto has no other code in MQTT 3.1.1 for a keep-alive above its max_keepalive.
            assert ("maximum keep-alive is below 30 s" in watched.states[-1].reason) == (version == "3.1.1")


def test_not_authorized_names_the_client_id() -> None:
    with (
        scripted_broker(lambda _: connack_5(0x87)) as broker,
        publishing(MqttOptions(address=broker.address, client_id="bee-7")) as watched,
    ):
        watched.wait_reason("client id 'bee-7'", "not authorized")


def test_session_taken_over_names_the_client_id(mosquitto: Mosquitto) -> None:
    with publishing(mosquitto.options) as first:
        first.wait_connected()
        with publishing(mosquitto.options):
            first.wait_reason("client id, 'beeagent-test'", "mqtt_client_id")


def test_repeated_losses_hint_at_another_client(mosquitto: Mosquitto) -> None:
    # In MQTT 3.1.1 a broker cannot say that another client took the session over.
    options = replace(mosquitto.options, version="3.1.1")
    with publishing(options) as first, publishing(options):
        first.wait_reason("times soon after it was established", "'beeagent-test'", "mqtt_client_id")
