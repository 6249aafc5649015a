import itertools
import math
import sys
from pathlib import Path

import numpy as np
import pytest
from beeagent.errors import InputError
from beeagent_models.tracks import (
    Crossing,
    Crossings,
    Direction,
    Line,
    Tracks,
    find_crossings,
    find_track_crossings,
    parse_line,
    read_crossings,
    write_crossings,
    write_places,
)
from hypothesis import given, settings
from hypothesis import strategies as st

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

IN, OUT = Direction.IN, Direction.OUT
UP = Line(name="entrance", start=(1.0, 0.5), end=(0.0, 0.5))
"""Seen from its right end to its left, what is above it lies to the right: in is upwards."""


def directions(ys: list[float], *, margin: float = 2.0, x: float = 50.0) -> list[Direction]:
    """Return the crossings of the line y = 50 of a frame 100 x 100 by a path at one x; in is upwards."""
    points = np.array([(x, y) for y in ys], dtype=np.float64).reshape(-1, 2)
    found = find_crossings(points, np.full(len(ys), margin), start=(100.0, 50.0), end=(0.0, 50.0))
    return [direction for _, direction in found]


@pytest.mark.parametrize(
    ("ys", "expected"),
    [
        ([60, 40], [IN]),
        ([40, 60], [OUT]),
        ([60, 50, 40], [IN]),
        ([60, 40, 60], [IN, OUT]),
        ([60, 51, 49, 51, 49, 51, 60], []),
        ([60, 51, 49, 51, 49, 40], [IN]),
        ([60, 50, 50, 50, 60], []),
        ([49, 60, 40], [IN]),
        ([60, 49], []),
        ([60, 55, 70], []),
        ([50], []),
        ([], []),
    ],
)
def test_crossing_counts_once_settled_on_the_other_side(ys: list[float], expected: list[Direction]) -> None:
    assert directions(ys) == expected


def test_in_is_from_left_to_right_seen_along_the_line() -> None:
    def crossing(start: tuple[float, float], end: tuple[float, float]) -> list[Direction]:
        points = np.array([(10.0, 50.0), (90.0, 50.0)])
        return [direction for _, direction in find_crossings(points, np.ones(2), start=start, end=end)]

    # From the top of the image to its bottom, the right-hand side is on the image's left.
    assert crossing((50.0, 0.0), (50.0, 100.0)) == [OUT]
    assert crossing((50.0, 100.0), (50.0, 0.0)) == [IN]


def test_path_around_the_end_of_the_line_does_not_cross() -> None:
    points = np.array([(50.0, 60.0), (120.0, 60.0), (120.0, 40.0), (50.0, 40.0)])
    assert find_crossings(points, np.ones(4), start=(100.0, 50.0), end=(0.0, 50.0)) == []


def test_index_is_where_the_line_was_left_for_good() -> None:
    points = np.array([(50.0, y) for y in (60.0, 49.0, 51.0, 48.0, 30.0)])
    ((index, direction),) = find_crossings(points, np.full(5, 5.0), start=(100.0, 50.0), end=(0.0, 50.0))
    assert index == pytest.approx(2 + 1 / 3)
    assert direction is IN


paths = st.lists(st.floats(0, 100), min_size=2, max_size=40)


@given(paths)
def test_crossings_alternate_and_balance(ys: list[float]) -> None:
    found = directions(ys)
    assert all(one is not next_one for one, next_one in itertools.pairwise(found))
    settled = [y for y in ys if abs(y - 50) >= 2]
    net = (settled[0] > 50) - (settled[-1] > 50) if settled else 0
    assert found.count(IN) - found.count(OUT) == net


@given(paths, st.floats(-1.9, 1.9))
def test_jitter_on_the_line_never_counts(ys: list[float], jitter: float) -> None:
    outside = [y for y in ys if y >= 52]
    mixed = [value for y in outside for value in (y, 50 + jitter, 50 - jitter)]
    assert directions(mixed) == []


@given(paths)
def test_backwards_in_time_is_out_for_in(ys: list[float]) -> None:
    swapped = [IN if direction is OUT else OUT for direction in directions(ys[::-1])]
    assert swapped[::-1] == directions(ys)


@given(paths, st.floats(0, 2 * math.pi))
@settings(deadline=None)
def test_turning_frame_and_line_changes_nothing(ys: list[float], angle: float) -> None:
    settled = [y for y in ys if abs(abs(y - 50) - 2) > 1e-6]
    turn = np.array([(math.cos(angle), -math.sin(angle)), (math.sin(angle), math.cos(angle))])
    points = np.array([(50.0, y) for y in settled]).reshape(-1, 2) @ turn.T
    start, end = turn @ (100.0, 50.0), turn @ (0.0, 50.0)
    found = find_crossings(points, np.full(len(settled), 2.0), start=(start[0], start[1]), end=(end[0], end[1]))
    assert [direction for _, direction in found] == directions(settled)


