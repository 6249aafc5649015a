"""Settings come from four sources with a fixed precedence, and an error names the source."""

import contextlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
from beeagent.errors import InputError
from beeagent.settings import Settings, flattened, load_settings, settings_by_name
from hypothesis import example, given
from hypothesis import strategies as st


@pytest.fixture(autouse=True)
def _no_settings_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for key in settings_by_name():
        monkeypatch.delenv(f"BEEAGENT_{key.upper()}", raising=False)


def _file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "beeagent.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_order_of_precedence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = _file(tmp_path, 'camera = "file"\ncamera_name = "file"\ndevice = "file"\n')
    monkeypatch.setenv("BEEAGENT_CAMERA", "environment")
    monkeypatch.setenv("BEEAGENT_CAMERA_NAME", "environment")
    settings = load_settings({"camera": "option", "device": None}, config=config)
    assert (settings.camera.address, settings.camera.name, settings.agent.device) == ("option", "environment", "file")
    assert settings.messages.topic_prefix == "beeagent"


def test_every_setting_in_file_sections_component_and_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = {
        "camera": "0", "camera_name": "front", "device": "hive-7", "model": "/m", "labels": "/l", "broker": "none",
        "topic_prefix": "a/b", "threshold": 0.25, "tiles": "3x2", "regions": True, "max_inference_rate": 20.0,
        "threads": 3, "workers": 2, "inference_timeout": 3.0,
        "publish": "changes", "max_rate": 2.5, "realtime": True, "frames": 9, "stdout": True,
        "log_format": "json", "http_port": 9465, "http_host": "::1",
        "state_dir": "/s", "mqtt_client_id": "bee", "mqtt_version": "3.1.1",
        "mqtt_username": "u", "mqtt_password": "p", "mqtt_password_file": "/p",
        "mqtt_ca_file": "/ca",
        "mqtt_certificate_file": "/c", "mqtt_key_file": "/k", "await_camera": True, "camera_timeout": 2.5,
        "camera_size": "640x480", "camera_fps": 7.5,
        "freeze_timeout": 0.5, "insecure_tls": True, "outbox_megabytes": 5.5, "outbox_max_age_hours": 12.0,
        "outbox_commit_interval_ms": 2000.0, "outbox_commit_at_once": False, "outbox_drain_rate": 7.5,
        "unsure_low": 0.2, "unsure_high": 0.8, "rekognition_project_version_arn": "arn",
        "rekognition_min_confidence": 0.4, "rekognition_labels": {"bee": "Apis"}, "rekognition_timeout": 2.5,
        "rekognition_workers": 3, "rekognition_per_minute": 4, "rekognition_per_day": 5,
        "rekognition_longest_side": 640, "rekognition_jpeg_quality": 70, "rekognition_same_for": 0.5,
        "rekognition_hourly_price": 8.0, "collect": "kept", "collect_megabytes": 20.0,
        "active": "sunrise-30m..sunset+30m", "latitude": 46.95, "longitude": 7.45,
        "greengrass_confirm": "accepted", "track": True, "places": "/places.toml", "traffic_interval": 30.5,
        "unusual_traffic": False,
        "state_interval": 12.5, "home_assistant": True, "home_assistant_prefix": "ha",
        "page": True, "page_host": "192.0.2.1", "page_port": 8443, "page_hosts": "bees.example.org,hive.lan:8443",
        "page_password_file": "/w", "page_certificate_file": "/pc", "page_key_file": "/pk",
    }  # fmt: skip
    assert set(values) == set(settings_by_name())
    toml = "".join(f"{key} = {json.dumps(value).replace(': ', ' = ')}\n" for key, value in values.items())
    from_file = load_settings({}, config=_file(tmp_path, toml))
    assert {name: from_file.value(name) for name in values if name != "mqtt_password"} == {
        name: Path(value) if isinstance(from_file.value(name), Path) else value
        for name, value in values.items()
        if name != "mqtt_password"
    }
    sections: dict[str, dict[str, Any]] = {}
    for name, setting in settings_by_name().items():
        sections.setdefault(setting.section, {})[setting.key] = values[name]
    assert load_settings({}, config=_file(tmp_path, _sections(sections))) == from_file
    assert load_settings({}, config=None, component=sections) == from_file
    assert flattened(sections) == flattened(values) == values
    for key, value in values.items():
        monkeypatch.setenv(f"BEEAGENT_{key.upper()}", json.dumps(value) if isinstance(value, dict) else str(value))
    assert load_settings({}, config=None) == from_file
    assert from_file.model.threshold == 0.25
    assert from_file.agent.state_dir == Path("/s")


