"""The agent as a component: started by a nucleus, configured and stopped by deployments."""

import json
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from beeagent.greengrass.ipc import SOCKET_VARIABLE, THING_VARIABLE, TOKEN_VARIABLE
from support.beeagent_process import DEADLINE, RunningAgent, run_beeagent, running_agent, tiny_bare_model
from support.cloud_agent import environment
from support.greengrass_nucleus import (
    CLASSIC,
    Nucleus,
    access_control,
    as_from_yaml,
    nucleus_at,
)
from support.mosquitto import Mosquitto
from support.mqtt_subscriber import subscriber
from support.rekognition_server import RekognitionServer
from support.tiny_models import square_finder

CHANGES = "SubscribeToConfigurationUpdate"
THING = "hive-7"
DETECTIONS = f"beeagent/{THING}/camera/detections"
STATUS = f"beeagent/{THING}/status"
# As in the recipe.
PERMISSIONS = {
    "PublishToIoTCore": {"beeagent/+/camera/detections", "beeagent/+/camera/state", "beeagent/+/status"},
    "SubscribeToIoTCore": {"beeagent/+/camera/detections"},
    "PublishToTopic": {"beeagent/*/camera/detections", "beeagent/*/camera/state", "beeagent/*/status"},
}


def configuration(folder: Path, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - whatever may be configured
    _, model, _, labels = tiny_bare_model(folder)
    return {
        "accessControl": access_control(**PERMISSIONS),
        "camera": "synthetic:320x240@30",
        "publish": "always",
        "broker": "greengrass://iot-core",
        "model": str(model),
        "labels": str(labels),
        **more,
    }


@pytest.fixture
def nucleus(tmp_path: Path) -> Iterator[Nucleus]:
    with nucleus_at(tmp_path) as nucleus:
        nucleus.configuration = configuration(tmp_path)
        yield nucleus


def variables(nucleus: Nucleus) -> dict[str, str]:
    return {SOCKET_VARIABLE: str(nucleus.socket), TOKEN_VARIABLE: nucleus.token, THING_VARIABLE: THING}


@contextmanager
def component(nucleus: Nucleus, folder: Path, *options: str) -> Iterator[RunningAgent]:
    with running_agent("--greengrass", *options, folder=folder, **variables(nucleus)) as agent:
        yield agent


def messages(nucleus: Nucleus, topic: str = DETECTIONS) -> list[dict[str, Any]]:
    return [json.loads(payload) for to, payload in [*nucleus.cloud] if to == topic]


def wait_for_message(nucleus: Nucleus, holds: Callable[[dict[str, Any]], bool] = lambda _: True) -> None:
    nucleus.wait_until(lambda: any(map(holds, messages(nucleus)[-1:])))


def status(nucleus: Nucleus) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(nucleus.last(STATUS) or b'{"state": null, "reasons": []}')
    return found


def wait_for_status(nucleus: Nucleus, state: str, words: str = "") -> None:
    nucleus.wait_until(lambda: status(nucleus)["state"] == state and words in " ".join(status(nucleus)["reasons"]))


def _more_than(count: int, things: list[Any]) -> bool:
    return len(things) > count


def end(agent: RunningAgent) -> None:
    agent.process.send_signal(signal.SIGTERM)
    assert agent.end() == 0, agent.errors


def test_component_publishes_as_its_thing_and_reports_offline_at_the_end(nucleus: Nucleus, tmp_path: Path) -> None:
    with component(nucleus, tmp_path) as agent:
        nucleus.wait_until(lambda: len(messages(nucleus)) >= 10)
        wait_for_status(nucleus, "online")
        end(agent)
    assert {message["device"] for message in messages(nucleus)} == {THING}
    numbers = [message["seq"] for message in messages(nucleus)]
    assert numbers == list(range(1, len(numbers) + 1))
    assert status(nucleus)["state"] == "offline"


def test_configuration_of_a_yaml_recipe_on_a_nucleus_lite(nucleus: Nucleus, tmp_path: Path) -> None:
    """There, every value is text, and some operations do not exist."""
    settings = configuration(tmp_path, frames=5, threshold=0.25, await_camera=True, threads=1)
    nucleus.configuration = as_from_yaml(settings)
    with component(nucleus, tmp_path) as agent:
        assert agent.end() == 0, agent.errors
    assert [message["seq"] for message in messages(nucleus)] == [1, 2, 3, 4, 5]


def test_local_broker_publishes_to_other_components(nucleus: Nucleus, tmp_path: Path) -> None:
    nucleus.configuration = configuration(tmp_path, broker="greengrass://local", frames=5.0)
    with component(nucleus, tmp_path) as agent:
        assert agent.end() == 0, agent.errors
    assert len([topic for topic, _ in nucleus.local if topic == DETECTIONS]) == 5
    assert nucleus.cloud == []


def test_component_can_use_a_local_mqtt_broker(nucleus: Nucleus, mosquitto: Mosquitto, tmp_path: Path) -> None:
    nucleus.configuration = configuration(tmp_path, broker=f"mqtt://127.0.0.1:{mosquitto.port}")
    with subscriber(mosquitto.port, "beeagent/#") as subscribed, component(nucleus, tmp_path) as agent:
        subscribed.wait_for(3, topic_end=f"{THING}/camera/detections", deadline=DEADLINE)
        end(agent)
    assert nucleus.cloud == []


def test_command_line_takes_precedence_over_the_configuration(nucleus: Nucleus, tmp_path: Path) -> None:
    nucleus.configuration = configuration(tmp_path, frames=1_000_000, camera_name="no/topic")
    with component(nucleus, tmp_path, "--camera-name", "camera", "--frames", "2") as agent:
        assert agent.end() == 0, agent.errors
    assert len(messages(nucleus)) == 2


def test_changed_camera_is_used_without_a_new_process(nucleus: Nucleus, tmp_path: Path) -> None:
    with component(nucleus, tmp_path) as agent:
        wait_for_message(nucleus, lambda message: message["frame"]["width"] == 320)
        nucleus.configure(camera="synthetic:640x480@30", max_rate="20")
        wait_for_message(nucleus, lambda message: message["frame"]["width"] == 640)
        end(agent)
    numbers = [message["seq"] for message in messages(nucleus)]
    assert sorted(set(numbers)) == list(range(1, max(numbers) + 1))
    assert nucleus.connections == 1


def test_configuration_changed_while_the_camera_sleeps_is_used(nucleus: Nucleus, tmp_path: Path) -> None:
    hours = [(datetime.now().astimezone() + timedelta(hours=shift)).strftime("%H:%M") for shift in (-1, 6, 7)]
    nucleus.configuration = configuration(tmp_path, active=f"{hours[1]}..{hours[2]}")
    with component(nucleus, tmp_path) as agent:
        nucleus.wait_until(lambda: "asleep" in status(nucleus))
        assert (status(nucleus)["state"], messages(nucleus)) == ("online", [])
        nucleus.configure(active=f"{hours[1]}..")
        wait_for_status(nucleus, "degraded", f"active is '{hours[1]}..': give two times")
        assert "asleep" in status(nucleus)
        nucleus.configure(active=f"{hours[0]}..{hours[1]}")
        wait_for_message(nucleus)
        wait_for_status(nucleus, "online")
        nucleus.wait_until(lambda: "asleep" not in status(nucleus))
        end(agent)


def test_changed_model_is_used_without_a_gap(nucleus: Nucleus, tmp_path: Path) -> None:
    other = tmp_path / "other.tflite"
    other.write_bytes(square_finder(cells=(4, 4)))
    with component(nucleus, tmp_path) as agent:
        wait_for_message(nucleus)
        nucleus.configure(model=str(other))
        wait_for_message(nucleus, lambda message: message["model"].startswith("other@"))
        end(agent)
    assert not any("processed" in line for line in agent.errors[:-1])  # one agent processed all frames


INVALID: list[tuple[dict[str, Any], str]] = [
    ({"threads": "many"}, "threads in the component's configuration is 'many'"),
    ({"max_rate": -1}, "max_rate in the component's configuration is -1"),
    ({"treshold": 0.5}, "did you mean threshold?"),
    ({"realtime": "perhaps"}, "give true or false"),
    ({"threads": True}, "threads in the component's configuration is true"),
    ({"broker": "mqtt//nowhere"}, "broker 'mqtt//nowhere' is not understood"),
    ({"camera": "synthetic:0x0"}, "synthetic"),
    ({"model": "/nowhere"}, "/nowhere"),
    ({"workers": 4, "threads": 2}, "workers is 4"),
    # Found only when it is used:
    ({"state_dir": "/dev/null/state"}, "/dev/null/state"),
]


@pytest.mark.faults
def test_invalid_configuration_is_refused_and_the_old_one_stays_in_use(nucleus: Nucleus, tmp_path: Path) -> None:
    before = nucleus.configuration
    with component(nucleus, tmp_path) as agent:
        wait_for_message(nucleus)
        for changed, words in INVALID:
            nucleus.configure(**changed)
            wait_for_status(nucleus, "degraded", words)
            count = len(messages(nucleus))
            nucleus.wait_until(partial(_more_messages_than, count, nucleus))
            nucleus.configuration = before
            event = {"componentName": "io.beeagent.Agent", "keyPath": [next(iter(changed))]}
            nucleus.send_event(CHANGES, "ConfigurationUpdateEvents", {"configurationUpdateEvent": event})
            wait_for_status(nucleus, "online")
        end(agent)
    numbers = [message["seq"] for message in messages(nucleus)]
    assert sorted(set(numbers)) == list(range(1, max(numbers) + 1))


def _more_messages_than(count: int, nucleus: Nucleus) -> bool:
    return len(messages(nucleus)) > count


@pytest.mark.faults
def test_failed_configuration_is_not_tried_again_after_reconnection(nucleus: Nucleus, tmp_path: Path) -> None:
    with component(nucleus, tmp_path) as agent:
        wait_for_message(nucleus)
        nucleus.configure(state_dir="/dev/null/state")
        wait_for_status(nucleus, "degraded", "/dev/null/state")
        read = nucleus.calls.count("GetConfiguration")
        nucleus.close_connections()
        nucleus.wait_until(lambda: nucleus.calls.count("GetConfiguration") > read)
        nucleus.configure(state_dir=str(tmp_path / "state" / "beeagent"), camera="synthetic:640x480@30")
        wait_for_message(nucleus, lambda message: message["frame"]["width"] == 640)
        end(agent)
    assert [line.partition("configuration ")[2] for line in agent.errors if "changing to" in line] == [
        "(state_dir)",
        "(camera)",
    ]


def test_invalid_first_configuration_exits_2(nucleus: Nucleus, tmp_path: Path) -> None:
    nucleus.configuration = configuration(tmp_path, threads="many")
    ended = run_beeagent("--greengrass", folder=tmp_path, **variables(nucleus))
    assert ended.returncode == 2
    assert "threads in the component's configuration is 'many'" in ended.stderr
    assert "Traceback" not in ended.stderr


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"tiles": "yes"}, "tiles in the component's configuration is 'yes'"),
    ({"treshold": 0.5}, "did you mean threshold?"),
    ({"model": "/nowhere"}, "/nowhere"),  # another model is loaded while the agent runs, and fails there
    ({"state_dir": "/dev/null/state"}, "/dev/null/state"),  # found only when it is used
]


