import errno
import os
import struct
from pathlib import Path

import pytest
from beeagent.camera.v4l2 import (
    CameraInfo,
    Cameras,
    Capability,
    NodeKind,
    inspect_node,
    query_capability,
    unpack_capability,
)

DEVICE_CAPS = 0x80000000


def answer(driver: str, card: str, bus: str, *, capabilities: int, device_caps: int) -> Capability:
    """Unpack the struct as a kernel fills it in."""
    packed = struct.pack(
        "=16s32s32s6I", driver.encode(), card.encode(), bus.encode(), 0x060C00, capabilities, device_caps, 0, 0, 0
    )
    assert len(packed) == 104
    return unpack_capability(packed)


# vivid's are recorded from Linux 6.1; the others are put together from the flags that the drivers' sources set.
UVC_VIDEO = answer(
    "uvcvideo", "HD Webcam C525", "usb-0000:01:00.0-1.2", capabilities=0x84A00001, device_caps=0x04200001
)
UVC_METADATA = answer(
    "uvcvideo", "HD Webcam C525", "usb-0000:01:00.0-1.2", capabilities=0x84A00001, device_caps=0x04A00000
)
VIVID_CAPTURE = answer("vivid", "vivid", "platform:vivid-000", capabilities=0x9DBF0DF7, device_caps=0x05230005)
VIVID_OUTPUT = answer("vivid", "vivid", "platform:vivid-000", capabilities=0x9DBF0DF7, device_caps=0x05220002)
VIVID_METADATA = answer("vivid", "vivid", "platform:vivid-000", capabilities=0x9DBF0DF7, device_caps=0x05A30000)
VIVID_METADATA_OUT = answer("vivid", "vivid", "platform:vivid-000", capabilities=0x9DBF0DF7, device_caps=0x0D220000)
UNICAM_IMAGE = answer("unicam", "unicam", "platform:fe801000.csi", capabilities=0xA5A00001, device_caps=0x25200001)
CFE_IMAGE = answer("rp1-cfe", "rp1-cfe", "platform:1f00110000.csi", capabilities=0xAEA00001, device_caps=0x26A00001)
PI_ISP_CAPTURE = answer(
    "bcm2835-isp", "bcm2835-isp", "platform:bcm2835-isp", capabilities=0x84A00003, device_caps=0x04200001
)
PI_CODEC = answer(
    "bcm2835-codec", "bcm2835-codec-decode", "platform:bcm2835-codec", capabilities=0x84204000, device_caps=0x04204000
)
LEGACY_PI_CAMERA = answer(
    "bm2835 mmal", "mmal service 16.1", "platform:bcm2835-v4l2-0", capabilities=0x85200005, device_caps=0x05200005
)
OTHER_SOC_RAW = answer("sun6i-csi", "sun6i-csi", "platform:csi", capabilities=0xA4200001, device_caps=0x24200001)
MULTIPLANAR = answer("qcom", "capture", "platform:x", capabilities=0x84201000, device_caps=0x04201000)
LOOPBACK_IDLE = answer(
    "v4l2 loopback", "Dummy video device", "platform:v4l2loopback-000", capabilities=0x85200003, device_caps=0x05200003
)
READ_ONLY_CAPTURE = answer("old", "old", "pci", capabilities=0x01000001, device_caps=0)
OLD_DRIVER = answer("gspca_zc3xx", "USB Camera", "usb-1", capabilities=0x05000001, device_caps=0)
RADIO = answer("radio-si470x", "Si470x", "usb-2", capabilities=0x80050000, device_caps=0x00050000)


