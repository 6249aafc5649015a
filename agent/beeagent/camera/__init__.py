"""Frames and where they come from: cameras, streams, files and the built-in synthetic scene.

Nothing here depends on what is in a frame or what becomes of it. The names in `__all__` are imported on first use,
since most of their modules import OpenCV.
"""

from typing import TYPE_CHECKING

from beeagent import lazy_exports

if TYPE_CHECKING:
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
        redacted,
    )
    from beeagent.camera.capture import Capture, CaptureCounts, CaptureLimits
    from beeagent.camera.frame_queue import FrameQueue, QueueClosedError
    from beeagent.camera.images import UNSUPPORTED_SUFFIXES, decode_image, encode_jpeg, natural_key, read_image
    from beeagent.camera.live import CaptureFormat
    from beeagent.camera.opencv import silence_opencv
    from beeagent.camera.opening import SourceOpener, SourceOptions, open_camera, open_source
    from beeagent.camera.source import (
        BadFrameError,
        Frame,
        FrameSource,
        SourceLostError,
        SourceUnreachableError,
    )
    from beeagent.camera.stream import StreamTimeouts
    from beeagent.camera.synthetic.address import SyntheticAddress
    from beeagent.camera.v4l2 import Cameras
    from beeagent.camera.video import IncompleteVideoError, VideoFileSource
else:  # a type checker would accept any name
    __getattr__ = lazy_exports(
        __name__,
        {
            "address": (
                "ALLOWED_CAMERAS", "IMAGE_SUFFIXES", "VIDEO_SUFFIXES", "CameraAddress", "CsiAddress", "DeviceAddress",
                "FolderAddress", "ImageAddress", "NumberAddress", "PatternAddress", "StreamAddress", "VideoAddress",
                "is_live", "parse_camera", "redacted",
            ),
            "capture": ("Capture", "CaptureCounts", "CaptureLimits"),
            "frame_queue": ("FrameQueue", "QueueClosedError"),
            "images": ("UNSUPPORTED_SUFFIXES", "decode_image", "encode_jpeg", "natural_key", "read_image"),
            "live": ("CaptureFormat",),
            "opencv": ("silence_opencv",),
            "opening": ("SourceOpener", "SourceOptions", "open_camera", "open_source"),
            "source": ("BadFrameError", "Frame", "FrameSource", "SourceLostError", "SourceUnreachableError"),
            "stream": ("StreamTimeouts",),
            "synthetic.address": ("SyntheticAddress",),
            "v4l2": ("Cameras",),
            "video": ("IncompleteVideoError", "VideoFileSource"),
        },
    )  # fmt: skip

__all__ = [
    "ALLOWED_CAMERAS", "IMAGE_SUFFIXES", "UNSUPPORTED_SUFFIXES", "VIDEO_SUFFIXES", "BadFrameError", "CameraAddress",
    "Cameras", "Capture", "CaptureCounts", "CaptureFormat", "CaptureLimits", "CsiAddress", "DeviceAddress",
    "FolderAddress", "Frame", "FrameQueue", "FrameSource", "ImageAddress", "IncompleteVideoError", "NumberAddress",
    "PatternAddress", "QueueClosedError", "SourceLostError", "SourceOpener", "SourceOptions", "SourceUnreachableError",
    "StreamAddress", "StreamTimeouts", "SyntheticAddress", "VideoAddress", "VideoFileSource", "decode_image",
    "encode_jpeg", "is_live", "natural_key", "open_camera", "open_source", "parse_camera", "read_image", "redacted",
    "silence_opencv",
]  # fmt: skip