@pytest.mark.faults
@pytest.mark.parametrize(("changed", "words"), WRONG)
def test_component_runs_with_last_working_configuration_after_wrong_deployment(
    nucleus: Nucleus, tmp_path: Path, changed: dict[str, Any], words: str
) -> None:
    """Nucleus lite 2.6.0 changes the configuration, restarts the component, and does not roll back."""
    right = nucleus.configuration
    with component(nucleus, tmp_path) as agent:
        wait_for_message(nucleus)
        nucleus.configure(**changed)
        wait_for_status(nucleus, "degraded", words)
        end(agent)
    with component(nucleus, tmp_path) as agent:
        wait_for_status(nucleus, "degraded", words)
        count = len(messages(nucleus))
        nucleus.wait_until(lambda: len(messages(nucleus)) > count)
        fallback = "starting with the last working configuration"
        assert any(fallback in line or "is not used" in line for line in agent.errors)
        nucleus.configuration = right  # a deployment resets the value
        nucleus.configure(max_rate=20)
        wait_for_status(nucleus, "online")
        end(agent)
    numbers = [message["seq"] for message in messages(nucleus)]
    assert sorted(set(numbers)) == list(range(1, max(numbers) + 1))


@pytest.mark.faults
def test_saved_configuration_is_private_and_has_no_secret(nucleus: Nucleus, tmp_path: Path) -> None:
    nucleus.kind, nucleus.secrets = CLASSIC, {"hive/camera": "synthetic:320x240@30"}
    nucleus.configuration = configuration(
        tmp_path,
        accessControl=access_control(**PERMISSIONS, GetSecretValue={"hive/camera"}),
        camera="secret:hive/camera",
        frames=3,
    )
    with component(nucleus, tmp_path) as agent:
        assert agent.end() == 0, agent.errors
    (kept,) = tmp_path.rglob("last-working-configuration.json")
    assert kept.stat().st_mode & 0o777 == 0o600
    content = json.loads(kept.read_text())
    assert content == {key: value for key, value in nucleus.configuration.items() if key != "accessControl"}
    nucleus.configure(threads="many")
    nucleus.missing, before = frozenset({"GetSecretValue"}), nucleus.calls.count("GetSecretValue")
    with component(nucleus, tmp_path) as agent:
        nucleus.wait_until(lambda: nucleus.calls.count("GetSecretValue") > before)
        nucleus.missing = frozenset()  # the secret manager has started now
        assert agent.end() == 0, agent.errors
    assert len(messages(nucleus)) == 6
    kept.write_text('{"threads": "as many"}')  # by an older version that accepted it
    ended = run_beeagent("--greengrass", folder=tmp_path, **variables(nucleus))
    assert ended.returncode == 2
    assert "threads in the component's configuration is 'many'" in ended.stderr.splitlines()[-1]


