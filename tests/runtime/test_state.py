"""The retained state of a camera, and its announcement to Home Assistant."""

import json
import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from beeagent.camera import SleepPeriod
from beeagent.detection import Detections
from beeagent.messages import Announcement, StateMessage, discovery_topic, load_schema
from beeagent.mqtt import Received
from beeagent.outbox import DiscardPublisher
from beeagent.runtime.home_assistant import HomeAssistant
from beeagent.runtime.state import StateReporter
from beeagent.runtime.status import Health, Problems
from beeagent.settings import load_settings
from jsonschema import Draft202012Validator
from paho.mqtt import publish
from support.beeagent_command import run_command
from support.beeagent_process import DEADLINE, run_beeagent, running_agent, tiny_model
from support.home_assistant import entities, state_of
from support.known_health import known_health
from support.mosquitto import Mosquitto
from support.mqtt_subscriber import Subscriber, subscriber

STATE = "beeagent/hive-7/front/state"
STATUS = "beeagent/hive-7/status"
DISCOVERY = "homeassistant/device/beeagent_hive-7_front/config"
BIRTH = "homeassistant/status"


class Kept(DiscardPublisher):
    """Keeps the retained messages."""

    def __init__(self, payload_limit: int = 100_000) -> None:
        super().__init__()
        self.messages: list[tuple[str, bytes]] = []
        self._limit = payload_limit

    @property
    def payload_limit(self) -> int:
        return self._limit

    def retain(self, *, topic: str, payload: bytes) -> None:
        self.messages.append((topic, payload))

    def on(self, topic: str) -> list[dict[str, Any]]:
        return [json.loads(payload) for to, payload in self.messages if to == topic]


@dataclass
class Camera:
    """A state reporter with a settable clock and detections."""

    problems: Problems
    health: Health
    publisher: Kept
    reporter: StateReporter
    time: list[float] = field(default_factory=lambda: [100.0])

    def see(self, *class_ids: int, labels: tuple[str, ...] = ("bee", "wasp")) -> None:
        count = len(class_ids)
        found = Detections(
            np.zeros((count, 4), np.float32), np.ones(count, np.float32), np.array(class_ids, np.int64), labels
        )
        self.health.count_frame(captured_ns=_now_ns(), detections=found)

    def check_after(self, seconds: float) -> list[dict[str, Any]]:
        """Return the states published after a number of seconds."""
        before = len(self.publisher.on(STATE))
        self.time[0] += seconds
        self.reporter.check()
        return self.publisher.on(STATE)[before:]


def _now_ns() -> int:
    import time  # noqa: PLC0415 - the frame's own clock

    return time.monotonic_ns()


def _camera(
    *,
    home_assistant: HomeAssistant | None = None,
    payload_limit: int = 100_000,
    thermometer: Path = Path("/nonexistent"),
    **options: object,
) -> Camera:
    problems, time = Problems(), [100.0]
    health, publisher = known_health(problems), Kept(payload_limit)
    reporter = StateReporter(
        load_settings({"device": "hive-7", "camera_name": "front", **options}),
        health=health,
        labels=("bee", "wasp"),
        counting=None,
        publisher=publisher,
        home_assistant=home_assistant,
        thermometer=thermometer,
        clock=lambda: time[0],
    )
    return Camera(problems, health, publisher, reporter, time)


def test_state_is_published_on_change_and_at_least_every_interval() -> None:
    camera = _camera()
    assert camera.check_after(0) == []  # nothing was seen yet
    camera.see(0, 0)
    (first,) = camera.check_after(1)
    Draft202012Validator(load_schema("state")).validate(first)
    assert (first["watching"], first["objects"], first["camera_problem"]) == (True, {"bee": 2, "wasp": 0}, False)
    camera.see()
    assert camera.check_after(1.9) == []
    (empty,) = camera.check_after(0.2)  # an empty board reaches 0
    assert empty["objects"] == {"bee": 0, "wasp": 0}
    camera.see()
    assert camera.check_after(29) == []
    assert len(camera.check_after(1.1)) == 1


def test_state_without_a_current_frame_has_no_objects() -> None:
    camera = _camera()
    camera.see(0)
    camera.check_after(1)
    camera.problems.set("camera", "no frame for 5 s")
    (lost,) = camera.check_after(2)
    assert (lost["watching"], lost["objects"], lost["camera_problem"]) == (False, {}, True)
    assert lost["problems"] == ["camera: no frame for 5 s"]
    camera.problems.set("camera", None)
    assert camera.check_after(2)[0]["watching"] is True
    camera.health.count_frame(captured_ns=_now_ns() - 31 * 10**9, detections=None)
    (stale,) = camera.check_after(2)
    assert (stale["watching"], stale["objects"], stale["camera_problem"]) == (False, {}, False)


