"""Boxes of visible parts, against a pixel count."""

import numpy as np
from beeagent.camera.synthetic.sprite import Placed, Sprite, Stamp, paste
from beeagent_models.synthetic.boxes import visible_boxes
from hypothesis import given
from hypothesis import strategies as st

HEIGHT, WIDTH = 60, 80
pieces = st.lists(
    st.tuples(
        st.integers(1, 30),
        st.integers(1, 30),
        st.integers(-20, WIDTH + 20),
        st.integers(-20, HEIGHT + 20),
        st.booleans(),
    ),
    max_size=7,
)


def rectangle(width: int, height: int, *, opaque: bool) -> Sprite:
    alpha = 255 if opaque else 60
    paint = np.full((height, width, 4), (alpha // 2, alpha // 3, alpha, alpha), dtype=np.uint8)
    return Sprite(paint=paint, solid=np.full((height, width), 255, dtype=np.uint8))


def place(piece: tuple[int, int, int, int, bool]) -> Placed:
    width, height, x, y, opaque = piece
    return Placed(stamp=Stamp(rectangle(width, height, opaque=opaque)), centre=(x, y))


@given(pieces, st.integers(0, HEIGHT // 2))
def test_visible_boxes_match_per_pixel_painter(drawn: list[tuple[int, int, int, int, bool]], top: int) -> None:
    placed = [Placed(stamp=one.stamp, centre=one.centre, top=top) for one in map(place, drawn)]
    owners: dict[tuple[int, int], list[int]] = {}
    for number, (width, height, x, y, opaque) in enumerate(drawn):
        for row in range(max(y - height // 2, top, 0), min(y - height // 2 + height, HEIGHT)):
            for column in range(max(x - width // 2, 0), min(x - width // 2 + width, WIDTH)):
                seen = owners.setdefault((row, column), [])
                if opaque:
                    seen.clear()
                seen.append(number)
    expected = []
    for number, (width, height, *_) in enumerate(drawn):
        pixels = [place for place, seen in owners.items() if number in seen]
        if not pixels or len(pixels) < 0.25 * width * height:
            continue
        rows, columns = [p[0] for p in pixels], [p[1] for p in pixels]
        box = (min(columns), min(rows), max(columns) + 1, max(rows) + 1)
        if max(box[2] - box[0], box[3] - box[1]) >= 8:
            expected.append(box)

    boxes = visible_boxes((HEIGHT, WIDTH, 3), placed)

    assert boxes.shape == (len(expected), 4)
    assert boxes.dtype == np.float32
    assert [tuple(box) for box in boxes.tolist()] == expected


@given(pieces)
def test_paste_blends_by_alpha_and_changes_nothing_else(drawn: list[tuple[int, int, int, int, bool]]) -> None:
    image = np.full((HEIGHT, WIDTH, 3), 200, dtype=np.uint8)
    expected = image.astype(np.float64)
    for width, height, x, y, opaque in drawn:
        paste(image, place((width, height, x, y, opaque)))
        alpha = 255 if opaque else 60
        left, top = x - width // 2, y - height // 2
        area = expected[max(top, 0) : max(top + height, 0), max(left, 0) : max(left + width, 0)]
        area *= 1 - alpha / 255
        area += (alpha // 2, alpha // 3, alpha)

    np.testing.assert_allclose(image, np.clip(expected, 0, 255), atol=1 + len(drawn))


def test_paste_in_the_shade_is_darker() -> None:
    stamp = Stamp(rectangle(10, 10, opaque=True))
    sunny, shady = (np.zeros((20, 20, 3), dtype=np.uint8) for _ in range(2))

    paste(sunny, Placed(stamp=stamp, centre=(10, 10)))
    paste(shady, Placed(stamp=stamp, centre=(10, 10), light=0.5))

    assert sunny[10, 10].tolist() == [127, 85, 255]
    assert shady[10, 10].tolist() == [64, 42, 128]
