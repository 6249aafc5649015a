"""The settings: one typed tree, from defaults, a TOML file, the environment and the command line.

Each setting is defined once, as a field of its section: type, bounds, default and description. The options of the
command line, `docs/settings.md`, the `beeagent.toml` template and the Greengrass recipe are made from these fields.
"""

import difflib
import json
import os
import re
import socket
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, get_origin

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError
from pydantic.fields import FieldInfo

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

from beeagent.errors import InputError
from beeagent.shown_text import shown

ENVIRONMENT_PREFIX = "BEEAGENT_"

_WITH_SECRETS = frozenset({"camera", "broker", "mqtt_password"})
"""Settings whose values may contain a password."""
_MAX_SHOWN = 200
_COMPONENT = "the component's configuration"

# A level of an MQTT topic, and so without its separators and wildcards.
_TOPIC_LEVEL = r"^[^/+#\x00-\x1f\x7f]{1,64}$"
_TILES = r"^(none|auto|[1-8]x[1-8])$"
_SIZE = r"^[1-9][0-9]{0,4}x[1-9][0-9]{0,4}$"
_CLIENT_ID = r"^[^\x00-\x1f\x7f]{1,128}$"
_PATTERNS_IN_WORDS = {
    _TOPIC_LEVEL: "give 1 to 64 characters, without / + # and control characters",
    _TILES: "give none, auto, or columns and rows up to 8x8, such as 3x2",
    _SIZE: "give width and height in pixels, such as 1280x720",
    _CLIENT_ID: "give 1 to 128 characters, without control characters",
}
TopicLevel = Annotated[str, Field(pattern=_TOPIC_LEVEL)]
Tiles = Annotated[str, Field(pattern=_TILES)]
FrameSize = Annotated[str, Field(pattern=_SIZE)]
ClientId = Annotated[str, Field(pattern=_CLIENT_ID)]
CameraAddress = Annotated[str, Field(coerce_numbers_to_str=True)]  # `camera = 0`


@dataclass(frozen=True, slots=True)
class Option:
    """How a setting is spelled outside its section, where that does not follow from its field.

    Attributes:
        name: its name as `BEEAGENT_NAME` and `--name`, in snake case; None for `section_key`.
        metavar: what the help shows in place of the value.
        default: the default in words, where it is computed.
        missing: why there is no command-line option for it; None where there is one.
    """

    name: str | None = None
    metavar: str | None = None
    default: str | None = None
    missing: str | None = None


def _without_nul(path: Path) -> Path:
    if "\0" in str(path):
        raise ValueError("a path has no NUL character")
    return path


FilePath = Annotated[Path, AfterValidator(_without_nul)]


def _as_text(value: object) -> object:
    """Return a version that was written as a number, `5`, as text."""
    return f"{value:g}" if isinstance(value, int | float) and not isinstance(value, bool) else value


def _host_name() -> str:
    return re.sub(r"[^A-Za-z0-9_.-]", "-", socket.gethostname())[:64] or "device"


def _all_cores_up_to_four() -> int:
    return min(4, os.cpu_count() or 1)