def test_error_without_a_nucleus_explains_the_option(tmp_path: Path) -> None:
    ended = run_beeagent("--greengrass", folder=tmp_path, **{SOCKET_VARIABLE: "", TOKEN_VARIABLE: ""})
    assert (ended.returncode, ended.stdout) == (2, "")
    assert f"{SOCKET_VARIABLE} is not set, so no Greengrass nucleus has started this process" in ended.stderr
    ended = run_beeagent("--camera", "synthetic", "--broker", "greengrass://local", folder=tmp_path)
    assert ended.returncode == 2
    assert "with --greengrass" in ended.stderr
    ended = run_beeagent("--greengrass", "--config", tmp_path / "a.toml", folder=tmp_path)
    assert ended.returncode == 2
    assert "give one of them" in ended.stderr


@pytest.mark.faults
def test_configuration_changed_while_disconnected_is_found(nucleus: Nucleus, tmp_path: Path) -> None:
    with component(nucleus, tmp_path) as agent:
        wait_for_message(nucleus)
        nucleus.stop()
        nucleus.configuration = {**nucleus.configuration, "camera": "synthetic:640x480@30"}
        nucleus.start()
        wait_for_message(nucleus, lambda message: message["frame"]["width"] == 640)
        end(agent)


@pytest.mark.faults
def test_expired_token_exits_1_without_loss(nucleus: Nucleus, tmp_path: Path) -> None:
    with component(nucleus, tmp_path) as agent:
        wait_for_message(nucleus)
        nucleus.stop()
        nucleus.token = "svcuid-2"  # noqa: S105 - of this test
        nucleus.start()
        assert agent.end() == 1
        assert "only a new process can connect" in agent.errors[-1]
        assert not any("Traceback" in line for line in agent.errors)
    before = max(message["seq"] for message in messages(nucleus))
    with component(nucleus, tmp_path) as agent:
        wait_for_message(nucleus, lambda message: message["seq"] > before + 20)
        end(agent)
    numbers = {message["seq"] for message in messages(nucleus)}
    assert numbers == set(range(1, max(numbers) + 1))


