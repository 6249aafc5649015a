"""Settings from a component's configuration, in all forms in which a nucleus passes values."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from beeagent.errors import InputError
from beeagent.greengrass import IpcAddress, IpcConnection, IpcError
from beeagent.greengrass.configuration import ConfigurationReader, parse_values
from beeagent.greengrass.ipc import PUBLISH_TO_IOT_CORE, missing_permission
from beeagent.settings import load_settings, settings_by_name
from hypothesis import given
from hypothesis import strategies as st
from support.greengrass_nucleus import CLASSIC, Nucleus, access_control, as_from_yaml, nucleus_at

# Settings of every type, each with a valid value.
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
def connected(nucleus: Nucleus) -> Iterator[IpcConnection]:
    connection = IpcConnection(IpcAddress(str(nucleus.socket), nucleus.token), on_rejected=lambda _: None)
    connection.start()
    try:
        assert connection.wait_connected(60)
        yield connection
    finally:
        connection.close()


def with_points(value: Any) -> Any:  # noqa: ANN401 - any configuration
    """Return a configuration as a nucleus returns that of a JSON recipe: integers with a decimal point."""
    if isinstance(value, dict):
        return {key: with_points(entry) for key, entry in value.items()}
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


@pytest.mark.parametrize("made", [dict, as_from_yaml, with_points])
def test_all_forms_of_a_configuration_are_equal(made: Any, tmp_path: Path) -> None:  # noqa: ANN401 - any of them
    with nucleus_at(tmp_path) as nucleus, connected(nucleus) as connection:
        nucleus.configuration = {"accessControl": {"a": {"operations": ["*"]}}, **made(GIVEN), "tiles": None}
        settings = ConfigurationReader(connection, options={"frames": 7}, thing="hive-7").load()
    assert {key: settings.value(key) for key in GIVEN} == {**GIVEN, "state_dir": Path("/var/lib/bees"), "frames": 7}
    assert (settings.agent.device, settings.model.tiles) == ("hive-7", None)


def test_camera_number_with_decimal_point() -> None:
    unused = IpcConnection(IpcAddress("", ""), on_rejected=lambda _: None)
    assert ConfigurationReader(unused, options={}, thing=None).parse({"camera": 0.0}).settings.camera.address == "0"


def test_device_takes_precedence_over_the_thing(tmp_path: Path) -> None:
    with nucleus_at(tmp_path) as nucleus, connected(nucleus) as connection:
        nucleus.configuration = {"device": "east"}
        assert ConfigurationReader(connection, options={}, thing="hive-7").load().agent.device == "east"


def test_empty_configuration_has_the_defaults(tmp_path: Path) -> None:
    with nucleus_at(tmp_path) as nucleus, connected(nucleus) as connection:
        settings = ConfigurationReader(connection, options={}, thing="hive-7").load()
    assert not settings.differing(load_settings({"device": "hive-7"}, config=None))


def test_failed_read_is_not_taken_for_an_empty_configuration(tmp_path: Path) -> None:
    with nucleus_at(tmp_path) as nucleus, connected(nucleus) as connection:
        nucleus.missing = frozenset({"GetConfiguration"})
        with pytest.raises(IpcError, match="the nucleus failed, or does not support the operation"):
            ConfigurationReader(connection, options={}, thing=None).load()


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(sorted(settings_by_name())) | st.text(), VALUES, max_size=4))
def test_any_configuration_is_valid_or_a_one_line_error(configuration: dict[str, Any]) -> None:
    unused = IpcConnection(IpcAddress("", ""), on_rejected=lambda _: None)
    message = ""
    try:
        ConfigurationReader(unused, options={}, thing="hive-7").parse(configuration)
    except InputError as error:
        message = str(error)
        named = [key for key in configuration if key[:40] in message or not key.isprintable()]
    else:
        named = list(configuration)
    assert message.isprintable()
    assert bool(named) == bool(configuration)


class FixedResponse(IpcConnection):
    """Returns the same response to every call."""

    def __init__(self, value: Any) -> None:  # noqa: ANN401 - any configuration
        super().__init__(IpcAddress("", ""), on_rejected=lambda _: None)
        self._value = value

    def call(self, _operation: Any) -> Any:  # noqa: ANN401 - the SDK's shapes
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
def test_missing_permission_is_one_line_for_any_access_control(value: Any, topic: str) -> None:  # noqa: ANN401 - whatever was deployed
    message = missing_permission(FixedResponse(value), PUBLISH_TO_IOT_CORE, topic)
    assert message.isprintable()
    assert "accessControl" in message
    assert PUBLISH_TO_IOT_CORE in message


@given(st.sampled_from(sorted(settings_by_name())), st.booleans())
def test_booleans_are_accepted_for_boolean_settings_only(key: str, value: bool) -> None:  # noqa: FBT001 - what is drawn
    if settings_by_name()[key].field.annotation is bool:
        assert parse_values({key: value}) == parse_values({key: str(value)}) == {key: value}
        with pytest.raises(InputError, match=f"{key} in the component's configuration is 1: give true or false"):
            parse_values({key: 1})
    else:
        with pytest.raises(InputError, match=f"{key} in the component's configuration is {str(value).lower()}"):
            parse_values({key: value})


def test_secret_may_be_an_entry_of_a_json_object(tmp_path: Path) -> None:
    with nucleus_at(tmp_path) as nucleus, connected(nucleus) as connection:
        nucleus.secrets = {
            "hive": json.dumps({"password": "h0n3y"}),
            "arn:aws:secretsmanager:eu-central-1:1:secret:hive-a1": "w4x",
        }
        nucleus.kind, rights = CLASSIC, access_control(GetSecretValue=nucleus.secrets)
        nucleus.configuration = {"accessControl": rights, "mqtt_password": "secret:hive#password"}
        reader = ConfigurationReader(connection, options={}, thing=None)
        assert reader.load().mqtt.read_password() == "h0n3y"
        nucleus.configure(mqtt_password=f"secret:{list(nucleus.secrets)[1]}")
        assert reader.load().mqtt.read_password() == "w4x"
        nucleus.configuration = {"topic_prefix": "secret:hive#password"}
        with pytest.raises(InputError, match="only camera, mqtt_username, mqtt_password may be secrets"):
            reader.load()
