import json
import signal
import socket
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trustme
from beeagent.errors import InputError
from beeagent.mqtt import BrokerAddress, MqttOptions, MqttPublisher, Received
from beeagent.outbox import Outcome, PublisherState, Receipt
from support.mosquitto import Mosquitto, find_program, free_port, running_mosquitto
from support.mqtt_options import mqtt_options
from support.mqtt_subscriber import subscriber
from support.tcp_proxy import tcp_proxy

DEADLINE = 45.0
NEVER = 3600.0
STATUS = "bees/hive/status"
PASSWORD = uuid.uuid4().hex
WRONG_PASSWORD = uuid.uuid4().hex


class Watched:
    """A publisher that allows waiting for its state and acknowledgements."""

    def __init__(self, options: MqttOptions, **changes: Any) -> None:  # noqa: ANN401 - arguments of the publisher
        arguments: dict[str, Any] = {
            "options": options,
            "status_topic": STATUS,
            "last_will": lambda: b"offline: lost",
            "first_wait_s": 0.05,
            "longest_wait_s": 0.2,
        }
        self.publisher = MqttPublisher(**(arguments | changes))
        self.receipts: list[Receipt] = []
        self.states: list[PublisherState] = []
        self._changed = threading.Condition()
        self.publisher.listen(self._note_state)

    def publish(self, payload: bytes, *, topic: str = "bees/hive/front/detections") -> None:
        self.publisher.publish(topic=topic, payload=payload, done=self._note_receipt)

    def wait_connected(self) -> None:
        self.wait_until(lambda: self.publisher.state.connected)

    def wait_receipts(self, count: int) -> list[Receipt]:
        self.wait_until(lambda: len(self.receipts) >= count)
        return self.receipts

    def wait_until(self, condition: Callable[[], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(condition, DEADLINE), (self.states, self.receipts)

    def _note_receipt(self, receipt: Receipt) -> None:
        with self._changed:
            self.receipts.append(receipt)
            self._changed.notify_all()

    def _note_state(self) -> None:
        with self._changed:
            self.states.append(self.publisher.state)
            self._changed.notify_all()


@contextmanager
def publishing(options: MqttOptions, **changes: Any) -> Iterator[Watched]:  # noqa: ANN401 - arguments of the publisher
    watched = Watched(options, **changes)
    watched.publisher.start()
    try:
        yield watched
    finally:
        watched.publisher.stop(farewell=None, timeout=5.0)


def test_publish_uses_mqtt_5_at_qos_1(mosquitto: Mosquitto) -> None:
    with subscriber(mosquitto.port) as seen, publishing(mosquitto.options) as watched:
        watched.wait_connected()
        mosquitto.wait_for_log("as beeagent-test", "p5", "c1", "k30")
        watched.publish(b'{"a":1}')
        assert watched.wait_receipts(1) == [Receipt(Outcome.DELIVERED)]
        (message,) = seen.wait_for(1)
        assert (message.topic, message.payload, message.qos, message.retain) == (
            "bees/hive/front/detections",
            b'{"a":1}',
            1,
            False,
        )
        assert message.properties is not None
        properties = message.properties.json()  # type: ignore[no-untyped-call] # paho leaves this one untyped
        assert properties == {"ContentType": "application/json", "PayloadFormatIndicator": 1}


def test_mosquitto_sub_receives_published_messages(mosquitto: Mosquitto) -> None:
    program = find_program("mosquitto_sub")
    command = [program, "-p", str(mosquitto.port), "-V", "5", "-q", "1", "-t", "bees/#", "-C", "2", "-W", "20", "-v"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watching:
        mosquitto.wait_for_log("Sending SUBACK")
        with publishing(mosquitto.options) as watched:
            watched.wait_connected()
            watched.publish(b"one")
            watched.publish(b"two")
            out, _ = watching.communicate(timeout=DEADLINE)
    assert out.splitlines() == ["bees/hive/front/detections one", "bees/hive/front/detections two"]


def test_publishes_arrive_in_order_with_receipts(mosquitto: Mosquitto) -> None:
    with subscriber(mosquitto.port) as seen, publishing(mosquitto.options) as watched:
        watched.wait_connected()
        for number in range(300):
            watched.publish(b"%d" % number)
        assert watched.wait_receipts(300) == [Receipt(Outcome.DELIVERED)] * 300
        seen.wait_for(300)
        assert seen.payloads() == [b"%d" % number for number in range(300)]


def test_publishing_from_a_receipt_does_not_deadlock(mosquitto: Mosquitto) -> None:
    with publishing(mosquitto.options) as watched:
        watched.wait_connected()
        left = 100
        finished = threading.Event()

        def again(_: Receipt) -> None:
            nonlocal left
            left -= 1
            if left:
                watched.publisher.publish(topic="t", payload=b"x", done=again)
            else:
                finished.set()

        again(Receipt(Outcome.DELIVERED))
        assert finished.wait(DEADLINE)


def test_many_threads_can_publish(mosquitto: Mosquitto) -> None:
    with subscriber(mosquitto.port) as seen, publishing(mosquitto.options) as watched:
        watched.wait_connected()

        def publish(thread: int) -> None:
            for number in range(100):
                watched.publish(b"%d-%d" % (thread, number))

        threads = [threading.Thread(target=publish, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        watched.wait_receipts(400)
        seen.wait_for(400)
        assert len(set(seen.payloads())) == 400


def test_receive_maximum_of_the_broker_limits_publishes_in_flight(tmp_path: Path) -> None:
    # mosquitto announces max_inflight_messages as the receive maximum of MQTT 5.
    with (
        running_mosquitto(tmp_path, settings="allow_anonymous true\nmax_inflight_messages 2") as broker,
        tcp_proxy(broker.port) as proxy,
        publishing(replace(broker.options, address=BrokerAddress("127.0.0.1", proxy.port, tls=False))) as watched,
    ):
        watched.wait_connected()
        proxy.hold_answers()
        for number in range(50):
            watched.publish(b"%d" % number)
        broker.wait_for_log("Received PUBLISH from beeagent-test", "m2,")
        assert watched.publisher._connection is not None
        assert len(watched.publisher._connection._publishes._in_flight) == 2
        proxy.let_answers_through()
        assert watched.wait_receipts(50) == [Receipt(Outcome.DELIVERED)] * 50


def test_message_too_large_for_the_broker_is_refused_and_the_next_is_delivered(tmp_path: Path) -> None:
    with (
        running_mosquitto(tmp_path, settings="allow_anonymous true\nmax_packet_size 2000") as broker,
        publishing(broker.options) as watched,
    ):
        watched.wait_connected()
        watched.publish(bytes(3000))
        watched.publish(b"small")
        large, small = sorted(watched.wait_receipts(2), key=lambda receipt: receipt.outcome is Outcome.DELIVERED)
        assert large.outcome is Outcome.REFUSED
        assert "2000" in large.reason
        assert small == Receipt(Outcome.DELIVERED)
        assert [state.connected for state in watched.states] == [True]


def test_invalid_topic_is_refused(mosquitto: Mosquitto) -> None:
    with publishing(mosquitto.options) as watched:
        watched.wait_connected()
        watched.publish(b"x", topic="bees/#")
        watched.publish(b"x")
        assert [receipt.outcome for receipt in watched.wait_receipts(2)] == [Outcome.REFUSED, Outcome.DELIVERED]


def test_publish_to_forbidden_topic_is_lost(tmp_path: Path) -> None:
    (tmp_path / "acl").write_text("topic readwrite bees/#\n")
    with (
        running_mosquitto(tmp_path, settings=f"allow_anonymous true\nacl_file {tmp_path / 'acl'}") as broker,
        publishing(broker.options) as watched,
    ):
        watched.wait_connected()
        watched.publish(b"x", topic="wasps/x")
        (receipt,) = watched.wait_receipts(1)
        assert receipt.outcome is Outcome.LOST
        assert "not authorized" in receipt.reason


def test_offline_nothing_is_kept_for_later() -> None:
    options = MqttOptions(address=BrokerAddress("127.0.0.1", free_port(), tls=False), client_id="beeagent-test")
    with publishing(options) as watched:
        watched.wait_until(lambda: "nothing listens" in watched.publisher.state.reason)
        watched.publish(b"x")
        (receipt,) = watched.wait_receipts(1)
        assert receipt.outcome is Outcome.LOST
        assert not watched.publisher.state.untried


def test_a_broker_that_comes_later_is_found(tmp_path: Path) -> None:
    broker = Mosquitto(tmp_path)
    broker.port = free_port()
    with publishing(broker.options) as watched:
        watched.publisher.report(b"online")
        watched.wait_until(lambda: "nothing listens" in watched.publisher.state.reason)
        broker.start()
        try:
            broker.wait_for_log("Received PUBLISH from beeagent-test", STATUS)
            with subscriber(broker.port) as seen:
                (message,) = seen.wait_for(1)
                assert (message.topic, message.payload, message.retain) == (STATUS, b"online", True)
        finally:
            broker.stop()


def test_reconnects_after_restart_of_the_broker(mosquitto: Mosquitto) -> None:
    with publishing(mosquitto.options) as watched:
        watched.wait_connected()
        watched.publisher.report(b"online")
        mosquitto.stop(how=signal.SIGKILL)
        watched.wait_until(lambda: not watched.publisher.state.connected)
        watched.publish(b"meanwhile")
        assert watched.wait_receipts(1)[0].outcome is Outcome.LOST
        mosquitto.start()
        watched.wait_connected()
        with subscriber(mosquitto.port) as seen:
            seen.wait_for(1, topic_end="status")
            watched.publish(b"after")
            seen.wait_for(1, topic_end="detections")
            assert seen.payloads("status") == [b"online"]
            assert seen.payloads("detections") == [b"after"]


def test_publishes_in_flight_are_lost_with_the_connection(mosquitto: Mosquitto) -> None:
    with tcp_proxy(mosquitto.port) as proxy:
        options = replace(mosquitto.options, address=BrokerAddress("127.0.0.1", proxy.port, tls=False))
        with publishing(options) as watched:
            watched.wait_connected()
            proxy.hold_answers()
            for number in range(40):  # more than may be in flight
                watched.publish(b"%d" % number)
            mosquitto.wait_for_log("Received PUBLISH from beeagent-test", "m16")
            assert watched.receipts == []
            proxy.cut()
            receipts = watched.wait_receipts(40)
            assert {receipt.outcome for receipt in receipts} == {Outcome.LOST}
            proxy.let_answers_through()
            watched.wait_connected()
            watched.publish(b"again")
            assert watched.wait_receipts(41)[40].outcome is Outcome.DELIVERED


def test_missing_acknowledgement_ends_the_connection(mosquitto: Mosquitto) -> None:
    with tcp_proxy(mosquitto.port) as proxy:
        address = BrokerAddress("127.0.0.1", proxy.port, tls=False)
        with publishing(replace(mosquitto.options, address=address, acknowledge_timeout_s=0.2)) as watched:
            watched.wait_connected()
            proxy.hold_answers()
            watched.publish(b"x")
            (receipt,) = watched.wait_receipts(1)
            assert receipt == Receipt(Outcome.LOST, "no acknowledgement for 0.2 s")


def test_silent_broker_ends_the_connection(mosquitto: Mosquitto) -> None:
    with tcp_proxy(mosquitto.port) as proxy:
        proxy.hold_answers()
        address = BrokerAddress("127.0.0.1", proxy.port, tls=False)
        with publishing(replace(mosquitto.options, address=address, connect_timeout_s=0.2)) as watched:
            watched.wait_until(lambda: "does not answer" in watched.publisher.state.reason)
            proxy.let_answers_through()
            watched.wait_connected()


def test_server_that_is_not_a_broker_is_reported_and_tried_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = BrokerAddress("127.0.0.1", int(listener.getsockname()[1]), tls=False)

        def answer() -> None:
            for _ in range(3):
                client, _ = listener.accept()
                with client:
                    client.recv(1000)
                    client.sendall(b"\x20\x03\x00\x00\x7f" + b"HTTP/1.1 400 Bad Request\r\n\r\n")

        threading.Thread(target=answer, daemon=True).start()
        with publishing(MqttOptions(address=address, client_id="beeagent-test")) as watched:
            watched.wait_until(lambda: bool(watched.states))
            assert not watched.publisher.state.connected
            assert watched.publisher.state.reason


def test_refusal_of_mqtt_5_leads_to_3_1_1(mosquitto: Mosquitto) -> None:
    def admit(client: socket.socket) -> bool:
        level = client.recv(64, socket.MSG_PEEK).partition(b"\x00\x04MQTT")[2][0]
        if level == 5:
            client.recv(65536)
            client.sendall(b"\x20\x02\x00\x01")  # CONNACK of MQTT 3.1.1: unacceptable protocol version
        return level == 4

    with tcp_proxy(mosquitto.port, admit=admit) as proxy, subscriber(mosquitto.port) as seen:
        options = replace(mosquitto.options, address=BrokerAddress("127.0.0.1", proxy.port, tls=False))
        with publishing(options, first_wait_s=NEVER, longest_wait_s=NEVER) as watched:
            watched.wait_connected()  # without a wait, and without a reported problem
            assert watched.states == [PublisherState(connected=True)]
            mosquitto.wait_for_log("as beeagent-test", "p2", "c1")
            watched.publish(b"x")
            assert watched.wait_receipts(1) == [Receipt(Outcome.DELIVERED)]
            assert seen.wait_for(1)[0].payload == b"x"


def test_newest_status_is_retained(mosquitto: Mosquitto) -> None:
    with publishing(mosquitto.options) as watched:
        watched.wait_connected()
        with subscriber(mosquitto.port, STATUS) as live:
            mosquitto.pause()
            for number in range(100):
                watched.publisher.report(b"%d" % number)
            mosquitto.resume()
            live.wait_until(lambda: b"99" in live.payloads())
            assert len(live.payloads()) < 100
        with subscriber(mosquitto.port) as late:
            (message,) = late.wait_for(1)
            assert (message.topic, message.payload, message.retain, message.qos) == (STATUS, b"99", True, 1)


def test_retained_messages_of_several_topics_return_with_the_broker(mosquitto: Mosquitto) -> None:
    with publishing(mosquitto.options) as watched:
        watched.publisher.retain(topic="bees/hive/front/state", payload=b"old")
        watched.publisher.retain(topic="bees/hive/front/state", payload=b"1")
        watched.publisher.report(b"online")
        watched.wait_connected()
        mosquitto.stop(how=signal.SIGKILL)
        watched.wait_until(lambda: not watched.publisher.state.connected)
        watched.publisher.retain(topic="bees/hive/front/state", payload=b"2")
        mosquitto.start()
        with subscriber(mosquitto.port) as late:
            late.wait_until(lambda: {bytes(one.payload) for one in late.messages} == {b"2", b"online"})
            watched.publisher.stop(farewell=None, timeout=5.0)
            assert b"old" not in late.payloads()
            assert b"1" not in late.payloads()


def test_publisher_passes_on_what_it_subscribes_to(mosquitto: Mosquitto) -> None:
    received: list[bytes] = []
    arrived = threading.Event()

    def handle(message: Received) -> None:
        received.append(message.payload)
        arrived.set()

    with publishing(mosquitto.options, subscriptions={"homeassistant/status": handle}) as watched:
        watched.wait_connected()
        with subscriber(mosquitto.port) as sender:
            sender.client.publish("homeassistant/other", b"no", qos=1)
            sender.client.publish("homeassistant/status", b"online", qos=1)
            assert arrived.wait(DEADLINE)
        watched.publish(b"1")
        assert watched.wait_receipts(1) == [Receipt(Outcome.DELIVERED)]
    assert received == [b"online"]


def test_stop_waits_for_pending_publishes_and_publishes_the_last_status(mosquitto: Mosquitto) -> None:
    with subscriber(mosquitto.port) as seen:
        watched = Watched(mosquitto.options)
        watched.publisher.start()
        watched.wait_connected()
        watched.publisher.report(b"online")
        for number in range(100):
            watched.publish(b"%d" % number)
        watched.publisher.stop(farewell=b"offline: stopped", timeout=DEADLINE)
        assert watched.receipts == [Receipt(Outcome.DELIVERED)] * 100
        mosquitto.wait_for_log("Received DISCONNECT from beeagent-test")
        seen.wait_until(lambda: b"offline: stopped" in seen.payloads("status"))
        assert len(seen.payloads("detections")) == 100
        assert seen.payloads("status")[-1] == b"offline: stopped"
        assert b"offline: lost" not in seen.payloads()
        watched.publish(b"late")
        assert watched.receipts[-1].outcome is Outcome.LOST
        watched.publisher.stop(farewell=b"twice", timeout=1.0)
    with subscriber(mosquitto.port) as late:
        assert late.wait_for(1)[0].payload == b"offline: stopped"


def test_stop_does_not_wait_for_a_hanging_broker(mosquitto: Mosquitto) -> None:
    watched = Watched(mosquitto.options)
    watched.publisher.start()
    watched.wait_connected()
    mosquitto.pause()
    watched.publish(b"x")
    watched.publisher.stop(farewell=b"offline", timeout=1.0)
    assert watched.receipts == [Receipt(Outcome.LOST, "disconnected")]
    assert not watched.publisher._thread.is_alive()
    mosquitto.resume()
    with subscriber(mosquitto.port, STATUS) as seen:  # the farewell got no answer, so the last will had to be left
        seen.wait_until(lambda: b"offline: lost" in seen.payloads())


def test_stop_does_not_wait_for_connack(mosquitto: Mosquitto) -> None:
    with tcp_proxy(mosquitto.port) as proxy:
        proxy.hold_answers()
        watched = Watched(replace(mosquitto.options, address=BrokerAddress("127.0.0.1", proxy.port, tls=False)))
        watched.publisher.start()
        mosquitto.wait_for_log("Sending CONNACK to beeagent-test")
        watched.publisher.stop(farewell=b"offline", timeout=NEVER)
        assert not watched.publisher._thread.is_alive()


def test_unstarted_publisher_can_be_stopped() -> None:
    MqttPublisher(
        options=MqttOptions(address=BrokerAddress("127.0.0.1", 1, tls=False), client_id="x"),
        status_topic=STATUS,
        last_will=lambda: b"",
    ).stop(farewell=b"offline", timeout=1.0)


KILLED = """
import sys, time
from beeagent.mqtt import BrokerAddress, MqttOptions, MqttPublisher, Received
options = MqttOptions(address=BrokerAddress("127.0.0.1", int(sys.argv[1]), tls=False), client_id="killed")
publisher = MqttPublisher(options=options, status_topic="bees/hive/status", last_will=lambda: b"offline: lost")
publisher.start()
publisher.report(b"online")
time.sleep(60)
"""


def test_last_will_is_published_after_kill_9(mosquitto: Mosquitto) -> None:
    with subscriber(mosquitto.port) as seen:
        process = subprocess.Popen([sys.executable, "-c", KILLED, str(mosquitto.port)])
        seen.wait_until(lambda: b"online" in seen.payloads())
        process.send_signal(signal.SIGKILL)
        process.wait(DEADLINE)
        seen.wait_until(lambda: seen.payloads() == [b"online", b"offline: lost"])
    with subscriber(mosquitto.port) as late:
        (message,) = late.wait_for(1)
        assert (message.payload, message.retain) == (b"offline: lost", True)


def test_status_is_online_again_after_a_reset(mosquitto: Mosquitto) -> None:
    wills = iter(range(100))
    with tcp_proxy(mosquitto.port) as proxy, subscriber(mosquitto.port) as seen:
        options = replace(mosquitto.options, address=BrokerAddress("127.0.0.1", proxy.port, tls=False))
        with publishing(options, last_will=lambda: b"will %d" % next(wills)) as watched:
            watched.wait_connected()
            watched.publisher.report(b"online")
            seen.wait_until(lambda: b"online" in seen.payloads())
            proxy.cut()
            seen.wait_until(lambda: seen.payloads()[-1:] == [b"online"] and b"will 0" in seen.payloads())
        assert next(wills) >= 2


@contextmanager
def broker_with_login(folder: Path) -> Iterator[Mosquitto]:
    passwords = folder / "passwords"
    subprocess.run([find_program("mosquitto_passwd"), "-b", "-c", str(passwords), "bee", PASSWORD], check=True)
    with running_mosquitto(folder, settings=f"allow_anonymous false\npassword_file {passwords}") as broker:
        yield broker


def test_wrong_password_is_reported_without_the_password(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    with broker_with_login(tmp_path) as broker:
        right = mqtt_options(address=broker.address, client_id="x", username="bee", password=PASSWORD)
        with publishing(right) as watched:
            watched.wait_connected()
        wrong = mqtt_options(address=broker.address, client_id="x", username="bee", password=WRONG_PASSWORD)
        with publishing(wrong) as watched:
            watched.wait_until(lambda: "refuses the user name or password" in watched.publisher.state.reason)
            texts = [watched.publisher.state.reason, repr(wrong), caplog.text]
    assert not [text for text in texts if PASSWORD in text or WRONG_PASSWORD in text]


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@contextmanager
def broker_with_tls(
    folder: Path, authority: trustme.CA, *, host: str = "127.0.0.1", more: str = ""
) -> Iterator[Mosquitto]:
    certificate = authority.issue_cert(host)
    certificate.private_key_pem.write_to_path(folder / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    authority.cert_pem.write_to_path(folder / "ca.pem")
    settings = f"allow_anonymous true\ncertfile {folder}/cert.pem\nkeyfile {folder}/key.pem\ncafile {folder}/ca.pem\n"
    with running_mosquitto(folder, settings=settings + more) as broker:
        yield broker


def test_mqtts_with_a_ca_file(tmp_path: Path, authority: trustme.CA) -> None:
    with broker_with_tls(tmp_path, authority) as broker:
        options = mqtt_options(address=broker.address, client_id="x", ca_file=tmp_path / "ca.pem")
        with publishing(options) as watched:
            watched.wait_connected()
            for _ in range(50):
                watched.publish(bytes(20_000))  # several TLS records each
            assert watched.wait_receipts(50) == [Receipt(Outcome.DELIVERED)] * 50


def test_mqtts_with_a_client_certificate(tmp_path: Path, authority: trustme.CA) -> None:
    client = authority.issue_cert("hive-7")
    client.private_key_pem.write_to_path(tmp_path / "client-key.pem")
    client.cert_chain_pems[0].write_to_path(tmp_path / "client.pem")
    with broker_with_tls(tmp_path, authority, more="require_certificate true") as broker:
        options = mqtt_options(
            address=broker.address,
            client_id="x",
            ca_file=tmp_path / "ca.pem",
            certificate_file=tmp_path / "client.pem",
            key_file=tmp_path / "client-key.pem",
        )
        with publishing(options) as watched:
            watched.wait_connected()
        without = mqtt_options(address=broker.address, client_id="x", ca_file=tmp_path / "ca.pem")
        with publishing(without) as watched:
            watched.wait_until(lambda: bool(watched.states))
            assert not watched.publisher.state.connected


def test_certificate_of_unknown_authority_is_refused(tmp_path: Path, authority: trustme.CA) -> None:
    with (
        broker_with_tls(tmp_path, authority) as broker,
        publishing(mqtt_options(address=broker.address, client_id="x")) as watched,
    ):
        watched.wait_until(lambda: "is not trusted" in watched.publisher.state.reason)


def test_certificate_of_another_host_is_refused(tmp_path: Path, authority: trustme.CA) -> None:
    with broker_with_tls(tmp_path, authority, host="other.example") as broker:
        options = mqtt_options(address=broker.address, client_id="x", ca_file=tmp_path / "ca.pem")
        with publishing(options) as watched:
            watched.wait_until(lambda: "is not trusted" in watched.publisher.state.reason)
            assert "127.0.0.1" in watched.publisher.state.reason


def test_options_that_contradict_each_other_are_refused(tmp_path: Path, authority: trustme.CA) -> None:
    plain, tls = BrokerAddress("h", 1, tls=False), BrokerAddress("h", 1, tls=True, username="bee")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    (tmp_path / "rubbish").write_text("rubbish")
    for arguments, words in (
        ({"address": plain, "ca_file": tmp_path / "ca.pem"}, "mqtts://"),
        ({"address": plain, "password": PASSWORD}, "mqtt_username"),
        ({"address": tls, "username": "wasp"}, "set one of them"),
        ({"address": tls, "certificate_file": tmp_path / "ca.pem"}, "give both or none"),
        ({"address": tls, "ca_file": tmp_path / "missing"}, "missing"),
        ({"address": tls, "ca_file": tmp_path / "rubbish"}, "rubbish"),
        ({"address": tls, "certificate_file": tmp_path / "ca.pem", "key_file": tmp_path / "rubbish"}, "rubbish"),
    ):
        with pytest.raises(InputError, match=words) as caught:
            mqtt_options(client_id="x", **arguments)
        assert str(caught.value).isprintable()
    assert mqtt_options(address=tls, client_id="x", password=PASSWORD).username == "bee"


def test_each_payload_arrives_as_it_is(mosquitto: Mosquitto) -> None:
    message = json.dumps({"event_id": str(uuid.uuid4()), "label": "пчела"}, ensure_ascii=False).encode()
    with subscriber(mosquitto.port) as seen, publishing(mosquitto.options) as watched:
        watched.wait_connected()
        watched.publish(message)
        assert seen.wait_for(1)[0].payload == message
