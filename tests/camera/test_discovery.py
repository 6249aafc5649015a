import errno
import os
import pwd
from pathlib import Path

import pytest
from beeagent.camera import Cameras, CsiAddress, DeviceAddress
from beeagent.camera.csi import CsiInfo
from beeagent.camera.v4l2 import Capability
from beeagent.errors import InputError

USER = pwd.getpwuid(os.geteuid()).pw_name
CAMERA = Capability("uvcvideo", "HD Webcam", "usb-1", 0x84A00001, 0x04200001)
METADATA = Capability("uvcvideo", "HD Webcam", "usb-1", 0x84A00001, 0x04A00000)
OUTPUT = Capability("vivid", "vivid", "platform:vivid", 0x8DA35333, 0x05210002)
RAW = Capability("unicam", "unicam", "platform:fe801000.csi", 0xA5A00001, 0x25200001)


class Machine:
    """A machine with these nodes and CSI cameras; records whether libcamera was queried."""

    def __init__(self, folder: Path, nodes: dict[int, Capability | int], csi: list[CsiInfo]) -> None:
        for number in nodes:
            (folder / f"video{number}").touch()
        self._nodes = {f"video{number}": node for number, node in nodes.items()}
        self._csi = csi
        self.libcamera_queried = False
        self.cameras = Cameras(query=self._query, device_folder=folder, csi=self._list_csi)

    def _query(self, path: Path) -> Capability:
        node = self._nodes.get(path.name, errno.ENOENT)
        if isinstance(node, int):
            raise OSError(node, os.strerror(node), str(path))
        return node

    def _list_csi(self) -> list[CsiInfo]:
        self.libcamera_queried = True
        return self._csi


def test_number_names_v4l2_camera(tmp_path: Path) -> None:
    machine = Machine(tmp_path, {0: CAMERA, 1: METADATA}, [CsiInfo(0, "imx708")])
    assert machine.cameras.by_number(0) == DeviceAddress(tmp_path / "video0")
    assert not machine.libcamera_queried


@pytest.mark.parametrize("nodes", [{}, {0: RAW}, {0: OUTPUT}, {0: errno.ENODEV}])
def test_number_without_v4l2_camera_names_csi_camera(tmp_path: Path, nodes: dict[int, Capability | int]) -> None:
    machine = Machine(tmp_path, nodes, [CsiInfo(0, "imx708"), CsiInfo(1, "ov5647")])
    assert machine.cameras.by_number(0) == CsiAddress(0)
    assert machine.cameras.by_number(1) == CsiAddress(1)


@pytest.mark.parametrize(
    ("nodes", "csi", "number", "message"),
    [
        ({}, [], 0, "camera 0: {}/video0 does not exist; no camera was found"),
        (
            {0: OUTPUT, 1: METADATA, 2: CAMERA}, [], 0,
            "camera 0: {}/video0 is an output device, not a camera; cameras found: {}/video2 (HD Webcam)",
        ),
        (
            {0: CAMERA, 1: METADATA}, [CsiInfo(0, "imx708")], 1,
            ("camera 1: {}/video1 carries a camera's metadata, not its images; "
             "cameras found: {}/video0 (HD Webcam), csi:0 (imx708)"),
        ),
        (
            {0: errno.EACCES}, [CsiInfo(0, "imx708")], 0,
            ("camera 0: {}/video0 may not be opened by this user; add it to the group video "
             f"(sudo usermod -aG video {USER}); cameras found: csi:0 (imx708)"),
        ),
        (
            {0: RAW}, [], 0,
            ("camera 0: {}/video0 is a part of a CSI camera's pipeline (driver unicam), which "
             "only libcamera can drive; no camera was found"),
        ),
    ],
)  # fmt: skip
def test_unknown_number_is_refused_with_reason_and_cameras_found(
    tmp_path: Path, nodes: dict[int, Capability | int], csi: list[CsiInfo], number: int, message: str
) -> None:
    machine = Machine(tmp_path, nodes, csi)
    with pytest.raises(InputError) as refusal:
        machine.cameras.by_number(number)
    assert str(refusal.value) == message.replace("{}", str(tmp_path))


def test_path_that_is_not_a_camera_is_refused(tmp_path: Path) -> None:
    machine = Machine(tmp_path, {0: CAMERA, 1: METADATA}, [])
    assert machine.cameras.by_path(tmp_path / "video0").card == "HD Webcam"
    with pytest.raises(InputError, match=r"video1 carries a camera's metadata.*cameras found: .*video0 \(HD Webcam\)"):
        machine.cameras.by_path(tmp_path / "video1")


def test_find_lists_v4l2_then_csi_cameras(tmp_path: Path) -> None:
    machine = Machine(tmp_path, {0: RAW, 7: CAMERA}, [CsiInfo(0, "imx708")])
    assert [str(camera) for camera in machine.cameras.find()] == [f"{tmp_path}/video7 (HD Webcam)", "csi:0 (imx708)"]


def test_find_on_the_real_machine() -> None:
    # Whatever is attached here: no error, and nothing listed that is not there.
    for camera in Cameras().find():
        assert str(camera)


def test_forbidden_node_is_reported_with_user_name(tmp_path: Path) -> None:
    machine = Machine(tmp_path, {0: OUTPUT, 3: errno.EACCES}, [])
    problem = machine.cameras.forbidden()
    assert problem is not None
    assert problem.startswith(f"{tmp_path}/video3 may not be opened")
    assert f"usermod -aG video {USER})" in problem
    assert Machine(tmp_path, {0: OUTPUT, 3: CAMERA}, []).cameras.forbidden() is None
