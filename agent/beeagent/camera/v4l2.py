"""Cameras of this machine: classification of the /dev/video* nodes, and opening V4L2 cameras."""

import errno
import fcntl
import os
import pwd
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path

import cv2

from beeagent.camera.address import CsiAddress, DeviceAddress
from beeagent.camera.csi import CsiInfo, find_csi_cameras
from beeagent.camera.images import natural_key
from beeagent.camera.live import CaptureFormat, FreezeDetector, LiveReader
from beeagent.camera.opencv import VideoReader
from beeagent.camera.source import SourceLostError
from beeagent.errors import InputError

_BUFFERS = 2
"""One buffer that is read, and one that the driver fills meanwhile. With one, the driver would drop the frames that
arrive during decoding; more would increase the delay of a slow reader."""

# From linux/videodev2.h. `struct v4l2_capability` has driver, card, bus_info, version, capabilities, device_caps
# and three reserved words.
_CAPABILITY = struct.Struct("=16s32s32s6I")
# _IOR('V', 0, struct v4l2_capability) in the generic ioctl encoding (x86, Arm, RISC-V).
VIDIOC_QUERYCAP = (2 << 30) | (_CAPABILITY.size << 16) | (ord("V") << 8) | 0

CAP_VIDEO_CAPTURE = 0x00000001
CAP_VIDEO_OUTPUT = 0x00000002
CAP_VIDEO_CAPTURE_MPLANE = 0x00001000
CAP_VIDEO_OUTPUT_MPLANE = 0x00002000
CAP_VIDEO_M2M_MPLANE = 0x00004000
CAP_VIDEO_M2M = 0x00008000
CAP_META_CAPTURE = 0x00800000
CAP_STREAMING = 0x04000000
CAP_META_OUTPUT = 0x08000000
CAP_IO_MC = 0x20000000
CAP_DEVICE_CAPS = 0x80000000

_ANY_CAPTURE = CAP_VIDEO_CAPTURE | CAP_VIDEO_CAPTURE_MPLANE
_ANY_M2M = CAP_VIDEO_M2M | CAP_VIDEO_M2M_MPLANE

# The pipeline of a Raspberry Pi's CSI cameras. The receivers (unicam up to the Pi 4, rp1-cfe on the Pi 5) deliver raw
# sensor data, the signal processors (bcm2835-isp, pispbe) process from memory to memory. All of them report video
# capture, but deliver images only if libcamera controls them together.
_CSI_PIPELINE_DRIVERS = frozenset({"unicam", "rp1-cfe", "bcm2835-isp", "pispbe"})


@dataclass(frozen=True, slots=True)
class Capability:
    """A driver's answer to VIDIOC_QUERYCAP.

    Attributes:
        driver: name of the driver, such as `uvcvideo`.
        card: name of the device, such as `HD Webcam`.
        bus: location of the device, such as `usb-0000:01:00.0-1.2`.
        capabilities: capabilities of the whole physical device.
        device_caps: capabilities of this node; valid only if `capabilities` contains CAP_DEVICE_CAPS.
    """

    driver: str
    card: str
    bus: str
    capabilities: int
    device_caps: int

    @property
    def node_caps(self) -> int:
        """Capabilities of this node alone: a camera's metadata node shares `capabilities` with its video node."""
        return self.device_caps if self.capabilities & CAP_DEVICE_CAPS else self.capabilities


CapabilityQuery = Callable[[Path], Capability]
"""A function that queries the driver of a node, such as `query_capability`."""


def query_capability(path: Path) -> Capability:
    """Query the driver of a device node.

    Raises:
        OSError: the node cannot be opened, or is not a V4L2 device (ENOTTY).
    """
    # Non-blocking, since opening a device of another kind, such as a serial line, may wait.
    node = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        answer = bytearray(_CAPABILITY.size)
        fcntl.ioctl(node, VIDIOC_QUERYCAP, answer)
    finally:
        os.close(node)
    return unpack_capability(bytes(answer))


def unpack_capability(answer: bytes) -> Capability:
    """Unpack a `struct v4l2_capability`, 104 bytes."""
    driver, card, bus, _version, capabilities, device_caps, *_reserved = _CAPABILITY.unpack(answer)
    return Capability(_text(driver), _text(card), _text(bus), capabilities, device_caps)


