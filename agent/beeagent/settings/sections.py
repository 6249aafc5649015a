"""The sections of the settings. Each setting is defined here once: type, bounds, default and description."""

import os
import re
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr

from beeagent.errors import InputError

# A level of an MQTT topic, and so without its separators and wildcards.
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
        default=None, description="Frame size to request from a local camera, such as 1280x720.", examples=["1280x720"]
    )
    fps: Annotated[float | None, Option(default="the camera's own, 30 for images")] = Field(
        default=None,
        gt=0,
        le=1000,
        description="Frames per second to request from a local camera, or to play images at with realtime.",
        examples=[15.0],
    )
    timeout: float = Field(
        default=5.0, ge=0.5, le=3600, description="Reopen the camera after this many seconds without a usable frame."
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
        default=None, description="File that contains the broker's password.", examples=["/etc/beeagent/mqtt-password"]
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
