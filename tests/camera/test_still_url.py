"""A still image at an HTTP address as a camera, fetched periodically."""

import threading
from collections.abc import Iterator

import pytest
from beeagent.camera import (
    BadFrameError,
    FrameSource,
    SourceLostError,
    SourceOptions,
    StreamAddress,
    StreamTimeouts,
    open_source,
    parse_camera,
)
from beeagent.camera.source import GrabbingSource
from beeagent.camera.still_url import StillImageSource
from support.image_server import ImageServer, image_server
from support.mjpeg_server import MjpegServer
from support.numbered_frames import number_in

OPTIONS = SourceOptions(timeouts=StreamTimeouts(opening=10, reading=5), poll_interval=0.001)


@pytest.fixture
def server() -> Iterator[ImageServer]:
    with image_server() as running:
        yield running


class PatientClock:
    """A clock whose waits take no time."""

    def __init__(self) -> None:
        self.time = 0.0

    def now(self) -> float:
        return self.time

    def wait(self, interrupt: threading.Event, seconds: float) -> None:
        del interrupt
        self.time += seconds


def numbers(source: FrameSource, count: int) -> list[int]:
    frames = [source.read() for _ in range(count)]
    assert [frame.index for frame in frames if frame] == list(range(count))
    return [number_in(frame.pixels) for frame in frames if frame]


def read_on(source: FrameSource) -> None:
    """Read until something is raised."""
    while source.read() is not None:
        pass


@pytest.mark.parametrize("path", ["snap.jpg", "snap.png", "cgi?x.jpg"])
@pytest.mark.parametrize("with_length", [True, False])
def test_still_image_is_fetched_repeatedly(server: ImageServer, path: str, with_length: bool) -> None:  # noqa: FBT001
    server.with_length = with_length
    source = open_source(parse_camera(server.url(path.replace("cgi?x", "cgi.jpg?x"))), OPTIONS)
    assert isinstance(source, GrabbingSource)
    assert source.live
    seen = numbers(source, 6)
    assert seen == sorted(set(seen)), "each frame is another image"
    source.close()


def test_still_image_login_is_used_and_redacted(server: ImageServer) -> None:
    server.login = "bee:h:ney"
    source = open_source(parse_camera(server.url(login="bee:h%3Aney")), OPTIONS)
    numbers(source, 3)
    server.status = 503
    with pytest.raises(SourceLostError, match="answers with HTTP status 503") as caught:
        source.read()
    assert "ney" not in str(caught.value)
    source.close()


def test_cut_off_still_image_is_a_bad_frame(server: ImageServer) -> None:
    source = open_source(parse_camera(server.url("snap.png")), OPTIONS)
    numbers(source, 2)
    server.cut = 100
    with pytest.raises(BadFrameError, match="damaged"):
        source.read()
    server.cut = None
    assert source.read() is not None
    source.close()


def test_stream_that_ends_at_once_is_not_a_still_image() -> None:
    with MjpegServer() as server:
        source = open_source(parse_camera(server.url), OPTIONS)
        server.close()
        with pytest.raises(SourceLostError):
            read_on(source)
        source.close()


def test_still_image_is_fetched_only_when_due_and_retrieved(server: ImageServer) -> None:
    clock = PatientClock()
    source = StillImageSource(StreamAddress(server.url()), poll_interval=10, timeout=5, clock=clock)
    for expected in (0, 10, 20):
        assert source.grab()
        assert clock.time == expected
    assert server.requests == 0
    assert source.retrieve().index == 0
    assert server.requests == 1


def test_close_ends_wait_for_next_fetch(server: ImageServer) -> None:
    source = open_source(
        parse_camera(server.url()), SourceOptions(timeouts=StreamTimeouts(opening=10, reading=5), poll_interval=3600)
    )
    numbers(source, 2)
    ended = threading.Event()

    def read() -> None:
        with pytest.raises(SourceLostError, match="was closed"):
            source.read()
        ended.set()

    threading.Thread(target=read, daemon=True).start()
    source.close()
    assert ended.wait(20)
