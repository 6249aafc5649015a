import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from beeagent.errors import InputError
from beeagent.tracking import Places, draw_places, load_places, parse_places
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from support.beeagent_command import run_command
from support.flying import detections_at

GOOD = """
[lines.door]
points = [[0.2, 0.55], [0.8, 0.55]]
in = "up"
[zones.entrance]
points = [[0.25, 0.3], [0.75, 0.3], [0.75, 0.5], [0.25, 0.5]]
[masks.flag]
points = [[0.9, 0], [1, 0], [1, 0.1]]
"""


def test_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "places.toml"
    file.write_text(GOOD)
    places = load_places(file)
    assert places.lines["door"].points == ((0.2, 0.55), (0.8, 0.55))
    assert places.lines["door"].in_ == "up"
    assert len(places.zones["entrance"].points) == 4
    assert list(places.masks) == ["flag"]
    assert parse_places(b"") == Places()


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("[lines.door", "is not TOML: "),
        ("[line.door]\npoints = []", "[line] is unknown: give lines, zones or masks"),
        ('[lines.door]\nin = "up"', "[lines.door] points is missing: give a list of [x, y]"),
        ("[lines.door]\npoints = [[0, 0.5], [1, 0.5]]", "[lines.door] in is missing: give up, down, left or right"),
        (
            '[lines.door]\npoints = [[0, 0.5], [1, 0.5]]\nin = "north"',
            "[lines.door] in is 'north': input should be 'up'",
        ),
        ('[lines.door]\npoints = [[0, 0.5], [1, 0.5]]\nin = "left"', "in is 'left', along the line: give up or down"),
        ('[lines.door]\npoints = [[0.5, 0.5], [0.5, 0.5]]\nin = "left"', "its two points are the same"),
        ('[lines.door]\npoints = [[0, 5], [1, 0.5]]\nin = "up"', "[lines.door] points[0][1] is 5: "),
        ('[lines.door]\npoints = [[0, nan], [1, 0.5]]\nin = "up"', "[lines.door] points[0][1] is nan: "),
        ('[lines.door]\npoints = [[0, 0.5]]\nin = "up"', "[lines.door] points[1] is missing"),
        ('[lines."a b"]\npoints = [[0, 0.5], [1, 0.5]]\nin = "up"', "the name 'a b' in [lines]: give 1 to 32 letters"),
        ("[lines.door]\ncolour = 3", "[lines.door] "),
        ("[zones.a]\npoints = [[0, 0], [1, 0]]", "[zones.a] points is [[0, 0], [1, 0]]: tuple should have at least 3"),
        ("[zones.a]\npoints = [[0, 0], [0.5, 0.5], [1, 1]]", "[zones.a]: its points enclose no area"),
        ("[zones.a]\npoints = [[0, 0], [1, 0], [1, 1]]\nin = 'up'", "[zones.a] in is unknown: give points"),
        (
            "[zones.a]\npoints = [[0, 0], [1, 0], [1, 1]]\n[masks.a]\npoints = [[0, 0], [1, 0], [1, 1]]",
            "'a' is the name of two places: give each its own",
        ),
        (
            "".join(f"[zones.z{i}]\npoints = [[0, 0], [1, 0], [1, 1]]\n" for i in range(33)),
            "there are 33 places, but at most 32 are allowed",
        ),
        ("lines = 3", "[lines] is 3: "),
    ],
)
def test_mistake_is_one_clear_line(text: str, error: str, tmp_path: Path) -> None:
    file = tmp_path / "places.toml"
    file.write_text(text)
    with pytest.raises(InputError) as raised:
        load_places(file)
    assert error in str(raised.value)
    assert str(file) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.toml: cannot be read: No such file"):
        load_places(tmp_path / "none.toml")
    with pytest.raises(InputError, match="is not UTF-8 at byte 1"):
        parse_places(b"#\xff")
    (tmp_path / "large.toml").write_bytes(b"#" * 300_000)
    with pytest.raises(InputError, match="is larger than 256 KiB"):
        load_places(tmp_path / "large.toml")


@given(st.binary(max_size=200) | st.text(alphabet="[]lineszo.=\"'0123456789, \n", max_size=120).map(str.encode))
def test_any_content_is_read_or_refused(content: bytes) -> None:
    try:
        parse_places(content)
    except InputError as error:
        assert str(error)  # noqa: PT017 - either is right


corners = st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), min_size=3, max_size=7, unique=True)


