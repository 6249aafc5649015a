import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path

import cv2
import numpy as np
import pytest
from beeagent.camera import (
    BadFrameError,
    Capture,
    CaptureLimits,
    Frame,
    FrameQueue,
    FrameSource,
    IncompleteVideoError,
    QueueClosedError,
    SourceLostError,
    SourceOptions,
    StreamTimeouts,
    VideoAddress,
    VideoFileSource,
    open_source,
    parse_camera,
)
from beeagent.camera.images import ImageSource
from beeagent.errors import BeeagentError, InputError
from beeagent.threads import Backoff
from support.mjpeg_server import MjpegServer
from support.mosquitto import free_port
from support.numbered_frames import number_in, write_video

SOON = 45.0

Start = Callable[..., Capture]


class States:
    """Records the states that capture reports, and waits for them."""

    def __init__(self) -> None:
        self.all: list[tuple[bool, str]] = []
        self._changed = threading.Condition()

    def __call__(self, problem: str | None) -> None:
        with self._changed:
            self.all.append((problem is None, problem or ""))
            self._changed.notify_all()

    def wait_until_ok(self, *, after: int = 0) -> int:
        """Wait for frames to flow; see `_wait`."""
        return self._wait(ok=True, words="", after=after)

    def wait_until_lost(self, words: str, *, after: int = 0) -> int:
        """Wait for a reason with these words in it; see `_wait`."""
        return self._wait(ok=False, words=words, after=after)

    def _wait(self, *, ok: bool, words: str, after: int) -> int:
        """Wait for such a state among those from number `after` on, and return its number plus one."""

        def found() -> int:
            hits = [n for n, (state, reason) in enumerate(self.all) if n >= after and state is ok and words in reason]
            return hits[0] + 1 if hits else 0

        with self._changed:
            assert self._changed.wait_for(found, SOON), self.all
            return found()


class Scripted:
    """A camera with scripted steps: it delivers a frame, raises, or blocks until released."""

    description = "scripted camera"

    def __init__(self, steps: Iterator[object], *, live: bool = True) -> None:
        self.live = live
        self._steps = steps
        self.returned = 0
        self.closed = threading.Event()

    def read(self) -> Frame | None:
        step = next(self._steps, None)
        if isinstance(step, threading.Event):
            step.wait(60)
            step = "frame"
        if isinstance(step, Exception):
            raise step
        if step is None:
            return None
        self.returned += 1
        return Frame(np.zeros((2, 2, 3), np.uint8), datetime.now(timezone.utc), time.monotonic_ns(), self.returned - 1)

    def close(self) -> None:
        self.closed.set()


def forever() -> Iterator[object]:
    while True:
        yield "frame"


def quick() -> Backoff:
    return Backoff(first=0.001, longest=0.002)


@pytest.fixture
def started() -> Iterator[Start]:
    """Start threads that put the frames of captures into queues; all are stopped at the end of the test."""
    captures: list[Capture] = []
    threads: list[threading.Thread] = []

    def start(
        factory: Callable[[], FrameSource],
        frames: FrameQueue[Frame],
        states: States,
        **limits: float,
    ) -> Capture:
        capture = Capture(
            factory,
            drop_oldest=frames.drop_oldest,
            on_problem=states,
            limits=CaptureLimits(**limits),
            backoff=quick(),
        )
        captures.append(capture)

        def move() -> None:
            with contextlib.suppress(QueueClosedError), contextlib.closing(frames):
                for frame in capture:
                    frames.put(frame)

        threads.append(threading.Thread(target=move, daemon=True))
        threads[-1].start()
        return capture

    yield start
    for capture in captures:
        capture.stop()
    for thread in threads:
        thread.join(SOON)
        assert not thread.is_alive()


def test_slow_consumer_gets_every_frame_of_a_file(tmp_path: Path, started: Start) -> None:
    path = write_video(tmp_path / "a.avi", 100, codec="MJPG")
    frames: FrameQueue[Frame] = FrameQueue(drop_oldest=False)
    states = States()
    capture = started(lambda: VideoFileSource(path), frames, states, camera_timeout=0.8)
    numbers = []
    for frame in frames:
        if frame.index == 50:
            time.sleep(1)  # longer than the stall time: waiting for the taker is not a stall
        numbers.append(number_in(frame.pixels))
    assert numbers == list(range(100))
    assert capture.stop(SOON)
    counts = capture.counts
    assert (counts.read, counts.bad, counts.rate_limited, counts.replaced, counts.reconnects) == (100, 0, 0, 0, 0)
    assert capture.failure is None
    assert states.all == [(True, "")]


