"""Poison messages are moved to the dead-letter file and reported, and do not block the next ones."""

import json
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from beeagent.mqtt import BrokerAddress, PoisonDetector
from beeagent.mqtt.poison import Sent
from beeagent.outbox import OutboxCounts
from support.delivery_line import STATUS, TOPIC, line_to_broker
from support.mosquitto import Mosquitto, running_mosquitto
from support.mqtt_subscriber import subscriber
from support.tcp_proxy import TcpProxy, tcp_proxy

pytestmark = pytest.mark.faults

POISON = b" poison"
OTHER_TOPIC = "wasps/hive/front/detections"


def _through(proxy: TcpProxy) -> BrokerAddress:
    return BrokerAddress("127.0.0.1", proxy.port, tls=False)


def _kept(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "o.refused.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("before", [0, 3])
def test_poison_message_is_moved_to_dead_letters(mosquitto: Mosquitto, tmp_path: Path, before: int) -> None:
    with tcp_proxy(mosquitto.port) as proxy, subscriber(mosquitto.port, TOPIC) as seen:
        proxy.take_offence(POISON)
        options = replace(mosquitto.options, address=_through(proxy))
        with line_to_broker(options, tmp_path / "o.outbox.sqlite3") as line:
            line.put(before)
            line.put(text=POISON)
            line.put(5)
            line.wait_empty()
            seen.wait_until(lambda: len(set(seen.payloads())) == before + 5)
            expected = OutboxCounts(produced=before + 6, delivered=before + 5, dropped={"breaks-connection": 1})
            assert line.outbox.counts() == expected
            assert line.sender.problem is not None
            assert "moved to" in line.sender.problem
            assert 3 <= proxy.accepted <= 8
    (kept,) = _kept(tmp_path)
    assert (kept["cause"], kept["topic"]) == ("breaks-connection", TOPIC)
    assert kept["payload"] == f"{before + 1} poison"


def test_two_poison_messages_in_a_row_are_found(mosquitto: Mosquitto, tmp_path: Path) -> None:
    with tcp_proxy(mosquitto.port) as proxy, subscriber(mosquitto.port, TOPIC) as seen:
        proxy.take_offence(POISON)
        options = replace(mosquitto.options, address=_through(proxy))
        with line_to_broker(options, tmp_path / "o.outbox.sqlite3") as line:
            line.put(2, text=POISON)
            line.put()
            line.wait_empty()
            assert seen.wait_for(1)[0].payload == b"3"
    assert [entry["payload"] for entry in _kept(tmp_path)] == ["1 poison", "2 poison"]


def test_broker_that_ends_every_connection_loses_no_result(mosquitto: Mosquitto, tmp_path: Path) -> None:
    with tcp_proxy(mosquitto.port) as proxy, subscriber(mosquitto.port, TOPIC) as seen:
        proxy.take_offence(b"online", TOPIC.encode())
        options = replace(mosquitto.options, address=_through(proxy))
        path = tmp_path / "o.outbox.sqlite3"
        with line_to_broker(options, path, poison=PoisonDetector(settle_s=0.0)) as line:
            line.put(3)
            line.wait_state(lambda: proxy.accepted >= 15)
            assert line.outbox.counts() == OutboxCounts(produced=3, delivered=0, dropped={})
            proxy.take_offence()
            line.wait_empty()
            seen.wait_for(3)
            assert line.outbox.counts() == OutboxCounts(produced=3, delivered=3, dropped={})


def test_poison_status_does_not_stop_results(mosquitto: Mosquitto) -> None:
    with tcp_proxy(mosquitto.port) as proxy, subscriber(mosquitto.port, TOPIC) as seen:
        proxy.take_offence(b"online")
        with line_to_broker(replace(mosquitto.options, address=_through(proxy))) as line:
            line.put(3)
            line.wait_empty()
            seen.wait_for(3)
            assert line.outbox.counts().dropped == {}


def _let_write(broker: Mosquitto, acl: Path, *topics: str) -> None:
    acl.write_text("".join(f"topic readwrite {topic}\n" for topic in topics) + "topic read #\n", encoding="utf-8")
    mark = broker.log_mark()
    broker.reload()
    broker.wait_for_log("Reloading config", since=mark)


def test_forbidden_topic_is_retried_and_then_moved_to_dead_letters_until_allowed(tmp_path: Path) -> None:
    acl = tmp_path / "acl"
    acl.write_text(f"topic readwrite {OTHER_TOPIC}\ntopic readwrite {STATUS}\ntopic read #\n", encoding="utf-8")
    with (
        running_mosquitto(tmp_path, settings=f"allow_anonymous true\nacl_file {acl}") as broker,
        subscriber(broker.port, "+/hive/front/detections") as seen,
        line_to_broker(broker.options, tmp_path / "o.outbox.sqlite3", poison=PoisonDetector(patience_s=0.5)) as line,
    ):
        line.put(40)  # more than are on their way at any time
        line.put(2, topic=OTHER_TOPIC)
        # Reported before anything is given up.
        line.wait_settled(
            lambda: (line.sender.problem or "").startswith("the broker refused a message (not authorized)")
        )
        line.wait_empty()
        seen.wait_for(2)
        assert {message.topic for message in seen.messages} == {OTHER_TOPIC}
        assert line.outbox.counts() == OutboxCounts(produced=42, delivered=2, dropped={"forbidden": 40})
        assert line.sender.problem is not None
        assert "moved to" in line.sender.problem
        assert "not authorized" in line.sender.problem
        _let_write(broker, acl, "#")
        for _ in range(3):  # what is under way when mosquitto has said so may come too early
            line.put()
            line.wait_empty()
        seen.wait_until(lambda: any(message.topic == TOPIC for message in seen.messages))
    assert {str(number) for number in range(1, 41)} <= {entry["payload"] for entry in _kept(tmp_path)}


class _Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> _Clock:
    clock = _Clock()
    monkeypatch.setattr("beeagent.mqtt.poison.time.monotonic", clock)
    return clock


def _break_off(poison: PoisonDetector, clock: _Clock, *keys: str, stood: float = 5.0, after: float = 0.1) -> str | None:
    opened = clock.now
    clock.now += stood
    sent = [Sent(key, precious=True, sent_at=clock.now) for key in keys]
    clock.now += after
    return poison.note_connection_ended(sent, opened_at=opened)


def test_poison_needs_a_stable_connection_that_ended_right_after(clock: _Clock) -> None:
    poison = PoisonDetector()
    poison.note_accepted("other", "t")
    for _ in range(10):
        assert _break_off(poison, clock, "x", stood=0.5) is None  # a broker that ends every young connection
        assert _break_off(poison, clock, "x", after=30.0) is None  # not right after
        assert _break_off(poison, clock, "x", "y") is None  # which of the two?
    assert poison.careful
    assert _break_off(poison, clock, "x") is None
    assert _break_off(poison, clock, "x") is None
    assert _break_off(poison, clock, "x") == "x"
    assert poison.is_poison("x")
    clock.now += 3601
    assert not poison.is_poison("x")


def test_who_is_taken_is_cleared(clock: _Clock) -> None:
    poison = PoisonDetector()
    for _ in range(10):
        assert _break_off(poison, clock, "x") is None
        assert _break_off(poison, clock, "x") is None
        poison.note_accepted("x", "t")
        assert not poison.careful


def test_suspicion_ends_when_the_message_is_not_sent_again(clock: _Clock) -> None:
    poison = PoisonDetector()
    _break_off(poison, clock, "x")
    for number in range(300):
        poison.note_accepted(str(number), "t")
    assert not poison.careful


def test_refused_message_is_dead_lettered_while_others_on_its_topic_pass(clock: _Clock) -> None:
    poison = PoisonDetector(patience_s=60)
    assert not poison.note_refused("x", "t")
    clock.now += 59
    poison.note_accepted("y", "t")
    assert not poison.note_refused("x", "t")
    clock.now += 2
    assert poison.note_refused("x", "t")
    assert not poison.note_refused("z", "t")


def test_patience_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match="strikes 0"):
        PoisonDetector(strikes=0)


def test_reset_right_after_accept_loses_no_result(mosquitto: Mosquitto, tmp_path: Path) -> None:
    resetting, tries = True, 0

    def admit(client: socket.socket) -> bool:
        nonlocal tries
        if resetting:
            tries += 1
            client.recv(65536)
            client.sendall(b"\x20\x03\x00\x00\x00")  # CONNACK of MQTT 5: accepted
        return not resetting  # the proxy closes at once

    with tcp_proxy(mosquitto.port, admit=admit) as proxy, subscriber(mosquitto.port, TOPIC) as seen:
        options = replace(mosquitto.options, address=_through(proxy))
        with line_to_broker(options, tmp_path / "o.outbox.sqlite3") as line:
            line.put(5)
            line.wait_state(lambda: tries >= 15)
            resetting = False
            line.wait_empty()
            seen.wait_for(5)
            assert line.outbox.counts() == OutboxCounts(produced=5, delivered=5, dropped={})