def test_agent_with_an_offline_nucleus_keeps_its_results(nucleus: Nucleus, tmp_path: Path) -> None:
    nucleus.online = False
    nucleus.configuration = configuration(tmp_path, frames=10)
    with component(nucleus, tmp_path) as agent:
        assert agent.end() == 0, agent.errors
        assert any("10 results wait" in line for line in agent.errors), agent.errors
    assert nucleus.cloud == []
    nucleus.online = True
    with component(nucleus, tmp_path) as agent:
        assert agent.end() == 0, agent.errors
    numbers = sorted({message["seq"] for message in messages(nucleus)})
    assert numbers == list(range(1, 21))


def test_messages_with_many_detections_fit_the_nucleus_lite_echo(nucleus: Nucleus, tmp_path: Path) -> None:
    model, image = tmp_path / "crowd.tflite", tmp_path / "crowd.png"
    model.write_bytes(square_finder(size=(96, 96), cells=(12, 12), max_detections=100))
    cv2.imwrite(str(image), np.full((240, 240, 3), (0, 0, 255), dtype=np.uint8))  # red, and so detected everywhere
    nucleus.configuration = configuration(tmp_path, model=str(model), threshold=0.0, camera=str(image))
    with component(nucleus, tmp_path) as agent:
        assert agent.end() == 0, agent.errors
    (payload,) = [payload for topic, payload in nucleus.cloud if topic == DETECTIONS]
    message = json.loads(payload)
    assert message["omitted"] > 0
    assert message["counts"] == {"red": message["omitted"] + len(message["detections"])}
    assert 4_500 < len(payload) <= 4_800
    assert nucleus.echoed == 1


