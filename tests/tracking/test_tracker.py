import math

import numpy as np
import pytest
from beeagent.detection import Detections
from beeagent.tracking import TrackedFrame, Tracker, TrackerOptions
from hypothesis import given
from hypothesis import strategies as st
from support.flying import LENGTH, SIZE, Point, detections_at

RATES = (30.0, 15.0, 10.0, 5.0)


def track(
    tracker: Tracker, frames: list[Detections], *, rate: float = 30.0, begin_s: float = 0.0
) -> list[TrackedFrame]:
    return [tracker.update(frame, at_s=begin_s + index / rate, frame_size=SIZE) for index, frame in enumerate(frames)]


def straight(begin: Point, velocity: Point, *, rate: float, seconds: float) -> list[Point]:
    """Return the places of a bee in pixels; its velocity is in body lengths per second."""
    return [
        (begin[0] + velocity[0] * LENGTH * index / rate, begin[1] + velocity[1] * LENGTH * index / rate)
        for index in range(int(seconds * rate) + 1)
    ]


def only_number(frames: list[TrackedFrame]) -> int:
    numbers = {int(number) for frame in frames for number in frame.tracks}
    assert len(numbers) == 1, numbers
    return numbers.pop()


@pytest.mark.parametrize("rate", RATES)
def test_flying_bee_keeps_its_track_though_its_boxes_never_touch(rate: float) -> None:
    places = straight((100, 250), (12, 0), rate=rate, seconds=1.2)
    frames = track(Tracker(), [detections_at([place]) for place in places], rate=rate)
    only_number(frames)
    assert not any(frame.confirmed.any() for frame in frames[:2])
    assert all(frame.confirmed.all() for frame in frames[2:])


@pytest.mark.parametrize("rate", RATES)
def test_bees_that_fly_past_each_other_keep_their_tracks(rate: float) -> None:
    to_right = straight((150, 200), (8, 0), rate=rate, seconds=1.5)
    to_left = straight((750, 260), (-8, 0), rate=rate, seconds=1.5)
    frames = track(Tracker(), [detections_at(pair) for pair in zip(to_right, to_left, strict=True)], rate=rate)
    assert {tuple(frame.tracks.tolist()) for frame in frames} == {(1, 2)}


@pytest.mark.parametrize("missed", [1, 2, 3])
def test_track_survives_missed_frames(missed: int) -> None:
    places = straight((100, 250), (10, 0), rate=10, seconds=1.5)
    frames = [detections_at([place]) for place in places]
    for index in range(6, 6 + missed):
        frames[index] = detections_at([])
    only_number(track(Tracker(), frames, rate=10))


def test_low_confidence_continues_a_track_but_begins_none() -> None:
    frames = track(Tracker(), [detections_at([(500, 250)], confidence=c) for c in (0.1, 0.9, 0.9, 0.1, 0.9)])
    assert [frame.tracks.tolist() for frame in frames] == [[0], [1], [1], [1], [1]]
    assert not frames[0].confirmed[0]


def test_uneven_times_between_frames_are_used() -> None:
    # A bee in even flight, seen by a camera that drops frames: by their number alone it would seem to jump.
    times = [0.0, 0.033, 0.066, 0.1, 0.3, 0.333, 0.366, 0.6, 0.633]
    tracker = Tracker()
    frames = [tracker.update(detections_at([(100 + 10 * LENGTH * at, 250)]), at_s=at, frame_size=SIZE) for at in times]
    only_number(frames)


def test_track_ends_once_and_its_number_is_not_reused() -> None:
    tracker = Tracker()
    present = [detections_at([(500, 250)])] * 10
    absent = [detections_at([])] * 60
    frames = track(tracker, present + absent + present)
    assert [number for frame in frames for number in frame.ended] == [1]
    assert frames[-1].tracks.tolist() == [2]


