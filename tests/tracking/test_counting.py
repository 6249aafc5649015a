"""Counting at lines and zones, with properties that hold for any random path."""

import itertools
import math
from collections import Counter

import numpy as np
import pytest
from beeagent.tracking import Passage, PlaceCounter, Places, TrackedFrame, Tracker, parse_places
from hypothesis import given
from hypothesis import strategies as st
from support.flying import LENGTH, SIZE, Point, detections_at, frames_of

LINE_Y = 250.0
PLACES = parse_places(b"""
[lines.door]
points = [[0.2, 0.5], [0.8, 0.5]]
in = "up"
[zones.entrance]
points = [[0.3, 0.1], [0.7, 0.1], [0.7, 0.4], [0.3, 0.4]]
""")
WIDE = Places.model_validate({"lines": {"door": {"points": [[0, 0.5], [1, 0.5]], "in": "up"}}})
LINE_ONLY = Places(lines=PLACES.lines)
Path = list[Point | None]


def count(frames: list[TrackedFrame], places: Places = LINE_ONLY) -> Counter[tuple[str, str]]:
    counter = PlaceCounter(places)
    return Counter((one.place, one.direction) for frame in frames for one in counter.update(frame))


def count_paths(*paths: Path, places: Places = LINE_ONLY, interrupted: bool = False) -> Counter[tuple[str, str]]:
    numbered = dict(enumerate(paths, start=1))
    return count(frames_of(numbered, first_is_interrupted=interrupted), places)


def walk(*points: Point, step: float = 8.0) -> Path:
    """Return a path through points in steps of some pixels."""
    path: Path = [points[0]]
    for (x1, y1), (x2, y2) in itertools.pairwise(points):
        steps = max(1, math.ceil(math.hypot(x2 - x1, y2 - y1) / step))
        path += [(x1 + (x2 - x1) * k / steps, y1 + (y2 - y1) * k / steps) for k in range(1, steps + 1)]
    return path


IN, OUT = ("door", "in"), ("door", "out")


@pytest.mark.parametrize("step", [1.0, 8.0, 60.0, 400.0])
def test_crossing_counts_once_at_any_speed(step: float) -> None:
    assert count_paths(walk((500, 450), (500, 50), step=step)) == {IN: 1}
    assert count_paths(walk((500, 50), (500, 450), step=step)) == {OUT: 1}


@pytest.mark.parametrize(
    ("direction", "points", "path"),
    [
        ("up", [[0.8, 0.5], [0.2, 0.5]], [(500, 450), (500, 50)]),
        ("down", [[0.2, 0.5], [0.8, 0.5]], [(500, 50), (500, 450)]),
        ("left", [[0.5, 0.1], [0.5, 0.9]], [(900, 250), (100, 250)]),
        ("right", [[0.5, 0.1], [0.5, 0.9]], [(100, 250), (900, 250)]),
        ("left", [[0.3, 0.1], [0.7, 0.9]], [(900, 250), (100, 250)]),
    ],
)
def test_in_is_the_direction_that_the_file_names(direction: str, points: list[list[float]], path: list[Point]) -> None:
    places = Places.model_validate({"lines": {"door": {"points": points, "in": direction}}})
    assert count_paths(walk(*path), places=places) == {IN: 1}
    assert count_paths(walk(*reversed(path)), places=places) == {OUT: 1}


def test_path_around_the_end_of_the_line_does_not_count() -> None:
    assert not count_paths(walk((500, 450), (950, 450), (950, 50), (500, 50)))


def test_bee_that_turns_back_before_it_has_left_the_line_does_not_count() -> None:
    assert not count_paths(walk((500, 450), (500, LINE_Y - 10), (500, 450)))


def test_loop_through_the_line_counts_each_way_once() -> None:
    assert count_paths(walk((500, 450), (500, 100), (700, 100), (700, 450))) == {IN: 1, OUT: 1}