def test_update_waits_for_results_in_flight_and_for_no_others(nucleus: Nucleus, tmp_path: Path) -> None:
    nucleus.kind, nucleus.echoes = CLASSIC, False
    with component(nucleus, tmp_path) as agent:
        nucleus.wait_until(lambda: len(messages(nucleus)) >= 3)
        nucleus.announce_update("d-1")
        nucleus.wait_until(lambda: len(nucleus.deferrals) == 1)
        assert nucleus.deferrals == [("d-1", 10_000)]
        nucleus.echoes = True
        nucleus.configure(max_rate="0.2")  # then there is a time in which nothing waits

        while nucleus.deferrals[-1] != ("d-1", 0):
            count = len(nucleus.deferrals)
            nucleus.announce_update("d-1")
            nucleus.wait_until(partial(_more_than, count, nucleus.deferrals))
        end(agent)


def test_configuration_of_a_deployment_is_validated(nucleus: Nucleus, tmp_path: Path) -> None:
    nucleus.kind = CLASSIC
    with component(nucleus, tmp_path) as agent:
        wait_for_message(nucleus)
        nucleus.request_validation("d-1", {**nucleus.configuration, "camera": "secret:not-here-yet"})
        nucleus.request_validation("d-2", {**nucleus.configuration, "threads": "many"})
        nucleus.wait_until(lambda: len(nucleus.reports) == 2)
        assert [(deployment, verdict) for deployment, verdict, _ in nucleus.reports] == [
            ("d-1", "ACCEPTED"),
            ("d-2", "REJECTED"),
        ]
        assert "threads in the component's configuration is 'many'" in nucleus.reports[1][2]
        assert status(nucleus)["state"] != "degraded"
        end(agent)


