"""The sections of the settings: type, bounds, default and description of each setting."""

import os
import re
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr

from beeagent.errors import InputError

# A level of an MQTT topic, without separators and wildcards.
_TOPIC_LEVEL = r"^[^/+#\x00-\x1f\x7f]{1,64}$"
_TILES = r"^(none|auto|[1-8]x[1-8])$"
_SIZE = r"^[1-9][0-9]{0,4}x[1-9][0-9]{0,4}$"
_CLIENT_ID = r"^[^\x00-\x1f\x7f]{1,128}$"
PATTERNS_IN_WORDS = {
    _TOPIC_LEVEL: "give 1 to 64 characters, without / + # and control characters",
    _TILES: "give none, auto, or columns and rows up to 8x8, such as 3x2",
    _SIZE: "give width and height in pixels, such as 1280x720",
    _CLIENT_ID: "give 1 to 128 characters, without control characters",
}
TopicLevel = Annotated[str, Field(pattern=_TOPIC_LEVEL)]
Tiles = Annotated[str, Field(pattern=_TILES)]
FrameSize = Annotated[str, Field(pattern=_SIZE)]
ClientId = Annotated[str, Field(pattern=_CLIENT_ID)]
CountOrAuto = Annotated[int, Field(ge=1, le=64)] | Literal["auto"]
CameraAddress = Annotated[str, Field(coerce_numbers_to_str=True)]  # `camera = 0`


