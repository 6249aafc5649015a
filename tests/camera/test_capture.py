import logging
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import pytest
from beeagent.backoff import Backoff
from beeagent.camera.address import VideoAddress, parse_camera
from beeagent.camera.capture import Capture, CaptureLimits
from beeagent.camera.frame import Frame
from beeagent.camera.frame_queue import Handoff, HandoffClosedError
from beeagent.camera.images import PictureSource
from beeagent.camera.opening import SourceOptions, open_source
from beeagent.camera.source import BadFrameError, FrameSource, SourceLostError
from beeagent.camera.stream import StreamTimeouts
from beeagent.camera.video import IncompleteVideoError, VideoFileSource
from beeagent.errors import BeeagentError, InputError
from support.mjpeg_server import MjpegServer
from support.numbered_frames import number_in, write_video

SOON = 20.0

Start = Callable[..., Capture]


class States:
    """Remembers what capture said, and waits for it."""

    def __init__(self) -> None:
        self.all: list[tuple[bool, str]] = []
        self._changed = threading.Condition()

    def __call__(self, ok: bool, reason: str) -> None:  # noqa: FBT001 - as Capture calls it
        with self._changed:
            self.all.append((ok, reason))
            self._changed.notify_all()

    def wait_until_ok(self, *, after: int = 0) -> int:
        """Wait for frames to flow; see `_wait`."""
        return self._wait(ok=True, words="", after=after)

    def wait_until_lost(self, words: str, *, after: int = 0) -> int:
        """Wait for a reason with these words in it; see `_wait`."""
        return self._wait(ok=False, words=words, after=after)

    def _wait(self, *, ok: bool, words: str, after: int) -> int:
        """Wait for such a state among those from number `after` on, and give its number plus one."""

        def found() -> int:
            hits = [n for n, (state, reason) in enumerate(self.all) if n >= after and state is ok and words in reason]
            return hits[0] + 1 if hits else 0

        with self._changed:
            assert self._changed.wait_for(found, SOON), self.all
            return found()


class Scripted:
    """A camera that does what a test says, step by step: gives a frame, raises, or blocks until let go."""

    description = "scripted camera"

    def __init__(self, steps: Iterator[object], *, live: bool = True) -> None:
        self.live = live
        self._steps = steps
        self._index = 0
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
        self._index += 1
        return Frame(np.zeros((2, 2, 3), np.uint8), datetime.now(timezone.utc), time.monotonic_ns(), self._index - 1)

    def close(self) -> None:
        self.closed.set()


def forever() -> Iterator[object]:
    while True:
        yield "frame"


def quick() -> Backoff:
    return Backoff(first=0.001, longest=0.002)


@pytest.fixture
def started() -> Iterator[Start]:
    """Start captures that are stopped at the end of the test."""
    captures: list[Capture] = []

    def start(
        factory: Callable[[], FrameSource],
        frames: Handoff[Frame],
        states: States,
        **limits: float,
    ) -> Capture:
        capture = Capture(factory, frames, on_state=states, limits=CaptureLimits(**limits), backoff=quick())
        captures.append(capture)
        capture.start()
        return capture

    yield start
    for capture in captures:
        capture.stop()


def test_a_file_is_handed_over_whole_and_in_order_however_slow_the_taker(tmp_path: Path, started: Start) -> None:
    path = write_video(tmp_path / "a.avi", 100, codec="MJPG")
    frames: Handoff[Frame] = Handoff("every")
    states = States()
    capture = started(lambda: VideoFileSource(path), frames, states, stall_after=0.5)
    numbers = []
    for frame in frames:
        if frame.index == 50:
            time.sleep(1)  # longer than the stall time: waiting for the taker is not a stall
        numbers.append(number_in(frame.pixels))
    assert numbers == list(range(100))
    assert capture.stop()
    counts = capture.counts
    assert (counts.read, counts.bad, counts.skipped, counts.replaced, counts.reopened) == (100, 0, 0, 0, 0)
    assert capture.failure is None
    assert states.all == [(True, "")]


def test_of_a_camera_the_newest_frame_wins(started: Start) -> None:
    frames: Handoff[Frame] = Handoff("newest")
    gate = threading.Event()

    def steps() -> Iterator[object]:
        yield from ["frame"] * 10
        yield gate

    capture = started(lambda: Scripted(steps()), frames, States())
    while capture.counts.read < 10:
        threading.Event().wait(0.001)
    assert frames.get(SOON).index == 9
    gate.set()
    assert frames.get(SOON).index == 10
    with pytest.raises(HandoffClosedError):
        frames.get(SOON)
    assert capture.counts.replaced == 9