def test_stop_on_the_line_counts_once() -> None:
    on_line: Path = [(500.0, LINE_Y)] * 50
    assert count_paths(walk((500, 450), (500, LINE_Y)) + on_line + walk((500, LINE_Y), (500, 50))) == {IN: 1}
    assert not count_paths(walk((500, 450), (500, LINE_Y)) + on_line + walk((500, LINE_Y), (500, 450)))


@given(
    st.lists(st.tuples(st.floats(-0.25, 0.25), st.floats(-0.25, 0.25)), min_size=2, max_size=80),
    st.floats(250, 750),
)
def test_jitter_on_the_line_counts_nothing(jitter: list[tuple[float, float]], x: float) -> None:
    assert not count_paths([(x + dx * LENGTH, LINE_Y + dy * LENGTH) for dx, dy in jitter])


@given(
    st.integers(0, 2**32 - 1),
    st.lists(st.booleans(), min_size=1, max_size=6),
    st.sampled_from([3.0, 25.0, 110.0]),
)
def test_each_crossing_counts_once_despite_jitter_and_misses(seed: int, sides: list[bool], step: float) -> None:
    rng = np.random.default_rng(seed)
    ys = [400.0 if below else 100.0 for below in sides]
    path = walk(*[(float(rng.uniform(300, 700)), y) for y in ys], step=step)
    noisy: Path = []
    for index, point in enumerate(path):
        assert point is not None
        end = index in {0, len(path) - 1}
        noisy.append(
            None
            if not end and rng.random() < 0.3
            else (point[0] + rng.uniform(-0.1, 0.1) * LENGTH, point[1] + rng.uniform(-0.1, 0.1) * LENGTH)
        )
    # The turning points stay, or a visit to the other side may go unseen as a whole.
    turns = [index for index, point in enumerate(path) if point is not None and point[1] in {100.0, 400.0}]
    for index in turns:
        noisy[index] = path[index]
    truth: Counter[tuple[str, str]] = Counter()
    for before, after in itertools.pairwise(sides):
        if before != after:
            truth[OUT if after else IN] += 1
    assert count_paths(noisy) == truth


@given(st.lists(st.tuples(st.floats(0, 1000), st.floats(0, 500)), min_size=2, max_size=30))
def test_path_and_its_reverse_balance(points: list[Point]) -> None:
    there = count_paths(list(points))
    back = count_paths(list(reversed(points)))
    # Where a path is confirmed or ends does not favour a direction.
    assert there[IN] == back[OUT]
    assert there[OUT] == back[IN]
    # A path that comes back to its beginning has crossed the line as often in as out, but for ways around its ends.
    both = count_paths([*points, *reversed(points)], places=WIDE)
    assert abs(both[IN] - both[OUT]) <= (1 if abs(points[0][1] - LINE_Y) < 0.3 * LENGTH else 0)


def test_track_that_begins_just_before_the_line_or_ends_just_behind_it_counts() -> None:
    near = 0.1 * LENGTH
    assert count_paths(walk((500, LINE_Y + near), (500, 100))) == {IN: 1}
    assert count_paths(walk((500, 400), (500, LINE_Y - near))) == {IN: 1}
    assert count_paths(walk((500, 100), (500, LINE_Y + near))) == {OUT: 1}
    assert count_paths(walk((500, LINE_Y - near), (500, 400))) == {OUT: 1}


AWAY: Path = [None] * 12  # a track that is missed for so many frames before it ends


def test_crossing_counts_where_a_bee_that_takes_off_or_lands_gets_another_track() -> None:
    """One track ends before the line and another begins behind it, a leap away."""
    walking = walk((500, 150), (500, LINE_Y - 20), step=4)
    flying = walk((500, LINE_Y + 25), (500, 480), step=50)
    assert count_paths(walking + AWAY, [None] * len(walking) + flying + AWAY) == {OUT: 1}
    landing, walking_in = flying[::-1], walking[::-1]
    assert count_paths(landing + AWAY, [None] * len(landing) + walking_in + AWAY) == {IN: 1}


