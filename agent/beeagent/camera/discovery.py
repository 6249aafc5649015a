"""Which camera a number means on this machine, and which cameras there are."""

from collections.abc import Callable, Sequence
from pathlib import Path

from beeagent.camera.address import CsiAddress, DeviceAddress
from beeagent.camera.csi import CsiInfo, find_csi_cameras
from beeagent.camera.v4l2 import (
    CameraInfo,
    CapabilityQuery,
    Inspection,
    NodeKind,
    find_cameras,
    inspect_node,
    query_capability,
)
from beeagent.errors import InputError


class Cameras:
    """The cameras attached to this machine.

    Args:
        query: asks a V4L2 driver what its node is.
        device_folder: where the nodes are.
        csi: lists the CSI cameras; it is only called where the V4L2 nodes do not answer the question, since it
            loads libcamera.
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
        """Give every camera that can be opened, V4L2 before CSI."""
        return [*find_cameras(query=self._query, device_folder=self._device_folder), *self._csi()]

    def forbidden(self) -> str | None:
        """Name a V4L2 node that this user may not open, with what to do about it; None if there is none."""
        for node in sorted(self._device_folder.glob("video[0-9]*")):
            inspection = inspect_node(node, query=self._query)
            if inspection.kind is NodeKind.FORBIDDEN:
                return f"{node} {inspection.problem}"
        return None

    def by_number(self, number: int) -> DeviceAddress | CsiAddress:
        """Say which camera a number means.

        `/dev/video<number>` if that is a camera. If it is not, and libcamera knows a CSI camera of the number, that
        one: on a Raspberry Pi, /dev/video0 may be a raw node of the CSI camera's pipeline, or not be there at all.

        Raises:
            InputError: neither is there; the message says why and lists the cameras that are.
        """
        path = self._device_folder / f"video{number}"
        inspection = inspect_node(path, query=self._query)
        if inspection.kind is NodeKind.CAMERA:
            return DeviceAddress(path)
        csi = self._csi()
        # A node that is there and may not be opened is most likely the one that was meant.
        if inspection.kind is not NodeKind.FORBIDDEN and any(camera.number == number for camera in csi):
            return CsiAddress(number)
        raise InputError(f"camera {number}: {self._refusal(path, inspection, csi)}")

    def by_path(self, path: Path) -> CameraInfo:
        """Say which camera is at a path.

        Raises:
            InputError: there is no V4L2 camera; the message says why and lists the cameras that are there.
        """
        inspection = inspect_node(path, query=self._query)
        if inspection.camera is None:
            raise InputError(f"camera {self._refusal(path, inspection, self._csi())}")
        return inspection.camera

    def _refusal(self, path: Path, inspection: Inspection, csi: Sequence[CsiInfo]) -> str:
        found = [*find_cameras(query=self._query, device_folder=self._device_folder), *csi]
        cameras = f"cameras found: {', '.join(map(str, found))}" if found else "no camera was found"
        return f"{path} {inspection.problem}; {cameras}"
