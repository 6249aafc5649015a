"""What `--camera` may say: from text to a typed address."""

import re
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

from beeagent.camera.images import PICTURE_SUFFIXES
from beeagent.camera.synthetic.address import SyntheticAddress, parse_synthetic
from beeagent.camera.video import VIDEO_SUFFIXES
from beeagent.errors import InputError

ALLOWED = (
    "a camera number such as 0, a device such as /dev/video0, csi or csi:1, an rtsp://, rtsps://, http:// or "
    "https:// address, a video file, a picture, a folder or pattern of pictures such as 'night/*.jpg', or synthetic"
)
"""What `--camera` takes, for help and errors."""

_STREAM_SCHEMES = ("rtsp", "rtsps", "http", "https")
_MOST_DIGITS = 4
_LIKE_CREDENTIALS = re.compile(".*:.*@", re.DOTALL)


@dataclass(frozen=True, slots=True)
class NumberAddress:
    """A local camera by number: `/dev/video<number>` if that is a camera, else the CSI camera of that number."""

    number: int

    @property
    def description(self) -> str:
        """For logs and errors."""
        return f"camera {self.number}"


@dataclass(frozen=True, slots=True)
class DeviceAddress:
    """A V4L2 device by its path, such as `/dev/video0` or `/dev/v4l/by-id/usb-…`."""

    path: Path

    @property
    def description(self) -> str:
        """For logs and errors."""
        return str(self.path)


@dataclass(frozen=True, slots=True)
class CsiAddress:
    """A camera on the ribbon cable of a Raspberry Pi, by libcamera's number."""

    number: int = 0

    @property
    def description(self) -> str:
        """For logs and errors."""
        return f"csi:{self.number}"


@dataclass(frozen=True, slots=True)
class StreamAddress:
    """A stream over the network.

    Attributes:
        url: with user and password if it has them, so it is not for showing: show `description`.
    """

    url: str = field(repr=False)

    @property
    def description(self) -> str:
        """For logs and errors: the address without user, password and query."""
        return redacted(self.url)


@dataclass(frozen=True, slots=True)
class VideoAddress:
    """A video file."""

    path: Path

    @property
    def description(self) -> str:
        """For logs and errors."""
        return str(self.path)


@dataclass(frozen=True, slots=True)
class PictureAddress:
    """A single picture file."""

    path: Path

    @property
    def description(self) -> str:
        """For logs and errors."""
        return str(self.path)


@dataclass(frozen=True, slots=True)
class FolderAddress:
    """The pictures in a folder, in natural order."""

    path: Path

    @property
    def description(self) -> str:
        """For logs and errors."""
        return str(self.path)


@dataclass(frozen=True, slots=True)
class PatternAddress:
    """The pictures whose paths match a pattern with `*`, `?`, `[…]` or `**`, in natural order."""

    pattern: str

    @property
    def description(self) -> str:
        """For logs and errors."""
        return self.pattern


CameraAddress = (
    NumberAddress
    | DeviceAddress
    | CsiAddress
    | StreamAddress
    | VideoAddress
    | PictureAddress
    | FolderAddress
    | PatternAddress
    | SyntheticAddress
)


def parse_camera(text: str) -> CameraAddress:
    """Understand what a user gave as the camera.

    | text | address |
    |---|---|
    | `0` | NumberAddress |
    | `/dev/video0`, any path under `/dev`, any character device | DeviceAddress |
    | `csi`, `csi:1` | CsiAddress |
    | `rtsp://…`, `rtsps://…`, `http://…`, `https://…` | StreamAddress |
    | a file with a suffix of `VIDEO_SUFFIXES` or `PICTURE_SUFFIXES` | VideoAddress, PictureAddress |
    | a folder | FolderAddress |
    | a path with `*`, `?` or `[…]` that is not a file of that very name | PatternAddress |
    | `synthetic`, `synthetic:…` | SyntheticAddress |

    What may follow `synthetic:`, see `parse_synthetic`.

    A file called like one of the words is meant by `./0` or `./csi`. Local devices and streams are not looked at
    here, nor is the content of files.

    Raises:
        InputError: the text is none of these, a file does not exist, or an address is malformed. The message
            never has the password of an address.
    """
    if not text.strip():
        raise InputError(f"camera: nothing was given; use {ALLOWED}")
    if re.fullmatch("[0-9]+", text):
        if len(text) > _MOST_DIGITS:
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
    """Say whether the frames of an address pass whether or not anyone reads them.

    Args:
        address: the camera.
        realtime: whether files are played like a camera.
    """
    if isinstance(address, SyntheticAddress):
        return address.live
    if isinstance(address, VideoAddress | PictureAddress | FolderAddress | PatternAddress):
        return realtime
    return True


def redacted(url: str) -> str:
    """Give an address without user, password, query and fragment, where secrets are.

    What stands before the last `@` is taken for the user and password, so that nothing of a password shows that
    has a `/`, `?` or `@` in it.
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        scheme, rest = "", url
    if "@" in rest:
        rest = "***@" + rest.rpartition("@")[2]
    shown = re.split("[?#]", rest, maxsplit=1)
    return scheme + separator + shown[0] + ("?***" if len(shown) > 1 else "")


def _refuse(text: str, problem: str) -> NoReturn:
    shown = redacted(text) if "://" in text or _LIKE_CREDENTIALS.match(text) else text
    raise InputError(f"camera {shown!r}: {problem}; use {ALLOWED}")


def _parse_csi(text: str, number: str) -> CsiAddress:
    if not re.fullmatch(f"[0-9]{{1,{_MOST_DIGITS}}}", number):
        _refuse(text, "after csi: comes the number of the camera, such as csi:0")
    return CsiAddress(int(number))


def _parse_stream(text: str) -> StreamAddress:
    scheme = text.partition("://")[0]
    if scheme.lower() not in _STREAM_SCHEMES:
        _refuse(text, "addresses of this kind are not known")
    if re.search(r"[\s\x00-\x1f\x7f]", text):
        _refuse(text, "there is a space or control character in the address")
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:  # its message may have a part of the password
        host = None
    if not host:
        _refuse(
            text, "the address has no host, or a port that is none; in passwords write / ? # @ : as %2F %3F %23 %40 %3A"
        )
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
        _refuse(text, "there is no such file, or it cannot be reached")
    if stat.S_ISDIR(mode):
        return FolderAddress(path)
    suffix = path.suffix.lower()
    if suffix in PICTURE_SUFFIXES:
        return PictureAddress(path)
    if suffix in VIDEO_SUFFIXES:
        return VideoAddress(path)
    known = " ".join(sorted(VIDEO_SUFFIXES | PICTURE_SUFFIXES))
    _refuse(text, f"the name does not end like that of a video or a picture ({known})")