def test_newest_frame_of_a_camera_replaces_the_oldest() -> None:
    opened, gate = threading.Event(), threading.Event()

    def steps() -> Iterator[object]:
        yield "frame"
        yield opened
        yield from ["frame"] * 9
        yield gate

    capture = Capture(lambda: Scripted(steps()), drop_oldest=True, on_problem=States())
    frames = iter(capture)
    assert next(frames).index == 0
    opened.set()
    while capture.counts.read < 11:
        threading.Event().wait(0.001)
    assert next(frames).index == 10
    gate.set()
    assert next(frames).index == 11
    assert list(frames) == []
    assert capture.counts.replaced == 9


def test_bad_frames_are_skipped_counted_and_logged(
    tmp_path: Path, started: Start, caplog: pytest.LogCaptureFixture
) -> None:
    paths = []
    for number in range(6):
        path = tmp_path / f"{number}.bmp"
        path.write_bytes(b"broken")
        paths.append(path)
    good = write_video(tmp_path / "a.avi", 1, codec="MJPG")
    _, pixels = cv2.VideoCapture(str(good), cv2.CAP_FFMPEG).read()
    for number in (0, 3):
        cv2.imwrite(str(paths[number]), pixels)
    frames: FrameQueue[Frame] = FrameQueue(drop_oldest=False)
    with caplog.at_level(logging.WARNING):
        capture = started(lambda: ImageSource(paths, description="six"), frames, States())
        assert [frame.index for frame in frames] == [0, 3]
    capture.stop()
    assert capture.counts.bad == 4
    assert [record.message for record in caplog.records] == [
        f"{paths[number]}: is not an image, or is damaged" for number in (1, 2, 4, 5)
    ]


def test_bad_frames_of_a_camera_are_logged_once(started: Start, caplog: pytest.LogCaptureFixture) -> None:
    def steps() -> Iterator[object]:
        yield "frame"
        for _ in range(500):
            yield BadFrameError("a frame cannot be decoded")
        yield "frame"

    frames: FrameQueue[Frame] = FrameQueue(drop_oldest=False)
    with caplog.at_level(logging.WARNING):
        capture = started(lambda: Scripted(steps()), frames, States())
        assert len(list(frames)) == 2
    assert capture.counts.bad == 500
    assert len(caplog.records) == 1


