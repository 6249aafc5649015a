"""The file of places, written atomically by the page and read back unchanged."""

from pathlib import Path

import pytest
from beeagent.errors import BeeagentError, InputError
from beeagent.tracking import Places, format_places, parse_places, validate_places
from beeagent.web.places import PlacesFile, StaleError
from hypothesis import given
from hypothesis import strategies as st

NAMES = st.from_regex(r"\A[A-Za-z0-9_-]{1,32}\Z")
RATIOS = st.floats(0, 1)
POINTS = st.tuples(RATIOS, RATIOS)
AREAS = st.fixed_dictionaries({"points": st.lists(POINTS, min_size=3, max_size=6)})
LINES = st.fixed_dictionaries(
    {"points": st.tuples(POINTS, POINTS), "in": st.sampled_from(["up", "down", "left", "right"])}
)
DOOR = validate_places({"lines": {"door": {"points": [[0.1, 0.5], [0.9, 0.5]], "in": "up"}}})


@given(
    st.dictionaries(NAMES, LINES, max_size=3), st.dictionaries(NAMES, AREAS, max_size=3),
    st.dictionaries(NAMES, AREAS, max_size=3),
)  # fmt: skip
def test_written_places_are_read_back_exactly(lines: object, zones: object, masks: object) -> None:
    try:
        places = validate_places({"lines": lines, "zones": zones, "masks": masks})
    except InputError:
        return  # such as a line along its direction
    assert parse_places(format_places(places).encode()) == places


def test_file_keeps_its_mode_and_a_link_stays_a_link(tmp_path: Path) -> None:
    real = tmp_path / "etc" / "places.toml"
    real.parent.mkdir()
    real.write_text("", encoding="utf-8")
    real.chmod(0o640)
    link = tmp_path / "places.toml"
    link.symlink_to(real)
    calls: list[None] = []
    file = PlacesFile(link, lambda: calls.append(None))
    etag, places = file.read()
    assert places == Places()
    file.write(DOOR, etag=etag)
    assert file.read()[1] == DOOR
    assert link.is_symlink()
    assert real.stat().st_mode & 0o777 == 0o640
    assert [path.name for path in real.parent.iterdir()] == ["places.toml"]
    assert calls == [None]


def test_missing_file_and_folder_are_made(tmp_path: Path) -> None:
    file = PlacesFile(tmp_path / "state" / "places.toml", lambda: None)
    etag, places = file.read()
    assert places == Places()
    assert file.write(DOOR, etag=etag) == file.read()[0]
    with pytest.raises(StaleError):
        file.write(Places(), etag=etag)
    assert file.read()[1] == DOOR


def test_folder_that_cannot_be_written_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file where a folder should be", encoding="utf-8")
    file = PlacesFile(tmp_path / "state" / "places.toml", lambda: pytest.fail("nothing was written"))
    with pytest.raises(BeeagentError, match="cannot be written"):
        file.write(DOOR, etag="")