def _state_dir() -> Path | None:
    # systemd sets the first; the XDG base directory specification defines the second.
    if given := os.environ.get("STATE_DIRECTORY"):
        return Path(given.split(":")[0])
    if given := os.environ.get("XDG_STATE_HOME"):
        return Path(given) / "beeagent"
    try:
        return Path.home() / ".local" / "state" / "beeagent"
    except RuntimeError:  # a user without an entry in /etc/passwd, as in a container
        return None


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class CameraSettings(_Section):
    """Where frames come from, and how they are read."""

    address: Annotated[CameraAddress | None, Option("camera")] = Field(
        default=None,
        description="Camera number or /dev/videoN, csi, rtsp:// or http:// URL, video file, image, folder or glob of "
        "images, or synthetic. A URL with a password belongs in a file or the environment.",
        examples=["/dev/video0"],
    )
    name: TopicLevel = Field(default="camera", description="Name of the camera in topics and messages.")
    size: Annotated[FrameSize | None, Option(metavar="WxH", default="the camera's own")] = Field(
        default=None,
        description="Frame size to request from a local camera, such as 1280x720.",
        examples=["1280x720"],
    )
    fps: Annotated[float | None, Option(default="the camera's own, 30 for images")] = Field(
        default=None,
        gt=0,
        le=1000,
        description="Frames per second to request from a local camera, or to play images at with realtime.",
        examples=[15.0],
    )
    timeout: float = Field(
        default=5.0,
        ge=0.5,
        le=3600,
        description="Reopen the camera after this many seconds without a usable frame.",
    )
    freeze_timeout: Annotated[float, Option("freeze_timeout")] = Field(
        default=5.0,
        ge=0,
        le=86400,
        description="Reopen the camera after this many seconds of identical frames (0 = off).",
    )
    await_camera: Annotated[bool, Option("await_camera")] = Field(
        default=False,
        description="Keep retrying if the camera is missing at startup, instead of exiting. For services.",
    )
    max_rate: Annotated[float | None, Option("max_rate", default="no limit")] = Field(
        default=None, gt=0, le=1000, description="Maximum number of frames processed per second.", examples=[5.0]
    )
    realtime: Annotated[bool, Option("realtime")] = Field(
        default=False, description="Play a file at its own speed, like a live camera."
    )
    frames: Annotated[int | None, Option("frames", default="no limit")] = Field(
        default=None, ge=1, description="Stop after this many frames.", examples=[100]
    )


class ModelSettings(_Section):
    """The model, and how it runs."""

    path: Annotated[FilePath | None, Option("model", default="bees-lite0")] = Field(
        default=None,
        description="Model bundle (a folder), name of a bundled model (bees-lite0, bees-lite0-wide), or a bare .tflite "
        "file.",
        examples=["bees-lite0"],
    )
    labels: Annotated[FilePath | None, Option("labels")] = Field(
        default=None, description="Labels of a bare .tflite file, one per line.", examples=["labels.txt"]
    )
    threshold: Annotated[float | None, Option("threshold", default="the bundle's")] = Field(
        default=None, ge=0, le=1, description="Minimum confidence of a detection, 0 to 1.", examples=[0.5]
    )
    tiles: Annotated[Tiles | None, Option("tiles", metavar="none|auto|CxR", default="as the bundle recommends")] = (
        Field(
            default=None,
            description="Also run the model on overlapping tiles of the frame, to detect small objects: none, auto, or "
            "columns and rows such as 3x2.",
            examples=["3x2"],
        )
    )
    threads: Annotated[int, Option("threads", default="all cores, at most 4")] = Field(
        default_factory=_all_cores_up_to_four, ge=1, le=64, description="CPU threads for inference.", examples=[4]
    )
    workers: Annotated[int | None, Option("workers", default="2, or 1 with 1 thread")] = Field(
        default=None,
        ge=1,
        le=64,
        description="Frames to process in parallel; the threads are split among them. 1 gives the lowest latency, more "
        "a higher throughput.",
        examples=[2],
    )
    inference_timeout: Annotated[float, Option("inference_timeout")] = Field(
        default=10.0,
        ge=0.1,
        le=600,
        description="Seconds after which an inference counts as stuck: its frame is dropped and the model is started "
        "again.",
    )


class MessageSettings(_Section):
    """What is published, and under which topics."""

    publish: Annotated[Literal["detections", "always", "changes"], Option("publish")] = Field(
        default="detections",
        description="Frames that make a message: those with detections, always (all), or changes (those whose counts "
        "differ from the message before).",
    )
    topic_prefix: Annotated[str, Option("topic_prefix")] = Field(
        default="beeagent", description="First levels of every topic."
    )
    stdout: Annotated[bool, Option("stdout")] = Field(
        default=False, description="Also write each message as a JSON line to standard output."
    )


