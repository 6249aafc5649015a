"""Opening the frame source of an address."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from beeagent.camera.address import (
    CameraAddress,
    CsiAddress,
    FileAddress,
    FolderAddress,
    ImageAddress,
    LiveAddress,
    NumberAddress,
    StreamAddress,
    VideoAddress,
    is_live,
    parse_camera,
)
from beeagent.camera.capture import Capture, CaptureLimits
from beeagent.camera.csi import CsiSource
from beeagent.camera.images import ImageSource, list_folder, list_pattern, pattern_folder
from beeagent.camera.live import CaptureFormat, FreezeDetector
from beeagent.camera.opencv import silence_opencv
from beeagent.camera.pacing import MonotonicClock, RealtimeSource
from beeagent.camera.source import BadFrameError, Frame, FrameSource, SourceLostError
from beeagent.camera.still_url import HttpSource, StillImageSource
from beeagent.camera.stream import StreamTimeouts, open_stream
from beeagent.camera.synthetic.address import SyntheticAddress
from beeagent.camera.synthetic.scene import SyntheticSource
from beeagent.camera.v4l2 import Cameras, open_v4l2
from beeagent.camera.video import VideoFileSource

_LOG = logging.getLogger(__name__)

_DEFAULT_IMAGE_FPS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceOptions:
    """Options for opening a source; options that do not apply to its kind are ignored.

    Attributes:
        realtime: files: True to play them as a live source at their own frame rate; images at `wanted.fps`, or 30
            frames/s.
        wanted: cameras: size and rate to request.
        timeouts: streams: time-outs for opening and reading.
        poll_interval: still images from the network: minimum number of seconds between two fetches.
        freeze_timeout: cameras and streams: seconds without any change in the image after which the source counts
            as lost; None to disable detection, as for a test image without noise.
        dark: cameras and streams: brightness, 0 to 255, up to which an image does not count as frozen; None for no
            exception.
    """

    realtime: bool = False
    wanted: CaptureFormat = field(default_factory=CaptureFormat)
    timeouts: StreamTimeouts = field(default_factory=StreamTimeouts)
    poll_interval: float = 1.0
    freeze_timeout: float | None = 5.0
    dark: float | None = None

    def __post_init__(self) -> None:
        if self.freeze_timeout is not None and not self.freeze_timeout > 0:
            raise ValueError(f"freeze_timeout must be above 0 or None, not {self.freeze_timeout}")
        if not self.poll_interval > 0:
            raise ValueError(f"poll_interval must be above 0, not {self.poll_interval}")


class SourceOpener:
    """Opens the source of an address at each call, from one thread at a time.

    It silences OpenCV for the whole process (see `silence_opencv`), so create it before starting other threads.

    Args:
        address: result of `parse_camera`.
        options: options for opening the source.
        cameras: the cameras of this machine; None to find them.

    Attributes:
        live: True for a live source; see `is_live`.
    """

    def __init__(self, address: CameraAddress, options: SourceOptions, *, cameras: Cameras | None = None) -> None:
        silence_opencv()
        self._address = address
        self._options = options
        self._cameras = Cameras() if cameras is None else cameras
        self.live = is_live(address, realtime=options.realtime)
        timeout = options.freeze_timeout
        self._freeze = (
            None
            if timeout is None
            else FreezeDetector(freeze_timeout=timeout, clock=MonotonicClock(), dark=options.dark)
        )

    def __call__(self) -> FrameSource:
        """Open the source.

        A camera that froze counts as open only after its image has changed.

        Raises:
            InputError: the source does not exist or is of another kind; a retry does not help.
            SourceUnreachableError: the source is on the network and delivers no frames now.
            SourceLostError: the source exists, or may exist, but delivers no frames now; a retry may help.
        """
        address = self._address
        if isinstance(address, NumberAddress):
            address = self._cameras.by_number(address.number)
        if isinstance(address, SyntheticAddress):
            return SyntheticSource(address.scene, live=address.live, frames=address.frames)
        if isinstance(address, LiveAddress):
            source = self._open_live(address)
            if self._freeze is not None:
                self._freeze.begin()
                _await_change(source, self._freeze)
            return source
        return _open_file(address, self._options)

    def _open_live(self, address: LiveAddress) -> FrameSource:
        wanted = self._options.wanted
        if isinstance(address, StreamAddress):
            return self._open_stream(address)
        if isinstance(address, CsiAddress):
            return CsiSource(address.number, wanted=wanted, freeze=self._freeze)
        return open_v4l2(self._cameras.by_path(address.path), wanted=wanted, freeze=self._freeze)

    def _open_stream(self, address: StreamAddress) -> FrameSource:
        options = self._options
        stream = open_stream(address, timeouts=options.timeouts, freeze=self._freeze)
        if not address.url.startswith("http"):
            return stream
        return HttpSource(
            stream,
            lambda: StillImageSource(
                address, poll_interval=options.poll_interval, timeout=options.timeouts.reading, clock=MonotonicClock()
            ),
        )


def open_source(address: CameraAddress, options: SourceOptions, *, cameras: Cameras | None = None) -> FrameSource:
    """Open the source of an address once; see `SourceOpener`."""
    return SourceOpener(address, options, cameras=cameras)()


@contextmanager
def open_camera(
    address: str,
    *,
    size: tuple[int, int] | None = None,
    fps: float | None = None,
    max_rate: float | None = None,
    realtime: bool = False,
) -> Iterator[Iterator[Frame]]:
    """Open a camera, stream, video or images for a `with` block, and iterate over the frames.

    A live source yields the newest frame at each step, and is reopened if it fails. Files yield every frame in order,
    and the iteration ends with them.

    Args:
        address: address as for `--camera`, such as `0`, `csi`, `rtsp://…`, `hive.mp4`, `night/*.jpg` or `synthetic`.
        size: cameras: width and height in pixels to request; None for the camera's default.
        fps: cameras: frames per second to request; None for the camera's default.
        max_rate: maximum number of frames per second; None for no limit.
        realtime: files: True to play them at their own rate, as a live source.

    Raises:
        InputError: the address is invalid or, during iteration: it does not exist or is not a camera.
        BeeagentError: during iteration: a file ends too early.
    """
    width, height = size or (None, None)
    wanted = CaptureFormat(width=width, height=height, fps=fps)
    opener = SourceOpener(parse_camera(address), SourceOptions(realtime=realtime, wanted=wanted))
    capture = Capture(opener, drop_oldest=opener.live, on_problem=_log_problem, limits=CaptureLimits(max_rate=max_rate))
    try:
        yield _captured(capture)
    finally:
        capture.stop()


def _captured(capture: Capture) -> Iterator[Frame]:
    yield from capture
    if capture.failure is not None:
        raise capture.failure


def _log_problem(problem: str | None) -> None:
    if problem is not None:
        _LOG.warning("camera: %s", problem)


def _await_change(source: FrameSource, freeze: FreezeDetector) -> None:
    """Read until the image differs from the frozen one; close a source that keeps repeating it."""
    try:
        while freeze.frozen:
            with suppress(BadFrameError):
                source.read()
    except SourceLostError:
        source.close()
        raise


def _open_file(address: FileAddress, options: SourceOptions) -> FrameSource:
    source: VideoFileSource | ImageSource
    if isinstance(address, VideoAddress):
        source = VideoFileSource(address.path)
        fps = source.fps
    else:
        folder: Path | None = None
        if isinstance(address, ImageAddress):
            paths: tuple[Path, ...] = (address.path,)
        elif isinstance(address, FolderAddress):
            paths = list_folder(address.path)
        else:
            paths, folder = list_pattern(address.pattern), pattern_folder(address.pattern)
        source = ImageSource(paths, description=address.description, folder=folder)
        fps = options.wanted.fps or _DEFAULT_IMAGE_FPS
    return RealtimeSource(source, fps=fps, clock=MonotonicClock()) if options.realtime else source