def tracks(rows: list[tuple[int, int, float, float]]) -> Tracks:
    """Return tracks of boxes of 10 x 10 pixels from frame, track and centre."""
    rows = sorted(rows)
    return Tracks(
        frame=np.array([row[0] for row in rows], dtype=np.int64),
        track=np.array([row[1] for row in rows], dtype=np.int64),
        label=("bee",) * len(rows),
        boxes=np.array([(x - 5, y - 5, 10, 10) for _, _, x, y in rows], dtype=np.float64).reshape(-1, 4),
        size=(100, 100),
        rate=10,
        frames=9,
    )


def test_tracks_cross_by_the_centres_of_their_boxes() -> None:
    rows = [(frame, 1, 50.0, 80.0 - 10 * frame) for frame in range(1, 7)]
    # The other one is not seen while it crosses.
    rows += [(frame, 2, 20.0, y) for frame, y in ((1, 20.0), (2, 30.0), (8, 70.0))]
    found = find_track_crossings(tracks(rows), [UP], size=(100, 100), rate=10)
    assert [(one.track, one.direction, one.frame) for one in found] == [(1, IN, 4), (2, OUT, 8)]
    assert found[0].position_s == pytest.approx(0.3)
    assert find_track_crossings(tracks([]), [UP], size=(100, 100), rate=10) == []


def test_files_are_read_as_written(tmp_path: Path) -> None:
    other = Line(name="Tür", start=(0.25, 0.0), end=(0.75, 1.0))
    written = Crossings(
        lines=(UP, other),
        crossings=(
            Crossing(line="entrance", direction=IN, frame=2, position_s=1 / 30, track=4, label="bee"),
            Crossing(line="Tür", direction=OUT, frame=9, position_s=8 / 30),
        ),
        size=(640, 360),
        rate=30,
        frames=9,
    )
    write_crossings(tmp_path / "a.jsonl", written)
    assert read_crossings(tmp_path / "a.jsonl") == written


HEADER = (
    '{"schema":"beeagent.crossings/1","width":640,"height":360,"rate":30,"frames":9,'
    '"lines":[{"name":"a","start":[0,0.5],"end":[1,0.5]}]}\n'
)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty: give a file of crossings"),
        ("1,2,3", "line 1: not a JSON object"),
        (HEADER.replace("[1,0.5]", "[0,0.5]"), "the line 'a' starts where it ends"),
        (HEADER.replace("[1,0.5]", "[1]"), "line 1: lines.0.end is [1]: List should have at least 2 items"),
        (HEADER.replace("[1,0.5]", "[1,1.5]"), "line 1: lines.0.end.1 is 1.5"),
        (HEADER.replace("crossings/1", "crossings/2"), "line 1: schema is 'beeagent.crossings/2'"),
        (
            HEADER.replace("}]}", '},{"name":"a","start":[0,0],"end":[1,1]}]}'),
            "line 1: the name 'a' is duplicate",
        ),
        (HEADER + '{"frame":1,"line":"b","direction":"in"}', "line 2: line is 'b': the header has a"),
        (HEADER + '{"frame":1,"line":"a","direction":"up"}', "line 2: direction is 'up'"),
        (HEADER + '{"frame":10,"line":"a","direction":"in"}', "line 2: frame is 10: the video has 9"),
        (HEADER + '{"frame":0,"line":"a","direction":"in"}', "line 2: frame is 0"),
        (HEADER + "[]", "line 2: Input should be an object"),
    ],
)
def test_wrong_files_are_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "crossings.jsonl"
    path.write_text(content)
    with pytest.raises(InputError) as refused:
        read_crossings(path)
    assert str(refused.value).startswith(str(path))
    assert message in str(refused.value)


@given(st.one_of(st.binary(max_size=100), st.text(max_size=100).map(lambda text: (HEADER + text).encode())))
@settings(deadline=None, max_examples=80)
def test_any_file_is_read_or_refused_in_one_line(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("any") / "a"
    path.write_bytes(content)
    message = None
    try:
        assert read_crossings(path).lines
    except InputError as error:
        message = str(error)
    assert message is None or (message.startswith(str(path)) and "\n" not in message)


def test_places_file_has_the_way_in(tmp_path: Path) -> None:
    ways = {"up": ((1, 0.5), (0, 0.4)), "down": ((0, 0.5), (1, 0.4)), "left": ((0.5, 0), (0.5, 1)),
            "right": ((0.5, 1), (0.4, 0))}  # fmt: skip
    write_places(tmp_path / "places.toml", [Line(name=way, start=ends[0], end=ends[1]) for way, ends in ways.items()])
    read = tomllib.loads((tmp_path / "places.toml").read_text())
    assert read == {"lines": {way: {"points": [list(ends[0]), list(ends[1])], "in": way} for way, ends in ways.items()}}


def test_line_of_the_command_line() -> None:
    assert parse_line("1,0.4,0,.5") == Line(name="line", start=(1, 0.4), end=(0, 0.5))
    for text in ("", "1,2", "0,0,1,2", "0,0,x,1", "0,0,nan,1"):
        with pytest.raises(InputError, match="write X1,Y1,X2,Y2"):
            parse_line(text)
    with pytest.raises(InputError, match="starts where it ends"):
        parse_line("0,0,0,0")