@pytest.mark.parametrize(("frames_between", "x"), [(10, 500), (1, 600), (-6, 500)])
def test_track_elsewhere_or_at_another_time_continues_none(frames_between: int, x: float) -> None:
    walking = walk((500, 150), (500, LINE_Y - 20), step=4)
    flying = walk((x, LINE_Y + 25), (x, 480), step=50)
    assert not count_paths(walking + AWAY, [None] * (len(walking) + frames_between) + flying + AWAY)


def test_track_continues_at_most_one_other() -> None:
    walking = walk((500, 150), (500, LINE_Y - 20), step=4)
    beside = walk((510, 150), (510, LINE_Y - 20), step=4)
    flying = walk((505, LINE_Y + 25), (505, 480), step=50)
    assert count_paths(walking + AWAY, beside + AWAY, [None] * len(walking) + flying + AWAY) == {OUT: 1}


@given(
    st.lists(st.tuples(st.floats(100, 900), st.sampled_from([100.0, 400.0])), min_size=2, max_size=5),
    st.lists(st.integers(0, 200), max_size=4),
    st.integers(0, 3),
    st.sampled_from([4.0, 25.0, 60.0]),
)
def test_path_in_several_tracks_counts_like_one(points: list[Point], cuts: list[int], missed: int, step: float) -> None:
    path = walk(*points, step=step)
    parts: list[Path] = []
    begin = 0
    for cut in [*sorted(cuts), len(path)]:
        if cut == len(path) or begin + 12 <= cut <= len(path) - 12:
            end = cut if cut == len(path) else cut - missed
            parts.append([*[None] * begin, *path[begin:end], *AWAY])
            begin = cut
    assert count_paths(*parts, places=WIDE) == count_paths(path, places=WIDE)


@pytest.mark.parametrize(("edge", "direction"), [(0.02, "up"), (0.98, "down")])
def test_line_near_the_border_counts_tracks_that_begin_or_end_there(edge: float, direction: str) -> None:
    places = Places.model_validate({"lines": {"door": {"points": [[0, edge], [1, edge]], "in": direction}}})
    border = 0.0 if edge < 0.5 else 500.0
    assert count_paths(walk((500, 250), (500, border)), places=places) == {IN: 1}
    assert count_paths(walk((500, border), (500, 250)), places=places) == {OUT: 1}


def test_interruption_drops_pending_crossings() -> None:
    frames = frames_of({1: walk((500, 450), (500, LINE_Y - 5))})
    last = frames[-1]
    frames[-1] = TrackedFrame(
        detections=last.detections,
        tracks=last.tracks,
        confirmed=last.confirmed,
        frame_size=SIZE,
        at_s=last.at_s,
        ended=last.ended,
        interrupted=True,
    )
    assert not count(frames)


def test_crossing_counts_once_the_track_is_confirmed() -> None:
    path: Path = [(500, 400), (500, 100)]
    assert not count(frames_of({1: path}, confirmed_after=3))
    assert count(frames_of({1: [*path, (500, 90)]}, confirmed_after=3)) == {IN: 1}


def test_zone_counts_by_where_tracks_begin_and_end() -> None:
    into, out_of = ("entrance", "in"), ("entrance", "out")
    zone = Places(zones=PLACES.zones)
    assert count_paths(walk((100, 450), (500, 150)), places=zone) == {into: 1}
    assert count_paths(walk((500, 150), (900, 450)), places=zone) == {out_of: 1}
    assert not count_paths(walk((100, 150), (900, 150)), places=zone)  # through it
    assert not count_paths(walk((500, 150), (900, 450), (500, 150)), places=zone)  # out for a moment
    assert count_paths([(100, 450), (150, 400), None, None, (500, 150)], places=zone) == {into: 1}


