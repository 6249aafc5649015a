"""Finds the cameras of this machine, and the one that a number names."""

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
        query: queries the V4L2 driver of a node.
        device_folder: of the nodes.
        csi: lists the CSI cameras; only called if there is no such V4L2 camera, since it loads libcamera.
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
        """Return all cameras that can be opened, V4L2 before CSI."""
        return [*find_cameras(query=self._query, device_folder=self._device_folder), *self._csi()]

    def forbidden(self) -> str | None:
        """Return a V4L2 node that this user may not open and the remedy, in one line; None if there is none."""
        for node in sorted(self._device_folder.glob("video[0-9]*")):
            inspection = inspect_node(node, query=self._query)
            if inspection.kind is NodeKind.FORBIDDEN:
                return f"{node} {inspection.problem}"
        return None

    def by_number(self, number: int) -> DeviceAddress | CsiAddress:
        """Return the camera that a number names.

        `/dev/video<number>` if that is a camera, else the CSI camera of the number if libcamera knows one: on a
        Raspberry Pi, /dev/video0 may be a raw node of the CSI camera's pipeline, or not exist.

        Raises:
            InputError: neither exists; the message contains the reason and lists the cameras found.
        """
        path = self._device_folder / f"video{number}"
        inspection = inspect_node(path, query=self._query)
        if inspection.kind is NodeKind.CAMERA:
            return DeviceAddress(path)
        csi = self._csi()
        # A node that exists and may not be opened is most likely the one that was meant.
        if inspection.kind is not NodeKind.FORBIDDEN and any(camera.number == number for camera in csi):
            return CsiAddress(number)
        raise InputError(f"camera {number}: {self._refusal(path, inspection, csi)}")

    def by_path(self, path: Path) -> CameraInfo:
        """Return the camera at a path.

        Raises:
            InputError: it is not a V4L2 camera; the message contains the reason and lists the cameras found.
        """
        inspection = inspect_node(path, query=self._query)
        if inspection.camera is None:
            raise InputError(f"camera {self._refusal(path, inspection, self._csi())}")
        return inspection.camera

    def _refusal(self, path: Path, inspection: Inspection, csi: Sequence[CsiInfo]) -> str:
        found = [*find_cameras(query=self._query, device_folder=self._device_folder), *csi]
        cameras = f"cameras found: {', '.join(map(str, found))}" if found else "no camera was found"
        return f"{path} {inspection.problem}; {cameras}"
