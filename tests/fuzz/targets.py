"""Kinds of external input with their parsers: each input is accepted, or refused in one line."""

import io
import json
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from beeagent.camera import parse_camera
from beeagent.cli.watch import Watcher
from beeagent.detection import MANIFEST_FILE, ModelBundle, read_labels
from beeagent.errors import InputError
from beeagent.mqtt import BrokerAddress, MqttOptions, Received, parse_broker
from beeagent.settings import load_settings

_LONGEST_LINE = 2000


@dataclass(frozen=True, slots=True)
class Target:
    """A parser of a kind of input.

    Attributes:
        read: takes bytes, and raises nothing but InputError.
        seeds: initial inputs.
    """

    read: Callable[[bytes], object]
    seeds: tuple[bytes, ...]

    def __call__(self, data: bytes) -> None:
        """Read something; fails unless it is taken or refused in one line."""
        try:
            self.read(data)
        except InputError as error:
            message = str(error)
            assert message.isprintable(), message
            assert len(message) < _LONGEST_LINE + 8 * len(data), message


@cache
def _folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="beeagent-fuzz-"))


def _file(name: str, data: bytes) -> Path:
    path = _folder() / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    return path


def _manifest(data: bytes) -> None:
    ModelBundle.load(_file(f"bundle/{MANIFEST_FILE}", data).parent)


def _message(topic: str) -> Callable[[bytes], None]:
    def read(data: bytes) -> None:
        lines: list[str] = []
        options = MqttOptions(address=BrokerAddress("127.0.0.1", 1, tls=False), client_id="fuzz")
        watcher = Watcher(options=options, prefix="b", device="+", camera="+", write=lines.append)
        for _ in range(2):
            watcher._handle_message(Received(topic=topic, payload=data, retained=False))
        assert 1 <= len(lines) <= 2
        assert all(line.isprintable() and len(line) < _LONGEST_LINE for line in lines)

    return read


def _packed(labels: str) -> bytes:
    """Pack labels in behind what begins like a model."""
    content = io.BytesIO(b"\x1c\0\0\0TFL3")
    with zipfile.ZipFile(content, mode="a", compression=zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("labels.txt", labels)
    return content.getvalue()


def _text(data: bytes) -> str:
    return data.decode("utf-8", errors="replace")


_DETECTIONS = {
    "schema": "beeagent.detections/1", "device": "d", "camera": "c", "seq": 1,
    "captured_at": "2026-05-04T10:21:07.000000Z", "event_id": "8f14e45f-ceea-467f-a0e6-0242ac120002",
    "frame": {"width": 1280, "height": 720}, "model": "m@1",
    "decided_by": "edge", "counts": {"bee": 1}, "latency_ms": {"inference": 1.5, "total": 2}, "omitted": 3,
    "detections": [{"label": "bee", "confidence": 0.5, "box": {"left": 0, "top": 0, "width": 1, "height": 1}}],
}  # fmt: skip
_STATUS = {
    "schema": "beeagent.status/1", "device": "d", "state": "degraded", "reasons": ["no camera"],
    "at": "2026-05-04T10:21:07.000000Z", "agent": "0.1.0",
}  # fmt: skip
_MANIFEST = {
    "schema": "beeagent.bundle/1", "name": "bees", "version": "1", "licence": "CC0-1.0", "labels": ["bee"],
    "files": {"model.tflite": "0" * 64, "labels.txt": "0" * 64},
    "input": {"width": 320, "height": 320, "fit": "stretch"},
    "threshold": {"value": 0.5, "chosen_by": "hand"}, "metrics": [], "provenance": {},
}  # fmt: skip
_TOML = b"""camera = "rtsp://camera.local/1"
threshold = 0.5\nthreads = 2\nrealtime = true\npublish = "changes"\nmodel = "m"\ncamera_timeout = 2.5
"""

TARGETS = {
    "config": Target(lambda data: load_settings({}, config=_file("beeagent.toml", data)), (_TOML,)),
    "labels": Target(lambda data: read_labels(_text(data), name="labels.txt"), (b"bee\nwasp\n", b"0 bee\n2: wasp\n")),
    "manifest": Target(_manifest, (json.dumps(_MANIFEST).encode(),)),
    "model": Target(
        lambda data: ModelBundle.load(_file("model.tflite", data)),
        (_packed("bee\nwasp\n" * 9),),
    ),
    "broker": Target(
        lambda data: parse_broker(_text(data)), (b"mqtts://bee@[2001:db8::1]:8884", b"mqtt://a.b:1", b"none")
    ),
    "camera": Target(
        lambda data: parse_camera(_text(data)),
        (b"rtsp://me:pw@cam:554/1?a=b#c", b"synthetic:640x480@15?seed=3&bees=2-10&live=no", b"csi:1", b"/dev/video0"),
    ),
    "detections": Target(_message("b/d/c/detections"), (json.dumps(_DETECTIONS).encode(),)),
    "status": Target(_message("b/d/status"), (json.dumps(_STATUS).encode(),)),
}
"""By name."""