def test_camera_that_is_missing_at_the_start_has_a_state() -> None:
    camera = _camera()
    camera.problems.set("camera", "does not exist")
    (state,) = camera.check_after(1)
    assert (state["watching"], state["camera_problem"]) == (False, True)


def test_camera_that_sleeps_has_no_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    camera = _camera()
    night = SleepPeriod(datetime(2026, 5, 4, 20, tzinfo=timezone.utc), datetime(2026, 5, 5, 3, tzinfo=timezone.utc))
    monkeypatch.setattr(camera.health, "_sleep", SimpleNamespace(period=night))
    (state,) = camera.check_after(1)  # even before the first frame
    assert (state["asleep"], state["watching"], state["objects"]) == (True, False, {})
    assert state["camera_problem"] is False


def test_model_of_many_labels_has_those_that_it_has_detected() -> None:
    camera = _camera()
    labels = tuple(f"label {number}" for number in range(80))
    camera.see(3, 3, 7, labels=labels)
    assert camera.check_after(1)[0]["objects"] == {"label 3": 2, "label 7": 1}
    camera.see(labels=labels)
    assert camera.check_after(2)[0]["objects"] == {"label 3": 0, "label 7": 0}


def test_state_interval_0_publishes_nothing() -> None:
    camera = _camera(state_interval=0.0)
    camera.see(0)
    assert camera.check_after(100) == []


def test_state_that_does_not_fit_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    camera = _camera(payload_limit=100)
    for _ in range(3):
        camera.see(0)
        assert camera.check_after(31) == []
    assert sum("the state is not published" in record.message for record in caplog.records) == 1


def test_waiting_results_alone_are_no_change() -> None:
    camera = _camera()
    camera.see(0)
    camera.check_after(1)
    health_outbox = camera.health._outbox
    counts = health_outbox.counts()
    health_outbox.counts = lambda: type(counts)(produced=5, delivered=0, dropped={})  # type: ignore[method-assign]
    camera.see(0)
    assert camera.check_after(5) == []
    camera.see(0)
    assert camera.check_after(26)[0]["outbox"]["waiting"] == 5


def test_temperature_alone_is_no_change(tmp_path: Path) -> None:
    thermometer = tmp_path / "temp"
    thermometer.write_text("51540\n")
    home, _ = _announcing()
    camera = _camera(thermometer=thermometer, home_assistant=home)
    camera.see(0)
    assert camera.check_after(1)[0]["temperature_c"] == 51.5
    thermometer.write_text("62000\n")
    camera.see(0)
    assert camera.check_after(5) == []
    found = entities(camera.publisher.messages[0][1])
    assert found["sensor.hive_7_front_processor_temperature"]["unit_of_measurement"] == "°C"


def _announcing(**options: object) -> tuple[HomeAssistant, Kept]:
    settings = load_settings({"device": "hive-7", "camera_name": "front", "home_assistant": True, **options})
    return HomeAssistant(settings, pause_s=lambda: 0.0), Kept()


def _state(**places: Mapping[str, object]) -> StateMessage:
    counts = {"per_minute": {"in": 1, "out": 2}, "today": {"in": 1, "out": 3}, "away": 2, "total": {"in": 5, "out": 9}}
    return StateMessage.model_validate(
        {
            "schema": "beeagent.state/1", "device": "hive-7", "camera": "front", "at": "2026-05-04T10:21:07.000000Z",
            "model": "bees@12345678", "watching": True, "objects": {"bee": 4}, "frames_per_s": 9.876,
            "camera_problem": False, "problems": [], "outbox": {"waiting": 1, "dropped": 0},
            "day": "2026-05-04", "day_began_at": "2026-05-03T22:00:00.000000Z",
            "lines": {name: {"bee": counts} for name in places.get("lines", ())},
            "zones": {name: {"bee": {**counts, "inside": 3}} for name in places.get("zones", ())},
        }
    )  # fmt: skip