def _text(field: bytes) -> str:
    return field.split(b"\0", 1)[0].decode("utf-8", errors="replace")


class NodeKind(Enum):
    """The kind of a path."""

    CAMERA = auto()
    CSI_PIPELINE = auto()
    CODEC = auto()
    OUTPUT = auto()
    METADATA = auto()
    OTHER = auto()
    NOT_V4L2 = auto()
    MISSING = auto()
    FORBIDDEN = auto()
    BROKEN = auto()


@dataclass(frozen=True, slots=True)
class CameraInfo:
    """A V4L2 camera that can be opened.

    Attributes:
        path: path of the node, such as `/dev/video0`.
        card: name of the device.
        driver: name of the driver.
        bus: location of the device.
    """

    path: Path
    card: str
    driver: str
    bus: str

    def __str__(self) -> str:
        return f"{self.path} ({self.card})" if self.card else str(self.path)


@dataclass(frozen=True, slots=True)
class Inspection:
    """The kind of a path and, if it is not a camera, the reason.

    Attributes:
        kind: kind of the node.
        camera: the camera if `kind` is CAMERA, else None.
        problem: predicate for an error message, such as `is an output device, not a camera`; empty for a camera.
    """

    kind: NodeKind
    camera: CameraInfo | None = None
    problem: str = ""


def inspect_node(path: Path, *, query: CapabilityQuery = query_capability) -> Inspection:
    """Determine the kind of a path: a camera that can be read directly, or not."""
    try:
        capability = query(path)
    except OSError as error:
        return _classify_error(error)
    return _classify(path, capability)


class Cameras:
    """The cameras attached to this machine.

    Args:
        query: queries the V4L2 driver of a node.
        device_folder: folder of the nodes.
        csi: lists the CSI cameras; called only if there is no matching V4L2 camera, since it loads libcamera.
    """

    def __init__(
        self,
        *,
        query: CapabilityQuery = query_capability,
        device_folder: Path = Path("/dev"),
        csi: Callable[[], Sequence[CsiInfo]] = find_csi_cameras,
    ) -> None:
        self._query = query
        self._device_folder = device_folder
        self._csi = csi

    def find(self) -> list[CameraInfo | CsiInfo]:
        """Return all cameras that can be opened: V4L2 before CSI, by their numbers."""
        return self._cameras(self._csi())

    def forbidden(self) -> str | None:
        """Return a V4L2 node that this user may not open and the remedy, in one line; None if there is none."""
        nodes = (
            f"{node} {inspection.problem}"
            for node, inspection in self._nodes()
            if inspection.kind is NodeKind.FORBIDDEN
        )
        return next(nodes, None)

    def by_number(self, number: int) -> DeviceAddress | CsiAddress:
        """Return the camera with a number.

        This is `/dev/video<number>` if it is a camera, else the CSI camera with this number: on a Raspberry Pi,
        /dev/video0 may be a raw node of the CSI camera's pipeline, or not exist.

        Raises:
            InputError: neither exists; the message contains the reason and lists the cameras found.
        """
        path = self._device_folder / f"video{number}"
        inspection = inspect_node(path, query=self._query)
        if inspection.kind is NodeKind.CAMERA:
            return DeviceAddress(path)
        csi = self._csi()
        # A node without permission is most likely the requested camera.
        if inspection.kind is not NodeKind.FORBIDDEN and any(camera.number == number for camera in csi):
            return CsiAddress(number)
        raise InputError(f"camera {number}: {self._refusal(path, inspection, csi)}")

    def by_path(self, path: Path) -> CameraInfo:
        """Return the camera at a path.

        Raises:
            InputError: the path is not a V4L2 camera; the message contains the reason and lists the cameras found.
        """
        inspection = inspect_node(path, query=self._query)
        if inspection.camera is None:
            raise InputError(f"camera {self._refusal(path, inspection, self._csi())}")
        return inspection.camera

    def _refusal(self, path: Path, inspection: Inspection, csi: Sequence[CsiInfo]) -> str:
        cameras = self._cameras(csi)
        names = f"cameras found: {', '.join(map(str, cameras))}" if cameras else "no camera was found"
        return f"{path} {inspection.problem}; {names}"

    def _cameras(self, csi: Sequence[CsiInfo]) -> list[CameraInfo | CsiInfo]:
        return [*(inspection.camera for _, inspection in self._nodes() if inspection.camera is not None), *csi]

    def _nodes(self) -> Iterator[tuple[Path, Inspection]]:
        for node in sorted(self._device_folder.glob("video[0-9]*"), key=natural_key):
            yield node, inspect_node(node, query=self._query)