class MqttSettings(_Section):
    """The broker, and how to authenticate there."""

    broker: Annotated[str, Option("broker")] = Field(
        default="mqtt://127.0.0.1:1883",
        description="mqtt://HOST[:PORT], mqtts://HOST[:PORT], embedded, or none; in a Greengrass component also "
        "greengrass://iot-core or greengrass://local.",
    )
    client_id: Annotated[ClientId | None, Option(default="beeagent-DEVICE-CAMERA_NAME")] = Field(
        default=None,
        description="MQTT client ID; each agent needs its own. watch, status and doctor append to it.",
        examples=["hive-7"],
    )
    version: Annotated[Literal["auto", "5", "3.1.1"], BeforeValidator(_as_text)] = Field(
        default="auto", description="MQTT version; auto uses 5, or 3.1.1 if the broker does not answer that."
    )
    username: str | None = Field(default=None, description="User name for the broker.", examples=["hive-7"])
    password: Annotated[
        SecretStr | None, Option(missing="every user of the machine can read a command line; use --mqtt-password-file")
    ] = Field(
        default=None,
        description="Password for the broker. Give it in a file that only the agent can read, or use password_file.",
        examples=["…"],
    )
    password_file: FilePath | None = Field(
        default=None,
        description="File that contains the broker's password.",
        examples=["/etc/beeagent/mqtt-password"],
    )
    ca_file: Annotated[FilePath | None, Option(default="the system's")] = Field(
        default=None,
        description="PEM file of the trusted certificate authorities for mqtts://.",
        examples=["/etc/beeagent/ca.pem"],
    )
    certificate_file: FilePath | None = Field(
        default=None,
        description="PEM file of the client certificate for mqtts://.",
        examples=["/etc/beeagent/client.pem"],
    )
    key_file: FilePath | None = Field(
        default=None,
        description="PEM file of the client certificate's private key.",
        examples=["/etc/beeagent/client.key"],
    )
    insecure_tls: Annotated[bool, Option("insecure_tls")] = Field(
        default=False, description="Skip TLS certificate verification (insecure). Logs a warning at startup."
    )

    def read_password(self) -> str | None:
        """Return the broker's password, from the setting itself or from its file.

        Raises:
            InputError: both are given, or the file cannot be read.
        """
        if self.password_file is None:
            return self.password.get_secret_value() if self.password else None
        if self.password is not None:
            raise InputError("mqtt_password and mqtt_password_file are both set: give one of them")
        try:
            return self.password_file.read_text(encoding="utf-8-sig").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"mqtt_password_file {self.password_file} cannot be read: {error}") from error


class OutboxSettings(_Section):
    """Results that wait for the broker."""

    megabytes: float = Field(
        default=100.0,
        ge=0.1,
        le=1_000_000,
        description="Maximum size on disk, in 10^6 bytes; when it is full, the oldest results are dropped.",
    )
    max_age_hours: float = Field(
        default=168.0,
        gt=0,
        le=1_000_000,
        description="Drop results that have waited this long, in hours in which the device was on.",
    )
    commit_interval_ms: float = Field(
        default=250.0,
        ge=0,
        le=3_600_000,
        description="Maximum time between commits, in milliseconds; results in between are committed together.",
    )
    commit_at_once: bool = Field(
        default=True, description="While connected, commit each result at once, so that it is published at once."
    )
    drain_rate: float = Field(
        default=50.0,
        gt=0,
        le=100_000,
        description="Maximum number of results per second that are sent from the backlog of an outage.",
    )


class HttpSettings(_Section):
    """Metrics and health over HTTP."""

    port: Annotated[int | None, Option(default="no HTTP")] = Field(
        default=None,
        ge=1,
        le=65535,
        description="Serve /metrics (Prometheus) and /healthz at this port.",
        examples=[9465],
    )
    host: str = Field(
        default="127.0.0.1",
        min_length=1,
        description="Address to serve them at; everyone who can reach it can read them.",
    )


class AgentSettings(_Section):
    """The agent on its device."""

    device: Annotated[TopicLevel, Option("device", default="the host name")] = Field(
        default_factory=_host_name, description="Name of the device in topics and messages.", examples=["hive-7"]
    )
    state_dir: Annotated[FilePath | None, Option("state_dir", default="~/.local/state/beeagent")] = Field(
        default_factory=_state_dir,
        description="Folder for the outbox and everything else that must survive a restart.",
        examples=["/var/lib/beeagent"],
    )
    log_format: Annotated[Literal["text", "json"], Option("log_format")] = Field(
        default="text", description="Format of the log on standard error."
    )