def test_mqtt_version_as_a_number(tmp_path: Path) -> None:
    assert load_settings({}, config=_file(tmp_path, "mqtt_version = 5\n")).mqtt.version == "5"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("mqtt_version", '"4"'), ("mqtt_version", "true"), ("mqtt_client_id", '""'), ("mqtt_client_id", '"a\\u0000"'),
        ("camera_size", '"640"'), ("camera_size", '"0x480"'), ("camera_size", '"640x480x3"'), ("camera_fps", "0"),
    ],
)  # fmt: skip
def test_invalid_value_is_refused_with_its_key(tmp_path: Path, key: str, value: str) -> None:
    with pytest.raises(InputError, match=rf"{key} in .*beeagent\.toml is "):
        load_settings({}, config=_file(tmp_path, f"{key} = {value}\n"))


def test_typo_names_the_key_and_the_likely_one(tmp_path: Path) -> None:
    config = _file(tmp_path, "treshold = 0.5\n")
    with pytest.raises(InputError, match=r"unknown setting treshold in .*beeagent\.toml; did you mean threshold\?"):
        load_settings({}, config=config)


@pytest.mark.parametrize(
    ("where", "named"),
    [("option", "--threshold is"), ("environment", "BEEAGENT_THRESHOLD is"), ("file", "threshold in ")],
)
def test_value_out_of_range_names_where_it_is_written(
    where: str, named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = _file(tmp_path, "threshold = 1.5\n" if where == "file" else "")
    if where == "environment":
        monkeypatch.setenv("BEEAGENT_THRESHOLD", "1.5")
    with pytest.raises(InputError) as caught:
        load_settings({"threshold": 1.5 if where == "option" else None}, config=config)
    message = str(caught.value)
    assert message.startswith(named)
    assert "1.5" in message
    assert "less than or equal to 1" in message
    assert "\n" not in message


def test_invalid_toml_names_file_and_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"beeagent\.toml is not TOML: .*line 2"):
        load_settings({}, config=_file(tmp_path, 'camera = "0"\nthreads = = 2\n'))


def test_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        load_settings({}, config=tmp_path / "absent.toml")


@pytest.mark.parametrize("name", ["a/b", "+", "#", "", "x" * 65, "a\nb"])
def test_names_not_allowed_in_topics_are_refused(name: str) -> None:
    with pytest.raises(InputError, match="--camera-name"):
        load_settings({"camera_name": name}, config=None)


def test_password_is_never_shown(tmp_path: Path) -> None:
    settings = load_settings({}, config=_file(tmp_path, 'mqtt_password = "hunter2"\n'))
    assert settings.mqtt.read_password() == "hunter2"
    assert "hunter2" not in repr(settings)
    assert "hunter2" not in settings.model_dump_json()
    with pytest.raises(InputError) as caught:
        load_settings({}, config=_file(tmp_path, 'mqtt_password = ["hunter2"]\n'))
    assert "hunter2" not in str(caught.value)


