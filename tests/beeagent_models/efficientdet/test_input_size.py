import pytest
from beeagent.errors import InputError
from beeagent_models.efficientdet import config_for
from beeagent_models.efficientdet.anchors import feature_shapes
from beeagent_models.efficientdet.input_size import MAX_SIDE, MIN_SIDE, check_alignment, parse_input_size
from hypothesis import given
from hypothesis import strategies as st

SIDES = st.integers(MIN_SIDE, MAX_SIDE)


@given(SIDES, SIDES)
def test_width_comes_first(width: int, height: int) -> None:
    assert parse_input_size(f"{width}x{height}") == (width, height)
    assert parse_input_size(str(width)) == (width, width)


@pytest.mark.parametrize(
    "text", ["", "wide", "640x", "x384", "640X384", "640x384x3", "640 x 384", "-320", "3.2e2", "٣٢٠", "1" * 5000]
)
def test_invalid_size_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"--input-size is .*: give WIDTHxHEIGHT in pixels, such as 640x384"):
        parse_input_size(text)


@pytest.mark.parametrize("text", ["63", "2049", "640x0", "63x640", "640x99999"])
def test_side_out_of_range_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=f"--input-size is '{text}': allowed are 64 to 2048 pixels a side"):
        parse_input_size(text)


@given(SIDES, SIDES)
def test_allowed_sizes_are_those_at_which_the_backbone_rounds_nothing(width: int, height: int) -> None:
    """With a rounded-up feature map, cells and anchors are not aligned."""
    shapes = feature_shapes(config_for("lite0", labels=("bee",)), height, width)
    exact = [
        (rows * 2**level, columns * 2**level) == (height, width)
        for level, (rows, columns) in enumerate(shapes, start=3)
    ]
    try:
        check_alignment((width, height))
    except InputError:
        assert not all(exact[:3])
    else:
        assert all(exact[:3])
    if width % 128 == height % 128 == 0:
        assert all(exact)


@given(SIDES, SIDES)
def test_suggested_sizes_are_allowed_and_near(width: int, height: int) -> None:
    try:
        check_alignment((width, height))
    except InputError as error:
        suggested = str(error).split(": give ")[1].split(" (")[0].split(" or ")
        for text in suggested:
            size = parse_input_size(text)
            check_alignment(size)
            assert abs(size[0] - width) < 32
            assert abs(size[1] - height) < 32


def test_refusal_names_size_reason_and_remedy() -> None:
    with pytest.raises(
        InputError,
        match=r"--input-size is 640x360: .* not a multiple of 32, .*: give 640x352 or 640x384 \(multiples of 128",
    ):
        check_alignment((640, 360))