@given(corners, st.lists(st.tuples(st.floats(0.01, 0.99), st.floats(0.01, 0.99)), min_size=1, max_size=20))
def test_area_contains_matches_opencv(polygon: list[tuple[int, int]], points: list[tuple[float, float]]) -> None:
    try:
        places = Places.model_validate({"zones": {"a": {"points": [(x / 20, y / 20) for x, y in polygon]}}})
    except ValueError:
        return  # it encloses no area
    contour = np.array(polygon, dtype=np.float32)[:, None]
    given_points = np.array(points)
    inside = places.zones["a"].contains(given_points)
    for point, found in zip(given_points * 20, inside, strict=True):
        distance = cv2.pointPolygonTest(contour, (float(point[0]), float(point[1])), measureDist=True)
        if abs(distance) > 1e-3:
            assert found == (distance > 0)


def test_mask_drops_detections_whose_centre_is_in_it() -> None:
    places = parse_places(GOOD.encode())
    kept = places.all_masks.unmasked(detections_at([(500, 250), (990, 10), (880, 10)]))
    assert len(kept) == 2
    np.testing.assert_allclose(kept.xyxy((1000, 500)).mean(axis=0)[0], (500 + 880) / 2 - 17.68, atol=0.1)
    assert len(places.all_masks.unmasked(detections_at([]))) == 0
    everything = detections_at([(500, 250)])
    assert Places().all_masks.unmasked(everything) is everything


@pytest.mark.parametrize("size", [(720, 1280), (40, 60), (2000, 300)])
def test_drawing_shows_every_place_and_leaves_the_image_alone(size: tuple[int, int]) -> None:
    image = np.full((*size, 3), 90, dtype=np.uint8)
    drawn = draw_places(image, parse_places(GOOD.encode()))
    assert drawn.shape == image.shape
    assert (image == 90).all()
    for x, y in ((0.3, 0.55), (0.25, 0.4), (0.98, 0.03)):
        row, column = round(y * (size[0] - 1)), round(x * (size[1] - 1))
        assert (drawn[max(0, row - 2) : row + 3, max(0, column - 2) : column + 3] != 90).any()
    # The arrow is on the side that is in.
    middle = round(0.5 * (size[1] - 1))
    above = drawn[round(0.52 * size[0]), middle] if size[0] > 100 else drawn[round(0.5 * size[0]), middle]
    assert (above != 90).any()


def test_check_lists_the_places(tmp_path: Path) -> None:
    (tmp_path / "places.toml").write_text(GOOD)
    ended = run_command("places", "check", tmp_path / "places.toml", folder=tmp_path)
    assert ended.returncode == 0
    assert ended.stdout.splitlines() == [
        "line door: a crossing up is in",
        "zone entrance: 4 corners",
        "mask flag: 3 corners",
    ]


def test_check_of_a_wrong_file_exits_2(tmp_path: Path) -> None:
    (tmp_path / "places.toml").write_text("[lines.door]\npoints = 3\nin = 'up'")
    ended = run_command("places", "check", tmp_path / "places.toml", folder=tmp_path)
    assert ended.returncode == 2
    assert ended.stderr.startswith(f"beeagent: places {tmp_path}/places.toml: [lines.door] points is 3: ")
    assert len(ended.stderr.splitlines()) == 1


def test_draw_writes_a_png(tmp_path: Path) -> None:
    (tmp_path / "places.toml").write_text(GOOD)
    cv2.imwrite(str(tmp_path / "image.jpg"), np.full((120, 200, 3), 90, dtype=np.uint8))
    arguments = ("places", "draw", tmp_path / "places.toml", "--image", tmp_path / "image.jpg", "--out")
    ended = run_command(*arguments, tmp_path / "out.png", folder=tmp_path)
    assert ended.returncode == 0, ended.stderr
    drawn = cv2.imread(str(tmp_path / "out.png"))
    assert drawn is not None
    assert drawn.shape == (120, 200, 3)
    refused = run_command(*arguments, tmp_path / "none/out.png", folder=tmp_path)
    assert refused.returncode == 1
    assert f"--out {tmp_path}/none/out.png: cannot be written: No such file" in refused.stderr


def test_schema_accepts_the_file_and_refuses_mistakes(tmp_path: Path) -> None:
    schema = json.loads(run_command("places", "schema", folder=tmp_path).stdout)
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    good = parse_places(GOOD.encode()).model_dump(mode="json", by_alias=True)
    validator.validate(good)
    assert not validator.is_valid({"lines": {"door": {"points": [[0, 0.5], [1, 0.5]]}}})
    assert not validator.is_valid({"lines": {"door": {"points": [[0, 5], [1, 0.5]], "in": "up"}}})
    assert not validator.is_valid({"line": {}})
