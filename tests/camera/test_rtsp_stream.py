import threading

import pytest
from beeagent.camera import (
    Capture,
    CaptureLimits,
    Frame,
    FrameQueue,
    FrameSource,
    SourceLostError,
    StreamAddress,
    StreamTimeouts,
)
from beeagent.camera.live import FreezeDetector
from beeagent.camera.pacing import MonotonicClock
from beeagent.camera.stream import open_stream
from beeagent.threads import Backoff
from support.mosquitto import free_port
from support.rtsp_server import RtspServer, why_no_rtsp_server

TIMEOUTS = StreamTimeouts(opening=15, reading=1)
MISSING = why_no_rtsp_server()

pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING)


def read_on(source: FrameSource) -> None:
    """Read until something is raised."""
    while source.read() is not None:
        pass


def test_rtsp_frames_are_read() -> None:
    with RtspServer() as server:
        source = open_stream(StreamAddress(server.url), timeouts=TIMEOUTS, freeze=None)
        frames = [source.read() for _ in range(20)]
        source.close()
    assert {(frame.width, frame.height) for frame in frames if frame} == {(320, 240)}
    assert len({frame.pixels.tobytes() for frame in frames if frame}) > 15


def test_rtsp_credentials_are_used_and_redacted() -> None:
    with RtspServer(credentials=("bee", "hive")) as server:
        address = StreamAddress(server.url.replace("//", "//bee:hive@"))
        source = open_stream(address, timeouts=TIMEOUTS, freeze=None)
        assert source.read() is not None
        assert "hive" not in source.description
        source.close()
        for wrong in (server.url, server.url.replace("//", "//bee:wrong@")):
            with pytest.raises(SourceLostError, match="check the path, and user and password") as lost:
                open_stream(StreamAddress(wrong), timeouts=TIMEOUTS, freeze=None)
            assert "wrong" not in str(lost.value)


def test_frozen_rtsp_stream_is_lost() -> None:
    with RtspServer(pattern="black") as server:
        freeze = FreezeDetector(freeze_timeout=0.5, clock=MonotonicClock())
        source = open_stream(StreamAddress(server.url), timeouts=TIMEOUTS, freeze=freeze)
        with pytest.raises(SourceLostError, match="has not changed"):
            read_on(source)
        source.close()


def test_capture_survives_rtsp_server_down_frozen_and_killed() -> None:
    port = free_port()
    states: list[tuple[bool, str]] = []
    changed = threading.Condition()

    def note(problem: str | None) -> None:
        with changed:
            states.append((problem is None, problem or ""))
            changed.notify_all()

    def wait_for(*, ok: bool, words: str = "") -> None:
        with changed:
            assert changed.wait_for(lambda: states and states[-1][0] is ok and words in states[-1][1], 60), states

    capture = Capture(
        lambda: open_stream(StreamAddress(f"rtsp://127.0.0.1:{port}/bees"), timeouts=TIMEOUTS, freeze=None),
        drop_oldest=True,
        on_problem=note,
        limits=CaptureLimits(camera_timeout=3, await_camera=True),
        backoff=Backoff(first=0.05, longest=0.1),
    )
    frames: FrameQueue[Frame] = FrameQueue(drop_oldest=True)

    def move() -> None:
        for frame in capture:
            frames.put(frame)

    threading.Thread(target=move, daemon=True).start()
    wait_for(ok=False, words="connection refused")
    with RtspServer(port) as server:
        wait_for(ok=True)
        assert frames.get(30) is not None
        server.freeze()
        wait_for(ok=False)
        server.go_on()
        wait_for(ok=True)
    wait_for(ok=False)
    with RtspServer(port):
        wait_for(ok=True)
        assert frames.get(30) is not None
        capture.stop(20)
    assert capture.failure is None
    assert capture.counts.reconnects >= 3
