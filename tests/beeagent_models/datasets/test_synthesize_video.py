from collections import Counter
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from beeagent.camera.synthetic.behaviour import Ground
from beeagent.detection import Detections
from beeagent.errors import InputError
from beeagent.tracking import PlaceCounter, Tracker, load_places
from beeagent_models.datasets.synthesize_video import SynthesizedVideo, VideoOptions, synthesize_video
from beeagent_models.synthetic.traffic import STEP, Traffic
from beeagent_models.tracks import Direction, Line, find_track_crossings, read_crossings, read_tracks

SMALL = VideoOptions(seconds=8, width=320, height=180, seed=1, bees=6)


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> SynthesizedVideo:
    return synthesize_video(tmp_path_factory.mktemp("video") / "new" / "busy.mp4", SMALL)


def frames_of(path: Path) -> list[np.ndarray]:
    video = cv2.VideoCapture(str(path))
    frames = []
    while True:
        there, frame = video.read()
        if not there:
            return frames
        frames.append(frame)


def test_files_agree_with_each_other(busy: SynthesizedVideo) -> None:
    own, mot = read_tracks(busy.tracks_file), read_tracks(busy.mot_file, is_truth=True)
    for read in (own, mot):
        np.testing.assert_array_equal(read.frame, busy.tracks.frame)
        np.testing.assert_array_equal(read.track, busy.tracks.track)
        np.testing.assert_allclose(read.boxes, busy.tracks.boxes, atol=0.01)
        assert (read.size, read.rate, read.frames) == ((320, 180), 30, 240)
    assert set(own.label) == {"bee"}
    read_back = read_crossings(busy.crossings_file)
    assert [(one.frame, one.track, one.direction) for one in read_back.crossings] == [
        (one.frame, one.track, one.direction) for one in busy.crossings.crossings
    ]
    assert len(frames_of(busy.video)) == 240
    (line,) = busy.crossings.lines
    corners = ", ".join(str([round(value, 6) for value in point]) for point in busy.crossings.zones[0].points)
    assert busy.places_file.read_text().splitlines() == [
        "[lines.entrance]",
        f"points = [[1.0, {line.start[1]:.6g}], [0.0, {line.end[1]:.6g}]]",
        'in = "up"',
        "[zones.slot]",
        f"points = [{corners}]",
    ]
    places = load_places(busy.places_file)
    assert (set(places.lines), set(places.zones)) == ({"entrance"}, {"slot"})
    assert read_back.zones[0].name == "slot"
    np.testing.assert_allclose(read_back.zones[0].points, busy.crossings.zones[0].points, atol=1e-6)


def test_boxes_are_where_the_video_changes(busy: SynthesizedVideo) -> None:
    frames = frames_of(busy.video)
    background = np.median(np.stack(frames[::8]), axis=0)
    inside, outside = [], []
    for frame, rows in busy.tracks.by_frame():
        change = np.abs(frames[frame - 1] - background).max(axis=2)
        mask = np.zeros(change.shape, dtype=bool)
        for left, top, width, height in busy.tracks.boxes[rows].astype(int):
            mask[top : top + height, left : left + width] = True
        inside.append(change[mask].mean())
        outside.append(change[~mask].mean())
    assert np.mean(inside) > 5 * np.mean(outside)


def test_perfect_tracks_have_exactly_the_true_crossings(busy: SynthesizedVideo) -> None:
    truth = busy.crossings
    found = find_track_crossings(busy.tracks, truth.lines, size=truth.size, rate=truth.rate)
    of_line = [one for one in truth.crossings if one.line == "entrance"]
    assert Counter((one.track, one.direction) for one in found) == Counter(
        (one.track, one.direction) for one in of_line
    )
    assert min(sum(one.direction is direction for one in found) for direction in Direction) >= 3
    pairs = zip(sorted(found, key=lambda one: (one.track, one.frame)),
                sorted(of_line, key=lambda one: (one.track, one.frame)), strict=True)  # fmt: skip
    assert all(abs(one.position_s - true.position_s) < 0.3 for one, true in pairs)


def test_zone_counts_the_visits_that_begin_or_end_at_the_slot(busy: SynthesizedVideo) -> None:
    passages = [one for one in busy.crossings.crossings if one.line == "slot"]
    assert min(sum(one.direction is direction for one in passages) for direction in Direction) >= 3
    (zone,) = busy.crossings.zones
    low = max(y for _, y in zone.points) * 180
    for one in passages:
        boxes = busy.tracks.boxes[busy.tracks.track == one.track]
        first, last = (boxes[[0, -1], 1] + boxes[[0, -1], 3] / 2).tolist()
        assert (first < low, last < low) == ((False, True) if one.direction is Direction.IN else (True, False))
    others = set(busy.tracks.track.tolist()) - {one.track for one in passages}
    assert others  # they turned back, or flew past


def test_perfect_detections_are_counted_exactly_in_the_zone(busy: SynthesizedVideo) -> None:
    tracker, counter, counted = Tracker(), PlaceCounter(load_places(busy.places_file)), Counter[str]()
    rows_of = dict(busy.tracks.by_frame())
    nothing = np.empty(0, np.int64)
    for frame in range(1, busy.tracks.frames + 60):  # and time for the last tracks to end
        boxes = busy.tracks.boxes[rows_of.get(frame, nothing)]
        ratios = np.concatenate((boxes[:, :2], boxes[:, :2] + boxes[:, 2:]), axis=1) / (320, 180, 320, 180)
        found = Detections(
            np.clip(ratios, 0, 1).astype(np.float32), np.full(len(boxes), 0.9, np.float32),
            np.zeros(len(boxes), np.int64), ("bee",),
        )  # fmt: skip
        passages = counter.update(tracker.update(found, at_s=frame / 30, frame_size=(320, 180)))
        counted.update(one.direction for one in passages if one.place == "slot")
    true = Counter(one.direction.value for one in busy.crossings.crossings if one.line == "slot")
    assert abs(counted["in"] - true["in"]) <= 1
    assert abs(counted["out"] - true["out"]) <= 1


