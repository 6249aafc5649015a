import socket
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
from beeagent.camera import FrameSource, SourceLostError, StreamAddress, StreamTimeouts
from beeagent.camera.live import FreezeDetector
from beeagent.camera.pacing import MonotonicClock
from beeagent.camera.source import GrabbingSource
from beeagent.camera.stream import open_stream
from numpy.typing import NDArray
from support.image_server import image_server
from support.mjpeg_server import MjpegServer
from support.numbered_frames import number_in

TIMEOUTS = StreamTimeouts(opening=10, reading=0.5)


def read_on(source: FrameSource) -> None:
    """Read until something is raised."""
    while source.read() is not None:
        pass


@pytest.fixture
def server() -> Iterator[MjpegServer]:
    with MjpegServer() as running:
        yield running


def test_stream_frames_in_order_with_arrival_times(server: MjpegServer) -> None:
    source = open_stream(StreamAddress(server.url), timeouts=TIMEOUTS, freeze=None)
    assert source.live
    assert isinstance(source, GrabbingSource)
    before = time.monotonic_ns()
    frames = [source.read() for _ in range(20)]
    source.close()
    numbers = [number_in(frame.pixels) for frame in frames if frame]
    assert numbers == list(range(numbers[0], numbers[0] + 20))
    assert [frame.index for frame in frames if frame] == list(range(20))
    stamps = [frame.captured_ns for frame in frames if frame]
    assert before <= stamps[0]
    assert stamps == sorted(set(stamps))


@pytest.mark.timeout(25)  # much less than OpenCV's own time-out of 30 s
def test_stalled_stream_is_lost_and_reconnects(server: MjpegServer) -> None:
    source = open_stream(StreamAddress(server.url), timeouts=TIMEOUTS, freeze=None)
    assert source.read() is not None
    server.stall()
    with pytest.raises(SourceLostError, match=r"nothing came for 0\.5 s"):
        read_on(source)
    source.close()
    server.go_on()
    again = open_stream(StreamAddress(server.url), timeouts=TIMEOUTS, freeze=None)
    assert again.read() is not None
    again.close()


def test_dropped_connection_is_lost(server: MjpegServer) -> None:
    source = open_stream(StreamAddress(server.url), timeouts=TIMEOUTS, freeze=None)
    assert source.read() is not None
    server.drop_connections()
    with pytest.raises(SourceLostError, match="the stream ended"):
        read_on(source)
    source.close()


def test_frozen_stream_is_lost(server: MjpegServer) -> None:
    class Stuck(FreezeDetector):
        def is_frozen(self, pixels: NDArray[np.uint8]) -> bool:
            return super().is_frozen(pixels[32:])  # below the number nothing moves

    freeze = Stuck(freeze_timeout=0.2, clock=MonotonicClock())
    source = open_stream(StreamAddress(server.url), timeouts=TIMEOUTS, freeze=freeze)
    with pytest.raises(SourceLostError, match=r"the image has not changed for 0\.2 s"):
        read_on(source)
    source.close()


def test_close_during_read_ends_it(server: MjpegServer) -> None:
    for _ in range(5):
        source = open_stream(StreamAddress(server.url), timeouts=TIMEOUTS, freeze=None)
        lost = threading.Event()

        def read(source: FrameSource = source, lost: threading.Event = lost) -> None:
            try:
                read_on(source)
            except Exception:  # noqa: BLE001 - either kind of error may be the last
                lost.set()

        threading.Thread(target=read, daemon=True).start()
        source.close()
        assert lost.wait(10)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/nothing", "answers with HTTP status 404: check the path"),
        ("/stream", "cannot connect to .*: connection refused"),
    ],
)
def test_unreachable_stream_error_has_reason_and_no_password(path: str, message: str) -> None:
    with MjpegServer() as server:
        url = f"http://user:secret@127.0.0.1:{server.port}{path}?token=secret"
        if "refused" in message:
            server.close()
        with pytest.raises(SourceLostError, match=message) as lost:
            open_stream(StreamAddress(url), timeouts=TIMEOUTS, freeze=None)
    assert "secret" not in str(lost.value)
    assert str(lost.value).startswith(f"http://***@127.0.0.1:{server.port}{path}?***: ")


def test_http_answer_without_a_stream_is_reported() -> None:
    with image_server() as server:
        server.login = "user:secret"
        with pytest.raises(SourceLostError, match="HTTP status 401: check user and password") as lost:
            open_stream(StreamAddress(server.url(login="user:wrong")), timeouts=TIMEOUTS, freeze=None)
        assert "wrong" not in str(lost.value)
        server.login, server.status = None, 503
        with pytest.raises(SourceLostError, match="HTTP status 503: see the log of the server"):
            open_stream(StreamAddress(server.url()), timeouts=TIMEOUTS, freeze=None)
        server.status, server.cut = 200, 0
        with pytest.raises(SourceLostError, match="sends image/jpeg, which cannot be read as video"):
            open_stream(StreamAddress(server.url()), timeouts=TIMEOUTS, freeze=None)


@pytest.mark.timeout(25)  # much less than OpenCV's own time-out of 30 s
def test_silent_server_does_not_block_opening() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        with pytest.raises(SourceLostError, match="sends no video"):
            open_stream(StreamAddress(url), timeouts=StreamTimeouts(opening=0.3, reading=0.3), freeze=None)


def test_unknown_host_is_reported() -> None:
    with pytest.raises(SourceLostError, match=r"cannot connect to no-such-host\.invalid at port 554"):
        open_stream(StreamAddress("rtsp://no-such-host.invalid/"), timeouts=TIMEOUTS, freeze=None)


@pytest.mark.parametrize("wrong", [{"opening": 0}, {"reading": -1}])
def test_invalid_time_outs_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="time-outs"):
        StreamTimeouts(**wrong)
