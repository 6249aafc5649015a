"""The moving scene: exact boxes, determinism, arriving and leaving bees."""

import math
from dataclasses import replace

import numpy as np
import pytest
from beeagent.camera.synthetic.address import SceneOptions
from beeagent.camera.synthetic.behaviour import Activity
from beeagent.camera.synthetic.scene import Scene
from beeagent.errors import InputError
from beeagent_models.synthetic.boxes import render_each
from hypothesis import given, settings
from hypothesis import strategies as st
from support.scene_frame import render


def options(**changes: object) -> SceneOptions:
    return SceneOptions(**{"width": 320, "height": 240, "bees": (2, 6), "bee_length": (0.1, 0.2), **changes})  # type: ignore[arg-type] # checked by the class itself


@pytest.mark.parametrize("seed", range(3))
def test_boxes_match_the_pixels_that_bees_change(seed: int) -> None:
    """Compare with the same scene, seed and moment without any bees, pixel by pixel."""
    with_bees, without = Scene(options(seed=seed)), Scene(options(seed=seed, bees=(0, 0)))
    checked = 0
    for _ in range(12):
        for scene in (with_bees, without):
            scene.advance(0.3)
        frame, empty = render(with_bees), render(without)
        changed = np.abs(frame.pixels.astype(int) - empty.pixels).max(axis=2)
        reach = np.zeros(changed.shape, dtype=bool)
        for index, box in enumerate(frame.boxes.astype(int)):
            left, top, right, bottom = box.tolist()
            # Legs, feelers and shadow lie around the box, at most half a bee away; a flying bee's shadow farther.
            margin = round(0.5 * 1.1 * 0.2 * 320)
            reach[max(top - margin, 0) : bottom + margin, max(left - margin, 0) : right + margin] = True
            others = np.delete(frame.boxes, index, axis=0)
            alone = all(o[0] > right + 4 or o[2] < left - 4 or o[1] > bottom + 4 or o[3] < top - 4 for o in others)
            if not alone:
                continue
            checked += 1
            inside = changed[top:bottom, left:right] > 2
            slack_x, slack_y = max(2, 0.1 * (right - left)), max(2, 0.1 * (bottom - top))
            rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
            assert rows[0] <= slack_y
            assert rows[-1] >= bottom - top - 1 - slack_y
            assert columns[0] <= slack_x
            assert columns[-1] >= right - left - 1 - slack_x
            assert inside.mean() > 0.25, "the bee fills a good part of its box"
        assert not (frame.boxes.size == 0 and (changed > 60).sum() > 400), "a bee without a box"
    assert checked > 8


def test_scene_without_bees_has_no_boxes_and_does_not_move() -> None:
    scene = Scene(options(bees=(0, 0)))
    first = render(scene)
    for _ in range(3):  # sensor noise comes round after three frames
        scene.advance(1.0)
    later = render(scene)

    assert first.boxes.shape == (0, 4)
    np.testing.assert_array_equal(first.pixels, later.pixels)


def test_same_options_draw_same_frames() -> None:
    scenes = [Scene(options(seed=seed)) for seed in (4, 4, 5)]
    for _ in range(20):
        for scene in scenes:
            scene.advance()
    first, same, other = (render(scene) for scene in scenes)

    np.testing.assert_array_equal(first.pixels, same.pixels)
    np.testing.assert_array_equal(first.boxes, same.boxes)
    assert (first.pixels != other.pixels).any()


def test_render_does_not_advance_and_returns_own_memory() -> None:
    scene = Scene(options())
    first = render(scene)
    kept = first.pixels.copy()
    second = render(scene)
    second.pixels[:] = 0

    np.testing.assert_array_equal(first.pixels, kept)
    np.testing.assert_array_equal(render(scene).pixels, kept)


def test_number_of_bees_varies_within_range() -> None:
    scene = Scene(options(seed=2))
    counts, staying = set(), set()
    for step in range(300):
        scene.advance(0.4)
        bees = scene._colony.bees
        counts.add(len(bees))
        staying.add(sum(bee.activity is Activity.STAYING for bee in bees))
        assert all(0 <= bee.x <= 320 and 0 <= bee.y <= 240 for bee in bees if bee.activity is Activity.STAYING)
        if step % 10 == 0:
            assert len(render(scene).boxes) <= 6

    assert max(counts) == 6
    assert min(staying) == 2
    assert len(counts) > 3