@pytest.mark.parametrize("seed", range(3))
def test_bees_fly_walk_stop_enter_and_leave(seed: int) -> None:
    ground = Ground(width=1280, height=720, slot=(200, 180, 1100, 220))
    traffic = Traffic(np.random.default_rng(seed), ground, (40.0, 44.0), bees=12, seconds=30)
    flights, walks, hidden = [], [], 0
    for visit in traffic.visits:
        speeds = np.hypot(*np.diff(visit.points, axis=0).T) / STEP / 42 / 30  # body lengths a frame at 30 frames/s
        flights.append(speeds[visit.flying[1:]])
        walks.append(speeds[~visit.flying[1:]])
        ends_at_slot = visit.by_slot[-1]
        hidden += bool(ends_at_slot)
        x, y = visit.points[-1]
        assert y < 180 if ends_at_slot else not (0 <= x < 1280 and 0 <= y < 720)
        assert visit.end <= 30
        inside = ((visit.points > -8) & (visit.points < (1288, 728))).all(axis=1)
        assert np.count_nonzero(np.diff(inside.astype(int)) > 0) <= 1, "left the frame and came back"
    flight, walk = np.concatenate(flights), np.concatenate(walks)
    fastest = [speeds.max() for speeds in flights if len(speeds)]
    assert np.quantile(fastest, 0.9) > 1.2
    assert min(fastest) > 0.2
    assert flight.max() < 1.6
    assert walk.max() < 0.3
    assert (walk < 0.001).mean() > 0.02  # stops
    assert 0.2 < hidden / len(traffic.visits) < 0.8
    assert len(traffic.visits) > 40


def test_frame_rate_does_not_change_the_bees(busy: SynthesizedVideo, tmp_path: Path) -> None:
    slow = synthesize_video(tmp_path / "slow.avi", replace(SMALL, rate=10))
    assert slow.tracks.frames == 80
    third = busy.tracks.every(3)
    places = {
        (frame, track): box
        for frame, track, box in zip(third.frame.tolist(), third.track.tolist(), third.boxes, strict=True)
    }
    same = [
        np.abs(box - places[key]).max() <= 1.01
        for frame, track, box in zip(
            slow.tracks.frame.tolist(), slow.tracks.track.tolist(), slow.tracks.boxes, strict=True
        )
        if (key := ((frame - 1) * 3 + 1, track)) in places
    ]
    assert len(same) > 0.9 * len(slow.tracks.frame)
    assert np.mean(same) > 0.99


def test_seed_decides_every_byte(tmp_path: Path) -> None:
    def content(name: str, seed: int) -> list[bytes]:
        options = VideoOptions(seconds=3, width=240, height=160, seed=seed, bees=3)
        made = synthesize_video(tmp_path / name / "a.mp4", options)
        return [file.read_bytes() for file in (made.video, made.tracks_file, made.crossings_file, made.mot_file)]

    assert content("a", 7) == content("b", 7)
    assert content("a-other", 8)[1] != content("b-other", 7)[1]


def test_crossings_of_a_line_option(tmp_path: Path) -> None:
    line = Line(name="line", start=(0.5, 0.0), end=(0.5, 1.0))
    made = synthesize_video(tmp_path / "a.mp4", replace(SMALL, line=line))
    assert made.crossings.lines == (line,)
    of_line = [one for one in made.crossings.crossings if one.line == "line"]
    assert len(of_line) > 3
    for one in of_line:
        rows = made.tracks.track == one.track
        side = made.tracks.boxes[rows][:, 0] + made.tracks.boxes[rows][:, 2] / 2 - 160
        assert side.min() < 8
        assert side.max() > -8
    # Seen from the top of the image to its bottom, the right-hand side is the image's left.
    first = of_line[0]
    rows = (made.tracks.track == first.track) & (made.tracks.frame <= first.frame + 3)
    start, end = made.tracks.boxes[rows][[0, -1], 0]
    assert bool(start > end) is (first.direction is Direction.IN)


def test_nothing_is_written_over(tmp_path: Path) -> None:
    options = VideoOptions(seconds=1, width=240, height=160, bees=1)
    (tmp_path / "a.tracks.jsonl").write_text("precious")
    with pytest.raises(InputError, match=r"a\.tracks\.jsonl exists: give another name"):
        synthesize_video(tmp_path / "a.mp4", options)
    assert [path.name for path in tmp_path.iterdir()] == ["a.tracks.jsonl"]
    with pytest.raises(InputError, match=r"must end in \.mp4, \.avi"):
        synthesize_video(tmp_path / "b.webm", options)
    with pytest.raises(InputError, match="cannot be written"):
        synthesize_video(tmp_path / "a.tracks.jsonl" / "b.mp4", options)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"seconds": 0.5}, "seconds is 0.5: allowed are 1 to 1800"),
        ({"seconds": float("nan")}, "seconds is nan"),
        ({"rate": 0}, "rate is 0"),
        ({"width": 238}, "size is 238x720"),
        ({"height": 721}, "size is 1280x721: give even numbers for a video"),
        ({"seed": -1}, "seed is -1"),
        ({"bees": 61}, "bees is 61: allowed are 1 to 60"),
    ],
)
def test_values_out_of_range_are_refused(values: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        VideoOptions(**values)  # type: ignore[arg-type] # checked by the class itself
