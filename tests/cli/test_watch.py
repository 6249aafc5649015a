import copy
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import pytest
from beeagent.cli.watch import Watcher, detections_line, run_watch, status_line
from beeagent.detection import Detections
from beeagent.errors import InputError
from beeagent.messages import (
    Asleep,
    DetectionsMessage,
    StatusMessage,
    UnreadableError,
    UsualCounts,
    detections_message,
    event_message,
    status_message,
    traffic_message,
)
from beeagent.mqtt import BrokerAddress, EmbeddedBroker, MqttOptions, Received
from beeagent.settings import load_settings
from hypothesis import example, given
from hypothesis import strategies as st
from paho.mqtt import publish
from paho.mqtt.enums import MQTTProtocolVersion
from support.beeagent_command import run_command
from support.mosquitto import Mosquitto, free_port, running_mosquitto

DEADLINE = 45.0
MOMENT = datetime(2026, 5, 4, 10, 21, 7, 123456, tzinfo=timezone.utc)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with running_mosquitto(tmp_path) as running:
        yield running


def detections(
    seq: int = 1, *, count: int = 1, device: str = "hive-7", camera: str = "front", label: str = "bee"
) -> bytes:
    found = Detections(
        boxes=np.tile(np.array([0.25, 0.5, 0.5, 0.75], dtype=np.float32), (count, 1)),
        confidences=np.full(count, 0.97, dtype=np.float32),
        class_ids=np.zeros(count, dtype=np.int64),
        labels=(label,),
    )
    message = detections_message(
        event_id=uuid4(),
        device=device,
        camera=camera,
        seq=seq,
        captured_at=MOMENT,
        frame_width=1280,
        frame_height=720,
        model="bees-lite0@3f9c21d0",
        decided_by="edge",
        detections=found,
        inference_ms=18.4,
        total_ms=39.0,
    )
    return message.encode(limit=100_000)


def status(state: Any, *reasons: str) -> bytes:  # noqa: ANN401 - a literal
    message = status_message(device="hive-7", state=state, reasons=reasons, at=MOMENT, agent_version="0.1.0")
    return message.encode(limit=10_000)


class Watching:
    """A watcher in a thread, with the lines that it wrote."""

    def __init__(self, **arguments: Any) -> None:  # noqa: ANN401 - arguments of the watcher
        self.lines: list[str] = []
        self._grew = threading.Condition()
        self.watcher = Watcher(write=self._write, **arguments)
        self.result: int | None = None
        self.thread = threading.Thread(target=self._run, daemon=True)

    def wait_for(self, condition: Callable[[list[str]], bool]) -> None:
        with self._grew:
            assert self._grew.wait_for(lambda: condition(self.lines), DEADLINE), self.lines

    def _run(self) -> None:
        self.result = self.watcher.run()

    def _write(self, line: str) -> None:
        with self._grew:
            self.lines.append(line)
            self._grew.notify_all()


@contextmanager
def watching(broker: Mosquitto, **arguments: Any) -> Iterator[Watching]:  # noqa: ANN401 - arguments of the watcher
    watched = Watching(**({"options": replace(broker.options, client_id="watch"), "prefix": "bees"} | arguments))
    watched.thread.start()
    try:
        watched.wait_for(lambda lines: bool(lines) and lines[0].startswith("watching "))
        yield watched
    finally:
        watched.watcher.stop()
        watched.thread.join(DEADLINE)
        assert not watched.thread.is_alive()


def send(port: int, topic: str, payload: bytes, *, retain: bool = False) -> None:
    publish.single(topic, payload, qos=1, retain=retain, port=port, protocol=MQTTProtocolVersion.MQTTv311)


