import pytest
from beeagent_models.evaluation.crossing_errors import compare_crossings
from beeagent_models.tracks import Crossing, Crossings, Direction, Line
from hypothesis import given
from hypothesis import strategies as st

LINE = Line(name="entrance", start=(1.0, 0.5), end=(0.0, 0.5))


def crossings(times: dict[Direction, list[float]], *, label: str = "bee") -> list[Crossing]:
    return [
        Crossing(line="entrance", direction=direction, frame=round(30 * at) + 1, position_s=at, label=label)
        for direction, seconds in times.items()
        for at in seconds
    ]


def truth(found: list[Crossing], *lines: Line) -> Crossings:
    return Crossings(lines=(LINE, *lines), crossings=tuple(found), size=(640, 360), rate=30, frames=9000)


def test_errors_by_direction_and_net() -> None:
    true = crossings({Direction.IN: [1, 2, 3, 4], Direction.OUT: [1, 5]})
    counted = crossings({Direction.IN: [1.1, 2.2, 9], Direction.OUT: [0.9, 5, 6]})
    (found,) = compare_crossings(truth(true), counted)
    assert (found.line, found.label) == ("entrance", "bee")
    assert (found.into.true, found.into.counted, found.into.missed, found.into.extra) == (4, 3, 2, 1)
    assert (found.out.true, found.out.counted, found.out.missed, found.out.extra) == (2, 3, 0, 1)
    assert found.into.error == pytest.approx(-0.25)
    assert found.out.error == pytest.approx(0.5)
    assert (found.true_net, found.counted_net) == (2, 0)
    assert found.net_error == pytest.approx(-2 / 6)


def test_line_without_crossings_has_no_ratio() -> None:
    other = Line(name="other", start=(0.0, 0.0), end=(1.0, 1.0))
    found = compare_crossings(truth(crossings({Direction.IN: [1]}), other), [])
    assert [one.line for one in found] == ["entrance", "other"]
    assert (found[0].into.error, found[0].out.error, found[0].net_error) == (-1, None, -1)
    assert (found[1].into.error, found[1].net_error) == (None, None)


def test_labels_are_compared_separately_where_all_are_named() -> None:
    true = crossings({Direction.IN: [1]}) + crossings({Direction.IN: [2]}, label="wasp")
    found = compare_crossings(truth(true), crossings({Direction.IN: [1, 2]}))
    assert [(one.label, one.into.true, one.into.counted) for one in found] == [("bee", 1, 2), ("wasp", 1, 0)]
    (together,) = compare_crossings(truth(true), crossings({Direction.IN: [1, 2]}, label=""))
    assert (together.label, together.into.true, together.into.counted, together.into.missed) == ("", 2, 2, 0)


times = st.lists(st.floats(0, 20), max_size=15)


@given(times, times)
def test_missed_and_extra_explain_the_error(true: list[float], counted: list[float]) -> None:
    (found,) = compare_crossings(truth(crossings({Direction.OUT: true})), crossings({Direction.OUT: counted})) or (
        None,
    )
    assert found is not None
    assert found.out.counted - found.out.true == found.out.extra - found.out.missed
    assert 0 <= found.out.missed <= found.out.true
    assert 0 <= found.out.extra <= found.out.counted


@given(times, st.floats(-0.9, 0.9))
def test_a_common_delay_misses_nothing(true: list[float], delay: float) -> None:
    counted = [at + delay for at in true]
    (found,) = compare_crossings(truth(crossings({Direction.IN: true})), crossings({Direction.IN: counted}))
    assert (found.into.missed, found.into.extra, found.into.error) == (0, 0, 0 if true else None)