def test_secrets_are_read_from_the_nucleus_and_never_shown(
    nucleus: Nucleus, mosquitto: Mosquitto, tmp_path: Path
) -> None:
    nucleus.kind, rights = CLASSIC, access_control(GetSecretValue={"hive/mqtt", "hive/camera"})
    nucleus.secrets = {"hive/mqtt": '{"user": "bee", "password": "h0n3y"}', "hive/camera": "synthetic:320x240@30"}
    nucleus.configuration = configuration(
        tmp_path,
        accessControl=rights,
        camera="secret:hive/camera",
        broker=f"mqtt://127.0.0.1:{mosquitto.port}",
        mqtt_username="secret:hive/mqtt#user",
        mqtt_password="secret:hive/mqtt#password",  # noqa: S106 - its name alone
    )
    with subscriber(mosquitto.port, "beeagent/#") as subscribed, component(nucleus, tmp_path) as agent:
        subscribed.wait_for(2, topic_end="/detections", deadline=DEADLINE)
        nucleus.configure(mqtt_username="secret:hive/mqtt#pin")
        subscribed.wait_until(
            lambda: any(b"no text of the name 'pin'" in payload for payload in subscribed.payloads("/status")),
            deadline=DEADLINE,
        )
        end(agent)
        published = [payload for end in ("/status", "/detections") for payload in subscribed.payloads(end)]
    assert not any(b"h0n3y" in payload for payload in published)
    assert not any("h0n3y" in line for line in agent.errors)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("secret:hive/other", "has aws.greengrass#GetSecretValue for hive/mqtt, and not for hive/other"),
        ("secret:", "give secret:NAME or secret:NAME#KEY"),
        ("secret:hive/mqtt#user", "is no JSON object"),
    ],
)
def test_unavailable_secret_is_named_but_not_shown(nucleus: Nucleus, tmp_path: Path, value: str, words: str) -> None:
    nucleus.kind, rights = CLASSIC, access_control(GetSecretValue={"hive/mqtt"})
    nucleus.secrets = {"hive/mqtt": "h0n3y"}
    nucleus.configuration = configuration(tmp_path, accessControl=rights, mqtt_password=value)
    ended = run_beeagent("--greengrass", folder=tmp_path, **variables(nucleus))
    assert ended.returncode == 2
    assert "mqtt_password in the component's configuration" in ended.stderr
    assert words in ended.stderr
    assert "h0n3y" not in ended.stderr


def test_component_waits_for_the_nucleus(nucleus: Nucleus, tmp_path: Path) -> None:
    nucleus.stop()
    nucleus.configuration = configuration(tmp_path, frames=3)
    with component(nucleus, tmp_path) as agent:
        while not any("no connection to the nucleus" in line for line in agent.errors):
            assert agent.process.poll() is None
        nucleus.start()
        assert agent.process.wait(DEADLINE) == 0
    assert len(messages(nucleus)) == 3


@pytest.mark.faults
def test_last_of_many_changes_stays_in_use(nucleus: Nucleus, tmp_path: Path) -> None:
    with component(nucleus, tmp_path) as agent:
        wait_for_message(nucleus)
        for width in (160, 176, 192, 208, 224, 640):
            read = nucleus.calls.count("GetConfiguration")
            nucleus.configure(camera=f"synthetic:{width}x240@30")
            nucleus.wait_until(partial(_more_than_before, read, nucleus))
        wait_for_message(nucleus, lambda message: message["frame"]["width"] == 640)
        end(agent)
    numbers = [message["seq"] for message in messages(nucleus)]
    assert sorted(set(numbers)) == list(range(1, max(numbers) + 1))


def _more_than_before(read: int, nucleus: Nucleus) -> bool:
    return nucleus.calls.count("GetConfiguration") > read


@pytest.mark.faults
def test_port_in_use_is_refused_and_the_old_configuration_stays_in_use(nucleus: Nucleus, tmp_path: Path) -> None:
    """The agent that could not listen on the port had opened the outbox, and must close it."""
    with component(nucleus, tmp_path) as agent, socket.create_server(("127.0.0.1", 0)) as taken:
        wait_for_message(nucleus)
        nucleus.configure(http_port=taken.getsockname()[1])
        wait_for_status(nucleus, "degraded", "cannot be listened on")
        count = len(messages(nucleus))
        nucleus.wait_until(partial(_more_messages_than, count, nucleus))
        end(agent)


def test_agent_with_a_second_opinion_is_replaced_in_the_same_process(nucleus: Nucleus, tmp_path: Path) -> None:
    """Each agent locks the file of its budget and the folder it collects in, and must release both."""
    with RekognitionServer() as server:
        cloud = environment(server, BEEAGENT_COLLECT=str(tmp_path / "collected"))
        with running_agent("--greengrass", folder=tmp_path, **variables(nucleus), **cloud) as agent:
            wait_for_message(nucleus)
            for width in (640, 320, 480):
                nucleus.configure(camera=f"synthetic:{width}x240@30")
                wait_for_message(nucleus, lambda message, width=width: message["frame"]["width"] == width)  # type: ignore[misc]
            end(agent)