class RekognitionSettings(_Section):
    """The second opinion: an Amazon Rekognition Custom Labels model that is asked about uncertain frames."""

    project_version_arn: Annotated[str | None, Option(default="off")] = Field(
        default=None,
        description="ARN of the running model (a project version) to ask. Without it, no frame leaves the device.",
        examples=["arn:aws:rekognition:eu-west-1:123456789012:project/bees/version/bees.2026/1777777777777"],
    )
    min_confidence: float = Field(
        default=0.5, ge=0, le=1, description="Minimum confidence of the cloud model's detections, 0 to 1."
    )
    labels: Annotated[dict[str, str], Option(missing="it is a table; set it in the file or the environment")] = Field(
        default={},
        description="Map from the cloud model's labels to ours. A label that maps to an empty text is left out.",
        examples=[{"Apis": "bee"}],
    )
    timeout: float = Field(
        default=5.0,
        ge=0.1,
        le=600,
        description="Seconds to wait for an answer; the frame is then published with the device's own detections.",
    )
    workers: int = Field(default=2, ge=1, le=16, description="Number of frames sent in parallel.")
    per_minute: int = Field(default=10, ge=0, le=10_000, description="Maximum number of calls in any minute.")
    per_day: int = Field(default=1000, ge=0, le=10_000_000, description="Maximum number of calls per day (UTC).")
    longest_side: int = Field(
        default=1280, ge=64, le=4096, description="Longest side of the JPEG that is sent, in pixels."
    )
    jpeg_quality: int = Field(default=85, ge=1, le=100, description="Quality of the JPEG that is sent.")
    same_for: float = Field(
        default=10.0,
        ge=0,
        le=3600,
        description="Reuse an answer for this many seconds on frames that show the same (0 = ask about each).",
    )
    hourly_price: float = Field(
        default=4.0,
        ge=0,
        le=100_000,
        description="US dollars per hour of the running model, for the cost estimate in the status: AWS's price of an "
        "inference unit, times their number.",
    )
    unsure_low: Annotated[float | None, Option("unsure_low", default="from the model's validation")] = Field(
        default=None,
        ge=0,
        le=1,
        description="Lower bound of the uncertainty range; a frame with a detection in the range is asked about.",
        examples=[0.2],
    )
    unsure_high: Annotated[float | None, Option("unsure_high", default="from the model's validation")] = Field(
        default=None, ge=0, le=1, description="Upper bound of the uncertainty range.", examples=[0.8]
    )


class CollectSettings(_Section):
    """Training data from the second opinion."""

    folder: Annotated[FilePath | None, Option("collect", metavar="DIR", default="off")] = Field(
        default=None,
        description="Save frames checked by the cloud model, with both models' boxes, as a dataset in this folder.",
        examples=["/var/lib/beeagent/collected"],
    )
    megabytes: float = Field(
        default=500.0,
        ge=1,
        le=1_000_000,
        description="Maximum size of that dataset, in 10^6 bytes; when it is full, the oldest frames are deleted.",
    )


class GreengrassSettings(_Section):
    """AWS IoT Greengrass; it matters in a Greengrass component alone."""

    confirm: Literal["echo", "accepted"] = Field(
        default="echo",
        description="When a result for AWS IoT Core counts as delivered: echo, when it comes back on a subscription to "
        "its topic (twice the messages, none is lost); accepted, when the nucleus has taken it (lost if the nucleus "
        "restarts while it is offline).",
    )


