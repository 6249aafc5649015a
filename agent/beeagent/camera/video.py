"""Frames from a video file."""

import math
import struct
import time
from datetime import datetime, timezone
from pathlib import Path

import cv2

from beeagent.camera.container import counts_frames, hidden_frames
from beeagent.camera.frame import Frame
from beeagent.camera.opencv import VideoReader
from beeagent.camera.source import BadFrameError
from beeagent.errors import InputError

VIDEO_SUFFIXES = frozenset(
    {
        ".264", ".265", ".3gp", ".avi", ".flv", ".gif", ".h264", ".h265", ".hevc", ".m2ts", ".m4v", ".mjpeg",
        ".mjpg", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".webm", ".wmv", ".y4m",
    }
)  # fmt: skip
"""What counts as a video file. A closed set, because FFmpeg plays more than that: a text file, for one, as a
picture of its text."""

_DECODE_ATTEMPTS = 64
"""After a frame fails to decode: how many more to try until the file is taken to be at its end."""

_DEFAULT_FPS = 30.0
_SANE_FPS = (0.1, 1000.0)


class IncompleteVideoError(BadFrameError):
    """A video file gave fewer frames than its header promises: it is cut off or damaged.

    Told once, after all frames that can be had; the next read gives the end.
    """


class VideoFileSource:
    """A video file, in order, no frame skipped, as fast as it is asked for. A `GrabbingSource`.

    A frame that cannot be decoded is told as BadFrameError and keeps its index. Damage may also make FFmpeg pass
    over frames without telling. Where frames are missing at the end, IncompleteVideoError says so once. Frames without
    an image, which a capture card leaves where it drops one, are passed over, as are those that an edit list hides.

    Args:
        path: the file.

    Raises:
        InputError: it cannot be opened, or is not a video with at least one frame that can be decoded.
    """

    live = False

    def __init__(self, path: Path) -> None:
        self.description = str(path)
        self._path = path
        self._exact_count = path.is_file() and _counts_its_frames(path)
        # Made absolute, because FFmpeg takes `a:b.mp4` for the address of a protocol named a.
        self._reader = VideoReader(str(path.absolute()), cv2.CAP_FFMPEG)
        if not self._reader.is_open or not self._reader.grab():
            self._reader.close()
            raise InputError(f"video {path}: is not a video that can be decoded, or its beginning or index is missing")
        # The first frame is grabbed already: opening alone does not tell whether anything can be decoded.
        self._ahead = True
        self._position_s = 0.0
        self._index = 0
        self._bad = 0
        self._ended = False
        self.fps = _sane_fps(self._reader.get(cv2.CAP_PROP_FPS))
        promised = self._reader.get(cv2.CAP_PROP_FRAME_COUNT)
        self._promised = int(promised) if 0 < promised < 2**53 else None
        self._note_position()

    def grab(self) -> bool:
        """See `GrabbingSource.grab`."""
        if self._ended:
            return False
        if not self._ahead and not self._bad and not self._grab():
            # Either the end or a frame that cannot be decoded: OpenCV does not tell. It is a bad frame if a good
            # one follows it.
            self._bad = self._count_bad_frames()
            if self._ended:  # closed meanwhile, from another thread
                return False
            if not self._bad:
                self._ended = True
                self._tell_if_incomplete()
                return False
            self._ahead = True
        self._index += 1
        if self._bad:
            self._bad -= 1
            raise BadFrameError(f"{self.description}: frame {self._index - 1} cannot be decoded")
        self._ahead = False
        return True

    @property
    def position_s(self) -> float:
        """Seconds from the beginning of the video to the frame grabbed last."""
        # What has no time stamps, such as raw H.264, stays at 0.
        return self._position_s or (self._index - 1) / self.fps

    def retrieve(self) -> Frame:
        """See `GrabbingSource.retrieve`."""
        captured_at, captured_ns = datetime.now(timezone.utc), time.monotonic_ns()
        pixels = self._reader.retrieve()
        index = self._index - 1
        if pixels is None:
            raise BadFrameError(f"{self.description}: frame {index} cannot be decoded")
        return Frame(
            pixels=pixels,
            captured_at=captured_at,
            captured_ns=captured_ns,
            index=index,
            name=self._path.name,
            position_s=self.position_s,
        )

    def read(self) -> Frame | None:
        """See `FrameSource.read`."""
        return self.retrieve() if self.grab() else None

    def close(self) -> None:
        """See `FrameSource.close`."""
        self._ended = True
        self._reader.close()

    def _count_bad_frames(self) -> int:
        for failed in range(1, _DECODE_ATTEMPTS + 1):
            if self._grab():
                return failed
        return 0

    def _grab(self) -> bool:
        if not self._reader.grab():
            return False
        self._note_position()
        return True

    def _note_position(self) -> None:
        self._position_s = max(0.0, self._reader.get(cv2.CAP_PROP_POS_MSEC) / 1000)

    def _tell_if_incomplete(self) -> None:
        if self._promised is None:
            return
        if self._exact_count:
            reached = self._index
            if reached < self._promised:
                reached += self._hidden_frames(self._promised)
        else:
            # There, OpenCV works the count out from the duration: what counts is how far the time stamps went, as a
            # recording may have pauses, and a second more or less is no news.
            reached = max(self._index, round(self._position_s * self.fps) + 1) + math.ceil(self.fps)
        if reached < self._promised:
            raise IncompleteVideoError(
                f"{self.description}: frame {self._index} cannot be read: the file gives only {self._index} of the "
                f"{self._promised} frames that its header promises; it is cut off or damaged"
            )

    def _hidden_frames(self, counted: int) -> int:
        try:
            return hidden_frames(self._path, counted)
        except (OSError, struct.error):  # gone meanwhile, or cut off within a header
            return 0


def _counts_its_frames(path: Path) -> bool:
    try:
        return counts_frames(path)
    except OSError as error:
        raise InputError(f"video {path}: cannot be read: {error.strerror or error}") from error


def _sane_fps(fps: float) -> float:
    low, high = _SANE_FPS
    return fps if low <= fps <= high else _DEFAULT_FPS
