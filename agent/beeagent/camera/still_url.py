"""Network cameras that serve still images, not a stream."""

import http.client
import logging
import ssl
import threading
import time
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timezone
from urllib.error import HTTPError
from urllib.parse import unquote, urlsplit, urlunsplit

import numpy as np

from beeagent.camera.address import StreamAddress
from beeagent.camera.images import decode_image
from beeagent.camera.pacing import Clock
from beeagent.camera.source import BadFrameError, Frame, GrabbingSource, SourceLostError

_LOG = logging.getLogger(__name__)

_MAX_BYTES = 64 * 2**20
_STREAM_TYPES = ("multipart/", "video/", "audio/")


class StillImageSource(GrabbingSource):
    """The still image at an `http://` or `https://` address, fetched repeatedly, as a live source.

    `grab` waits until the next fetch is due, and `retrieve` fetches: skipped frames are not fetched.

    The certificate of an `https://` address is not verified, as FFmpeg does for streams, since cameras have self-signed
    certificates.

    Args:
        address: address of the image.
        poll_interval: minimum number of seconds between two fetches.
        timeout: time limit of a fetch in seconds.
        clock: clock for the interval and the time-out.
    """

    live = True

    def __init__(self, address: StreamAddress, *, poll_interval: float, timeout: float, clock: Clock) -> None:
        self.description = address.description
        self._url, self._opener = _opener(address)
        self._poll_interval = poll_interval
        self._timeout = timeout
        self._clock = clock
        self._due: float | None = None
        self._closed = threading.Event()
        self._next = 0

    def grab(self) -> bool:
        """See `GrabbingSource.grab`."""
        now = self._clock.now()
        if self._due is not None and now < self._due:
            self._clock.wait(self._closed, self._due - now)
            now = self._due
        self._due = now + self._poll_interval
        if self._closed.is_set():
            raise SourceLostError(f"{self.description}: was closed")
        return True

    def retrieve(self) -> Frame:
        """See `GrabbingSource.retrieve`."""
        data = self._fetch()
        captured_at, captured_ns = datetime.now(timezone.utc), time.monotonic_ns()
        pixels = decode_image(np.frombuffer(data, dtype=np.uint8), name=self.description)
        self._next += 1
        return Frame(pixels=pixels, captured_at=captured_at, captured_ns=captured_ns, index=self._next - 1)

    def close(self) -> None:
        """See `FrameSource.close`."""
        self._closed.set()

    def _fetch(self) -> bytes:
        deadline = self._clock.now() + self._timeout
        data = bytearray()
        try:
            with self._opener.open(self._url, timeout=self._timeout) as response:
                if response.headers.get_content_type().startswith(_STREAM_TYPES):
                    raise SourceLostError(f"{self.description}: sends a stream, not an image")
                while chunk := response.read1(2**16):
                    data += chunk
                    if len(data) > _MAX_BYTES or self._clock.now() > deadline or self._closed.is_set():
                        raise SourceLostError(f"{self.description}: sent no complete image within {self._timeout:g} s")
        except HTTPError as error:
            raise SourceLostError(f"{self.description}: answers with HTTP status {error.code}") from error
        except TimeoutError as error:
            raise SourceLostError(f"{self.description}: no image came within {self._timeout:g} s") from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = getattr(error, "reason", None) or error
            raise SourceLostError(f"{self.description}: cannot be fetched ({type(reason).__name__})") from error
        return bytes(data)


class HttpSource(GrabbingSource):
    """An `http://` or `https://` address as a stream or, if the stream ends with its first frame, as a still image.

    It is a live source. FFmpeg reads a still image as a stream of one frame, or of none.

    Args:
        stream: the address, opened as a stream; closed with this source.
        still: creates a source that fetches the address as a still image.
    """

    live = True

    def __init__(self, stream: GrabbingSource, still: Callable[[], StillImageSource]) -> None:
        self.description = stream.description
        self._source = stream
        self._still: Callable[[], StillImageSource] | None = still
        self._first: Frame | None = None
        self._grabs = 0
        self._offset = 0
        self._closed = False

    def grab(self) -> bool:
        """See `GrabbingSource.grab`."""
        try:
            grabbed = self._source.grab()
        except SourceLostError:
            if self._still is None or self._grabs > 1 or not self._fetch_instead(self._still):
                raise
            return True
        self._grabs += 1
        return grabbed

    def retrieve(self) -> Frame:
        """See `GrabbingSource.retrieve`."""
        frame, self._first = self._first, None
        frame = frame or self._source.retrieve()
        return replace(frame, index=frame.index + self._offset)

    def close(self) -> None:
        """See `FrameSource.close`."""
        self._closed = True
        self._source.close()

    def _fetch_instead(self, still: Callable[[], StillImageSource]) -> bool:
        """Replace the stream by a still image; return False if there is none."""
        self._still = None
        source = still()
        try:
            self._first = source.read()
        except (SourceLostError, BadFrameError):
            return False
        stream, self._source, self._offset = self._source, source, self._grabs
        stream.close()
        if self._closed:  # by another thread, which closed only the stream
            source.close()
        _LOG.info("%s: sends still images, not a stream; fetching them repeatedly", self.description)
        return True


def http_problem(address: StreamAddress, *, timeout: float) -> str | None:
    """Return the problem of an `http://` or `https://` server that sends no video; None if it is unknown."""
    url, opener = _opener(address)
    try:
        with opener.open(url, timeout=timeout) as response:
            content = response.headers.get_content_type()
    except HTTPError as error:
        remedies = {401: "check user and password", 403: "check user and password", 404: "check the path"}
        return f"answers with HTTP status {error.code}: {remedies.get(error.code, 'see the log of the server')}"
    except (OSError, http.client.HTTPException, ValueError):
        return None
    return f"sends {content}, which cannot be read as video: check the path"


def _opener(address: StreamAddress) -> tuple[str, urllib.request.OpenerDirector]:
    """Return the URL without user and password, and an opener that uses them."""
    parts = urlsplit(address.url)
    url = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment=""))
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    passwords = urllib.request.HTTPPasswordMgrWithDefaultRealm()
    if user:
        passwords.add_password(None, url, user, password)
    unverified = ssl.create_default_context()
    unverified.check_hostname = False
    unverified.verify_mode = ssl.CERT_NONE
    return url, urllib.request.build_opener(
        urllib.request.HTTPSHandler(context=unverified),
        urllib.request.HTTPBasicAuthHandler(passwords),
        urllib.request.HTTPDigestAuthHandler(passwords),
    )