def test_tracker_that_was_interrupted_ends_all_tracks_with_the_next_frame() -> None:
    tracker = Tracker()
    detections = detections_at([(500, 250)])
    tracker.update(detections, at_s=0.0, frame_size=SIZE)
    tracker.interrupt()
    after = tracker.update(detections, at_s=0.1, frame_size=SIZE)
    assert (after.interrupted, after.ended, after.tracks.tolist()) == (True, (1,), [2])


def test_gap_in_the_stream_interrupts_all_tracks() -> None:
    tracker = Tracker()
    first = track(tracker, [detections_at([(500, 250)])] * 5)
    later = track(tracker, [detections_at([(500, 250)])] * 5, begin_s=60)
    assert first[0].interrupted
    assert not any(frame.interrupted for frame in first[1:])
    assert later[0].interrupted
    assert later[0].ended == (1,)
    assert later[0].tracks.tolist() == [2]


@pytest.mark.parametrize("at_s", [0.5, 0.1, -3.0])
def test_clock_that_stands_or_goes_back_interrupts(at_s: float) -> None:
    tracker = Tracker()
    tracker.update(detections_at([(500, 250)]), at_s=0.5, frame_size=SIZE)
    assert tracker.update(detections_at([(500, 250)]), at_s=at_s, frame_size=SIZE).interrupted


def test_other_frame_size_interrupts() -> None:
    tracker = Tracker()
    tracker.update(detections_at([(500, 250)]), at_s=0.0, frame_size=SIZE)
    assert tracker.update(detections_at([(500, 250)]), at_s=0.1, frame_size=(640, 480)).interrupted


def test_too_fast_for_a_bee_is_another_bee() -> None:
    frames = track(Tracker(), [detections_at([place]) for place in [(20, 250), (20, 250), (980, 250)]])
    assert frames[-1].tracks.tolist() == [2]


def test_confirming_hits() -> None:
    frames = track(Tracker(TrackerOptions(confirming_hits=4)), [detections_at([(500, 250)])] * 5)
    assert [bool(frame.confirmed[0]) for frame in frames] == [False, False, False, True, True]


def test_class_that_flickers_keeps_its_track() -> None:
    labels = ["bee", "bee", "wasp", "bee", "wasp", "bee"]
    only_number(track(Tracker(), [detections_at([(500, 250)], labels=[label]) for label in labels]))


@given(
    st.lists(
        st.lists(st.tuples(st.floats(-50, 1050), st.floats(-50, 550), st.floats(0, 1, width=32)), max_size=6),
        max_size=12,
    ),
    st.sampled_from(RATES),
)
def test_any_detections_have_each_track_once_and_no_ended_track_again(
    frames: list[list[tuple[float, float, float]]], rate: float
) -> None:
    tracker = Tracker()
    ended: set[int] = set()
    for index, frame in enumerate(frames):
        boxes = np.array([[x - 20, y - 15, x + 20, y + 15] for x, y, _ in frame], dtype=np.float32).reshape(
            -1, 4
        ) / np.array(SIZE * 2, dtype=np.float32)
        confidences = np.sort(np.array([c for _, _, c in frame], dtype=np.float32))[::-1]
        detections = Detections(np.clip(boxes, 0, 1), confidences, np.zeros(len(frame), np.int64), ("bee",))
        tracked = tracker.update(detections, at_s=index / rate, frame_size=SIZE)
        assert tracked.detections is detections
        given_numbers = tracked.tracks[tracked.tracks > 0].tolist()
        assert len(set(given_numbers)) == len(given_numbers)
        assert not ended & set(given_numbers)
        assert not ended & set(tracked.ended)
        ended |= set(tracked.ended)
        assert not tracked.confirmed[tracked.tracks == 0].any()
        high = confidences >= np.float32(TrackerOptions().high_confidence)
        assert (tracked.tracks[high] > 0).all()
    assert math.isfinite(float(tracker._tracks.place.sum()))