class Settings(BaseModel):
    """Everything that can be set, by section. See `load_settings` for where values come from."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    camera: CameraSettings = Field(default_factory=CameraSettings, title="Camera")
    model: ModelSettings = Field(default_factory=ModelSettings, title="Model")
    messages: MessageSettings = Field(default_factory=MessageSettings, title="Messages")
    mqtt: MqttSettings = Field(default_factory=MqttSettings, title="MQTT")
    outbox: OutboxSettings = Field(default_factory=OutboxSettings, title="Outbox")
    http: HttpSettings = Field(default_factory=HttpSettings, title="HTTP")
    agent: AgentSettings = Field(default_factory=AgentSettings, title="Agent")
    rekognition: RekognitionSettings = Field(default_factory=RekognitionSettings, title="Second opinion")
    collect: CollectSettings = Field(default_factory=CollectSettings, title="Collection of training data")
    greengrass: GreengrassSettings = Field(default_factory=GreengrassSettings, title="Greengrass")

    def state_folder(self) -> Path:
        """Return `state_dir`.

        Raises:
            InputError: there is none.
        """
        if self.agent.state_dir is None:
            raise InputError("state_dir: there is no home directory: give --state-dir")
        return self.agent.state_dir

    def state_file(self, kind: str) -> Path:
        """Return the path of a state file of this device and camera: `hive-front.outbox.sqlite3` for `outbox.sqlite3`.

        Raises:
            InputError: there is no `state_dir`.
        """
        return self.state_folder() / f"{self.agent.device}-{self.camera.name}.{kind}"

    def value(self, name: str) -> Any:  # noqa: ANN401 - of the type of that setting
        """Return the value of a setting by its flat name, such as `camera_timeout`."""
        setting = settings_by_name()[name]
        return getattr(getattr(self, setting.section), setting.key)

    def replace(self, **values: object) -> "Settings":
        """Return a copy with other values of some settings, by their flat names. Values are not validated."""
        sections: dict[str, dict[str, object]] = {}
        for name, value in values.items():
            setting = settings_by_name()[name]
            sections.setdefault(setting.section, {})[setting.key] = value
        return self.model_copy(
            update={section: getattr(self, section).model_copy(update=update) for section, update in sections.items()}
        )

    def differing(self, other: "Settings") -> set[str]:
        """Return the flat names of the settings that have different values in `other`."""
        return {name for name in settings_by_name() if self.value(name) != other.value(name)}


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting.

    Attributes:
        section: its section in the TOML file.
        key: its key there.
        name: its flat name: `BEEAGENT_NAME`, `--name` (with hyphens), and a key of the TOML file without sections.
        title: title of its section.
        field: its type, bounds, default and description.
        option: what else the field says about it.
    """

    section: str
    key: str
    name: str
    title: str
    field: FieldInfo
    option: Option

    @property
    def default(self) -> Any:  # noqa: ANN401 - of the type of that setting
        """The default; None where it is computed or there is none."""
        return None if self.field.default_factory is not None else self.field.default

    @property
    def is_table(self) -> bool:
        """Whether its value is a table."""
        return get_origin(self.field.annotation) is dict


@cache
def settings_by_name() -> Mapping[str, Setting]:
    """Return all settings by their flat names, in the order of the sections."""
    return {setting.name: setting for setting in _each_setting()}


def _each_setting() -> Iterator[Setting]:
    for section, model in _sections().items():
        for key, field in model.model_fields.items():
            option = next((extra for extra in field.metadata if isinstance(extra, Option)), Option())
            title = Settings.model_fields[section].title or section
            yield Setting(section, key, option.name or f"{section}_{key}", title, field, option)


def _sections() -> dict[str, type[BaseModel]]:
    return {
        section: field.annotation
        for section, field in Settings.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
    }


@dataclass(frozen=True, slots=True)
class _Given:
    """A value that somebody has set, and the place where it is written."""

    value: object
    place: str


def load_settings(
    options: Mapping[str, Any], *, config: Path | None, component: Mapping[str, Any] | None = None
) -> Settings:
    """Merge defaults, file, environment and command line; each overrides the one before.

    Args:
        options: values from the command line, by flat name; None where an option is not given.
        config: the TOML file, with sections or flat names; None for none.
        component: the configuration of a Greengrass component, in place of the file.

    Raises:
        InputError: a file that cannot be read, an unknown setting, a value that is not allowed. The message names
            the setting as the user wrote it, the value and what is allowed.
    """
    given: dict[str, _Given] = {}
    if component is not None:
        given.update(_flat(component, where=_COMPONENT))
    elif config is not None:
        given.update(_flat(_read_toml(config), where=str(config)))
    given.update(_environment())
    given.update(
        (name, _Given(value, f"--{name.replace('_', '-')}")) for name, value in options.items() if value is not None
    )
    sections: dict[str, dict[str, object]] = {}
    for name, one in given.items():
        setting = settings_by_name().get(name)
        if setting is None:
            raise InputError(_unknown(name, one))
        sections.setdefault(setting.section, {})[setting.key] = one.value
    try:
        return Settings.model_validate(sections)
    except ValidationError as error:
        raise InputError(_explain(error, given)) from error