def test_bad_frames_are_left_out_counted_and_logged(
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
    frames: Handoff[Frame] = Handoff("every")
    with caplog.at_level(logging.WARNING):
        capture = started(lambda: PictureSource(paths, description="six"), frames, States())
        assert [frame.index for frame in frames] == [0, 3]
    capture.stop()
    assert capture.counts.bad == 4
    assert [record.message for record in caplog.records] == [
        f"{paths[number]}: is not a picture, or a damaged one" for number in (1, 2, 4, 5)
    ]


def test_a_camera_s_bad_frames_do_not_fill_the_log(started: Start, caplog: pytest.LogCaptureFixture) -> None:
    def steps() -> Iterator[object]:
        yield "frame"
        for _ in range(500):
            yield BadFrameError("a frame cannot be decoded")
        yield "frame"

    frames: Handoff[Frame] = Handoff("every")
    with caplog.at_level(logging.WARNING):
        capture = started(lambda: Scripted(steps()), frames, States())
        assert len(list(frames)) == 2
    assert capture.counts.bad == 500
    assert len(caplog.records) == 1


def test_a_video_that_is_cut_off_is_handed_over_as_far_as_it_goes_and_told(tmp_path: Path, started: Start) -> None:
    whole = write_video(tmp_path / "whole.avi", 60, codec="MJPG").read_bytes()
    (tmp_path / "cut.avi").write_bytes(whole[: len(whole) // 2])
    frames: Handoff[Frame] = Handoff("every")
    capture = started(lambda: VideoFileSource(tmp_path / "cut.avi"), frames, States())
    numbers = [number_in(frame.pixels) for frame in frames]
    assert numbers == list(range(len(numbers)))
    assert 0 < len(numbers) < 60
    assert isinstance(capture.failure, IncompleteVideoError)
    assert capture.counts.bad == 1


@pytest.mark.parametrize(
    "error", [InputError("camera 0: there is none"), BeeagentError("odd"), ZeroDivisionError("odd")]
)
def test_what_the_user_named_wrongly_ends_capture_at_the_first_opening(started: Start, error: Exception) -> None:
    def refuse() -> FrameSource:
        raise error

    frames: Handoff[Frame] = Handoff("newest")
    states = States()
    capture = started(refuse, frames, states)
    assert list(frames) == []
    assert isinstance(capture.failure, BeeagentError)
    assert str(error) in str(capture.failure)
    assert isinstance(capture.failure, InputError) == isinstance(error, InputError)
    assert states.all == []


def test_a_camera_that_is_to_be_awaited_may_be_missing_at_first(started: Start) -> None:
    attempts: list[int] = []

    def plugged_in_at_last() -> FrameSource:
        attempts.append(1)
        if len(attempts) < 4:
            raise InputError("camera 0: there is none")
        return Scripted(forever())

    frames: Handoff[Frame] = Handoff("newest")
    states = States()
    capture = started(plugged_in_at_last, frames, states, await_first=True)
    assert frames.get(SOON) is not None
    states.wait_until_ok()
    assert states.all == [(False, "camera 0: there is none"), (True, "")]
    assert capture.failure is None


def test_a_camera_that_cannot_be_opened_yet_is_tried_again(started: Start) -> None:
    attempts: list[int] = []

    def open_at_last() -> FrameSource:
        attempts.append(1)
        if len(attempts) < 4:
            raise SourceLostError("in use by another program")
        return Scripted(forever())

    frames: Handoff[Frame] = Handoff("newest")
    states = States()
    capture = started(open_at_last, frames, states)
    assert frames.get(SOON) is not None
    assert states.all == [(False, "in use by another program"), (True, "")]
    assert capture.counts.reopened == 3


def test_an_unplugged_camera_comes_back_by_itself(started: Start) -> None:
    opened: list[Scripted] = []

    def plug() -> FrameSource:
        number = len(opened) + 1
        if number == 2:
            opened.append(Scripted(iter([])))
            raise InputError("/dev/video0 does not exist")  # at the first opening this would be the end
        steps = iter(["frame", SourceLostError("no frame came")]) if number == 1 else forever()
        opened.append(Scripted(steps))
        return opened[-1]

    frames: Handoff[Frame] = Handoff("newest")
    states = States()
    capture = started(plug, frames, states)
    after = states.wait_until_ok()
    after = states.wait_until_lost("no frame came", after=after)
    after = states.wait_until_lost("does not exist", after=after)
    states.wait_until_ok(after=after)
    assert frames.get(SOON) is not None
    assert opened[0].closed.is_set()
    assert capture.failure is None
    assert capture.counts.reopened == 2


def test_an_unforeseen_error_of_a_driver_is_logged_and_heals(started: Start, caplog: pytest.LogCaptureFixture) -> None:
    opened: list[int] = []

    def plug() -> FrameSource:
        opened.append(1)
        return Scripted(iter(["frame", OSError("ioctl 42")]) if len(opened) == 1 else forever())

    states = States()
    started(plug, Handoff("newest"), states)
    after = states.wait_until_lost("OSError: ioctl 42")
    states.wait_until_ok(after=after)
    assert "unforeseen" in caplog.text


def test_a_file_that_breaks_is_not_read_from_its_beginning_again(started: Start) -> None:
    opened: list[int] = []

    def open_file() -> FrameSource:
        opened.append(1)
        return Scripted(iter(["frame", OSError("disk error")]), live=False)

    frames: Handoff[Frame] = Handoff("every")
    capture = started(open_file, frames, States())
    assert len(list(frames)) == 1
    assert "disk error" in str(capture.failure)
    assert opened == [1]


def test_a_read_that_blocks_is_left_behind_and_the_camera_opened_anew(started: Start) -> None:
    stuck = threading.Event()
    opened: list[Scripted] = []

    def plug() -> FrameSource:
        opened.append(Scripted(iter(["frame", stuck, "frame"]) if not opened else forever()))
        return opened[-1]

    frames: Handoff[Frame] = Handoff("newest")
    states = States()
    started(plug, frames, states, stall_after=0.5)
    after = states.wait_until_ok()
    after = states.wait_until_lost("scripted camera: no usable frame for", after=after)
    states.wait_until_ok(after=after)
    assert opened[0].closed.wait(SOON)
    # What was stuck comes back late: its thread does not read on, and ends.
    left_behind = next(thread for thread in threading.enumerate() if thread.name == "capture-1")
    stuck.set()
    left_behind.join(SOON)
    assert not left_behind.is_alive()
    assert opened[0]._index == 2
    assert states.all[-1] == (True, "")


def test_a_camera_that_gives_only_broken_frames_is_opened_anew(started: Start) -> None:
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
    started(plug, Handoff("newest"), states, stall_after=0.5)
    after = states.wait_until_ok()
    after = states.wait_until_lost("no usable frame", after=after)
    states.wait_until_ok(after=after)


def test_an_opening_that_blocks_is_told_then_tried_again(started: Start) -> None:
    stuck = threading.Event()
    opened: list[int] = []

    def plug() -> FrameSource:
        opened.append(1)
        if len(opened) == 1:
            stuck.wait(60)
        return Scripted(forever())

    states = States()
    started(plug, Handoff("newest"), states, stall_after=0.3, open_within=1.5)
    after = states.wait_until_lost("opening the camera has taken")
    states.wait_until_ok(after=after)
    stuck.set()
    assert len(opened) == 2


def test_no_more_than_three_threads_are_left_behind(started: Start) -> None:
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
    started(plug, Handoff("newest"), states, stall_after=0.3)
    assert third.wait(SOON)
    assert not fourth.wait(1)
    assert len(opened) == 3
    stuck.set()
    assert fourth.wait(SOON)
    states.wait_until_ok()


def test_a_slow_file_is_told_and_read_on(started: Start) -> None:
    stuck = threading.Event()
    opened: list[int] = []

    def open_file() -> FrameSource:
        opened.append(1)
        return Scripted(iter(["frame", stuck, "frame"]), live=False)

    frames: Handoff[Frame] = Handoff("every")
    states = States()
    started(open_file, frames, states, stall_after=0.5)
    assert frames.get(SOON).index == 0
    after = states.wait_until_lost("no usable frame for")
    stuck.set()
    assert [frame.index for frame in frames] == [1, 2]
    states.wait_until_ok(after=after)
    assert [ok for ok, _ in states.all] == [True, False, True]
    assert opened == [1]


def test_a_folder_of_broken_pictures_is_no_stall(started: Start) -> None:
    def steps() -> Iterator[object]:
        yield "frame"
        for _ in range(150):
            threading.Event().wait(0.01)
            yield BadFrameError("not a picture")
        yield "frame"

    frames: Handoff[Frame] = Handoff("every")
    states = States()
    started(lambda: Scripted(steps(), live=False), frames, states, stall_after=1)
    assert len(list(frames)) == 2
    assert states.all == [(True, "")]


@pytest.mark.parametrize("mode", ["newest", "every"])
def test_stopping_ends_a_running_camera_and_closes_the_hand_over(
    started: Start, mode: Literal["newest", "every"]
) -> None:
    frames: Handoff[Frame] = Handoff(mode)
    source = Scripted(forever())
    capture = started(lambda: source, frames, States())
    assert frames.get(SOON) is not None
    assert capture.stop(SOON)
    assert capture.stop(SOON)
    assert source.closed.is_set()
    assert frames.closed
    assert capture.failure is None


def test_stopping_leaves_a_blocked_read_behind(started: Start) -> None:
    stuck, reading = threading.Event(), threading.Event()

    def steps() -> Iterator[object]:
        reading.set()
        yield stuck

    capture = started(lambda: Scripted(steps()), Handoff("newest"), States(), stall_after=1000)
    assert reading.wait(SOON)
    assert capture.stop(0.05) is False
    stuck.set()
    assert capture.stop(SOON)


def test_stopping_ends_the_wait_before_the_next_opening() -> None:
    def refuse() -> FrameSource:
        raise SourceLostError("not up")

    states = States()
    frames: Handoff[Frame] = Handoff("newest")
    capture = Capture(refuse, frames, on_state=states, backoff=Backoff(first=3600, longest=3600))
    capture.start()
    states.wait_until_lost("not up")
    assert capture.stop(SOON)


def test_stopping_before_starting_is_no_error() -> None:
    frames: Handoff[Frame] = Handoff("newest")
    assert Capture(lambda: Scripted(forever()), frames, on_state=States()).stop()
    assert frames.closed


def test_closing_the_hand_over_ends_capture(started: Start) -> None:
    frames: Handoff[Frame] = Handoff("every")
    source = Scripted(forever())
    capture = started(lambda: source, frames, States())
    frames.get(SOON)
    frames.close()
    assert source.closed.wait(SOON)
    assert capture.stop(SOON)
    assert capture.failure is None


class Camera(Scripted):
    """A camera of 200 frames a second that counts what is decoded of it. A `GrabbingSource`."""

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


def test_what_comes_too_early_from_a_camera_is_not_even_decoded(started: Start) -> None:
    source = Camera(200)
    frames: Handoff[Frame] = Handoff("every")
    began = time.monotonic()
    capture = started(lambda: source, frames, States(), max_rate=20)
    taken = len(list(frames))
    took = time.monotonic() - began
    assert 2 <= taken <= took * 20 + 2
    assert source.decoded == taken == capture.counts.read
    assert taken + capture.counts.skipped == 200


def test_waiting_for_the_rate_is_not_a_stall(started: Start) -> None:
    frames: Handoff[Frame] = Handoff("every")
    states = States()
    started(lambda: Camera(300), frames, states, max_rate=0.01, stall_after=0.8)
    assert len(list(frames)) == 1
    assert states.all == [(True, "")]


def test_a_camera_that_cannot_grab_is_held_to_the_rate_too(started: Start) -> None:
    def steps() -> Iterator[object]:
        for _ in range(100):
            threading.Event().wait(0.002)
            yield "frame"

    frames: Handoff[Frame] = Handoff("every")
    capture = started(lambda: Scripted(steps()), frames, States(), max_rate=0.01)
    assert len(list(frames)) == 1
    assert capture.counts.skipped == 99


def test_a_file_is_slowed_down_to_the_rate_and_loses_nothing(tmp_path: Path, started: Start) -> None:
    path = write_video(tmp_path / "a.avi", 20, codec="MJPG")
    frames: Handoff[Frame] = Handoff("every")
    states = States()
    capture = started(lambda: VideoFileSource(path), frames, states, max_rate=50, stall_after=0.015)
    stamps = [(number_in(frame.pixels), frame.captured_ns) for frame in frames]
    assert [number for number, _ in stamps] == list(range(20))
    assert stamps[-1][1] - stamps[0][1] >= 18.5 / 50 * 1e9
    assert capture.counts.skipped == 0


def test_stopping_ends_the_wait_for_the_rate(tmp_path: Path, started: Start) -> None:
    path = write_video(tmp_path / "a.avi", 20, codec="MJPG")
    frames: Handoff[Frame] = Handoff("every")
    capture = started(lambda: VideoFileSource(path), frames, States(), max_rate=0.001)
    frames.get(SOON)
    assert capture.stop(SOON)


def test_a_video_played_like_a_camera_goes_through_capture_live(tmp_path: Path, started: Start) -> None:
    path = write_video(tmp_path / "a.avi", 30, codec="MJPG", fps=200)
    frames: Handoff[Frame] = Handoff("newest")
    capture = started(lambda: open_source(VideoAddress(path), SourceOptions(realtime=True)), frames, States())
    numbers = [number_in(frame.pixels) for frame in frames]
    assert numbers == sorted(numbers)
    assert numbers[-1] == 29
    assert len(numbers) + capture.counts.replaced == 30


def test_a_network_camera_that_stalls_drops_and_goes_away_comes_back_each_time(started: Start) -> None:
    options = SourceOptions(timeouts=StreamTimeouts(opening=10, reading=0.3))
    with MjpegServer() as server:
        port = server.port
        address = parse_camera(server.url)
        frames: Handoff[Frame] = Handoff("newest")
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


@pytest.mark.parametrize("wrong", [{"max_rate": 0}, {"stall_after": -1}, {"open_within": 0}])
def test_limits_that_are_none_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        CaptureLimits(**wrong)
