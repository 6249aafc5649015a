"""What every source of frames offers."""

from typing import Protocol, runtime_checkable

from beeagent.camera.frame import Frame
from beeagent.errors import BeeagentError


class BadFrameError(BeeagentError):
    """One frame could not be had (a broken picture, a decoding error); the next one may be fine."""


class SourceLostError(BeeagentError):
    """The source gives no more frames though it should (unplugged, stalled, connection lost); reopen it."""


class NotReachedError(SourceLostError):
    """A source of the network could not be opened: its host is not there, or has nothing at the address."""


class FrameSource(Protocol):
    """Frames, one after another. Used by one thread at a time.

    Attributes:
        description: for logs and errors, without secrets, such as `/dev/video0 (HD Webcam)`.
        live: True where frames pass whether or not anyone reads them (a camera, a stream); False where they
            wait (files).
    """

    description: str
    live: bool

    def read(self) -> Frame | None:
        """Give the next frame, waiting for it if need be; None when the source has come to its end.

        Raises:
            BadFrameError: this frame is unusable; reading on is fine.
            SourceLostError: the source broke; close it and open it again later.
        """
        ...

    def close(self) -> None:
        """Let go of the device, file or connection. Safe to call twice, and from another thread."""
        ...


@runtime_checkable
class GrabbingSource(FrameSource, Protocol):
    """A source that can wait for a frame and decode it in two steps, so that a frame nobody wants costs little.

    `read` is `grab` followed by `retrieve`.
    """

    def grab(self) -> bool:
        """Wait for the next frame and hold it undecoded; False when the source has come to its end.

        Raises:
            BadFrameError: this frame is unusable; grabbing on is fine.
            SourceLostError: the source broke; close it and open it again later.
        """
        ...

    def retrieve(self) -> Frame:
        """Decode the frame that was grabbed last; call it once for each.

        Raises:
            BadFrameError: it cannot be decoded; grabbing on is fine.
            SourceLostError: the source broke; close it and open it again later.
        """
        ...