def flattened(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """Return a component's configuration by flat names, whether it has sections or not. Nulls count as not given.

    Raises:
        InputError: a setting is given twice, in its section and by its flat name.
    """
    return {name: one.value for name, one in _flat(configuration, where=_COMPONENT).items()}


def _flat(content: Mapping[str, Any], *, where: str) -> dict[str, _Given]:
    names = {(setting.section, setting.key): setting.name for setting in settings_by_name().values()}
    sections = Settings.model_fields
    given: dict[str, _Given] = {}
    for key, value in content.items():
        if key in sections and isinstance(value, Mapping):
            entries = [(names.get((key, inner), f"{key}.{inner}"), f"{key}.{inner}", value[inner]) for inner in value]
        else:
            entries = [(key, key, value)]
        for name, written, entry in entries:
            if entry is None:
                continue
            place = f"{shown(written)} in {where}"
            if name in given:
                raise InputError(f"{place} and {given[name].place} are the same setting: give one of them")
            given[name] = _Given(entry, place)
    return given


def _read_toml(config: Path) -> dict[str, Any]:
    """Read a TOML file, with or without the byte order mark that editors on Windows put before it."""
    if not config.is_file():
        raise InputError(f"the configuration file {config} does not exist or is not a file")
    try:
        content: dict[str, Any] = tomllib.loads(config.read_bytes().decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise InputError(f"the configuration file {config} is not UTF-8 text: save it as UTF-8") from error
    except (ValueError, RecursionError) as error:  # of the last kinds: a number too long, brackets too deep
        reason = shown(str(error), most=_MAX_SHOWN)
        raise InputError(f"the configuration file {config} is not TOML: {reason}") from error
    except OSError as error:
        raise InputError(f"the configuration file {config} cannot be read: {error.strerror or error}") from error
    return content


def _environment() -> dict[str, _Given]:
    variables = {name.upper(): value for name, value in os.environ.items()}
    given: dict[str, _Given] = {}
    for name, setting in settings_by_name().items():
        variable = f"{ENVIRONMENT_PREFIX}{name.upper()}"
        if variable not in variables:
            continue
        value: object = variables[variable]
        if setting.is_table:
            try:
                value = json.loads(variables[variable])
            except (ValueError, RecursionError) as error:
                text = shown(repr(value), most=_MAX_SHOWN)
                raise InputError(f'{variable} is {text}: give a JSON object, such as {{"Apis": "bee"}}') from error
        given[name] = _Given(value, variable)
    return given


def _unknown(name: str, given: _Given) -> str:
    """Return the error for a setting that does not exist, with the one that was probably meant."""
    settings = settings_by_name()
    if name in Settings.model_fields:
        return f"unknown setting {given.place}; {name} is a section: write its settings below [{name}]"
    section, dot, key = name.partition(".")
    dotted = [f"{one.section}.{one.key}" for one in settings.values()]
    if isinstance(given.value, Mapping) and not dot:
        close = [f"[{one}]" for one in difflib.get_close_matches(name, Settings.model_fields, n=1)]
    elif not dot:
        close = difflib.get_close_matches(name, settings, n=1)
        if given.place.startswith("--"):
            close = [f"--{one.replace('_', '-')}" for one in close]
    elif key in settings:  # the flat name, within a section
        close = [f"{settings[key].section}.{settings[key].key}"]
    else:
        same_section = [one for one in dotted if one.startswith(f"{section}.")]
        close = difflib.get_close_matches(name, same_section, n=1) or difflib.get_close_matches(name, dotted, n=1)
    hint = f"did you mean {close[0]}?" if close else "beeagent --help lists all settings"
    return f"unknown setting {given.place}; {hint}"


def _explain(error: ValidationError, given: Mapping[str, _Given]) -> str:
    first = error.errors()[0]
    section, key = first["loc"][:2]
    name = next(one.name for one in settings_by_name().values() if (one.section, one.key) == (section, key))
    place = given[name].place
    if first["type"] == "string_pattern_mismatch":
        first["msg"] = _PATTERNS_IN_WORDS.get(first["ctx"]["pattern"], first["msg"])
    # Pydantic capitalises its messages; a secret's value must not be repeated.
    reason = (first["msg"][0].lower() + first["msg"][1:]).removeprefix("value error, ")
    if name in _WITH_SECRETS:
        return f"{place}: {reason}"
    return f"{place} is {shown(repr(first['input']), most=_MAX_SHOWN)}: {reason}"