def test_cut_off_video_is_captured_to_its_end_and_fails(tmp_path: Path, started: Start) -> None:
    whole = write_video(tmp_path / "whole.avi", 60, codec="MJPG").read_bytes()
    (tmp_path / "cut.avi").write_bytes(whole[: len(whole) // 2])
    frames: FrameQueue[Frame] = FrameQueue(drop_oldest=False)
    capture = started(lambda: VideoFileSource(tmp_path / "cut.avi"), frames, States())
    numbers = [number_in(frame.pixels) for frame in frames]
    assert numbers == list(range(len(numbers)))
    assert 0 < len(numbers) < 60
    assert isinstance(capture.failure, IncompleteVideoError)
    assert capture.counts.bad == 1


@pytest.mark.parametrize(
    "error", [InputError("camera 0: there is none"), BeeagentError("odd"), ZeroDivisionError("odd")]
)
def test_refused_camera_ends_capture_at_first_opening(started: Start, error: Exception) -> None:
    def refuse() -> FrameSource:
        raise error

    frames: FrameQueue[Frame] = FrameQueue(drop_oldest=True)
    states = States()
    capture = started(refuse, frames, states)
    assert list(frames) == []
    assert isinstance(capture.failure, BeeagentError)
    assert str(error) in str(capture.failure)
    assert isinstance(capture.failure, InputError) == isinstance(error, InputError)
    assert states.all == []


def test_await_camera_retries_missing_camera(started: Start) -> None:
    attempts: list[int] = []

    def plugged_in_at_last() -> FrameSource:
        attempts.append(1)
        if len(attempts) < 4:
            raise InputError("camera 0: there is none")
        return Scripted(forever())

    frames: FrameQueue[Frame] = FrameQueue(drop_oldest=True)
    states = States()
    capture = started(plugged_in_at_last, frames, states, await_camera=True)
    assert frames.get(SOON) is not None
    states.wait_until_ok()
    assert states.all == [(False, "camera 0: there is none"), (True, "")]
    assert capture.failure is None


def test_busy_camera_is_retried(started: Start) -> None:
    attempts: list[int] = []

    def open_at_last() -> FrameSource:
        attempts.append(1)
        if len(attempts) < 4:
            raise SourceLostError("in use by another program")
        return Scripted(forever())

    frames: FrameQueue[Frame] = FrameQueue(drop_oldest=True)
    states = States()
    capture = started(open_at_last, frames, states)
    assert frames.get(SOON) is not None
    assert states.all == [(False, "in use by another program"), (True, "")]
    assert capture.counts.reconnects == 3


def test_unplugged_camera_is_reopened(started: Start) -> None:
    opened: list[Scripted] = []

    def plug() -> FrameSource:
        number = len(opened) + 1
        if number == 2:
            opened.append(Scripted(iter([])))
            raise InputError("/dev/video0 does not exist")  # at the first opening this would be the end
        steps = iter(["frame", SourceLostError("no frame came")]) if number == 1 else forever()
        opened.append(Scripted(steps))
        return opened[-1]

    frames: FrameQueue[Frame] = FrameQueue(drop_oldest=True)
    states = States()
    capture = started(plug, frames, states)
    after = states.wait_until_ok()
    after = states.wait_until_lost("no frame came", after=after)
    after = states.wait_until_lost("does not exist", after=after)
    states.wait_until_ok(after=after)
    assert frames.get(SOON) is not None
    assert opened[0].closed.is_set()
    assert capture.failure is None
    assert capture.counts.reconnects == 2


def test_unexpected_driver_error_is_logged_and_reopens(started: Start, caplog: pytest.LogCaptureFixture) -> None:
    opened: list[int] = []

    def plug() -> FrameSource:
        opened.append(1)
        return Scripted(iter(["frame", OSError("ioctl 42")]) if len(opened) == 1 else forever())

    states = States()
    started(plug, FrameQueue(drop_oldest=True), states)
    after = states.wait_until_lost("OSError: ioctl 42")
    states.wait_until_ok(after=after)
    assert "unexpected error" in caplog.text


def test_failed_file_is_not_restarted(started: Start) -> None:
    opened: list[int] = []

    def open_file() -> FrameSource:
        opened.append(1)
        return Scripted(iter(["frame", OSError("disk error")]), live=False)

    frames: FrameQueue[Frame] = FrameQueue(drop_oldest=False)
    capture = started(open_file, frames, States())
    assert len(list(frames)) == 1
    assert "disk error" in str(capture.failure)
    assert opened == [1]


def test_blocked_read_is_abandoned_and_camera_reopened(started: Start) -> None:
    stuck = threading.Event()
    opened: list[Scripted] = []
    threads: list[threading.Thread] = []

    def plug() -> FrameSource:
        threads.append(threading.current_thread())
        opened.append(Scripted(iter(["frame", stuck, "frame"]) if not opened else forever()))
        return opened[-1]

    frames: FrameQueue[Frame] = FrameQueue(drop_oldest=True)
    states = States()
    started(plug, frames, states, camera_timeout=1)
    after = states.wait_until_ok()
    after = states.wait_until_lost("scripted camera: no usable frame for", after=after)
    states.wait_until_ok(after=after)
    assert opened[0].closed.wait(SOON)
    # What was stuck comes back late: its thread does not read on, and ends.
    assert threads[0] is not threads[1]
    assert threads[0].is_alive()
    stuck.set()
    threads[0].join(SOON)
    assert not threads[0].is_alive()
    assert opened[0].returned == 2
    assert states.all[-1] == (True, "")


def test_camera_with_only_bad_frames_is_reopened(started: Start) -> None:
    opened: list[int] = []

    def broken() -> Iterator[object]:
        yield "frame"
        while True:
            threading.Event().wait(0.005)
            yield BadFrameError("garbage")

    def plug() -> FrameSource:
        opened.append(1)
        return Scripted(broken() if len(opened) == 1 else forever())

    states = States()
    started(plug, FrameQueue(drop_oldest=True), states, camera_timeout=0.5)
    after = states.wait_until_ok()
    after = states.wait_until_lost("no usable frame", after=after)
    states.wait_until_ok(after=after)


def test_blocked_opening_is_reported_then_retried(started: Start) -> None:
    stuck = threading.Event()
    opened: list[int] = []

    def plug() -> FrameSource:
        opened.append(1)
        if len(opened) == 1:
            stuck.wait(60)
        return Scripted(forever())

    states = States()
    started(plug, FrameQueue(drop_oldest=True), states, camera_timeout=1, open_timeout=1.5)
    after = states.wait_until_lost("opening the camera has taken")
    states.wait_until_ok(after=after)
    stuck.set()
    assert len(opened) == 2


def test_at_most_three_threads_are_stuck(started: Start) -> None:
    stuck = threading.Event()
    opened: list[int] = []
    third, fourth = threading.Event(), threading.Event()

    def plug() -> FrameSource:
        opened.append(1)
        if len(opened) == 3:
            third.set()
        if len(opened) == 4:
            fourth.set()
            return Scripted(forever())
        return Scripted(iter([stuck]))

    states = States()
    started(plug, FrameQueue(drop_oldest=True), states, camera_timeout=0.3)
    assert third.wait(SOON)
    assert not fourth.wait(1)
    assert len(opened) == 3
    stuck.set()
    assert fourth.wait(SOON)
    states.wait_until_ok()


def test_slow_file_is_reported_and_read_on(started: Start) -> None:
    stuck = threading.Event()
    opened: list[int] = []

    def open_file() -> FrameSource:
        opened.append(1)
        return Scripted(iter(["frame", stuck, "frame"]), live=False)

    frames: FrameQueue[Frame] = FrameQueue(drop_oldest=False)
    states = States()
    started(open_file, frames, states, camera_timeout=1)
    assert frames.get(SOON).index == 0
    after = states.wait_until_lost("no usable frame for")
    stuck.set()
    assert [frame.index for frame in frames] == [1, 2]
    states.wait_until_ok(after=after)
    assert [ok for ok, _ in states.all] == [True, False, True]
    assert opened == [1]


def test_folder_of_damaged_images_is_not_a_stall(started: Start) -> None:
    def steps() -> Iterator[object]:
        yield "frame"
        for _ in range(150):
            threading.Event().wait(0.01)
            yield BadFrameError("not an image")
        yield "frame"

    frames: FrameQueue[Frame] = FrameQueue(drop_oldest=False)
    states = States()
    started(lambda: Scripted(steps(), live=False), frames, states, camera_timeout=1)
    assert len(list(frames)) == 2
    assert states.all == [(True, "")]


@pytest.mark.parametrize("drop_oldest", [True, False])
def test_stop_closes_camera_and_queue(
    started: Start,
    drop_oldest: bool,  # noqa: FBT001 - parametrised
) -> None:
    frames: FrameQueue[Frame] = FrameQueue(drop_oldest=drop_oldest)
    source = Scripted(forever())
    capture = started(lambda: source, frames, States())
    assert frames.get(SOON) is not None
    assert capture.stop(SOON)
    assert capture.stop(SOON)
    assert source.closed.is_set()
    assert len(list(frames)) <= 3, "one each: in this queue, in the hands of the thread that fills it, read ahead"
    assert capture.failure is None


def test_stop_abandons_blocked_read(started: Start) -> None:
    stuck, reading = threading.Event(), threading.Event()

    def steps() -> Iterator[object]:
        reading.set()
        yield stuck

    capture = started(lambda: Scripted(steps()), FrameQueue(drop_oldest=True), States(), camera_timeout=1000)
    assert reading.wait(SOON)
    assert capture.stop(0.05) is False
    stuck.set()
    assert capture.stop(SOON)


def test_stop_waits_for_closing_of_camera() -> None:
    release = threading.Event()
    closing: list[threading.Thread] = []

    class SlowToClose(Scripted):
        def close(self) -> None:
            if threading.current_thread().name == "capture-close":
                closing.append(threading.current_thread())
                release.wait(SOON)

    capture = Capture(lambda: SlowToClose(forever()), drop_oldest=True, on_problem=States())
    with contextlib.closing(iter(capture)) as frames:  # type: ignore[type-var] # it is a generator
        next(frames)
    assert capture.stop(0.05) is False
    release.set()
    assert capture.stop(SOON)
    assert not any(thread.is_alive() for thread in closing)


def test_stop_ends_wait_before_next_opening() -> None:
    def refuse() -> FrameSource:
        raise SourceLostError("not up")

    states = States()
    capture = Capture(refuse, drop_oldest=True, on_problem=states, backoff=Backoff(first=3600, longest=3600))
    thread = threading.Thread(target=list, args=(capture,), daemon=True)
    thread.start()
    states.wait_until_lost("not up")
    assert capture.stop(SOON)
    thread.join(SOON)
    assert not thread.is_alive()


def test_stop_before_start() -> None:
    capture = Capture(lambda: Scripted(forever()), drop_oldest=True, on_problem=States())
    assert capture.stop()
    assert list(capture) == []


def test_end_of_iteration_ends_capture() -> None:
    source = Scripted(forever())
    capture = Capture(lambda: source, drop_oldest=False, on_problem=States())
    with contextlib.closing(iter(capture)) as frames:  # type: ignore[type-var] # it is a generator
        next(frames)
    assert source.closed.wait(SOON)
    assert capture.stop(SOON)
    assert capture.failure is None


class Camera(Scripted):
    """A camera of 200 frames/s that counts decoded frames. A `GrabbingSource`."""

    def __init__(self, frames: int) -> None:
        super().__init__(forever())
        self.left = frames
        self.decoded = 0

    def grab(self) -> bool:
        threading.Event().wait(0.005)
        self.left -= 1
        return self.left >= 0

    def retrieve(self) -> Frame:
        self.decoded += 1
        frame = super().read()
        assert frame is not None
        return frame

    def read(self) -> Frame | None:
        return self.retrieve() if self.grab() else None


def test_rate_limited_camera_frames_are_not_decoded(started: Start) -> None:
    source = Camera(200)
    frames: FrameQueue[Frame] = FrameQueue(drop_oldest=False)
    began = time.monotonic()
    capture = started(lambda: source, frames, States(), max_rate=20)
    taken = len(list(frames))
    took = time.monotonic() - began
    assert 2 <= taken <= took * 20 + 2
    assert source.decoded == taken == capture.counts.read
    assert taken + capture.counts.rate_limited == 200


def test_waiting_for_the_rate_is_not_a_stall(started: Start) -> None:
    frames: FrameQueue[Frame] = FrameQueue(drop_oldest=False)
    states = States()
    started(lambda: Camera(300), frames, states, max_rate=0.01, camera_timeout=0.8)
    assert len(list(frames)) == 1
    assert states.all == [(True, "")]


def test_rate_limit_of_camera_without_grab(started: Start) -> None:
    def steps() -> Iterator[object]:
        for _ in range(100):
            threading.Event().wait(0.002)
            yield "frame"

    frames: FrameQueue[Frame] = FrameQueue(drop_oldest=False)
    capture = started(lambda: Scripted(steps()), frames, States(), max_rate=0.01)
    assert len(list(frames)) == 1
    assert capture.counts.rate_limited == 99


def test_rate_limited_file_loses_nothing(tmp_path: Path, started: Start) -> None:
    path = write_video(tmp_path / "a.avi", 20, codec="MJPG")
    frames: FrameQueue[Frame] = FrameQueue(drop_oldest=False)
    states = States()
    capture = started(lambda: VideoFileSource(path), frames, states, max_rate=50, camera_timeout=0.015)
    stamps = [(number_in(frame.pixels), frame.captured_ns) for frame in frames]
    assert [number for number, _ in stamps] == list(range(20))
    assert stamps[-1][1] - stamps[0][1] >= 18.5 / 50 * 1e9
    assert capture.counts.rate_limited == 0


def test_stop_ends_wait_for_the_rate(tmp_path: Path, started: Start) -> None:
    path = write_video(tmp_path / "a.avi", 20, codec="MJPG")
    frames: FrameQueue[Frame] = FrameQueue(drop_oldest=False)
    capture = started(lambda: VideoFileSource(path), frames, States(), max_rate=0.001)
    frames.get(SOON)
    assert capture.stop(SOON)


def test_capture_of_realtime_video(tmp_path: Path, started: Start) -> None:
    path = write_video(tmp_path / "a.avi", 30, codec="MJPG", fps=200)
    frames: FrameQueue[Frame] = FrameQueue(drop_oldest=True)
    capture = started(lambda: open_source(VideoAddress(path), SourceOptions(realtime=True)), frames, States())
    numbers = [number_in(frame.pixels) for frame in frames]
    assert numbers == sorted(numbers)
    assert numbers[-1] == 29
    assert len(numbers) + capture.counts.replaced + frames.replaced == 30


def test_network_camera_reconnects_after_stall_drop_and_restart(started: Start) -> None:
    options = SourceOptions(timeouts=StreamTimeouts(opening=10, reading=0.3))
    port = free_port()
    with MjpegServer(port) as server:
        address = parse_camera(server.url)
        frames: FrameQueue[Frame] = FrameQueue(drop_oldest=True)
        states = States()
        capture = started(lambda: open_source(address, options), frames, states)
        after = states.wait_until_ok()
        server.stall()
        after = states.wait_until_lost("nothing came for 0.3 s", after=after)
        server.go_on()
        after = states.wait_until_ok(after=after)
        server.drop_connections()
        after = states.wait_until_lost("the stream ended", after=after)
        after = states.wait_until_ok(after=after)
    after = states.wait_until_lost("connection refused", after=after)
    with MjpegServer(port):
        states.wait_until_ok(after=after)
        assert frames.get(SOON) is not None
        assert capture.stop(SOON)
    assert capture.failure is None


@pytest.mark.parametrize("wrong", [{"max_rate": 0}, {"camera_timeout": -1}, {"open_timeout": 0}])
def test_invalid_limits_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        CaptureLimits(**wrong)