def test_announcement_is_published_once_and_again_after_a_birth_message() -> None:
    home, publisher = _announcing()
    assert home.announce(publisher, ("bee",), _state(), now=1.0)
    assert not home.announce(publisher, ("bee",), _state(), now=2.0)
    home.subscriptions[BIRTH](Received(BIRTH, b"offline", False))  # noqa: FBT003 - a named tuple's field
    assert not home.announce(publisher, ("bee",), _state(), now=float("inf"))
    home.subscriptions[BIRTH](Received(BIRTH, b"online", False))  # noqa: FBT003 - as above
    assert not home.announce(publisher, ("bee",), _state(), now=0.0)  # after a pause
    assert home.announce(publisher, ("bee",), _state(), now=float("inf"))
    assert [topic for topic, _ in publisher.messages] == [DISCOVERY] * 2
    assert publisher.messages[0] == publisher.messages[1]


def test_entities_of_places_that_are_gone_are_removed() -> None:
    home, publisher = _announcing()
    home.announce(publisher, ("bee",), _state(lines={"door": 1}, zones={"box": 1}), now=1.0)
    home.announce(publisher, ("bee",), _state(lines={"gate": 1}), now=2.0)
    components = publisher.on(DISCOVERY)[-1]["components"]
    removed = {key for key, one in components.items() if one == {"platform": "sensor"}}
    assert removed == {
        f"{place}_bee_{key}"
        for place in ("door", "box")
        for key in ("in", "out", "in_per-minute", "out_per-minute", "away", "inside")
        if (place, key) != ("door", "inside")
    }
    assert "gate_bee_in" in components
    home.announce(publisher, ("bee",), _state(lines={"door": 1}), now=3.0)
    assert len(publisher.on(DISCOVERY)[-1]["components"]["door_bee_in"]) > 1


def test_entities_of_an_earlier_process_are_removed() -> None:
    before, publisher = _announcing()
    before.announce(publisher, ("bee", "wasp"), _state(), now=1.0)
    home, publisher_now = _announcing()
    home.announce(publisher_now, ("bee",), _state(), now=1.0)
    home.subscriptions[DISCOVERY](Received(DISCOVERY, publisher.messages[0][1], True))  # noqa: FBT003 - as above
    assert home.announce(publisher_now, ("bee",), _state(), now=2.0)
    assert publisher_now.on(DISCOVERY)[-1]["components"]["objects_wasp"] == {"platform": "sensor"}
    entities(publisher_now.messages[-1][1])
    # Its own announcement comes back after each new connection, with the removed ones in it.
    home.subscriptions[DISCOVERY](Received(DISCOVERY, publisher_now.messages[-1][1], True))  # noqa: FBT003 - as above
    assert not home.announce(publisher_now, ("bee",), _state(), now=3.0)


@pytest.mark.parametrize(
    "payload",
    [b"", b"[]", b"{", b'{"origin": {"name": "zigbee2mqtt"}, "components": {"a": {"platform": "x", "b": 1}}}'],
)
def test_foreign_announcement_is_ignored(payload: bytes) -> None:
    home, publisher = _announcing()
    home.announce(publisher, ("bee",), _state(), now=1.0)
    home.subscriptions[DISCOVERY](Received(DISCOVERY, payload, True))  # noqa: FBT003 - as above
    assert not home.announce(publisher, ("bee",), _state(), now=2.0)


def _announcement(**changes: Any) -> Announcement:  # noqa: ANN401 - of the type of each field
    fields: dict[str, Any] = {
        "topic_prefix": "beeagent", "device": "hive-7", "camera": "front", "labels": ("bee",),
        "lines": (("door", ("bee",)),), "zones": (("box", ("bee",)),), "agent_version": "1.0", "expire_after_s": 95,
    }  # fmt: skip
    return Announcement(**{**fields, **changes})


