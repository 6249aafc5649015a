"""The settings: one typed tree, from defaults, a TOML file, the environment and the command line."""

import difflib
import os
import re
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

from beeagent.errors import InputError
from beeagent.shown_text import shown

ENVIRONMENT_PREFIX = "BEEAGENT_"
DEFAULT_BROKER = "mqtt://127.0.0.1:1883"

_WITH_SECRETS = frozenset({"camera", "broker", "mqtt_password"})
"""Settings whose values may have a password in them."""
_LONGEST_SHOWN = 200
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
    # systemd names the first; the XDG base directory specification the second.
    if given := os.environ.get("STATE_DIRECTORY"):
        return Path(given.split(":")[0])
    if given := os.environ.get("XDG_STATE_HOME"):
        return Path(given) / "beeagent"
    try:
        return Path.home() / ".local" / "state" / "beeagent"
    except RuntimeError:  # a user without an entry in /etc/passwd, as in a container
        return None


def _read_toml(file: Path) -> dict[str, Any]:
    """Read a TOML file, with or without the byte order mark that editors on Windows put before it."""
    content: dict[str, Any] = tomllib.loads(file.read_bytes().decode("utf-8-sig"))
    return content


class Settings(BaseSettings):
    """Everything that can be set. A key is the same in TOML, as `BEEAGENT_KEY`, and as `--key` with hyphens.

    Attributes:
        camera: what to look at; see `beeagent.camera.parse_camera`.
        camera_name: the camera's level in topics and its name in messages.
        device: the device's level in topics and its name in messages.
        model: a bundle folder, the name of a bundled model, or a .tflite; None for the default model.
        labels: the labels of a bare .tflite.
        broker: where results go; see `beeagent.mqtt.parse_broker`.
        topic_prefix: the first levels of every topic.
        threshold: confidence from which a detection counts; None takes the bundle's.
        tiles: into how many tiles each frame is cut beside being looked at whole: none, auto, or columns and rows
            such as 3x2; None takes what the bundle recommends.
        threads: CPU threads to compute with.
        workers: frames looked at at the same time, each on its share of the threads; None for two where there are
            two threads. One gives each result sooner, several more results.
        inference_timeout: seconds from which an inference counts as stuck; it is then begun anew elsewhere.
        publish: which frames make a message: those with detections, all, or those whose counts differ from
            the message before.
        max_rate: frames per second at most; None for as many as there are.
        realtime: play a file at its own speed, as if it were a camera.
        frames: stop after so many frames; None for no end.
        await_camera: wait for a camera that is not there at the start, as for one that is unplugged later, and do not
            refuse it: for a service.
        camera_size: width and height in pixels to ask a local camera for, such as 1280x720; None leaves it to the
            camera.
        camera_fps: frames per second to ask a local camera for; with `realtime`, at which images are played. None
            leaves it to the camera, and plays 30 images per second.
        camera_timeout: seconds without a usable frame after which a camera counts as lost and is opened again.
        freeze_timeout: seconds without any change in a camera's picture after which it counts as lost; 0 not to
            look, for pictures without noise that may rightly stand still.
        stdout: write each message as a line to standard output.
        log_format: of the log on standard error.
        http_port: serve `/metrics` and `/healthz` at this port; None for no HTTP.
        http_host: the address to serve them at; who can reach it can read them.
        state_dir: where the outbox is kept; None where nobody says so and the user has no home directory, see
            `state_file`.
        outbox_megabytes: what may wait for the broker, in megabytes (10^6 bytes) on disk; beyond that the oldest go.
        outbox_max_age_hours: how long a result may wait, in hours in which the device is on; older ones go.
        outbox_commit_interval_ms: how far apart commits are at most, in milliseconds; in between, results gather.
        outbox_commit_at_once: while connected, commit each result at once, so that it is published at once.
        outbox_drain_rate: results per second, at most, of those that have gathered while there was no connection.
        rekognition_project_version_arn: the Amazon Rekognition Custom Labels model to ask about frames of which the
            model here is unsure; None to ask nobody, and then no frame leaves the device.
        rekognition_min_confidence: from which its detections count.
        rekognition_labels: which of its labels is which of ours; one mapped to nothing is left out.
        rekognition_timeout: seconds to wait for an answer; a frame then goes out without.
        rekognition_workers: frames asked about at the same time.
        rekognition_per_minute: calls within any minute, at most.
        rekognition_per_day: calls on any day (UTC), at most.
        rekognition_longest_side: of the picture that is sent, in pixels.
        rekognition_jpeg_quality: of the picture that is sent.
        rekognition_same_for: seconds for which an answer stands for frames that show the same; 0 to ask about each.
        rekognition_hourly_price: US dollars for an hour of the running model, all its inference units together, for the
            estimate in the status: 4 for each, https://aws.amazon.com/rekognition/pricing/ says.
        collect: folder to keep the frames in that were asked about and answered, with both answers, as a data set to
            train on; None to keep no frame.
        collect_megabytes: what they may take on disk, in megabytes (10^6 bytes); beyond that the oldest go.
        unsure_low: confidence below which a detection is almost surely wrong; None takes it from the model's
            validation, see `beeagent.detection.uncertainty_range`.
        unsure_high: confidence above which a detection is almost surely right; None likewise. A frame with a
            detection from `unsure_low` to `unsure_high` is one to ask about.
        mqtt_client_id: the client id of the agent at the broker, which no other client may have; None for one of
            `device` and `camera_name`. Programs that only read add to it.
        mqtt_version: the version of MQTT to speak: `5`, `3.1.1`, or `auto` for 5, and 3.1.1 where the broker does not
            answer that.
        mqtt_username: for the broker.
        mqtt_password: for the broker; from the environment or the file, there is no option for it.
        mqtt_password_file: a file that holds the password.
        mqtt_ca_file: PEM file of the authorities to trust; None for the system's.
        mqtt_certificate_file: PEM file of the client certificate.
        mqtt_key_file: PEM file of its key.
        insecure_tls: take any certificate for the broker's; warned of at each start.
        greengrass_confirm: in a Greengrass component that publishes to AWS IoT Core, what makes a result delivered:
            `echo`, that it has come back on a subscription to its topic, which doubles the messages but loses none; or
            `accepted`, that the nucleus has taken it, which forgets it if it is started again while it is offline.
    """

    model_config = SettingsConfigDict(env_prefix=ENVIRONMENT_PREFIX, extra="forbid", frozen=True)

    camera: Annotated[str, Field(coerce_numbers_to_str=True)] | None = None
    camera_name: TopicLevel = "camera"
    device: TopicLevel = Field(default_factory=_host_name)
    model: FilePath | None = None
    labels: FilePath | None = None
    broker: str = DEFAULT_BROKER
    topic_prefix: str = "beeagent"
    threshold: float | None = Field(default=None, ge=0, le=1)
    tiles: Annotated[str, Field(pattern=_TILES)] | None = None
    threads: int = Field(default_factory=_all_cores_up_to_four, ge=1, le=64)
    workers: int | None = Field(default=None, ge=1, le=64)
    inference_timeout: float = Field(default=10.0, ge=0.1, le=600)
    publish: Literal["detections", "always", "changes"] = "detections"
    max_rate: float | None = Field(default=None, gt=0, le=1000)
    realtime: bool = False
    frames: int | None = Field(default=None, ge=1)
    await_camera: bool = False
    camera_size: Annotated[str, Field(pattern=_SIZE)] | None = None
    camera_fps: float | None = Field(default=None, gt=0, le=1000)
    camera_timeout: float = Field(default=5.0, ge=0.5, le=3600)
    freeze_timeout: float = Field(default=5.0, ge=0, le=86400)
    stdout: bool = False
    log_format: Literal["text", "json"] = "text"
    http_port: int | None = Field(default=None, ge=1, le=65535)
    http_host: str = Field(default="127.0.0.1", min_length=1)
    state_dir: FilePath | None = Field(default_factory=_state_dir)
    outbox_megabytes: float = Field(default=100.0, ge=0.1, le=1_000_000)
    outbox_max_age_hours: float = Field(default=168.0, gt=0, le=1_000_000)
    outbox_commit_interval_ms: float = Field(default=250.0, ge=0, le=3_600_000)
    outbox_commit_at_once: bool = True
    outbox_drain_rate: float = Field(default=50.0, gt=0, le=100_000)
    rekognition_project_version_arn: str | None = None
    rekognition_min_confidence: float = Field(default=0.5, ge=0, le=1)
    rekognition_labels: dict[str, str] = {}
    rekognition_timeout: float = Field(default=5.0, ge=0.1, le=600)
    rekognition_workers: int = Field(default=2, ge=1, le=16)
    rekognition_per_minute: int = Field(default=10, ge=0, le=10_000)
    rekognition_per_day: int = Field(default=1000, ge=0, le=10_000_000)
    rekognition_longest_side: int = Field(default=1280, ge=64, le=4096)
    rekognition_jpeg_quality: int = Field(default=85, ge=1, le=100)
    rekognition_same_for: float = Field(default=10.0, ge=0, le=3600)
    rekognition_hourly_price: float = Field(default=4.0, ge=0, le=100_000)
    collect: FilePath | None = None
    collect_megabytes: float = Field(default=500.0, ge=1, le=1_000_000)
    unsure_low: float | None = Field(default=None, ge=0, le=1)
    unsure_high: float | None = Field(default=None, ge=0, le=1)
    mqtt_client_id: Annotated[str, Field(pattern=_CLIENT_ID)] | None = None
    mqtt_version: Annotated[Literal["auto", "5", "3.1.1"], BeforeValidator(_as_text)] = "auto"
    mqtt_username: str | None = None
    mqtt_password: SecretStr | None = None
    mqtt_password_file: FilePath | None = None
    mqtt_ca_file: FilePath | None = None
    mqtt_certificate_file: FilePath | None = None
    mqtt_key_file: FilePath | None = None
    insecure_tls: bool = False
    greengrass_confirm: Literal["echo", "accepted"] = "echo"

    def state_folder(self) -> Path:
        """Return `state_dir`.

        Raises:
            InputError: there is none.
        """
        if self.state_dir is None:
            raise InputError("state_dir: there is no home directory: give --state-dir")
        return self.state_dir

    def state_file(self, kind: str) -> Path:
        """Return the path of what this device and camera keep: `hive-front.outbox.sqlite3` for `outbox.sqlite3`.

        Raises:
            InputError: there is no `state_dir`.
        """
        return self.state_folder() / f"{self.device}-{self.camera_name}.{kind}"

    def differing(self, other: "Settings") -> set[str]:
        """Give the keys of which two settings have different values."""
        return {key for key in Settings.model_fields if getattr(self, key) != getattr(other, key)}

    def password(self) -> str | None:
        """Give the broker's password, from the environment or from its file.

        Raises:
            InputError: both are given, or the file cannot be read.
        """
        if self.mqtt_password_file is None:
            return self.mqtt_password.get_secret_value() if self.mqtt_password else None
        if self.mqtt_password is not None:
            raise InputError("mqtt_password and mqtt_password_file are both set: give one of them")
        try:
            return self.mqtt_password_file.read_text(encoding="utf-8-sig").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"mqtt_password_file {self.mqtt_password_file} cannot be read: {error}") from error


