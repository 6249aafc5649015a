"""Frames from a network stream: RTSP, or video over HTTP such as Motion JPEG."""

import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

import cv2

from beeagent.camera.address import StreamAddress
from beeagent.camera.live import FreezeDetector, LiveReader
from beeagent.camera.opencv import VideoReader
from beeagent.camera.source import SourceUnreachableError
from beeagent.camera.still_url import http_problem

_PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443}
_DIAGNOSIS_TIMEOUT = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamTimeouts:
    """Time-outs of a stream in seconds, each above 0.

    Attributes:
        opening: time-out for the connection and the first frames.
        reading: time-out between two frames.
    """

    opening: float = 8.0
    reading: float = 4.0

    def __post_init__(self) -> None:
        if not (self.opening > 0 and self.reading > 0):
            raise ValueError(f"time-outs must be above 0, not {self.opening} and {self.reading}")


def open_stream(address: StreamAddress, *, timeouts: StreamTimeouts, freeze: FreezeDetector | None) -> LiveReader:
    """Connect to a stream and wait for its first frames.

    RTSP uses TCP if the server allows it, which is OpenCV's default, since lost UDP packets damage the image. Decoding
    uses one thread, since FFmpeg's frame threads delay as many frames as there are threads.

    If the size of the stream changes, OpenCV silently scales each image to the first size.

    Args:
        address: address of the stream.
        timeouts: time-outs for opening and reading.
        freeze: detector of frozen images; None to disable detection.

    Raises:
        SourceUnreachableError: there is no stream now; the message contains the reason as far as it is known.
    """
    parameters = [
        cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, round(timeouts.opening * 1000),
        cv2.CAP_PROP_READ_TIMEOUT_MSEC, round(timeouts.reading * 1000),
        cv2.CAP_PROP_N_THREADS, 1,
    ]  # fmt: skip
    reader = VideoReader(address.url, cv2.CAP_FFMPEG, parameters)
    if not reader.is_open:
        reader.close()
        raise SourceUnreachableError(f"{address.description}: {_diagnose(address)}")
    lost = f"the stream ended, or nothing came for {timeouts.reading:g} s"
    return LiveReader(reader, description=address.description, lost=lost, freeze=freeze)


def _diagnose(address: StreamAddress) -> str:
    """Return the reason why a stream did not open, from requests to its host: OpenCV does not report FFmpeg's."""
    parts = urlsplit(address.url)
    host, port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
    try:
        socket.create_connection((host, port), timeout=_DIAGNOSIS_TIMEOUT).close()
    except TimeoutError:
        return f"{host} does not answer at port {port}"
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        return f"cannot connect to {host} at port {port}: {str(reason).lower()}"
    if parts.scheme.startswith("http") and (problem := http_problem(address, timeout=_DIAGNOSIS_TIMEOUT)):
        return f"{host} {problem}"
    return (
        f"{host} answers at port {port}, but sends no video: check the path, and user and password if it asks for them"
    )