def test_result_is_one_line(broker: Mosquitto) -> None:
    with watching(broker) as watched:
        send(broker.port, "bees/hive-7/front/detections", detections(48213, count=2))
        send(broker.port, "bees/hive-7/front/detections", detections(48215, count=0))
        watched.wait_for(lambda lines: len(lines) == 3)
    at, box = "2026-05-04T10:21:07.123456Z", "bee 97% at 0.25 0.50 size 0.25 0.25"
    assert watched.lines[1:] == [
        f"{at} hive-7/front #48213 | 2 bee | {box}, {box} | 39 ms old, 18.4 ms in the model",
        f"{at} hive-7/front #48215 (1 missing before) | nothing | 39 ms old, 18.4 ms in the model",
    ]


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ({"name": "a/IMG_0007.jpg"}, " | a/IMG_0007.jpg | "),
        ({"name": "hive.mp4", "position_s": 12.4}, " | hive.mp4 at 0:00:12.400 | "),
        ({"name": "hive.mp4", "position_s": 3725.9996}, " | hive.mp4 at 1:02:06.000 | "),
    ],
)
def test_source_of_a_result_is_shown(source: dict[str, Any], words: str) -> None:
    message = json.loads(detections()) | {"source": source}
    assert words in detections_line(DetectionsMessage.decode(json.dumps(message).encode()), previous_seq=None)


def test_status_is_a_line_when_it_changes(broker: Mosquitto) -> None:
    send(broker.port, "bees/hive-7/status", status("online"), retain=True)
    with watching(broker) as watched:
        for payload in (status("online"), status("degraded", "no camera", "hot"), status("offline", "stopped")):
            send(broker.port, "bees/hive-7/status", payload)
        watched.wait_for(lambda lines: len(lines) == 4)
    assert watched.lines[1:] == [
        "2026-05-04T10:21:07.123456Z hive-7 is online",
        "2026-05-04T10:21:07.123456Z hive-7 is degraded: no camera; hot",
        "2026-05-04T10:21:07.123456Z hive-7 is offline: stopped",
    ]


def test_invalid_message_is_one_printable_line(broker: Mosquitto) -> None:
    with watching(broker) as watched:
        send(broker.port, "bees/hive-7/front/detections", b"\x1b[2J\xff{")
        send(broker.port, "bees/hive-7/front/detections", b'{"schema": "beeagent.detections/2"}')
        send(broker.port, "bees/hive-7/front/detections", b"[" * 100_000)
        send(broker.port, "bees/hive-7/front/detections", detections())
        watched.wait_for(lambda lines: len(lines) == 5)
    assert all(
        line.startswith("not a message of beeagent on bees/hive-7/front/detections: ") for line in watched.lines[1:4]
    )
    assert all(line.isprintable() for line in watched.lines)
    assert "#1 " in watched.lines[4]


def test_limit_of_results(broker: Mosquitto) -> None:
    with watching(broker, limit=2) as watched:
        send(broker.port, "bees/hive-7/status", status("online"))
        for seq in (1, 2):
            send(broker.port, "bees/hive-7/front/detections", detections(seq))
        watched.thread.join(DEADLINE)
        assert watched.result == 2
    assert len(watched.lines) == 4


def test_filter_by_device_and_camera(broker: Mosquitto) -> None:
    with watching(broker, device="hive-7", camera="front") as watched:
        send(broker.port, "bees/hive-8/front/detections", detections(device="hive-8"))
        send(broker.port, "bees/hive-7/back/detections", detections(camera="back"))
        send(broker.port, "bees/hive-7/front/detections", detections())
        watched.wait_for(lambda lines: len(lines) == 2)
    assert "hive-7/front" in watched.lines[1]


def test_broker_restart(broker: Mosquitto) -> None:
    with watching(broker) as watched:
        broker.stop()
        watched.wait_for(lambda lines: any("reconnecting" in line for line in lines))
        broker.start()
        watched.wait_for(lambda lines: sum(line.startswith("watching") for line in lines) == 2)
        send(broker.port, "bees/hive-7/front/detections", detections())
        watched.wait_for(lambda lines: "#1 " in lines[-1])


def test_mqtt_3_broker() -> None:
    pytest.importorskip("amqtt", reason="the extra `demo` is not installed")
    embedded = EmbeddedBroker(port=None)
    embedded.start()
    lines: list[str] = []
    try:
        port = embedded.address.port
        send(port, "bees/hive-7/status", status("online"), retain=True)

        def write(line: str) -> None:
            lines.append(line)
            if len(lines) == 2:
                send(port, "bees/hive-7/front/detections", detections())

        run_watch(
            load_settings({"broker": str(embedded.address), "topic_prefix": "bees"}, config=None),
            device="+",
            camera="+",
            messages=1,
            write=write,
        )
    finally:
        embedded.stop()
    assert [line.split(" ")[0] for line in lines[:1]] == ["watching"]
    assert "is online" in lines[1]
    assert "#1 " in lines[2]


