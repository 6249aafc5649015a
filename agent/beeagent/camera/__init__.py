"""Frame sources: cameras, streams, files and the built-in synthetic scene.

This package does not depend on the content or the processing of frames.
"""

from beeagent.camera.active import parse_active
from beeagent.camera.address import (
    ALLOWED_CAMERAS,
    IMAGE_SUFFIXES,
    VIDEO_SUFFIXES,
    CameraAddress,
    CsiAddress,
    DeviceAddress,
    FolderAddress,
    ImageAddress,
    NumberAddress,
    PatternAddress,
    StreamAddress,
    VideoAddress,
    is_live,
    parse_camera,
)
from beeagent.camera.capture import Capture, CaptureCounts, CaptureLimits
from beeagent.camera.frame_queue import FrameQueue, QueueClosedError
from beeagent.camera.images import UNSUPPORTED_SUFFIXES, decode_image, encode_jpeg, natural_key, read_image
from beeagent.camera.live import CaptureFormat, brightness
from beeagent.camera.opencv import silence_opencv
from beeagent.camera.opening import SourceOpener, SourceOptions, open_camera, open_source
from beeagent.camera.sleep import DarkSleep, Sleep, SleepPeriod, TimedSleep
from beeagent.camera.source import BadFrameError, Frame, FrameSource, SourceLostError, SourceUnreachableError
from beeagent.camera.stream import StreamTimeouts
from beeagent.camera.synthetic.address import SyntheticAddress
from beeagent.camera.v4l2 import Cameras
from beeagent.camera.video import IncompleteVideoError, VideoFileSource

__all__ = [
    "ALLOWED_CAMERAS", "IMAGE_SUFFIXES", "UNSUPPORTED_SUFFIXES", "VIDEO_SUFFIXES", "BadFrameError", "CameraAddress",
    "Cameras", "Capture", "CaptureCounts", "CaptureFormat", "CaptureLimits", "CsiAddress", "DarkSleep", "DeviceAddress",
    "FolderAddress", "Frame", "FrameQueue", "FrameSource", "ImageAddress", "IncompleteVideoError", "NumberAddress",
    "PatternAddress", "QueueClosedError", "Sleep", "SleepPeriod", "SourceLostError", "SourceOpener", "SourceOptions",
    "SourceUnreachableError", "StreamAddress", "StreamTimeouts", "SyntheticAddress", "TimedSleep", "VideoAddress",
    "VideoFileSource", "brightness", "decode_image", "encode_jpeg", "is_live", "natural_key", "open_camera",
    "open_source", "parse_active", "parse_camera", "read_image", "silence_opencv",
]  # fmt: skip
