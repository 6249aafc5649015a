"""Frames from a CSI camera on a Raspberry Pi, through picamera2.

Written after picamera2's manual and sources. The project's tests run it with a stand-in module that checks colour
order, shape and cleanup; picamera2 itself needs the hardware, so no test here has run it.
"""

import importlib
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from beeagent.camera.capture_format import CaptureFormat
from beeagent.camera.closing import LastOneOut
from beeagent.camera.frame import Frame
from beeagent.camera.freeze import FreezeDetector
from beeagent.camera.live import LiveFrames
from beeagent.camera.opencv import as_bgr
from beeagent.camera.source import BadFrameError, SourceLostError
from beeagent.errors import InputError

# picamera2 names formats after the order of the bits in a little-endian word, as DRM does: in the memory of its
# "RGB888" blue comes first, then green, then red. So this is the BGR of OpenCV and of `Frame`; "BGR888" is not.
PIXEL_FORMAT = "RGB888"
_DEFAULT_SIZE = (1280, 720)
_OLDEST_NS = 10 * 10**9
"""An older time stamp is of another clock than expected."""


class Request(Protocol):
    """What is used of `picamera2.request.CompletedRequest`."""

    def make_array(self, name: str) -> NDArray[np.uint8]:
        """Copy a stream's picture."""
        ...

    def get_metadata(self) -> Mapping[str, Any]:
        """Give libcamera's metadata of the picture."""
        ...

    def release(self) -> None:
        """Give the buffers back to the camera."""
        ...


class Camera(Protocol):
    """What is used of `picamera2.Picamera2`."""

    def create_video_configuration(self, **options: object) -> Any:  # noqa: ANN401 - picamera2's own, passed on unread
        """Describe what to capture."""
        ...

    def configure(self, configuration: Any) -> None:  # noqa: ANN401 - see create_video_configuration
        """Prepare the camera for it."""
        ...

    def start(self) -> None:
        """Begin to capture."""
        ...

    def capture_request(self) -> Request:
        """Wait for the next picture."""
        ...

    def stop(self) -> None:
        """Cease to capture."""
        ...

    def close(self) -> None:
        """Give the camera back."""
        ...


class CameraClass(Protocol):
    """What is used of the class `picamera2.Picamera2`."""

    def __call__(self, camera_num: int) -> Camera:
        """Take hold of a camera."""
        ...

    def global_camera_info(self) -> list[dict[str, Any]]:
        """List the cameras that libcamera knows: dicts with `Num`, `Model`, `Id` and more."""
        ...


class Picamera2Module(Protocol):
    """What is used of the module picamera2."""

    @property
    def Picamera2(self) -> CameraClass:  # noqa: N802 - picamera2's name
        """The class of its cameras."""
        ...


@dataclass(frozen=True, slots=True)
class CsiInfo:
    """A camera that libcamera knows.

    Attributes:
        number: counted from 0, as `csi:0`.
        model: of the sensor, such as `imx708`.
    """

    number: int
    model: str

    def __str__(self) -> str:
        return f"csi:{self.number} ({self.model})" if self.model else f"csi:{self.number}"


def load_picamera2() -> Picamera2Module:
    """Import picamera2, which takes a second or two and exists on Raspberry Pi OS only.

    Raises:
        InputError: it is not installed or does not work.
    """
    try:
        module: Any = importlib.import_module("picamera2")
    except (ImportError, OSError, RuntimeError) as error:  # it loads libraries of the system's, of matching versions
        raise InputError(
            f"CSI cameras need picamera2, which cannot be imported ({error}); install it with "
            "`sudo apt install python3-picamera2`, and make beeagent's virtual environment with --system-site-packages"
        ) from error
    picamera2: Picamera2Module = module
    return picamera2


def find_csi_cameras(*, module: Picamera2Module | None = None) -> list[CsiInfo]:
    """Give the CSI cameras; none where picamera2 is not installed.

    Args:
        module: picamera2, or what stands in for it in a test; None imports it.
    """
    try:
        loaded = load_picamera2() if module is None else module
    except InputError:
        return []
    # libcamera lists USB cameras too; those have V4L2 nodes of their own, and are opened through them.
    return [
        CsiInfo(number=int(camera.get("Num", place)), model=str(camera.get("Model", "")))
        for place, camera in enumerate(loaded.Picamera2.global_camera_info())
        if "usb" not in str(camera.get("Id", "")).lower()
    ]


