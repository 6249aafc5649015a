"""The agent as a component: a process that a nucleus has started, and that deployments set up, change and stop."""

import json
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from beeagent.greengrass.address import SOCKET_VARIABLE, THING_VARIABLE, TOKEN_VARIABLE
from support.beeagent_process import DEADLINE, RunningAgent, run_beeagent, running_agent, tiny_model
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
RIGHTS = {
    "PublishToIoTCore": {"beeagent/+/camera/detections", "beeagent/+/status"},
    "SubscribeToIoTCore": {"beeagent/+/camera/detections"},
    "PublishToTopic": {"beeagent/*/camera/detections", "beeagent/*/status"},
}


def configuration(folder: Path, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - whatever may be configured
    _, model, _, labels = tiny_model(folder)
    return {
        "accessControl": access_control(**RIGHTS),
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


def test_a_component_publishes_as_its_thing_and_says_goodbye(nucleus: Nucleus, tmp_path: Path) -> None:
    with component(nucleus, tmp_path) as agent:
        nucleus.wait_until(lambda: len(messages(nucleus)) >= 10)
        wait_for_status(nucleus, "online")
        end(agent)
    assert {message["device"] for message in messages(nucleus)} == {THING}
    numbers = [message["seq"] for message in messages(nucleus)]
    assert numbers == list(range(1, len(numbers) + 1))
    assert status(nucleus)["state"] == "offline"


def test_a_recipe_in_yaml_on_a_nucleus_lite_is_understood(nucleus: Nucleus, tmp_path: Path) -> None:
    """There, every value is text, and some operations do not exist."""
    settings = configuration(tmp_path, frames=5, threshold=0.25, await_camera=True, threads=1)
    nucleus.configuration = as_from_yaml(settings)
    with component(nucleus, tmp_path) as agent:
        assert agent.end() == 0, agent.errors
    assert [message["seq"] for message in messages(nucleus)] == [1, 2, 3, 4, 5]


def test_on_the_device_results_go_to_other_components(nucleus: Nucleus, tmp_path: Path) -> None:
    nucleus.configuration = configuration(tmp_path, broker="greengrass://local", frames=5.0)
    with component(nucleus, tmp_path) as agent:
        assert agent.end() == 0, agent.errors
    assert len([topic for topic, _ in nucleus.local if topic == DETECTIONS]) == 5
    assert nucleus.cloud == []


def test_a_local_broker_can_be_used_from_within_a_component(
    nucleus: Nucleus, mosquitto: Mosquitto, tmp_path: Path
) -> None:
    nucleus.configuration = configuration(tmp_path, broker=f"mqtt://127.0.0.1:{mosquitto.port}")
    with subscriber(mosquitto.port, "beeagent/#") as subscribed, component(nucleus, tmp_path) as agent:
        subscribed.wait_for(3, topic_end=f"{THING}/camera/detections")
        end(agent)
    assert nucleus.cloud == []


def test_the_command_line_wins_over_the_configuration(nucleus: Nucleus, tmp_path: Path) -> None:
    nucleus.configuration = configuration(tmp_path, frames=1_000_000, camera_name="no/topic")
    with component(nucleus, tmp_path, "--camera-name", "camera", "--frames", "2") as agent:
        assert agent.end() == 0, agent.errors
    assert len(messages(nucleus)) == 2


def test_a_changed_camera_is_looked_at_without_a_new_process(nucleus: Nucleus, tmp_path: Path) -> None:
    with component(nucleus, tmp_path) as agent:
        wait_for_message(nucleus, lambda message: message["frame"]["width"] == 320)
        nucleus.configure(camera="synthetic:640x480@30", max_rate="20")
        wait_for_message(nucleus, lambda message: message["frame"]["width"] == 640)
        end(agent)
    numbers = [message["seq"] for message in messages(nucleus)]
    assert sorted(set(numbers)) == list(range(1, max(numbers) + 1))
    assert nucleus.connections == 1


def test_a_changed_model_is_used_without_a_gap(nucleus: Nucleus, tmp_path: Path) -> None:
    other = tmp_path / "other.tflite"
    other.write_bytes(square_finder(cells=(4, 4)))
    with component(nucleus, tmp_path) as agent:
        wait_for_message(nucleus)
        nucleus.configure(model=str(other))
        wait_for_message(nucleus, lambda message: message["model"].startswith("other@"))
        end(agent)
    assert not any("looked at" in line for line in agent.errors[:-1])  # one agent did it all


NONSENSE: list[tuple[dict[str, Any], str]] = [
    ({"threads": "many"}, "threads in the component's configuration is 'many'"),
    ({"max_rate": -1}, "max_rate in the component's configuration is -1"),
    ({"treshold": 0.5}, "did you mean threshold?"),
    ({"realtime": "perhaps"}, "give true or false"),
    ({"threads": True}, "threads in the component's configuration is true"),
    ({"broker": "mqtt//nowhere"}, "broker 'mqtt//nowhere' is not understood"),
    ({"camera": "synthetic:0x0"}, "synthetic"),
    ({"model": "/nowhere"}, "/nowhere"),
    ({"workers": 4, "threads": 2}, "workers is 4"),
    # What is seen only when it is tried:
    ({"state_dir": "/dev/null/state"}, "/dev/null/state"),
]


def test_nonsense_is_refused_and_the_old_configuration_goes_on(nucleus: Nucleus, tmp_path: Path) -> None:
    before = nucleus.configuration
    with component(nucleus, tmp_path) as agent:
        wait_for_message(nucleus)
        for changed, words in NONSENSE:
            nucleus.configure(**changed)
            wait_for_status(nucleus, "degraded", words)
            count = len(messages(nucleus))
            nucleus.wait_until(partial(_more_messages_than, count, nucleus))
            nucleus.configuration = before
            event = {"componentName": "io.beeagent.Agent", "keyPath": [next(iter(changed))]}
            nucleus.tell(CHANGES, "ConfigurationUpdateEvents", {"configurationUpdateEvent": event})
            wait_for_status(nucleus, "online")
        end(agent)
    numbers = [message["seq"] for message in messages(nucleus)]
    assert sorted(set(numbers)) == list(range(1, max(numbers) + 1))


def _more_messages_than(count: int, nucleus: Nucleus) -> bool:
    return len(messages(nucleus)) > count


def test_what_could_not_be_used_is_not_tried_again_at_each_new_connection(nucleus: Nucleus, tmp_path: Path) -> None:
    with component(nucleus, tmp_path) as agent:
        wait_for_message(nucleus)
        nucleus.configure(state_dir="/dev/null/state")
        wait_for_status(nucleus, "degraded", "/dev/null/state")
        read = nucleus.asked.count("GetConfiguration")
        nucleus.hang_up()
        nucleus.wait_until(lambda: nucleus.asked.count("GetConfiguration") > read)
        nucleus.configure(state_dir=str(tmp_path / "state" / "beeagent"), camera="synthetic:640x480@30")
        wait_for_message(nucleus, lambda message: message["frame"]["width"] == 640)
        end(agent)
    assert [line.partition("configuration ")[2] for line in agent.errors if "going on with" in line] == [
        "(state_dir)",
        "(camera)",
    ]


def test_a_first_configuration_that_cannot_work_ends_the_process_with_2(nucleus: Nucleus, tmp_path: Path) -> None:
    nucleus.configuration = configuration(tmp_path, threads="many")
    ended = run_beeagent("--greengrass", folder=tmp_path, **variables(nucleus))
    assert ended.returncode == 2
    assert "threads in the component's configuration is 'many'" in ended.stderr
    assert "Traceback" not in ended.stderr


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"tiles": "yes"}, "tiles in the component's configuration is 'yes'"),
    ({"treshold": 0.5}, "did you mean threshold?"),
    ({"model": "/nowhere"}, "/nowhere"),  # another model is taken over while the agent runs, and fails there
    ({"state_dir": "/dev/null/state"}, "/dev/null/state"),  # is seen only when it is tried
]