def test_unreachable_broker_is_an_input_error() -> None:
    settings = load_settings({"broker": f"mqtt://127.0.0.1:{free_port()}"}, config=None)
    with pytest.raises(InputError, match=r"nothing listens at mqtt://127\.0\.0\.1"):
        run_watch(settings, device="+", camera="+", messages=None, write=print)


@pytest.mark.parametrize("broker_setting", ["none", "embedded"])
def test_missing_broker_is_refused(broker_setting: str) -> None:
    with pytest.raises(InputError, match="cannot be watched"):
        run_watch(
            load_settings({"broker": broker_setting}, config=None), device="+", camera="+", messages=None, write=print
        )


@pytest.mark.parametrize(("device", "camera"), [("#", "+"), ("+", "a/b"), ("", "+"), ("++", "+")])
def test_invalid_names_are_refused(device: str, camera: str) -> None:
    with pytest.raises(InputError, match="name"):
        Watcher(
            options=MqttOptions(address=BrokerAddress("127.0.0.1", 1, tls=False), client_id="w"),
            prefix="bees",
            device=device,
            camera=camera,
            write=print,
        )


@given(
    st.binary()
    | st.text().map(str.encode)
    | st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists).map(
        lambda value: json.dumps(value).encode()
    )
)
def test_any_bytes_are_read_or_refused(payload: bytes) -> None:
    for read in (DetectionsMessage.decode, StatusMessage.decode):
        with pytest.raises(UnreadableError):
            read(payload)


def test_byte_order_mark_is_skipped() -> None:
    mark = b"\xef\xbb\xbf"
    result = detections()
    assert DetectionsMessage.decode(mark + result) == DetectionsMessage.decode(result)
    assert StatusMessage.decode(mark + status("online")) == StatusMessage.decode(status("online"))


@given(
    place=st.sampled_from(["device", "camera", "captured_at", "label", "count", "source"]),
    text=st.text(alphabet=st.characters(categories=["Cc", "Cf", "L", "Zl", "Zp", "So"]), min_size=1, max_size=300),
)
def test_control_characters_in_a_message_are_replaced(place: str, text: str) -> None:
    message = json.loads(detections())
    if place == "label":
        message["detections"][0]["label"] = text
    elif place == "count":
        message["counts"] = {text: 3}
    elif place == "source":
        message["source"] = {"name": text, "position_s": 1.0}
    else:
        message[place] = text
    try:
        read = DetectionsMessage.decode(json.dumps(message).encode())
    except UnreadableError:
        return  # a name too long
    line = detections_line(read, previous_seq=None)
    assert line.isprintable()
    assert len(line) < 700


@given(st.lists(st.text(max_size=200), min_size=1, max_size=30))
def test_control_characters_in_a_status_are_replaced(reasons: list[str]) -> None:
    read = StatusMessage.decode(json.dumps(json.loads(status("degraded", "x")) | {"reasons": reasons}).encode())
    assert status_line(read).isprintable()
    assert len(status_line(read)) < 1000


_SEEN = [json.loads(detections(count=2)), json.loads(status("degraded", "no camera"))]
_ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=300) | st.just(10**4000),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=6,
)


@st.composite
def changed_messages(draw: st.DrawFn) -> bytes:
    """Change a value, anywhere in a message, to anything else."""
    message = copy.deepcopy(draw(st.sampled_from(_SEEN)))
    here = message
    while True:
        place = draw(st.sampled_from(sorted(here)) if isinstance(here, dict) else st.integers(0, len(here) - 1))
        if not isinstance(here[place], dict | list) or not here[place] or draw(st.booleans()):
            here[place] = draw(_ANY_JSON)
            return json.dumps(message).encode("utf-8", "surrogatepass")
        here = here[place]