def test_bee_that_is_hidden_in_the_zone_went_in_and_another_comes_out() -> None:
    zone = Places(zones=PLACES.zones)
    arriving, leaving = walk((100, 450), (500, 150)), walk((500, 150), (900, 450))
    assert count_paths(arriving + [None] * 5 + leaving, places=zone) == {("entrance", "in"): 1, ("entrance", "out"): 1}
    assert not count_paths(arriving + [None] * 3 + leaving, places=zone)
    assert not count_paths(arriving[:10] + [None] * 12 + arriving[10:] + leaving, places=zone)  # hidden outside


def test_bee_that_was_there_at_the_start_did_not_appear_in_the_zone() -> None:
    zone = Places(zones=PLACES.zones)
    assert not count_paths(walk((500, 150), (900, 450)), places=zone, interrupted=True)
    assert count_paths(walk((500, 400), (500, 100)), interrupted=True) == {IN: 1}


def test_zone_counts_bees_inside() -> None:
    counter = PlaceCounter(PLACES)
    frames = frames_of({1: [(500, 100)] * 4, 2: [(400, 150)] * 6, 3: [(900, 450)] * 6})
    inside = []
    for frame in frames:
        counter.update(frame)
        inside.append(counter.inside()["entrance"]["bee"])
    assert inside == [0, 2, 2, 2, 1, 1, 0]


def test_label_is_the_one_with_most_confidence() -> None:
    counter = PlaceCounter(LINE_ONLY)
    passages: list[Passage] = []
    for index, (y, label) in enumerate(((450, "wasp"), (300, "bee"), (200, "wasp"), (100, "bee"))):
        passages += counter.update(
            TrackedFrame(
                detections=detections_at([(500, y)], labels=[label], confidence=0.5 if label == "bee" else 0.8),
                tracks=np.array([1]),
                confirmed=np.array([True]),
                frame_size=SIZE,
                at_s=index / 30,
            )
        )
    assert passages == [Passage("door", "wasp", "in", 1)]


def test_places_are_replaced_while_bees_fly() -> None:
    path = walk((500, 450), (500, 50))
    frames = frames_of({1: path})
    counter = PlaceCounter(LINE_ONLY)
    seen = [one for frame in frames[:10] for one in counter.update(frame)]
    moved = {"points": [[0.2, 0.2], [0.8, 0.2]], "in": "up"}
    counter.replace(Places(lines={**LINE_ONLY.lines, **Places.model_validate({"lines": {"higher": moved}}).lines}))
    seen += [one for frame in frames[10:] for one in counter.update(frame)]
    assert [(one.place, one.direction) for one in seen] == [("door", "in"), ("higher", "in")]


@pytest.mark.parametrize("rate", [30, 15])
def test_directions_balance_behind_a_tracker_with_noise_and_misses(rate: int) -> None:
    """As many bees fly in as out, one after the other; the tracker sees them with noise, and misses some frames."""
    rng = np.random.default_rng(5)
    tracker, counter = Tracker(), PlaceCounter(LINE_ONLY)
    counts: Counter[str] = Counter()
    at_s = 0.0
    for bee in range(60):
        speed = float(rng.uniform(4, 15)) * LENGTH
        x = float(rng.uniform(300, 700))
        for place in walk((x, 480), (x + 60, 20), step=speed / rate):
            assert place is not None
            y = place[1] if bee % 2 else 500 - place[1]
            seen = [] if rng.random() < 0.1 else [(place[0] + rng.normal(0, 3), y + rng.normal(0, 3))]
            for one in counter.update(tracker.update(detections_at(seen), at_s=at_s, frame_size=SIZE)):
                counts[one.direction] += 1
            at_s += 1 / rate
        for _ in range(2 * rate):
            for one in counter.update(tracker.update(detections_at([]), at_s=at_s, frame_size=SIZE)):
                counts[one.direction] += 1
            at_s += 1 / rate
    assert counts == {"in": 30, "out": 30}