def test_bees_come_and_leave_on_foot_and_flying() -> None:
    scene = Scene(options(seed=3))
    seen = set()
    for _ in range(600):
        scene.advance(0.2)
        seen |= {(bee.activity, bee.by_slot) for bee in scene._colony.bees if bee.activity is not Activity.STAYING}

    assert seen == {
        (activity, by_slot) for activity in (Activity.COMING, Activity.LEAVING) for by_slot in (True, False)
    }


def test_hive_front_hides_bees_in_the_entrance() -> None:
    chosen = options(seed=3, bees=(0, 2))
    scene, empty = Scene(chosen), Scene(replace(chosen, bees=(0, 0)))
    top, halfway = scene._slot_top, 0
    for _ in range(400):
        scene.advance(0.2)
        empty.advance(0.2)
        in_the_door = [bee for bee in scene._colony.bees if bee.by_slot and abs(bee.y - top) < 10]
        elsewhere = [bee for bee in scene._colony.bees if not bee.by_slot]
        if in_the_door and all(bee.y > top + 100 and not bee.flying for bee in elsewhere):
            halfway += 1
            shown, place = render(scene).pixels, render(empty).pixels
            np.testing.assert_array_equal(shown[:top], place[:top])
            assert (shown[top:] != place[top:]).any()

    assert halfway > 2


def test_bees_move_without_jumps() -> None:
    scene = Scene(options(seed=1, bees=(6, 6)))
    moved = 0.0
    for _ in range(90):
        before = {id(bee): (bee.x, bee.y) for bee in scene._colony.bees}
        scene.advance()
        for bee in scene._colony.bees:
            if id(bee) in before:
                step = math.dist(before[id(bee)], (bee.x, bee.y))
                assert step < 0.35 * 0.22 * 320
                moved += step

    assert moved > 320


def test_advance_by_zero_moves_nothing() -> None:
    scene = Scene(options())
    before = render(scene).boxes
    scene.advance(0.0)

    np.testing.assert_array_equal(render(scene).boxes, before)


@settings(max_examples=12, deadline=None)
@given(st.integers(33, 400), st.integers(33, 300), st.integers(0, 12), st.integers(0, 1000), st.floats(0.01, 0.45))
def test_boxes_lie_within_scene_of_any_size(width: int, height: int, most: int, seed: int, length: float) -> None:
    scene = Scene(SceneOptions(width=width, height=height, bees=(0, most), seed=seed, bee_length=(length, length)))
    for _ in range(4):
        scene.advance(0.5)
        frame = render(scene)

        assert frame.pixels.shape == (height, width, 3)
        assert frame.pixels.dtype == np.uint8
        assert frame.boxes.dtype == np.float32
        assert len(frame.boxes) <= most
        assert (frame.boxes >= 0).all()
        assert (frame.boxes <= (width, height, width, height)).all()
        assert (frame.boxes[:, :2] < frame.boxes[:, 2:]).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 15}, "width is 15; use 16 to 8192 pixels"),
        ({"height": 9000}, "height is 9000; use 16 to 8192 pixels"),
        ({"fps": 0.0}, "fps is 0.0; use more than 0 and at most 1000"),
        ({"fps": math.nan}, "fps is nan; use more than 0 and at most 1000"),
        ({"seed": -1}, "seed is -1; use 0 or more"),
        ({"bees": (5, 4)}, "bees is 5 to 4; use 0 to 200, the smaller number first"),
        ({"bees": (-1, 4)}, "bees is -1 to 4; use 0 to 200, the smaller number first"),
        ({"bees": (0, 201)}, "bees is 0 to 201; use 0 to 200, the smaller number first"),
        ({"bee_length": (0.2, 0.1)}, "bee_length is 0.2 to 0.1; use 0.005 to 0.5, the smaller number first"),
        ({"bee_length": (0.1, math.nan)}, "bee_length is 0.1 to nan; use 0.005 to 0.5, the smaller number first"),
    ],
)
def test_option_out_of_range_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError) as caught:
        options(**changes)

    assert str(caught.value) == f"synthetic scene: {message}"


def test_render_each_returns_the_boxes_of_render() -> None:
    scene = Scene(options(seed=4))
    for _ in range(5):
        scene.advance(0.5)
        frame = render(scene)
        pixels, found = render_each(scene)
        np.testing.assert_array_equal(pixels, frame.pixels)
        np.testing.assert_array_equal(np.array([box for _, box in found], np.float32).reshape(-1, 4), frame.boxes)
        for bee, (left, top, right, bottom) in found:
            assert left - 10 < bee.x < right + 10
            assert top - 10 < bee.y < bottom + 10