@given(
    payload=changed_messages() | st.binary(max_size=200),
    topic=st.sampled_from(["bees/hive-7/front/detections", "bees/hive-7/status"]) | st.text(max_size=200),
)
@example(payload=json.dumps(_SEEN[0] | {"seq": 10**4000}).encode(), topic="bees/hive-7/front/detections")
@example(payload=json.dumps(_SEEN[0] | {"counts": {"bee": 10**4000}}).encode(), topic="bees/hive-7/front/detections")
def test_any_input_is_at_most_one_printable_line(payload: bytes, topic: str) -> None:
    lines: list[str] = []
    options = MqttOptions(address=BrokerAddress("127.0.0.1", 1, tls=False), client_id="w")
    watcher = Watcher(options=options, prefix="bees", device="+", camera="+", write=lines.append)
    for _ in range(2):  # the second time, it is compared with the first
        watcher._handle_message(Received(topic=topic, payload=payload, retained=False))
    assert 1 <= len(lines) <= 2
    assert all(line.isprintable() and len(line) < 1500 for line in lines)


def test_limit_of_0_results_is_a_usage_error(tmp_path: Path) -> None:
    ended = run_command("watch", "--messages", "0", folder=tmp_path)
    assert ended.returncode == 2
    assert "--messages" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_sleep_and_its_end_are_lines(broker: Mosquitto) -> None:
    asleep = {"since": "2026-05-04T20:00:00.000000Z", "until": "2026-05-05T03:38:51.000000Z"}
    online = json.loads(status("online"))
    with watching(broker) as watched:
        for message in (online, online | {"asleep": asleep}, online | {"asleep": {"since": asleep["since"]}}, online):
            send(broker.port, "bees/hive-7/status", json.dumps(message).encode())
        watched.wait_for(lambda lines: len(lines) == 5)
    assert watched.lines[1:] == [
        "2026-05-04T10:21:07.123456Z hive-7 is online",
        "2026-05-04T10:21:07.123456Z hive-7 is online, asleep until 2026-05-05T03:38:51.000000Z",
        "2026-05-04T10:21:07.123456Z hive-7 is online, asleep until it is bright",
        "2026-05-04T10:21:07.123456Z hive-7 is online",
    ]


def test_event_is_one_line(broker: Mosquitto) -> None:
    message = event_message(
        event_id=UUID(int=1),
        device="hive-7",
        camera="front",
        seq=1,
        event_type="unusually_many_out",
        place="door",
        label="bee",
        begin=MOMENT - timedelta(minutes=10),
        end=MOMENT,
        counts={"in": 64, "out": 1210},
        usual=UsualCounts(median=142.0, low=41, high=487, days=13),
    )
    with watching(broker) as watched:
        send(broker.port, "bees/hive-7/front/events", message.encode(limit=10_000))
        watched.wait_for(lambda lines: len(lines) == 2)
    assert watched.lines[1] == (
        "2026-05-04T10:21:07.123456Z hive-7/front event #1 | unusually many out | "
        "door: 64 bee in, 1210 out, in ten minutes | usually 41 to 487 out at this time of day"
    )


def test_traffic_is_one_line(broker: Mosquitto) -> None:
    counts = {"in": 12, "out": 10, "today": {"in": 840, "out": 851}, "total": {"in": 9410, "out": 9466}}
    message = traffic_message(
        event_id=UUID(int=1),
        device="hive-7",
        camera="front",
        seq=3,
        begin=MOMENT - timedelta(minutes=1),
        end=MOMENT,
        day=MOMENT.date(),
        frames_per_s=14.82,
        lines={"door": {"bee": counts}},
        zones={"entrance": {"bee": {**counts, "inside": 3}}},
    )
    with watching(broker) as watched:
        send(broker.port, "bees/hive-7/front/traffic", message.encode(limit=10_000))
        send(broker.port, "bees/hive-7/front/traffic", b"{}")
        message = message.model_copy(update={"asleep": Asleep.between(MOMENT, None)})
        send(broker.port, "bees/hive-7/front/traffic", message.encode(limit=10_000))
        watched.wait_for(lambda lines: len(lines) == 4)
    assert watched.lines[1] == (
        "2026-05-04T10:21:07.123456Z hive-7/front traffic #3 | door: 12 bee in, 10 out (today 840 and 851) | "
        "entrance: 12 bee in, 10 out (today 840 and 851), 3 inside | 14.8 frames/s"
    )
    assert watched.lines[2].startswith("not a message of beeagent on bees/hive-7/front/traffic: ")
    assert watched.lines[3] == watched.lines[1] + " | then asleep until it is bright"