def test_password_file_is_read_without_line_end(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s3 cret\n", encoding="utf-8")
    settings = load_settings({}, config=_file(tmp_path, f'mqtt_password_file = "{secret}"\n'))
    assert settings.mqtt.read_password() == "s3 cret"
    secret.unlink()
    with pytest.raises(InputError, match="mqtt_password_file"):
        settings.mqtt.read_password()


@given(text=st.text(alphabet=st.characters(codec="utf-8"), max_size=200))
def test_any_file_is_accepted_or_refused_in_one_line(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    config = _file(tmp_path_factory.mktemp("config"), text)
    with contextlib.suppress(InputError):
        load_settings({}, config=config)


_ODD = st.text(max_size=30) | st.sampled_from(
    ["", "0", "-1", "1e999", "nan", "inf", "true", "9" * 5000, "x" * 5000, "\x1b[2J"]
)
_TOML = st.recursive(
    st.booleans() | st.integers() | st.floats() | _ODD,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)

_VALUES = _TOML | st.dictionaries(
    st.sampled_from(sorted({s.key for s in settings_by_name().values()})), _TOML, max_size=3
)


def _sections(sections: dict[str, dict[str, Any]]) -> str:
    tables = ("".join(f"{key} = {_toml(value)}\n" for key, value in entries.items()) for entries in sections.values())
    return "".join(f"[{name}]\n{table}" for name, table in zip(sections, tables, strict=True))


def _toml(value: object) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{json.dumps(key)} = {_toml(inner)}' for key, inner in value.items())}}}"
    return json.dumps(value).replace("NaN", "nan").replace("Infinity", "inf").replace("\x7f", "\\u007f")


def _assert_bounds(settings: Settings) -> None:
    assert 0.5 <= settings.camera.timeout <= 3600
    assert 0 <= settings.camera.freeze_timeout <= 86400
    assert 1 <= settings.model.threads <= 64
    assert settings.camera.max_rate is None or 0 < settings.camera.max_rate <= 1000
    assert (
        "\0"
        not in f"{settings.model.path}{settings.model.labels}{settings.agent.state_dir}{settings.mqtt.password_file}"
    )


@given(
    values=st.dictionaries(
        st.sampled_from(sorted({*settings_by_name(), *Settings.model_fields})) | _ODD, _VALUES, max_size=3
    )
)
@example(values={"camera": ["rtsp://me:hunter2@camera.local/"]})
@example(values={"broker": {"a": "mqtt://me:hunter2@broker.local"}})
@example(values={"mqtt_password": ["hunter2"]})
@example(values={"mqtt": {"password": ["hunter2"]}})
@example(values={"mqtt": {"password": {"hunter2": "hunter2"}}})
@example(values={"camera": {"address": ["rtsp://me:hunter2@camera.local/"]}})
@example(values={"state_dir": "a\0b"})
@example(values={"\x1b[2J": 1})
def test_any_value_is_accepted_or_refused_in_one_line(
    values: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    config = _file(tmp_path_factory.getbasetemp(), "".join(f"{_toml(key)} = {_toml(values[key])}\n" for key in values))
    try:
        settings = load_settings({}, config=config)
    except InputError as error:
        message = str(error)
        assert message.isprintable()
        assert len(message) < 1500
        assert "hunter2" not in message
    else:
        _assert_bounds(settings)


@given(key=st.sampled_from(sorted(settings_by_name())), text=_ODD)
def test_any_environment_value_is_accepted_or_refused_in_one_line(key: str, text: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        try:
            patch.setenv(f"BEEAGENT_{key.upper()}", text)
        except (ValueError, UnicodeEncodeError):  # what no environment can hold
            return
        try:
            settings = load_settings({}, config=None)
        except InputError as error:
            message = str(error)
            assert message.isprintable()
            assert len(message) < 1500
        else:
            _assert_bounds(settings)


@pytest.mark.parametrize("text", ["x = " + "[" * 10_000, "threads = 1" + "0" * 5000], ids=["too deep", "too long"])
def test_toml_that_exhausts_its_parser_is_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"beeagent\.toml is not TOML") as caught:
        load_settings({}, config=_file(tmp_path, text))
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("camera_size", "1280", "give width and height in pixels, such as 1280x720"),
        ("tiles", "9x9", "give none, auto, or columns and rows up to 8x8"),
        ("mqtt_client_id", "", "give 1 to 128 characters"),
        ("device", "a/b", "give 1 to 64 characters, without / + #"),
    ],
)
def test_errors_list_the_allowed_values(key: str, value: str, words: str) -> None:
    with pytest.raises(InputError, match=re.escape(words)):
        load_settings({key: value}, config=None)


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_wrong_encoding_is_refused_with_a_remedy(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "beeagent.toml"
    path.write_bytes('camera = "é"'.encode(encoding))
    with pytest.raises(InputError, match="is not UTF-8 text: save it as UTF-8"):
        load_settings({}, config=path)


def test_camera_number_as_a_number(tmp_path: Path) -> None:
    """`camera = 0` was refused: "input should be a valid string"."""
    assert load_settings({}, config=_file(tmp_path, "camera = 0\n")).camera.address == "0"
    with pytest.raises(InputError, match="camera in "):
        load_settings({}, config=_file(tmp_path, "camera = true\n"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[camera]\ntimout = 3\n", "unknown setting camera.timout in FILE; did you mean camera.timeout?"),
        (
            "[camera]\ncamera_timeout = 3\n",
            "unknown setting camera.camera_timeout in FILE; did you mean camera.timeout?",
        ),
        ("[camera]\nthreads = 3\n", "unknown setting camera.threads in FILE; did you mean model.threads?"),
        ("[outboks]\nmegabytes = 3\n", "unknown setting outboks in FILE; did you mean [outbox]?"),
        ("[nothing]\nx = 3\n", "unknown setting nothing in FILE; beeagent --help lists all settings"),
        ("outbox = 3\n", "unknown setting outbox in FILE; outbox is a section: write its settings below [outbox]"),
        ("[camera]\ntimeout = 0\n", "camera.timeout in FILE is 0: input should be greater than or equal to 0.5"),
        (
            "outbox_megabytes = 3\n[outbox]\nmegabytes = 3\n",
            "outbox.megabytes in FILE and outbox_megabytes in FILE are the same setting: give one of them",
        ),
    ],
)
def test_mistake_in_a_section_names_section_and_key(text: str, words: str, tmp_path: Path) -> None:
    config = _file(tmp_path, text)
    with pytest.raises(InputError) as caught:
        load_settings({}, config=config)
    assert words.replace("FILE", str(config)) in str(caught.value)


def test_unknown_option_is_named_as_an_option() -> None:
    with pytest.raises(InputError, match=r"unknown setting --treshold; did you mean --threshold\?"):
        load_settings({"treshold": 0.5}, config=None)


def test_table_in_the_environment_is_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("beeagent_rekognition_labels", '{"Apis": "bee"}')
    assert load_settings({}, config=None).rekognition.labels == {"Apis": "bee"}
    monkeypatch.setenv("beeagent_rekognition_labels", "Apis=bee")
    with pytest.raises(InputError, match="BEEAGENT_REKOGNITION_LABELS is 'Apis=bee': give a JSON object"):
        load_settings({}, config=None)


def test_replace_and_differing_use_flat_names() -> None:
    settings = load_settings({"camera_name": "front", "threads": 2}, config=None)
    other = settings.replace(camera_name="back", workers=2)
    assert settings.differing(other) == {"camera_name", "workers"}
    assert (other.camera.name, other.model.workers, other.model.threads) == ("back", 2, 2)
    assert not settings.differing(other.replace(**{name: settings.value(name) for name in ("camera_name", "workers")}))


def test_every_default_and_example_is_a_valid_value(tmp_path: Path) -> None:
    for name, setting in settings_by_name().items():
        for value in (setting.default, *(setting.field.examples or ())):
            if value is not None:
                load_settings({}, config=_file(tmp_path, f"{name} = {_toml(value)}\n"))


@pytest.mark.parametrize(
    ("options", "url"),
    [
        ({}, "http://127.0.0.1:8470"),
        ({"page_host": "::1", "page_port": 81}, "http://[::1]:81"),
        ({"page_host": "192.168.1.5", "page_certificate_file": "/c"}, "https://192.168.1.5:8470"),
        ({"page_host": "::", "page_hosts": " Bees.example.org , hive.lan"}, "http://bees.example.org:8470"),
        ({"page_hosts": "bees.example.org:443", "page_certificate_file": "/c"}, "https://bees.example.org:443"),
    ],
)
def test_url_of_page(options: dict[str, Any], url: str) -> None:
    assert load_settings({**options, "page": True}).page.url == url
    assert load_settings(options).page.url is None
    reached = ("page_host" in options and options["page_host"] != "::1") or "page_hosts" in options
    assert load_settings({**options, "page": True}).page.url_in_network == (url if reached else None)