@pytest.mark.parametrize(("changed", "words"), WRONG)
def test_a_wrong_cloud_deployment_leaves_a_component_that_runs_with_what_worked(
    nucleus: Nucleus, tmp_path: Path, changed: dict[str, Any], words: str
) -> None:
    """Nucleus lite 2.6.0 changes the configuration, starts the component anew, and takes nothing back."""
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
        assert any("beginning with the last configuration" in line or "is not used" in line for line in agent.errors)
        nucleus.configuration = right  # a deployment resets the value
        nucleus.configure(max_rate=20)
        wait_for_status(nucleus, "online")
        end(agent)
    numbers = [message["seq"] for message in messages(nucleus)]
    assert sorted(set(numbers)) == list(range(1, max(numbers) + 1))


def test_what_is_kept_is_for_the_user_alone_and_has_no_secret(nucleus: Nucleus, tmp_path: Path) -> None:
    nucleus.kind, nucleus.secrets = CLASSIC, {"hive/camera": "synthetic:320x240@30"}
    nucleus.configuration = configuration(
        tmp_path,
        accessControl=access_control(**RIGHTS, GetSecretValue={"hive/camera"}),
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
    nucleus.missing, asked = frozenset({"GetSecretValue"}), nucleus.asked.count("GetSecretValue")
    with component(nucleus, tmp_path) as agent:
        nucleus.wait_until(lambda: nucleus.asked.count("GetSecretValue") > asked)
        nucleus.missing = frozenset()  # the secret manager was not there yet
        assert agent.end() == 0, agent.errors
    assert len(messages(nucleus)) == 6
    kept.write_text('{"threads": "as many"}')  # by an older version that took it, say
    ended = run_beeagent("--greengrass", folder=tmp_path, **variables(nucleus))
    assert ended.returncode == 2
    assert "threads in the component's configuration is 'many'" in ended.stderr.splitlines()[-1]


def test_without_a_nucleus_it_says_what_it_is_for(tmp_path: Path) -> None:
    ended = run_beeagent("--greengrass", folder=tmp_path, **{SOCKET_VARIABLE: "", TOKEN_VARIABLE: ""})
    assert (ended.returncode, ended.stdout) == (2, "")
    assert f"{SOCKET_VARIABLE} is not set, so no Greengrass nucleus has started this process" in ended.stderr
    ended = run_beeagent("--camera", "synthetic", "--broker", "greengrass://local", folder=tmp_path)
    assert ended.returncode == 2
    assert "give --greengrass there" in ended.stderr
    ended = run_beeagent("--greengrass", "--config", tmp_path / "a.toml", folder=tmp_path)
    assert ended.returncode == 2
    assert "give one of them" in ended.stderr


def test_a_configuration_changed_while_nobody_listened_is_found(nucleus: Nucleus, tmp_path: Path) -> None:
    with component(nucleus, tmp_path) as agent:
        wait_for_message(nucleus)
        nucleus.stop()
        nucleus.configuration = {**nucleus.configuration, "camera": "synthetic:640x480@30"}
        nucleus.start()
        wait_for_message(nucleus, lambda message: message["frame"]["width"] == 640)
        end(agent)


def test_a_token_that_counts_no_more_ends_the_process_with_1_and_the_next_loses_nothing(
    nucleus: Nucleus, tmp_path: Path
) -> None:
    with component(nucleus, tmp_path) as agent:
        wait_for_message(nucleus)
        nucleus.stop()
        nucleus.token = "svcuid-2"  # noqa: S105 - of this test
        nucleus.start()
        assert agent.end() == 1
        assert "only a new process gets in" in agent.errors[-1]
        assert not any("Traceback" in line for line in agent.errors)
    before = max(message["seq"] for message in messages(nucleus))
    with component(nucleus, tmp_path) as agent:
        wait_for_message(nucleus, lambda message: message["seq"] > before + 20)
        end(agent)
    numbers = {message["seq"] for message in messages(nucleus)}
    assert numbers == set(range(1, max(numbers) + 1))


def test_an_agent_whose_nucleus_is_offline_keeps_its_results(nucleus: Nucleus, tmp_path: Path) -> None:
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


def test_messages_of_a_crowd_are_so_small_that_they_come_back_from_a_nucleus_lite(
    nucleus: Nucleus, tmp_path: Path
) -> None:
    model, image = tmp_path / "crowd.tflite", tmp_path / "crowd.png"
    model.write_bytes(square_finder(size=(96, 96), cells=(12, 12), max_detections=100))
    cv2.imwrite(str(image), np.full((240, 240, 3), (0, 0, 255), dtype=np.uint8))  # red, and so found everywhere
    nucleus.configuration = configuration(tmp_path, model=str(model), threshold=0.0, camera=str(image))
    with component(nucleus, tmp_path) as agent:
        assert agent.end() == 0, agent.errors
    (payload,) = [payload for topic, payload in nucleus.cloud if topic == DETECTIONS]
    message = json.loads(payload)
    assert message["omitted"] > 0
    assert message["counts"] == {"red": message["omitted"] + len(message["detections"])}
    assert 4_500 < len(payload) <= 4_800
    assert nucleus.echoed == 1


def test_an_update_waits_for_results_that_are_on_their_way_and_for_no_others(nucleus: Nucleus, tmp_path: Path) -> None:
    nucleus.kind, nucleus.echoes = CLASSIC, False
    with component(nucleus, tmp_path) as agent:
        nucleus.wait_until(lambda: len(messages(nucleus)) >= 3)
        nucleus.ask_before_update("d-1")
        nucleus.wait_until(lambda: len(nucleus.deferrals) == 1)
        assert nucleus.deferrals == [("d-1", 10_000)]
        nucleus.echoes = True
        nucleus.configure(max_rate="0.2")  # and then there is a while in which nothing waits

        while nucleus.deferrals[-1] != ("d-1", 0):
            answered = len(nucleus.deferrals)
            nucleus.ask_before_update("d-1")
            nucleus.wait_until(partial(_more_than, answered, nucleus.deferrals))
        end(agent)


def test_a_deployment_hears_whether_its_configuration_can_be_used(nucleus: Nucleus, tmp_path: Path) -> None:
    nucleus.kind = CLASSIC
    with component(nucleus, tmp_path) as agent:
        wait_for_message(nucleus)
        nucleus.ask_whether_valid("d-1", {**nucleus.configuration, "camera": "secret:not-here-yet"})
        nucleus.ask_whether_valid("d-2", {**nucleus.configuration, "threads": "many"})
        nucleus.wait_until(lambda: len(nucleus.reports) == 2)
        assert [(deployment, verdict) for deployment, verdict, _ in nucleus.reports] == [
            ("d-1", "ACCEPTED"),
            ("d-2", "REJECTED"),
        ]
        assert "threads in the component's configuration is 'many'" in nucleus.reports[1][2]
        assert status(nucleus)["state"] != "degraded"
        end(agent)


def test_secrets_come_from_the_nucleus_and_appear_nowhere(
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
        subscribed.wait_for(2, topic_end="/detections")
        nucleus.configure(mqtt_username="secret:hive/mqtt#pin")
        subscribed.wait_until(
            lambda: any(b"no text of the name 'pin'" in payload for payload in subscribed.payloads("/status"))
        )
        end(agent)
        told = [payload for end in ("/status", "/detections") for payload in subscribed.payloads(end)]
    assert not any(b"h0n3y" in payload for payload in told)
    assert not any("h0n3y" in line for line in agent.errors)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("secret:hive/other", "has aws.greengrass#GetSecretValue for hive/mqtt, and not for hive/other"),
        ("secret:", "give secret:NAME or secret:NAME#KEY"),
        ("secret:hive/mqtt#user", "is no JSON object"),
    ],
)
def test_a_secret_that_is_not_to_be_had_is_named_and_not_told(
    nucleus: Nucleus, tmp_path: Path, value: str, words: str
) -> None:
    nucleus.kind, rights = CLASSIC, access_control(GetSecretValue={"hive/mqtt"})
    nucleus.secrets = {"hive/mqtt": "h0n3y"}
    nucleus.configuration = configuration(tmp_path, accessControl=rights, mqtt_password=value)
    ended = run_beeagent("--greengrass", folder=tmp_path, **variables(nucleus))
    assert ended.returncode == 2
    assert "mqtt_password in the component's configuration" in ended.stderr
    assert words in ended.stderr
    assert "h0n3y" not in ended.stderr