class CsiSource:
    """Frames of a CSI camera. A `GrabbingSource`, live.

    Args:
        number: which camera.
        wanted: size and rate to ask for; 1280x720 at the camera's own rate where nothing is asked.
        freeze: what tells that the picture stands still, or None not to look.
        module: picamera2, or what stands in for it in a test; None imports it.

    Raises:
        InputError: picamera2 is missing, or there is no such camera.
        SourceLostError: the camera cannot be started, most often because another program has it.
    """

    live = True

    def __init__(
        self,
        number: int,
        *,
        wanted: CaptureFormat,
        freeze: FreezeDetector | None,
        module: Picamera2Module | None = None,
    ) -> None:
        loaded = load_picamera2() if module is None else module
        found = find_csi_cameras(module=loaded)
        info = next((camera for camera in found if camera.number == number), None)
        if info is None:
            cameras = ", ".join(map(str, found)) or "none; check the ribbon cable"
            raise InputError(f"camera csi:{number}: there is no such camera; CSI cameras found: {cameras}")
        self.description = str(info)
        self._frames = LiveFrames(self.description, freeze, wanted=wanted)
        self._grabbed: Request | None = None
        self._captured_at = datetime.now(timezone.utc)
        self._captured_ns = 0
        try:
            self._camera = loaded.Picamera2(number)
        except (RuntimeError, IndexError, OSError) as error:
            raise SourceLostError(f"{self.description}: cannot be opened: {error}") from error
        self._use = LastOneOut(self._release)
        try:
            self._start(wanted)
        except (RuntimeError, ValueError, OSError) as error:
            self.close()
            raise SourceLostError(f"{self.description}: cannot be started: {error}") from error

    def _start(self, wanted: CaptureFormat) -> None:
        controls = {}
        if wanted.fps:
            microseconds = round(1e6 / wanted.fps)
            controls["FrameDurationLimits"] = (microseconds, microseconds)
        configuration = self._camera.create_video_configuration(
            main={
                "size": (wanted.width or _DEFAULT_SIZE[0], wanted.height or _DEFAULT_SIZE[1]),
                "format": PIXEL_FORMAT,
            },
            controls=controls,
            # No picture is kept ready for the next request: the one given was taken after it was asked for.
            queue=False,
        )
        self._camera.configure(configuration)
        self._camera.start()

    def grab(self) -> bool:
        """See `GrabbingSource.grab`."""
        with self._use.inside():
            self._let_go_of_grabbed()
            if self._use.closing:
                raise SourceLostError(f"{self.description}: was closed")
            try:
                self._grabbed = self._camera.capture_request()
                metadata = self._grabbed.get_metadata()
            except (RuntimeError, OSError) as error:
                raise SourceLostError(f"{self.description}: gives no more pictures: {error}") from error
        age = _age_ns(metadata)
        self._captured_ns = time.monotonic_ns() - age
        self._captured_at = datetime.now(timezone.utc) - timedelta(microseconds=age / 1000)
        return True

    def retrieve(self) -> Frame:
        """See `GrabbingSource.retrieve`."""
        with self._use.inside():
            if self._use.closing:
                raise SourceLostError(f"{self.description}: was closed")
            if self._grabbed is None:
                raise RuntimeError("nothing was grabbed")
            try:
                array = self._grabbed.make_array("main")
            except (RuntimeError, ValueError, OSError) as error:
                raise BadFrameError(f"{self.description}: a picture could not be read: {error}") from error
            finally:
                self._let_go_of_grabbed()
        pixels = as_bgr(array)
        if pixels is None:
            raise BadFrameError(f"{self.description}: gave a picture of shape {array.shape}, type {array.dtype}")
        return self._frames.make(pixels, captured_at=self._captured_at, captured_ns=self._captured_ns)

    def read(self) -> Frame | None:
        """See `FrameSource.read`."""
        return self.retrieve() if self.grab() else None

    def close(self) -> None:
        """See `FrameSource.close`."""
        self._use.close()

    def _let_go_of_grabbed(self) -> None:
        if self._grabbed is not None:
            self._grabbed.release()
            self._grabbed = None

    def _release(self) -> None:
        self._let_go_of_grabbed()
        # A camera that is gone may refuse to be stopped; it must be closed all the same.
        with suppress(RuntimeError, OSError):
            self._camera.stop()
        self._camera.close()


def _age_ns(metadata: Mapping[str, Any]) -> int:
    """Say how long ago a picture was taken, as its time stamp says: nanoseconds of CLOCK_BOOTTIME at its start."""
    stamp = metadata.get("SensorTimestamp")
    if not isinstance(stamp, int):
        return 0
    age = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - stamp
    return age if 0 <= age < _OLDEST_NS else 0