@dataclass(frozen=True, slots=True)
class Option:
    """Properties of a setting that do not follow from its field.

    Attributes:
        name: flat name for `BEEAGENT_NAME` and `--name`, in snake case; None for `section_key`.
        metavar: placeholder of the value in the help.
        default: description of a computed default.
        missing: reason why there is no command-line option; None if there is one.
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
    """Convert a version written as a number, such as `5`, to text."""
    return f"{value:g}" if isinstance(value, int | float) and not isinstance(value, bool) else value


def _host_name() -> str:
    return re.sub(r"[^A-Za-z0-9_.-]", "-", socket.gethostname())[:64] or "device"


def all_cores_up_to_four() -> int:
    """Return the number of CPU cores, at most 4."""
    return min(4, os.cpu_count() or 1)


def _state_dir() -> Path | None:
    # systemd sets the first; the XDG base directory specification defines the second.
    if folder := os.environ.get("STATE_DIRECTORY"):
        return Path(folder.split(":")[0])
    if folder := os.environ.get("XDG_STATE_HOME"):
        return Path(folder) / "beeagent"
    try:
        return Path.home() / ".local" / "state" / "beeagent"
    except RuntimeError:  # a user without an entry in /etc/passwd, as in a container
        return None


def _field(default: Any, description: str, *, example: Any = None, **bounds: Any) -> Any:  # noqa: ANN401 - any type
    """Return a field with a default, a description, and optionally an example and bounds (ge, gt, le, min_length)."""
    return Field(default=default, description=description, examples=None if example is None else [example], **bounds)


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class CameraSettings(_Section):
    """Source of the frames, and how they are read."""

    address: Annotated[CameraAddress | None, Option("camera")] = _field(
        None,
        "Camera number or /dev/videoN, csi, rtsp:// or http:// URL, video file, image, folder or glob of "
        "images, or synthetic. A URL with a password belongs in a file or the environment.",
        example="/dev/video0",
    )
    name: TopicLevel = _field("camera", "Name of the camera in topics and messages.")
    size: Annotated[FrameSize | None, Option(metavar="WxH", default="the camera's own")] = _field(
        None, "Frame size to request from a local camera, such as 1280x720.", example="1280x720"
    )
    fps: Annotated[float | None, Option(default="the camera's own, 30 for images")] = _field(
        None,
        "Frames per second to request from a local camera, or to play images at with realtime.",
        gt=0,
        le=1000,
        example=15.0,
    )
    timeout: float = _field(5.0, "Reopen the camera after this many seconds without a usable frame.", ge=0.5, le=3600)
    freeze_timeout: Annotated[float, Option("freeze_timeout")] = _field(
        5.0, "Reopen the camera after this many seconds of identical frames (0 = off).", ge=0, le=86400
    )
    await_camera: Annotated[bool, Option("await_camera")] = _field(
        False, "Keep retrying if the camera is missing at startup, instead of exiting. For services."
    )
    max_rate: Annotated[float | None, Option("max_rate", default="no limit")] = _field(
        None, "Maximum number of frames processed per second.", gt=0, le=1000, example=5.0
    )
    active: Annotated[str | None, Option("active", metavar="FROM..TO|'brightness>N'", default="always")] = _field(
        None,
        "When to capture; at other times the camera is closed. Two times, by the clock or the sun, such as "
        "06:00..20:30, sunrise-30m..sunset+30m or 06:00..sunset; or brightness>20 (0 to 255), to sleep in the dark.",
        example="sunrise-30m..sunset+30m",
    )
    latitude: Annotated[float | None, Option("latitude", default="none")] = _field(
        None, "Latitude of the camera in degrees, north positive; for sunrise and sunset.", ge=-90, le=90, example=46.95
    )
    longitude: Annotated[float | None, Option("longitude", default="none")] = _field(
        None,
        "Longitude of the camera in degrees, east positive; for sunrise and sunset.",
        ge=-180,
        le=180,
        example=7.45,
    )
    realtime: Annotated[bool, Option("realtime")] = _field(False, "Play a file at its own speed, like a live camera.")
    frames: Annotated[int | None, Option("frames", default="no limit")] = _field(
        None, "Stop after this many frames.", ge=1, example=100
    )


class ModelSettings(_Section):
    """The model, and how it runs."""

    path: Annotated[FilePath | None, Option("model", default="bees-lite0")] = _field(
        None,
        "Model bundle (a folder), name of a bundled model (bees-lite0, bees-lite0-wide), or a bare .tflite file.",
        example="bees-lite0",
    )
    labels: Annotated[FilePath | None, Option("labels")] = _field(
        None, "Labels of a bare .tflite file, one per line.", example="labels.txt"
    )
    threshold: Annotated[float | None, Option("threshold", default="the bundle's")] = _field(
        None, "Minimum confidence of a detection, 0 to 1.", ge=0, le=1, example=0.5
    )
    tiles: Annotated[Tiles | None, Option("tiles", metavar="none|auto|CxR", default="as the bundle recommends")] = (
        _field(
            None,
            "Also run the model on overlapping tiles of the frame, to detect small objects: none, auto, or "
            "columns and rows such as 3x2.",
            example="3x2",
        )
    )
    regions: Annotated[bool, Option("regions")] = Field(
        default=False,
        description="Run the model only on regions of the frame where something moves or where objects are, and on all "
        "of it every few seconds, at the resolution of the tiles (2x2 if there are none). For cameras and videos.",
    )
    max_inference_rate: Annotated[float | None, Option("max_inference_rate", default="no limit")] = Field(
        default=None,
        gt=0,
        le=10000,
        description="Maximum number of inferences per second, with regions.",
        examples=[20.0],
    )
    threads: Annotated[CountOrAuto, Option("threads", metavar="N|auto", default="all cores, at most 4")] = Field(
        default_factory=all_cores_up_to_four,
        description="CPU threads for inference, up to 64. auto measures at the first start, for a few seconds, which "
        "number of threads is fastest, and of workers too unless that is set; it keeps both in the state directory.",
        examples=[4],
    )
    workers: Annotated[CountOrAuto | None, Option("workers", metavar="N|auto", default="2, or 1 with 1 thread")] = (
        _field(
            None,
            "Frames to process in parallel; the threads are split among them. 1 gives the lowest latency, more "
            "a higher throughput, up to 64. auto measures which number is fastest at the first start, for a few "
            "seconds, and keeps it in the state directory.",
            example=2,
        )
    )
    inference_timeout: Annotated[float, Option("inference_timeout")] = _field(
        10.0,
        "Seconds after which an inference counts as stuck: its frame is dropped and the model is started again.",
        ge=0.1,
        le=600,
    )

    @property
    def measured(self) -> bool:
        """True if the number of threads or workers is chosen by a measurement at the first start."""
        return "auto" in (self.threads, self.workers)


class TrackingSettings(_Section):
    """Tracks of bees from frame to frame, and counts of bees that fly in and out."""

    track: Annotated[bool, Option("track")] = _field(
        False, "Follow bees from frame to frame: each detection has the number of its track. On when places is given."
    )
    places: Annotated[FilePath | None, Option("places", default="none")] = _field(
        None,
        "TOML file of the lines, zones and masks in the frame. Bees are counted at the lines and zones, and detections "
        "in masks are dropped, and motion there with regions. SIGHUP reads it again. Without it, track and "
        "page use a file in the state folder.",
        example="/var/lib/beeagent/places.toml",
    )
    traffic_interval: Annotated[float, Option("traffic_interval")] = _field(
        60.0, "Seconds from one message with counts to the next.", ge=1, le=86400
    )
    unusual_traffic: Annotated[bool, Option("unusual_traffic")] = _field(
        True,
        "Publish an event when many more or far fewer come in or go out than at the same time of earlier days. "
        "Needs counts of a week.",
    )

    @property
    def enabled(self) -> bool:
        """True if bees are tracked, because of `track` or to count them at places."""
        return self.track or self.places is not None


class MessageSettings(_Section):
    """Published messages and their topics."""

    publish: Annotated[Literal["detections", "always", "changes"], Option("publish")] = _field(
        "detections",
        "Frames to publish: those with detections, always (all), or changes (those whose counts "
        "differ from the message before).",
    )
    topic_prefix: Annotated[str, Option("topic_prefix")] = _field(
        "beeagent", "Prefix of every topic: its first levels."
    )
    state_interval: Annotated[float, Option("state_interval")] = _field(
        30.0,
        "Publish the live values, retained, when they change and at least every this many seconds (0 = never).",
        ge=0,
        le=3600,
    )
    stdout: Annotated[bool, Option("stdout")] = _field(
        False, "Also write each message as a JSON line to standard output."
    )


class MqttSettings(_Section):
    """The broker, and the authentication."""

    broker: Annotated[str, Option("broker")] = _field(
        "mqtt://127.0.0.1:1883",
        "mqtt://HOST[:PORT], mqtts://HOST[:PORT], embedded, or none; in a Greengrass component also "
        "greengrass://iot-core or greengrass://local.",
    )
    client_id: Annotated[ClientId | None, Option(default="beeagent-DEVICE-CAMERA_NAME")] = _field(
        None, "MQTT client ID; each agent needs its own. watch, status and doctor append to it.", example="hive-7"
    )
    version: Annotated[Literal["auto", "5", "3.1.1"], BeforeValidator(_as_text)] = _field(
        "auto", "MQTT version; auto uses 5, or 3.1.1 if the broker does not answer that."
    )
    username: str | None = _field(None, "User name for the broker.", example="hive-7")
    password: Annotated[
        SecretStr | None, Option(missing="every user of the machine can read a command line; use --mqtt-password-file")
    ] = _field(
        None,
        "Password for the broker. Give it in a file that only the agent can read, or use password_file.",
        example="…",
    )
    password_file: FilePath | None = _field(
        None, "File that contains the broker's password.", example="/etc/beeagent/mqtt-password"
    )
    ca_file: Annotated[FilePath | None, Option(default="the system's")] = _field(
        None, "PEM file of the trusted certificate authorities for mqtts://.", example="/etc/beeagent/ca.pem"
    )
    certificate_file: FilePath | None = _field(
        None, "PEM file of the client certificate for mqtts://.", example="/etc/beeagent/client.pem"
    )
    key_file: FilePath | None = _field(
        None, "PEM file of the client certificate's private key.", example="/etc/beeagent/client.key"
    )
    insecure_tls: Annotated[bool, Option("insecure_tls")] = _field(
        False, "Skip TLS certificate verification (insecure). Logs a warning at startup."
    )

    def read_password(self) -> str | None:
        """Return the broker's password, from the setting itself or from its file.

        Raises:
            InputError: both are set, or the file cannot be read.
        """
        if self.password_file is None:
            return self.password.get_secret_value() if self.password else None
        if self.password is not None:
            raise InputError("mqtt_password and mqtt_password_file are both set: give one of them")
        try:
            return self.password_file.read_text(encoding="utf-8-sig").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"mqtt_password_file {self.password_file} cannot be read: {error}") from error


class HomeAssistantSettings(_Section):
    """Home Assistant, on the same broker."""

    enabled: Annotated[bool, Option("home_assistant")] = _field(
        False, "Announce the camera to Home Assistant, which then shows its live values and counts by itself."
    )
    prefix: Annotated[str, Option("home_assistant_prefix")] = _field(
        "homeassistant", "Prefix of Home Assistant's own topics, as set there."
    )


class OutboxSettings(_Section):
    """Storage of results until the broker has acknowledged them."""

    megabytes: float = _field(
        100.0,
        "Maximum size on disk, in 10^6 bytes; when it is full, the oldest results are dropped.",
        ge=0.1,
        le=1_000_000,
    )
    max_age_hours: float = _field(
        168.0, "Drop results that have waited this long, in hours in which the device was on.", gt=0, le=1_000_000
    )
    commit_interval_ms: float = _field(
        250.0,
        "Maximum time between commits, in milliseconds; results in between are committed together.",
        ge=0,
        le=3_600_000,
    )
    commit_at_once: bool = _field(True, "While connected, commit each result at once, so that it is published at once.")
    drain_rate: float = _field(
        50.0, "Maximum number of results per second that are sent from the backlog of an outage.", gt=0, le=100_000
    )


class HttpSettings(_Section):
    """Metrics and health over HTTP."""

    port: Annotated[int | None, Option(default="no HTTP")] = _field(
        None, "Serve /metrics (Prometheus) and /healthz at this port.", ge=1, le=65535, example=9465
    )
    host: str = _field("127.0.0.1", "Address to serve them at; everyone who can reach it can read them.", min_length=1)


class PageSettings(_Section):
    """A page to aim the camera, draw places and see counts in a browser."""

    enabled: Annotated[bool, Option("page")] = _field(
        False, "Serve the page. A link to sign in is logged at startup, and again on SIGHUP."
    )
    host: str = _field(
        "127.0.0.1",
        "Address to serve it at: 0.0.0.0 for the whole network, where TLS or a trusted network should protect it.",
        min_length=1,
    )
    port: int = _field(8470, "Port to serve it at.", ge=1, le=65535)
    hosts: Annotated[str | None, Option(default="the addresses and the name of the device")] = _field(
        None,
        "Further names by which browsers reach it, with a port if that is another (behind a proxy), separated by "
        "commas. Requests for other names are refused.",
        example="bees.example.org,hive.lan:8443",
    )
    password_file: Annotated[FilePath | None, Option(default="sign in with the link")] = _field(
        None,
        "File with the passwords of the roles editor and viewer, made with beeagent page password. No link is logged "
        "if it has one for the editor.",
        example="/etc/beeagent/page-passwords",
    )
    certificate_file: FilePath | None = _field(
        None, "PEM file of the certificate, to serve it over HTTPS.", example="/etc/beeagent/page.pem"
    )
    key_file: FilePath | None = _field(
        None, "PEM file of the certificate's private key.", example="/etc/beeagent/page.key"
    )

    @property
    def allowed_hosts(self) -> tuple[str, ...]:
        """The values of `hosts`, in lower case."""
        return tuple(host.strip().lower() for host in (self.hosts or "").split(",") if host.strip())

    @property
    def url_in_network(self) -> str | None:
        """The address of the page for other devices; None if it is disabled or on the loopback interface only."""
        alone = self.host.startswith("127.") or self.host in {"localhost", "::1"}
        return None if alone and not self.allowed_hosts else self.url

    @property
    def url(self) -> str | None:
        """The address of the page, without a trailing slash; None if it is disabled."""
        if not self.enabled:
            return None
        host = self.host
        if self.allowed_hosts:
            host = self.allowed_hosts[0]
        elif host in {"0.0.0.0", "::"}:  # noqa: S104 - compared only
            host = f"{socket.gethostname().split('.')[0].lower()}.local"
        elif ":" in host:
            host = f"[{host}]"
        port = "" if re.search(r":[0-9]+$", host) else f":{self.port}"
        return f"{'http' if self.certificate_file is None else 'https'}://{host}{port}"


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
    log_format: Annotated[Literal["text", "json"], Option("log_format")] = _field(
        "text", "Format of the log on standard error."
    )


class RekognitionSettings(_Section):
    """The second opinion: an Amazon Rekognition Custom Labels model for frames on which the device is unsure."""

    project_version_arn: Annotated[str | None, Option(default="off")] = _field(
        None,
        "ARN of the running model (a project version) to call. Without it, no frame leaves the device.",
        example="arn:aws:rekognition:eu-west-1:123456789012:project/bees/version/bees.2026/1777777777777",
    )
    min_confidence: float = _field(0.5, "Minimum confidence of the cloud model's detections, 0 to 1.", ge=0, le=1)
    labels: Annotated[dict[str, str], Option(missing="it is a table; set it in the file or the environment")] = _field(
        {},
        "Map from the cloud model's labels to ours. Detections whose label maps to an empty string are dropped.",
        example={"Apis": "bee"},
    )
    timeout: float = _field(
        5.0,
        "Seconds to wait for an answer; the frame is then published with the device's own detections.",
        ge=0.1,
        le=600,
    )
    workers: int = _field(2, "Number of frames sent in parallel.", ge=1, le=16)
    per_minute: int = _field(10, "Maximum number of calls in any minute.", ge=0, le=10_000)
    per_day: int = _field(1000, "Maximum number of calls per day (UTC).", ge=0, le=10_000_000)
    longest_side: int = _field(1280, "Longest side of the JPEG that is sent, in pixels.", ge=64, le=4096)
    jpeg_quality: int = _field(85, "Quality of the JPEG that is sent.", ge=1, le=100)
    same_for: float = _field(
        10.0, "Reuse an answer for this many seconds on frames that show the same scene (0 = never).", ge=0, le=3600
    )
    hourly_price: float = _field(
        4.0,
        "US dollars per hour of the running model, for the cost estimate in the status: AWS's price of an "
        "inference unit, times their number.",
        ge=0,
        le=100_000,
    )
    unsure_low: Annotated[float | None, Option("unsure_low", default="from the model's validation")] = _field(
        None,
        "Lower bound of the uncertainty range; a frame with a detection in the range is sent.",
        ge=0,
        le=1,
        example=0.2,
    )
    unsure_high: Annotated[float | None, Option("unsure_high", default="from the model's validation")] = _field(
        None, "Upper bound of the uncertainty range.", ge=0, le=1, example=0.8
    )


class CollectSettings(_Section):
    """Training data from the second opinion."""

    folder: Annotated[FilePath | None, Option("collect", metavar="DIR", default="off")] = _field(
        None,
        "Save frames checked by the cloud model, with both models' boxes, as a dataset in this folder.",
        example="/var/lib/beeagent/collected",
    )
    megabytes: float = _field(
        500.0,
        "Maximum size of that dataset, in 10^6 bytes; when it is full, the oldest frames are deleted.",
        ge=1,
        le=1_000_000,
    )


class GreengrassSettings(_Section):
    """AWS IoT Greengrass; used only in a Greengrass component."""

    confirm: Literal["echo", "accepted"] = _field(
        "echo",
        "When a result for AWS IoT Core counts as delivered: echo, when it comes back on a subscription to "
        "its topic (twice the messages, none is lost); accepted, when the nucleus has accepted it (lost if the nucleus "
        "restarts while it is offline).",
    )
