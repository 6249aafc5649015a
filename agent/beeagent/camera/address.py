"""The addresses of `--camera`, and their parser."""

import re
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

from beeagent.camera.synthetic.address import SyntheticAddress, parse_synthetic
from beeagent.errors import InputError
from beeagent.output import redacted

ALLOWED_CAMERAS = (
    "a camera number such as 0, a device such as /dev/video0, csi or csi:1, an rtsp://, rtsps://, http:// or "
    "https:// address, a video file, an image, a folder or pattern of images such as 'night/*.jpg', or synthetic"
)
"""Description of the valid addresses, for help and errors."""

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"})
"""The image formats that every build of OpenCV from 4.10 on can read."""

VIDEO_SUFFIXES = frozenset(
    {
        ".264", ".265", ".3gp", ".avi", ".flv", ".gif", ".h264", ".h265", ".hevc", ".m2ts", ".m4v", ".mjpeg",
        ".mjpg", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".webm", ".wmv", ".y4m",
    }
)  # fmt: skip
"""The formats of video files. FFmpeg would accept others too, even text files, which it renders as images."""

_STREAM_SCHEMES = ("rtsp", "rtsps", "http", "https")
_MAX_DIGITS = 4
_LIKE_CREDENTIALS = re.compile(".*:.*@", re.DOTALL)


@dataclass(frozen=True, slots=True)
class _PathAddress:
    path: Path

    @property
    def description(self) -> str:
        """The address as text, for logs and errors."""
        return str(self.path)


@dataclass(frozen=True, slots=True)
class NumberAddress:
    """A local camera by number: `/dev/video<number>` if that is a camera, else the CSI camera with that number."""

    number: int

    @property
    def description(self) -> str:
        """The address as text, for logs and errors."""
        return f"camera {self.number}"


class DeviceAddress(_PathAddress):
    """A V4L2 device by its path, such as `/dev/video0` or `/dev/v4l/by-id/usb-…`."""


@dataclass(frozen=True, slots=True)
class CsiAddress:
    """A CSI camera of a Raspberry Pi, by libcamera's number."""

    number: int = 0

    @property
    def description(self) -> str:
        """The address as text, for logs and errors."""
        return f"csi:{self.number}"


@dataclass(frozen=True, slots=True)
class StreamAddress:
    """A network stream.

    Attributes:
        url: URL, which may contain a user and password; for display, use `description`.
    """

    url: str = field(repr=False)

    @property
    def description(self) -> str:
        """The address without user, password and query, for logs and errors."""
        return redacted(self.url)


class VideoAddress(_PathAddress):
    """A video file."""


class ImageAddress(_PathAddress):
    """A single image file."""


class FolderAddress(_PathAddress):
    """The images in a folder, in natural order."""


@dataclass(frozen=True, slots=True)
class PatternAddress:
    """The images whose paths match a pattern with `*`, `?`, `[…]` or `**`, in natural order."""

    pattern: str

    @property
    def description(self) -> str:
        """The address as text, for logs and errors."""
        return self.pattern


LiveAddress = DeviceAddress | CsiAddress | StreamAddress
FileAddress = VideoAddress | ImageAddress | FolderAddress | PatternAddress
CameraAddress = NumberAddress | LiveAddress | FileAddress | SyntheticAddress


def parse_camera(text: str) -> CameraAddress:
    """Parse the address of a camera.

    | text | address |
    |---|---|
    | `0` | NumberAddress |
    | `/dev/video0`, any path under `/dev`, any character device | DeviceAddress |
    | `csi`, `csi:1` | CsiAddress |
    | `rtsp://…`, `rtsps://…`, `http://…`, `https://…` | StreamAddress |
    | a file with a suffix of `VIDEO_SUFFIXES` or `IMAGE_SUFFIXES` | VideoAddress, ImageAddress |
    | a folder | FolderAddress |
    | a path with `*`, `?` or `[…]` that is not a file of that very name | PatternAddress |
    | `synthetic`, `synthetic:…` | SyntheticAddress |

    For `synthetic:…`, see `parse_synthetic`. A file with one of these names is written `./0` or `./csi`. Devices,
    streams and files are not opened.

    Raises:
        InputError: the text is none of these, a file does not exist, or an address is malformed. The message
            does not contain the password of an address.
    """
    if not text.strip():
        raise InputError(f"camera: nothing was given; use {ALLOWED_CAMERAS}")
    if re.fullmatch("[0-9]+", text):
        if len(text) > _MAX_DIGITS:
            _refuse(text, "there is no camera of this number")
        return NumberAddress(int(text))
    word, colon, rest = text.partition(":")
    if word == "csi":
        return _parse_csi(text, rest if colon else "0")
    if word == "synthetic":
        return parse_synthetic(text)
    if rest.startswith("//"):
        return _parse_stream(text)
    return _parse_path(text)


def is_live(address: CameraAddress, *, realtime: bool) -> bool:
    """Return True if an address is of a live source, which produces frames whether or not they are read.

    Args:
        address: address of the source.
        realtime: True if files are played at their own frame rate, like a camera.
    """
    if isinstance(address, SyntheticAddress):
        return address.live
    if isinstance(address, FileAddress):
        return realtime
    return True


def _refuse(text: str, problem: str) -> NoReturn:
    shown = redacted(text) if "://" in text or _LIKE_CREDENTIALS.match(text) else text
    raise InputError(f"camera {shown!r}: {problem}; use {ALLOWED_CAMERAS}")


def _parse_csi(text: str, number: str) -> CsiAddress:
    if not re.fullmatch(f"[0-9]{{1,{_MAX_DIGITS}}}", number):
        _refuse(text, "csi: takes the number of the camera, such as csi:0")
    return CsiAddress(int(number))


def _parse_stream(text: str) -> StreamAddress:
    scheme = text.partition("://")[0]
    if scheme.lower() not in _STREAM_SCHEMES:
        _refuse(text, "addresses of this kind are not supported")
    if re.search(r"[\s\x00-\x1f\x7f]", text):
        _refuse(text, "the address contains a space or control character")
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:  # its message may contain a part of the password
        host = None
    if not host:
        remedy = "in passwords write / ? # @ : as %2F %3F %23 %40 %3A"
        _refuse(text, f"the address has no host, or an invalid port; {remedy}")
    return StreamAddress(scheme.lower() + text[len(scheme) :])


def _parse_path(text: str) -> CameraAddress:
    path = Path(text)
    try:
        path = path.expanduser()
        mode = path.stat().st_mode
    except (OSError, ValueError, RuntimeError):  # RuntimeError: there is no such user's home
        mode = None
    if text.startswith("/dev/") or (mode is not None and stat.S_ISCHR(mode)):
        return DeviceAddress(path)
    if mode is None:
        if _LIKE_CREDENTIALS.match(text):
            _refuse(text, "there is no such file, and an address begins with rtsp:// or http://")
        if re.search(r"[*?\[]", text):
            return PatternAddress(str(path))
        _refuse(text, "there is no such file, or it is not accessible")
    if stat.S_ISDIR(mode):
        return FolderAddress(path)
    suffix = path.suffix.lower()
    if suffix in IMAGE_SUFFIXES:
        return ImageAddress(path)
    if suffix in VIDEO_SUFFIXES:
        return VideoAddress(path)
    known = " ".join(sorted(VIDEO_SUFFIXES | IMAGE_SUFFIXES))
    _refuse(text, f"the file name does not end like that of a video or an image ({known})")