def open_v4l2(camera: CameraInfo, *, wanted: CaptureFormat, freeze: FreezeDetector | None) -> LiveReader:
    """Open a V4L2 camera.

    It requests Motion JPEG, since large frames reach the full rate over USB 2 only if they are compressed; a camera
    without it uses another format.

    Args:
        camera: result of `Cameras.by_path`.
        wanted: size and rate to request.
        freeze: detector of frozen images; None to disable detection.

    Raises:
        SourceLostError: the camera cannot be opened now, usually because another program uses it.
    """
    description = str(camera)
    reader = VideoReader(str(camera.path), cv2.CAP_V4L2)
    if not reader.is_open:
        reader.close()
        raise SourceLostError(f"{description}: cannot be opened; another program may be using it")
    # The order matters: drivers choose the size for a pixel format, and the rate for a size.
    reader.set(cv2.CAP_PROP_BUFFERSIZE, _BUFFERS)
    reader.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG"))
    if wanted.width and wanted.height:
        reader.set(cv2.CAP_PROP_FRAME_WIDTH, wanted.width)
        reader.set(cv2.CAP_PROP_FRAME_HEIGHT, wanted.height)
    if wanted.fps:
        reader.set(cv2.CAP_PROP_FPS, wanted.fps)
    lost = "no frame came; the camera may be unplugged"
    return LiveReader(reader, description=description, lost=lost, freeze=freeze, wanted=wanted)


def _classify(path: Path, capability: Capability) -> Inspection:
    caps = capability.node_caps
    if capability.driver in _CSI_PIPELINE_DRIVERS or (caps & CAP_IO_MC and caps & _ANY_CAPTURE):
        problem = f"is a part of a CSI camera's pipeline (driver {capability.driver}), which only libcamera can drive"
        return Inspection(NodeKind.CSI_PIPELINE, problem=problem)
    if caps & _ANY_M2M or (caps & _ANY_CAPTURE and caps & (CAP_VIDEO_OUTPUT | CAP_VIDEO_OUTPUT_MPLANE)):
        # Before the M2M flag existed, such a device reported both capture and output. v4l2loopback in its default mode
        # also does, until something is written to it.
        return Inspection(NodeKind.CODEC, problem="is a codec or loopback without images of its own, not a camera")
    if caps & _ANY_CAPTURE and caps & CAP_STREAMING:
        return Inspection(NodeKind.CAMERA, CameraInfo(path, capability.card, capability.driver, capability.bus))
    if caps & (CAP_META_CAPTURE | CAP_META_OUTPUT):
        return Inspection(NodeKind.METADATA, problem="carries a camera's metadata, not its images")
    if caps & (CAP_VIDEO_OUTPUT | CAP_VIDEO_OUTPUT_MPLANE):
        return Inspection(NodeKind.OUTPUT, problem="is an output device, not a camera")
    return Inspection(NodeKind.OTHER, problem="does not capture video")


def _classify_error(error: OSError) -> Inspection:
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP):
        return Inspection(NodeKind.MISSING, problem="does not exist")
    if error.errno in (errno.ENODEV, errno.ENXIO):
        return Inspection(NodeKind.MISSING, problem="has no device behind it")
    if error.errno in (errno.EACCES, errno.EPERM):
        problem = f"may not be opened by this user; add it to the group video (sudo usermod -aG video {_user()})"
        return Inspection(NodeKind.FORBIDDEN, problem=problem)
    if error.errno in (errno.ENOTTY, errno.EINVAL, errno.EISDIR):
        return Inspection(NodeKind.NOT_V4L2, problem="is not a video device")
    return Inspection(NodeKind.BROKEN, problem=f"cannot be queried: {error.strerror or error}")


def _user() -> str:
    """Return the name of the user of this process, independent of the environment."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())