@pytest.mark.parametrize(
    ("capability", "kind"),
    [
        (UVC_VIDEO, NodeKind.CAMERA),
        (UVC_METADATA, NodeKind.METADATA),
        (VIVID_CAPTURE, NodeKind.CAMERA),
        (VIVID_OUTPUT, NodeKind.OUTPUT),
        (VIVID_METADATA, NodeKind.METADATA),
        (VIVID_METADATA_OUT, NodeKind.METADATA),
        (UNICAM_IMAGE, NodeKind.CSI_PIPELINE),
        (CFE_IMAGE, NodeKind.CSI_PIPELINE),
        (PI_ISP_CAPTURE, NodeKind.CSI_PIPELINE),
        (OTHER_SOC_RAW, NodeKind.CSI_PIPELINE),
        (PI_CODEC, NodeKind.CODEC),
        (LOOPBACK_IDLE, NodeKind.CODEC),
        (LEGACY_PI_CAMERA, NodeKind.CAMERA),
        (MULTIPLANAR, NodeKind.CAMERA),
        (OLD_DRIVER, NodeKind.CAMERA),
        (READ_ONLY_CAPTURE, NodeKind.OTHER),
        (RADIO, NodeKind.OTHER),
    ],
)
def test_node_kind_of_each_driver(capability: Capability, kind: NodeKind) -> None:
    inspection = inspect_node(Path("/dev/video0"), query=lambda _: capability)
    assert inspection.kind is kind
    assert (inspection.camera is not None) == (kind is NodeKind.CAMERA)
    assert bool(inspection.problem) == (kind is not NodeKind.CAMERA)


def test_camera_description() -> None:
    camera = inspect_node(Path("/dev/video0"), query=lambda _: UVC_VIDEO).camera
    assert camera == CameraInfo(Path("/dev/video0"), "HD Webcam C525", "uvcvideo", "usb-0000:01:00.0-1.2")
    assert str(camera) == "/dev/video0 (HD Webcam C525)"


@pytest.mark.parametrize(
    ("number", "kind", "words"),
    [
        (errno.ENOENT, NodeKind.MISSING, "does not exist"),
        (errno.ENODEV, NodeKind.MISSING, "has no device behind it"),
        (errno.EACCES, NodeKind.FORBIDDEN, "group video"),
        (errno.ENOTTY, NodeKind.NOT_V4L2, "is not a video device"),
        (errno.EIO, NodeKind.BROKEN, "Input/output error"),
    ],
)
def test_query_error_is_explained(number: int, kind: NodeKind, words: str) -> None:
    def refuse(path: Path) -> Capability:
        raise OSError(number, os.strerror(number), str(path))

    inspection = inspect_node(Path("/dev/video0"), query=refuse)
    assert inspection.kind is kind
    assert words in inspection.problem


def test_cameras_are_sorted_by_number(tmp_path: Path) -> None:
    nodes = {
        "video10": UVC_VIDEO, "video2": LEGACY_PI_CAMERA, "video0": UNICAM_IMAGE, "video1": UVC_METADATA,
        "video11": VIVID_OUTPUT,
    }  # fmt: skip
    for name in (*nodes, "videofoo", "vbi0"):
        (tmp_path / name).touch()
    found = Cameras(query=lambda path: nodes[path.name], device_folder=tmp_path, csi=list).find()
    assert [camera.path.name for camera in found] == ["video2", "video10"]


def test_ioctl_request_matches_kernel_headers(monkeypatch: pytest.MonkeyPatch) -> None:
    requests: list[int] = []
    monkeypatch.setattr("fcntl.ioctl", lambda _node, request, _answer: requests.append(request))
    query_capability(Path("/dev/null"))
    # What the kernel's headers give for VIDIOC_QUERYCAP, as strace shows it on x86-64 and Arm.
    assert requests == [0x80685600]


def test_ioctl_on_files_that_are_not_video_devices(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.touch()
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for path in (plain, fifo, Path("/dev/null")):
        with pytest.raises(OSError, match="Inappropriate ioctl") as refusal:
            query_capability(path)
        assert refusal.value.errno == errno.ENOTTY
        assert inspect_node(path).kind is NodeKind.NOT_V4L2
    assert inspect_node(tmp_path / "gone").kind is NodeKind.MISSING
    assert inspect_node(tmp_path).kind is NodeKind.NOT_V4L2
    assert Cameras(device_folder=tmp_path, csi=list).find() == []


def test_query_closes_the_node(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.touch()
    inspect_node(plain)
    assert str(plain) not in map(os.path.realpath, Path("/proc/self/fd").iterdir())