def test_a_nucleus_that_is_not_there_yet_is_waited_for(nucleus: Nucleus, tmp_path: Path) -> None:
    nucleus.stop()
    nucleus.configuration = configuration(tmp_path, frames=3)
    with component(nucleus, tmp_path) as agent:
        while not any("no connection to the nucleus" in line for line in agent.errors):
            assert agent.process.poll() is None
        nucleus.start()
        assert agent.process.wait(DEADLINE) == 0
    assert len(messages(nucleus)) == 3


def test_of_many_changes_in_a_row_the_last_is_the_one_that_stays(nucleus: Nucleus, tmp_path: Path) -> None:
    with component(nucleus, tmp_path) as agent:
        wait_for_message(nucleus)
        for width in (160, 176, 192, 208, 224, 640):
            read = nucleus.asked.count("GetConfiguration")
            nucleus.configure(camera=f"synthetic:{width}x240@30")
            nucleus.wait_until(partial(_more_than_before, read, nucleus))
        wait_for_message(nucleus, lambda message: message["frame"]["width"] == 640)
        end(agent)
    numbers = [message["seq"] for message in messages(nucleus)]
    assert sorted(set(numbers)) == list(range(1, max(numbers) + 1))


def _more_than_before(read: int, nucleus: Nucleus) -> bool:
    return nucleus.asked.count("GetConfiguration") > read


def test_port_that_is_taken_is_refused_and_the_old_configuration_goes_on(nucleus: Nucleus, tmp_path: Path) -> None:
    """The agent that could not serve the port had opened the outbox, and must release it."""
    with component(nucleus, tmp_path) as agent, socket.create_server(("127.0.0.1", 0)) as taken:
        wait_for_message(nucleus)
        nucleus.configure(http_port=taken.getsockname()[1])
        wait_for_status(nucleus, "degraded", "cannot be listened at")
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