def load_settings(
    options: Mapping[str, Any], *, config: Path | None, component: Mapping[str, Any] | None = None
) -> Settings:
    """Merge defaults, file, environment and command line, each over the one before.

    Args:
        options: what the command line gave, by key; None where it gave nothing.
        config: the TOML file; None for none.
        component: in place of the file, the configuration of a Greengrass component, by key.

    Raises:
        InputError: a file that cannot be read, an unknown key, a value that is not allowed. The message names
            the key where the user wrote it, the value and what is allowed.
    """
    given = {key: value for key, value in options.items() if value is not None}
    if config is not None and not config.is_file():
        raise InputError(f"the configuration file {config} does not exist or is not a file")

    class _FromAllSources(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - pydantic's signature
            file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - pydantic's signature
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            if component is not None:
                return init_settings, env_settings, InitSettingsSource(settings_cls, init_kwargs=dict(component))
            if config is None:
                return init_settings, env_settings
            return init_settings, env_settings, InitSettingsSource(settings_cls, init_kwargs=_read_toml(config))

    try:
        merged = _FromAllSources(**given)
    except ValidationError as error:
        raise InputError(_explain(error, given, config)) from error
    except UnicodeDecodeError as error:
        raise InputError(f"the configuration file {config} is not UTF-8 text: save it as UTF-8") from error
    except (ValueError, RecursionError) as error:  # of the last kinds: a number too long, brackets too deep
        raise InputError(
            f"the configuration file {config} is not TOML: {shown(str(error), most=_LONGEST_SHOWN)}"
        ) from error
    except OSError as error:
        raise InputError(f"the configuration file {config} cannot be read: {error.strerror or error}") from error
    # The class above is ours alone; what is handed out does not remember where it was read from.
    return Settings.model_construct(**{key: getattr(merged, key) for key in Settings.model_fields})


def _explain(error: ValidationError, given: Mapping[str, Any], config: Path | None) -> str:
    first = error.errors()[0]
    key = str(first["loc"][0])
    where = _place(key, given, config)
    if first["type"] == "extra_forbidden":
        close = difflib.get_close_matches(key, Settings.model_fields, n=1)
        hint = f": did you mean {close[0]}?" if close else f": the keys are {', '.join(Settings.model_fields)}"
        return f"{where} is no setting{hint}"
    if first["type"] == "string_pattern_mismatch":
        first["msg"] = _PATTERNS_IN_WORDS.get(first["ctx"]["pattern"], first["msg"])
    # Pydantic capitalises its messages; a secret's value must not be repeated.
    reason = (first["msg"][0].lower() + first["msg"][1:]).removeprefix("value error, ")
    if key in _WITH_SECRETS:
        return f"{where}: {reason}"
    return f"{where} is {shown(repr(first['input']), most=_LONGEST_SHOWN)}: {reason}"


def _place(key: str, given: Mapping[str, Any], config: Path | None) -> str:
    """Name the place where the user wrote the value that counts."""
    if key in given:
        return f"--{key.replace('_', '-')}"
    if f"{ENVIRONMENT_PREFIX}{key.upper()}" in os.environ:
        return f"{ENVIRONMENT_PREFIX}{key.upper()}"
    return f"{shown(key)} in {config or _COMPONENT}"