def test_entities_have_the_values_of_the_state() -> None:
    found = entities(_announcement().encode(removed={}, limit=100_000))
    status = json.dumps({"state": "online", "cameras": [{"name": "front"}]}).encode()
    messages = {STATE: _state(lines={"door": 1}, zones={"box": 1}).to_json(), STATUS: status}
    states = {name: state_of(entity, messages) for name, entity in found.items()}
    assert states == {
        "sensor.hive_7_front_bees": "4",
        **{
            f"sensor.hive_7_front_{place}_{name}": value
            for place in ("door", "box")
            for name, value in {
                "in": "5", "out": "9", "in_per_minute": "1", "out_per_minute": "2", "away": "2",
            }.items()
        },
        "sensor.hive_7_front_box_inside": "3",
        "sensor.hive_7_front_first_flight_today": "unknown",
        "sensor.hive_7_front_last_flight_today": "unknown",
        "binary_sensor.hive_7_front_asleep": "off",
        "binary_sensor.hive_7_front_camera_problem": "off",
        "sensor.hive_7_front_frame_rate": "9.88",
        "binary_sensor.hive_7_front_problem": "off",
        "binary_sensor.hive_7_front_connected": "on",
        "sensor.hive_7_front_results_waiting": "1",
        "sensor.hive_7_front_results_dropped": "0",
        "sensor.hive_7_front_last_delivery": "unknown",
    }  # fmt: skip
    dead = {**messages, STATUS: status.replace(b"online", b"offline")}
    states = {name: state_of(entity, dead) for name, entity in found.items()}
    assert states.pop("binary_sensor.hive_7_front_connected") == "off"
    assert set(states.values()) == {None}
    blind = {**messages, STATE: messages[STATE].replace(b'"watching":true', b'"watching":false')}
    unavailable = {name for name, entity in found.items() if state_of(entity, blind) is None}
    assert unavailable == {
        f"sensor.hive_7_front_{name}"
        for name in (
            "bees", "door_in_per_minute", "door_out_per_minute", "box_in_per_minute", "box_out_per_minute", "box_inside"
        )
    }  # fmt: skip


def test_status_of_another_camera_of_the_device_changes_nothing() -> None:
    front = entities(_announcement().encode(removed={}, limit=100_000))
    other = json.dumps({"state": "offline", "cameras": [{"name": "side"}]}).encode()
    for entity in front.values():
        messages = {STATE: _state(lines={"door": 1}, zones={"box": 1}).to_json(), STATUS: other}
        assert state_of(entity, messages) in (None, "unknown")  # neither online nor offline


@pytest.mark.parametrize(
    "changes",
    [
        {"labels": ("bee", "wasp"), "lines": (("door", ("bee", "wasp")),)},
        {"labels": ('a "quoted" }} label', "пчела"), "lines": (), "zones": ()},
        {"device": "Бджоли 7", "camera": "front_left"},
        {"topic_prefix": "farm/bees"},
    ],
)
def test_any_names_make_a_valid_announcement(changes: dict[str, Any]) -> None:
    announcement = _announcement(**changes)
    found = entities(announcement.encode(removed={"old": "sensor"}, limit=100_000))
    state = json.loads(_state().to_json())
    state["objects"] = dict.fromkeys(announcement.labels, 2)
    status = {"state": "online", "cameras": [{"name": announcement.camera}]}
    names = [entity["name"] for entity in found.values()]
    for label in announcement.labels:
        entity = next(one for one in found.values() if one["name"] == f"{announcement.camera} {label}s")
        topics = [source["topic"] for source in entity["availability"]]
        messages = dict(zip(topics, (json.dumps(status).encode(), json.dumps(state).encode()), strict=True))
        assert state_of(entity, messages) == "2"
    assert len(set(names)) == len(names)


def test_ids_of_different_names_differ() -> None:
    pairs = [("a_b", "c"), ("a", "b_c"), ("a b", "c"), ("a.b", "c"), ("a-b", "c"), ("a", "b-c")]
    topics = {discovery_topic("homeassistant", "beeagent", device, camera) for device, camera in pairs}
    assert len(topics) == len(pairs)
    for topic in topics:
        assert set(topic.split("/")[2]) <= set("abcdefghijklmnopqrstuvwxyz0123456789_-")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--broker", "none"], "nothing is published"),
        (["--broker", "mqtts://a1b2-ats.iot.eu-west-1.amazonaws.com"], "Home Assistant cannot use AWS IoT Core"),
        (["--broker", "greengrass://iot-core"], "no connection to a Greengrass nucleus"),
        (["--broker", "mqtt://127.0.0.1", "--state-interval", "0"], "state_interval is 0"),
        (["--broker", "mqtt://127.0.0.1", "--home-assistant-prefix", "a+"], "home_assistant_prefix 'a+' has a '+'"),
    ],
)
def test_home_assistant_is_refused_where_it_cannot_work(options: list[str], reason: str, tmp_path: Path) -> None:
    ended = run_command(
        "--camera", "synthetic:160x120", *tiny_model(tmp_path), "--home-assistant", *options, folder=tmp_path
    )
    assert ended.returncode == 2
    error = ended.stderr.splitlines()[-1]
    assert error.startswith("beeagent: home_assistant")
    assert reason in error


PLACES = """
[lines.door]
points = [[0.0, 0.5], [1.0, 0.5]]
in = "down"
"""


