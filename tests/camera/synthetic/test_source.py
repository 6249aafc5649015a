"""The synthetic scene as a source of frames."""

import threading
from datetime import timedelta, timezone

import numpy as np
import pytest
from beeagent.camera import FrameSource
from beeagent.camera.source import GrabbingSource
from beeagent.camera.synthetic.address import SceneOptions
from beeagent.camera.synthetic.scene import Scene, SyntheticSource
from beeagent.errors import InputError
from support.scene_frame import render

OPTIONS = SceneOptions(width=96, height=64, fps=20, bees=(1, 3), bee_length=(0.2, 0.3))


class SteppedClock:
    """Stands still but for waiting."""

    def __init__(self) -> None:
        self.time = 100.0
        self.waits: list[float] = []

    def now(self) -> float:
        return self.time

    def wait(self, interrupt: threading.Event, seconds: float) -> None:
        assert not interrupt.is_set()
        self.waits.append(seconds)
        self.time += seconds


def test_source_ends_after_number_of_frames() -> None:
    source: FrameSource = SyntheticSource(OPTIONS, live=False, frames=3)

    frames = [source.read() for _ in range(5)]

    assert [frame.index for frame in frames if frame] == [0, 1, 2]
    assert frames[3] is None
    assert frames[4] is None


def test_frames_match_the_scene_when_some_are_skipped() -> None:
    source = SyntheticSource(OPTIONS, live=False)
    assert isinstance(source, GrabbingSource)
    scene = Scene(OPTIONS)

    first = source.read()
    for _ in range(4):
        assert source.grab()
    fifth = source.retrieve()

    assert first is not None
    np.testing.assert_array_equal(first.pixels, render(scene).pixels)
    for _ in range(4):
        scene.advance()
    np.testing.assert_array_equal(fifth.pixels, render(scene).pixels)
    assert (first.index, fifth.index) == (0, 4)
    assert (fifth.width, fifth.height) == (96, 64)
    assert fifth.captured_ns >= first.captured_ns
    assert fifth.captured_at.utcoffset() == timedelta(0)
    assert fifth.captured_at.tzinfo is timezone.utc


def test_live_source_keeps_its_rate() -> None:
    clock = SteppedClock()
    source = SyntheticSource(OPTIONS, live=True, clock=clock)
    assert source.live

    times = []
    for _ in range(5):
        assert source.read() is not None
        times.append(clock.time)
        clock.time += 0.02  # the reader needs less than a frame's time

    assert times == pytest.approx([100, 100.05, 100.1, 100.15, 100.2])


def test_late_reader_gets_next_frame_at_once_and_no_burst() -> None:
    clock = SteppedClock()
    source = SyntheticSource(OPTIONS, live=True, clock=clock)
    source.read()
    clock.time += 10
    source.read()
    assert clock.waits == []

    source.read()

    assert clock.waits == pytest.approx([0.05])


def test_source_that_is_not_live_never_waits() -> None:
    clock = SteppedClock()
    source = SyntheticSource(OPTIONS, live=False, clock=clock)

    assert all(source.read() for _ in range(4))
    assert clock.waits == []
    assert not source.live


def test_close_wakes_waiting_reader() -> None:
    slow = SceneOptions(width=32, height=32, fps=0.001)
    source = SyntheticSource(slow, live=True)
    assert source.read() is not None
    results: list[object] = []
    reader = threading.Thread(target=lambda: results.append(source.read()), daemon=True)
    reader.start()

    source.close()
    source.close()
    reader.join(30)

    assert results == [None]
    assert source.read() is None


def test_source_description() -> None:
    source = SyntheticSource(OPTIONS, live=False)

    assert source.description == "synthetic scene 96x64 at 20 fps, seed 0"


@pytest.mark.parametrize("frames", [0, -3])
def test_number_of_frames_out_of_range_is_refused(frames: int) -> None:
    with pytest.raises(InputError) as caught:
        SyntheticSource(OPTIONS, live=False, frames=frames)

    assert str(caught.value) == (f"synthetic scene: frames is {frames}; use 1 or more, or leave it out for no end")


def test_retrieve_before_grab_raises() -> None:
    with pytest.raises(RuntimeError, match="comes after grab"):
        SyntheticSource(OPTIONS, live=False).retrieve()
