import threading
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest
from beeagent.camera import Frame, VideoFileSource
from beeagent.camera.pacing import MonotonicClock, RealtimeSource
from beeagent.camera.source import GrabbingSource
from support.numbered_frames import number_in, write_video


class FakeClock:
    """Time that passes only by waiting or by hand."""

    def __init__(self) -> None:
        self.time = 100.0

    def now(self) -> float:
        return self.time

    def wait(self, interrupt: threading.Event, seconds: float) -> None:
        if not interrupt.is_set():
            self.time += seconds


def arrivals(source: RealtimeSource, clock: FakeClock) -> list[float]:
    times = []
    while source.read() is not None:
        times.append(round(clock.time - 100, 6))
    return times


def test_realtime_frames_come_when_due(tmp_path: Path) -> None:
    clock = FakeClock()
    source = RealtimeSource(VideoFileSource(write_video(tmp_path / "a.mp4", 8)), fps=10, clock=clock)
    assert source.live
    assert isinstance(source, GrabbingSource)
    assert arrivals(source, clock) == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7])


def test_realtime_catches_up_after_short_lag_only(tmp_path: Path) -> None:
    clock = FakeClock()
    source = RealtimeSource(VideoFileSource(write_video(tmp_path / "a.mp4", 12)), fps=10, clock=clock)
    seen = []
    for lag in (0, 0, 0.35, 0, 0, 0, 0, 60, 0, 0):
        clock.time += lag
        frame = source.read()
        assert frame is not None
        seen.append((number_in(frame.pixels), round(clock.time - 100, 6)))
    assert [number for number, _ in seen] == list(range(10))
    assert [time for _, time in seen] == pytest.approx([0, 0.1, 0.45, 0.45, 0.45, 0.5, 0.6, 60.6, 60.7, 60.8])


class OneFrame:
    """A source of a single frame, for what needs no file."""

    description = "one"
    live = False

    def __init__(self) -> None:
        self.left = 100
        self.closed = False

    def grab(self) -> bool:
        self.left -= 1
        return self.left >= 0

    def retrieve(self) -> Frame:
        return Frame(np.zeros((2, 2, 3), np.uint8), datetime.now(timezone.utc), 0, 0)

    def read(self) -> Frame | None:
        return self.retrieve() if self.grab() else None

    def close(self) -> None:
        self.closed = True


def test_close_interrupts_realtime_wait_and_closes_the_file() -> None:
    inner = OneFrame()
    source = RealtimeSource(inner, fps=0.001, clock=MonotonicClock())
    assert source.read() is not None
    outcome: list[Frame | None] = []
    reader = threading.Thread(target=lambda: outcome.append(source.read()), daemon=True)
    reader.start()
    source.close()
    reader.join(10)
    assert outcome == [None]
    assert inner.closed


@pytest.mark.parametrize("fps", [0, -5, float("nan"), float("inf")])
def test_invalid_fps_is_refused(fps: float) -> None:
    with pytest.raises(ValueError, match="fps"):
        RealtimeSource(OneFrame(), fps=fps, clock=FakeClock())