@pytest.fixture
def arguments(mosquitto: Mosquitto, tmp_path: Path) -> list[str | Path]:
    """A camera without detections, and a line."""
    places = tmp_path / "places.toml"
    places.write_text(PLACES)
    return [
        "--camera", "synthetic:160x120@20", *tiny_model(tmp_path), "--device", "hive-7", "--camera-name", "front",
        "--threads", "1", "--places", places, "--broker", f"mqtt://127.0.0.1:{mosquitto.port}", "--home-assistant",
        "--state-interval", "1",
    ]  # fmt: skip


def _newest(seen: Subscriber) -> dict[str, bytes]:
    return {message.topic: bytes(message.payload) for message in seen.messages}


@pytest.fixture
def seen(mosquitto: Mosquitto) -> Iterator[Subscriber]:
    with subscriber(mosquitto.port, "beeagent/#", "homeassistant/#") as subscribed:
        yield subscribed


def test_agent_is_announced_lives_and_is_removed(
    mosquitto: Mosquitto, seen: Subscriber, arguments: list[str | Path], tmp_path: Path
) -> None:
    with running_agent(*arguments, folder=tmp_path) as agent:
        seen.wait_for(3, topic_end="/state", deadline=DEADLINE)
        seen.wait_for(1, topic_end="/config", deadline=DEADLINE)
        found = entities(_newest(seen)[DISCOVERY])

        def states() -> dict[str, str | None]:
            return {name: state_of(entity, _newest(seen)) for name, entity in found.items()}

        expected = {
            "sensor.hive_7_front_reds": "0",
            "sensor.hive_7_front_door_in": "0",
            "binary_sensor.hive_7_front_connected": "on",
            "sensor.hive_7_front_first_flight_today": "unknown",
        }
        # On a busy machine, the camera may have been lost for a moment.
        seen.wait_until(lambda: expected.items() <= states().items(), deadline=DEADLINE)
        for payload in seen.payloads("/state"):
            Draft202012Validator(load_schema("state")).validate(json.loads(payload))
        announced = len(seen.payloads("/config"))
        publish.single(BIRTH, "online", port=mosquitto.port)
        seen.wait_for(announced + 1, topic_end="/config", deadline=DEADLINE)
        agent.process.send_signal(signal.SIGTERM)
        assert agent.end() == 0, agent.errors
    seen.wait_until(lambda: json.loads(_newest(seen)[STATUS])["state"] == "offline", deadline=DEADLINE)
    with subscriber(mosquitto.port, "beeagent/#", "homeassistant/#") as late:  # what Home Assistant finds at its start
        late.wait_until(lambda: {STATE, STATUS, DISCOVERY} <= set(_newest(late)))
        assert all(message.retain for message in late.messages)
        left = {name: state_of(entity, _newest(late)) for name, entity in found.items()}
        assert left.pop("binary_sensor.hive_7_front_connected") == "off"
        assert set(left.values()) == {None}
    remove = [
        "home-assistant", "remove", "--device", "hive-7", "--camera-name", "front",
        "--broker", f"mqtt://127.0.0.1:{mosquitto.port}",
    ]  # fmt: skip
    ended = run_beeagent(*remove, folder=tmp_path)
    assert (ended.returncode, ended.stdout) == (0, f"removed hive-7/front from Home Assistant ({DISCOVERY})\n")
    seen.wait_until(lambda: _newest(seen)[DISCOVERY] == b"")
    ended = run_beeagent(*remove, folder=tmp_path)
    assert ended.returncode == 1
    assert "was not announced" in ended.stdout
    with subscriber(mosquitto.port, "homeassistant/#", STATE, STATUS) as late:
        assert [message.topic for message in late.wait_for(1)] == [STATUS]


def test_broker_without_memory_has_everything_again_after_its_restart(
    mosquitto: Mosquitto, arguments: list[str | Path], tmp_path: Path
) -> None:
    with running_agent(*arguments, folder=tmp_path):
        with subscriber(mosquitto.port, "beeagent/+/+/state", "homeassistant/#") as seen:
            seen.wait_until(lambda: {STATE, DISCOVERY} <= set(_newest(seen)), deadline=DEADLINE)
            before = json.loads(_newest(seen)[STATE])["at"]
        mosquitto.stop(how=signal.SIGKILL)
        mosquitto.start()
        with subscriber(mosquitto.port, "beeagent/+/+/state", "homeassistant/#", STATUS) as seen:
            seen.wait_until(lambda: {STATE, STATUS, DISCOVERY} <= set(_newest(seen)), deadline=DEADLINE)
            assert json.loads(seen.payloads("/state")[0])["at"] >= before
