"""What comes out of a component's configuration, whatever a nucleus has made of its values on the way."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from beeagent.errors import InputError
from beeagent.greengrass.address import NucleusAddress, nucleus_address
from beeagent.greengrass.configuration import ComponentConfiguration, as_settings
from beeagent.greengrass.errors import NucleusError
from beeagent.greengrass.ipc import NucleusConnection
from beeagent.greengrass.missing_rights import PUBLISH_TO_IOT_CORE, missing_right
from beeagent.settings import load_settings, settings_by_name
from hypothesis import given
from hypothesis import strategies as st
from support.greengrass_nucleus import CLASSIC, Nucleus, access_control, as_from_yaml, nucleus_at

# Every kind of setting that there is, by a value that it takes.
GIVEN: dict[str, Any] = {
    "camera": "0",
    "camera_name": "front",
    "threshold": 0.25,
    "threads": 2,
    "max_rate": 5.0,
    "realtime": True,
    "publish": "always",
    "frames": 100,
    "http_port": 8080,
    "rekognition_labels": {"honey bee": "bee", "wasp": ""},
    "insecure_tls": False,
    "state_dir": "/var/lib/bees",
}


@contextmanager
def connected(nucleus: Nucleus) -> Iterator[NucleusConnection]:
    connection = NucleusConnection(NucleusAddress(str(nucleus.socket), nucleus.token), on_expelled=lambda _: None)
    connection.start()
    try:
        assert connection.wait_connected(60)
        yield connection
    finally:
        connection.close()


def with_points(value: Any) -> Any:  # noqa: ANN401 - any configuration
    """Give a configuration as a nucleus gives that of a JSON recipe: whole numbers with a decimal point."""
    if isinstance(value, dict):
        return {key: with_points(entry) for key, entry in value.items()}
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


@pytest.mark.parametrize("made", [dict, as_from_yaml, with_points])
def test_all_forms_of_a_configuration_give_the_same_settings(made: Any, tmp_path: Path) -> None:  # noqa: ANN401 - any of them
    with nucleus_at(tmp_path) as nucleus, connected(nucleus) as connection:
        nucleus.configuration = {"accessControl": {"a": {"operations": ["*"]}}, **made(GIVEN), "tiles": None}
        settings = ComponentConfiguration(connection, options={"frames": 7}, thing="hive-7").load()
    assert {key: settings.value(key) for key in GIVEN} == {**GIVEN, "state_dir": Path("/var/lib/bees"), "frames": 7}
    assert (settings.agent.device, settings.model.tiles) == ("hive-7", None)


def test_a_camera_by_its_number_stays_one_though_it_comes_with_a_point() -> None:
    unused = NucleusConnection(NucleusAddress("", ""), on_expelled=lambda _: None)
    assert ComponentConfiguration(unused, options={}, thing=None).settings({"camera": 0.0}).camera.address == "0"


def test_a_device_that_is_named_is_not_the_thing(tmp_path: Path) -> None:
    with nucleus_at(tmp_path) as nucleus, connected(nucleus) as connection:
        nucleus.configuration = {"device": "east"}
        assert ComponentConfiguration(connection, options={}, thing="hive-7").load().agent.device == "east"


def test_no_configuration_at_all_is_all_defaults(tmp_path: Path) -> None:
    with nucleus_at(tmp_path) as nucleus, connected(nucleus) as connection:
        settings = ComponentConfiguration(connection, options={}, thing="hive-7").load()
    assert not settings.differing(load_settings({"device": "hive-7"}, config=None))


def test_a_nucleus_that_gives_no_configuration_is_not_taken_for_an_empty_one(tmp_path: Path) -> None:
    with nucleus_at(tmp_path) as nucleus, connected(nucleus) as connection:
        nucleus.missing = frozenset({"GetConfiguration"})
        with pytest.raises(NucleusError, match="the nucleus could not do it"):
            ComponentConfiguration(connection, options={}, thing=None).load()


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(sorted(settings_by_name())) | st.text(), VALUES, max_size=4))
def test_whatever_a_deployment_sends_is_settings_or_one_clear_line(configuration: dict[str, Any]) -> None:
    unused = NucleusConnection(NucleusAddress("", ""), on_expelled=lambda _: None)
    told = ""
    try:
        ComponentConfiguration(unused, options={}, thing="hive-7").settings(configuration)
    except InputError as error:
        told = str(error)
        named = [key for key in configuration if key[:40] in told or not key.isprintable()]
    else:
        named = list(configuration)
    assert told.isprintable()
    assert bool(named) == bool(configuration)


class Answering(NucleusConnection):
    """Gives one answer to whatever is asked."""

    def __init__(self, value: Any) -> None:  # noqa: ANN401 - any configuration
        super().__init__(NucleusAddress("", ""), on_expelled=lambda _: None)
        self._value = value

    def ask(self, _begin: Any) -> Any:  # noqa: ANN401 - as the client's
        return SimpleNamespace(value=self._value)


POLICIES = st.dictionaries(
    st.just("aws.greengrass.ipc.mqttproxy") | st.text(),
    st.dictionaries(
        st.text(), st.fixed_dictionaries({}, optional={"operations": VALUES, "resources": VALUES}) | VALUES, max_size=2
    )
    | VALUES,
    max_size=2,
)


@given(st.fixed_dictionaries({"accessControl": POLICIES | VALUES}) | POLICIES | VALUES, st.text(min_size=1))
def test_whatever_access_control_is_a_missing_right_is_one_clear_line(value: Any, topic: str) -> None:  # noqa: ANN401 - whatever was deployed
    words = missing_right(Answering(value), PUBLISH_TO_IOT_CORE, topic)
    assert words.isprintable()
    assert "accessControl" in words
    assert PUBLISH_TO_IOT_CORE in words


@given(st.sampled_from(sorted(settings_by_name())), st.booleans())
def test_true_and_false_are_for_yes_and_no_alone(key: str, value: bool) -> None:  # noqa: FBT001 - what is drawn
    if settings_by_name()[key].field.annotation is bool:
        assert as_settings({key: value}) == as_settings({key: str(value)}) == {key: value}
        with pytest.raises(InputError, match=f"{key} in the component's configuration is 1: give true or false"):
            as_settings({key: 1})
    else:
        with pytest.raises(InputError, match=f"{key} in the component's configuration is {str(value).lower()}"):
            as_settings({key: value})


def test_a_secret_may_be_an_entry_of_a_json_object(tmp_path: Path) -> None:
    with nucleus_at(tmp_path) as nucleus, connected(nucleus) as connection:
        nucleus.secrets = {
            "hive": json.dumps({"password": "h0n3y"}),
            "arn:aws:secretsmanager:eu-central-1:1:secret:hive-a1": "w4x",
        }
        nucleus.kind, rights = CLASSIC, access_control(GetSecretValue=nucleus.secrets)
        nucleus.configuration = {"accessControl": rights, "mqtt_password": "secret:hive#password"}
        loading = ComponentConfiguration(connection, options={}, thing=None)
        assert loading.load().mqtt.read_password() == "h0n3y"
        nucleus.configure(mqtt_password=f"secret:{list(nucleus.secrets)[1]}")
        assert loading.load().mqtt.read_password() == "w4x"
        nucleus.configuration = {"topic_prefix": "secret:hive#password"}
        with pytest.raises(InputError, match="only camera, mqtt_username, mqtt_password may be secrets"):
            loading.load()


@pytest.mark.parametrize("missing", ["SVCUID", "AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT"])
def test_a_process_that_no_nucleus_started_is_told_so(missing: str) -> None:
    variables = {"SVCUID": "1", "AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT": "/s"}
    assert nucleus_address(variables) == NucleusAddress("/s", "1")
    assert "1" not in repr(nucleus_address(variables))
    with pytest.raises(InputError, match=f"{missing} is not set"):
        nucleus_address({**variables, missing: ""})
