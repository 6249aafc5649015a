"""Regions follow activity, verify objects at rest, and keep the limit on inferences."""

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from beeagent.detection import NO_TILES, Detections, Region, Tiling
from beeagent.detection.motion import Motion, grid_size
from beeagent.detection.region_grid import RegionGrid
from beeagent.detection.regions import RegionPlan, RegionPlanner
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

Boxes = NDArray[np.float32]

_FRAME = (1280, 720)
_INPUT = (320, 320)
_WHOLE = Region(0, 0, *_FRAME)
_LABELS = ("bee", "wasp")


def _boxes(*boxes: tuple[float, float, float, float]) -> Boxes:
    return np.array(boxes, dtype=np.float32).reshape(-1, 4)


def _motion(*boxes: tuple[float, float, float, float], everything: bool = False) -> Motion:
    columns, rows = grid_size(_FRAME)
    moving = np.full((rows, columns), everything)
    for left, top, right, bottom in boxes:
        width, height = _FRAME[0] / columns, _FRAME[1] / rows
        moving[int(top / height) : math.ceil(bottom / height), int(left / width) : math.ceil(right / width)] = True
    return Motion(moving, everything=everything)


def _detect(truth: Boxes, region: Region, *, confidence: float = 0.9) -> Detections:
    """Return what a perfect model does: every box of which half is in the region, cut by its edges."""
    edges = np.array([region.left, region.top] * 2, dtype=np.float32)
    sides = np.array([region.width, region.height] * 2, dtype=np.float32)
    boxes = np.clip((truth - edges) / sides, 0, 1).astype(np.float32)
    areas = np.prod((boxes[:, 2:] - boxes[:, :2]) * sides[:2], axis=1)
    boxes = boxes[areas >= 0.5 * np.prod(truth[:, 2:] - truth[:, :2], axis=1)]
    count = len(boxes)
    return Detections(boxes, np.full(count, confidence, dtype=np.float32), np.zeros(count, dtype=np.int64), _LABELS)


class _Camera:
    """Runs a planner at 10 frames per second, with a perfect model."""

    def __init__(self, planner: RegionPlanner | None = None, *, step: float = 0.1) -> None:
        self.planner = RegionPlanner(model_input=_INPUT) if planner is None else planner
        self.at = 0.0
        self._step = step

    def frame(self, truth: Boxes, motion: Motion, *, seen: Boxes | None = None) -> tuple[RegionPlan, Boxes]:
        """Return the plan of the next frame and the boxes of its result; the model sees `seen`, or the truth."""
        self.planner.observe(motion, frame=_FRAME, at=self.at)
        plan = self.planner.plan(frame=_FRAME, at=self.at)
        found = [_detect(truth if seen is None else seen, region) for region in plan.regions]
        result, _ = self.planner.resolve(plan, found, _LABELS)
        self.at += self._step
        return plan, result.xyxy(_FRAME)

    def settle(self, truth: Boxes, *, frames: int = 10) -> None:
        self.frame(truth, _motion(everything=True))
        for _ in range(frames):
            self.frame(truth, _motion())


def _contains(region: Region, box: Sequence[float]) -> bool:
    right, bottom = region.left + region.width, region.top + region.height
    return region.left <= box[0] and region.top <= box[1] and box[2] <= right and box[3] <= bottom


def _crops(plan: RegionPlan) -> list[Region]:
    return [region for region in plan.regions if region != _WHOLE]


# What is processed


def test_the_first_frame_is_processed_whole_and_in_full_resolution() -> None:
    plan, result = _Camera().frame(_boxes((100, 100, 130, 120), (1200, 650, 1230, 690)), _motion(everything=True))
    assert _WHOLE in plan.regions
    assert len(plan.regions) == 3
    assert len(result) == 2


def test_a_still_empty_frame_costs_less_than_one_inference_per_second() -> None:
    camera = _Camera()
    camera.settle(_boxes())
    assert sum(len(camera.frame(_boxes(), _motion())[0].regions) for _ in range(80)) <= 7


def test_motion_is_processed_in_full_resolution() -> None:
    camera = _Camera()
    camera.settle(_boxes())
    widths = []
    for x in range(100, 1100, 30):
        bee = (x, 300, x + 30, 320)
        plan, result = camera.frame(_boxes(bee), _motion(bee))
        widths.append(min(region.width for region in _crops(plan) if _contains(region, bee)))
        assert len(plan.regions) <= 2
        np.testing.assert_allclose(result, [bee], atol=0.01)
    # In the others, its tile had its turn.
    assert np.mean(np.array(widths) == _INPUT[0]) >= 0.9


def test_motion_in_a_dropped_frame_is_processed_in_the_next() -> None:
    camera = _Camera()
    camera.settle(_boxes())
    camera.planner.observe(_motion((500, 500, 530, 530)), frame=_FRAME, at=camera.at)
    camera.at += 0.1
    plan, _ = camera.frame(_boxes(), _motion())
    assert any(_contains(region, (500, 500, 530, 530)) for region in _crops(plan))


def test_where_motion_has_ended_is_processed_once_more() -> None:
    camera = _Camera()
    camera.settle(_boxes())
    bee = (500, 500, 530, 530)
    camera.frame(_boxes(bee), _motion(bee))
    _, result = camera.frame(_boxes(), _motion())
    assert len(result) == 0


def test_scattered_motion_costs_no_more_than_the_tiles() -> None:
    camera = _Camera()
    camera.settle(_boxes())
    bees = [(x, y, x + 30, y + 20) for x in range(20, 1240, 200) for y in range(20, 690, 150)]
    for _ in range(10):
        plan, result = camera.frame(_boxes(*bees), _motion(*bees))
        assert len(plan.regions) <= 3
        assert len(result) == len(bees)


def test_while_everything_moves_the_whole_frame_is_processed_every_time() -> None:
    camera = _Camera(RegionPlanner(model_input=_INPUT, tiling=Tiling(6, 4)))
    for _ in range(30):
        plan, _ = camera.frame(_boxes(), _motion(everything=True))
        assert _WHOLE in plan.regions
        assert len(plan.regions) <= 3


def test_a_frame_of_the_models_size_is_processed_whole() -> None:
    planner = RegionPlanner(model_input=_FRAME)
    camera = _Camera(planner)
    bee = (500, 500, 530, 530)
    for _ in range(5):
        plan, result = camera.frame(_boxes(bee), _motion(bee))
        assert plan.regions == (_WHOLE,)
        assert len(result) == 1


@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_every_part_is_processed_within_the_stated_time_and_the_limit_is_kept(data: st.DataObject) -> None:
    frame = data.draw(st.sampled_from([(1280, 720), (1920, 1080), (640, 480), (480, 1280)]))
    tiling = data.draw(st.sampled_from([NO_TILES, Tiling(None, None), Tiling(3, 2), Tiling(5, 1)]))
    rate = data.draw(st.none() | st.floats(0.2, 40))
    steps = data.draw(st.lists(st.floats(0.05, 1.0), min_size=1, max_size=5))
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    busy, everything = data.draw(st.sampled_from([0.0, 0.02, 0.3, 1.0])), data.draw(st.sampled_from([0.0, 0.2, 1.0]))
    planner = RegionPlanner(model_input=_INPUT, tiling=tiling, max_inference_rate=rate)
    columns, rows = grid_size(frame)
    lefts, tops = np.arange(columns) * frame[0] / columns, np.arange(rows) * frame[1] / rows
    # What a planner that served motion alone would do is to keep to these cells.
    active = rng.random((rows, columns)) < busy
    processed = np.zeros((rows, columns))
    whole_at, at, costs = 0.0, 0.0, []
    end = bound = math.inf
    for step in itertools.cycle(steps):
        if at > end:
            break
        planner.observe(_some(active, rng, everything=rng.random() < everything), frame=frame, at=at)
        if not costs:
            bound = planner.revisit_s + (0 if rate is None else 1 / rate) + 2 * max(steps)
            end = 1.5 * bound
        plan = planner.plan(frame=frame, at=at)
        assert len(set(plan.regions)) == len(plan.regions)
        costs.append((at, len(plan.regions)))
        for region in plan.regions:
            if region == Region(0, 0, *frame):
                whole_at = at
                if not RegionGrid(frame, model_input=_INPUT, tiling=tiling).tiles:
                    processed[:] = at
                continue
            inside = ((tops >= region.top - 1e-6) & (tops + frame[1] / rows <= region.top + region.height + 1e-6))[
                :, None
            ] & ((lefts >= region.left - 1e-6) & (lefts + frame[0] / columns <= region.left + region.width + 1e-6))
            processed[inside] = at
        assert at - processed.min() <= bound
        assert at - whole_at <= bound
        at += step
    if rate is not None:
        _assert_rate(costs, rate)


def _some(active: NDArray[np.bool_], rng: np.random.Generator, *, everything: bool) -> Motion:
    moving = np.ones_like(active) if everything else active & (rng.random(active.shape) < 0.7)
    return Motion(moving, everything=everything)


def _assert_rate(costs: list[tuple[float, int]], rate: float) -> None:
    """Assert that between any two frames there are no more inferences than the rate allows, and one second's more."""
    # The largest excess over the rate of any interval, as the largest sum of a run of numbers.
    excess = worst = 0.0
    before = costs[0][0]
    for at, count in costs:
        excess = max(0.0, excess - rate * (at - before)) + count
        worst = max(worst, excess)
        before = at
    assert worst <= max(1.0, rate) + 1e-6


# What a result contains


def test_an_object_at_rest_stays_in_every_result_and_is_verified_every_second() -> None:
    camera = _Camera()
    bee = (600, 300, 630, 320)
    camera.settle(_boxes(bee))
    verified = camera.at
    for _ in range(300):
        plan, result = camera.frame(_boxes(bee), _motion())
        np.testing.assert_allclose(result, [bee], atol=0.01)
        if any(_contains(region, bee) for region in _crops(plan)):
            verified = camera.at
        assert camera.at - verified <= 1


def test_an_object_that_vanishes_without_motion_is_forgotten_within_a_second() -> None:
    camera = _Camera()
    camera.settle(_boxes((600, 300, 630, 320)))
    results = [len(camera.frame(_boxes(), _motion())[1]) for _ in range(11)]
    assert results[-1] == 0


def test_an_object_is_carried_over_for_a_bounded_time_without_any_inference() -> None:
    planner = RegionPlanner(model_input=_INPUT)
    camera = _Camera(planner)
    camera.settle(_boxes((600, 300, 630, 320)))
    start = camera.at
    while True:
        camera.planner.observe(_motion(), frame=_FRAME, at=camera.at)
        result, fresh = planner.resolve(RegionPlan(_FRAME, camera.at, ()), [], _LABELS)
        assert len(fresh) == 0
        if not len(result):
            break
        camera.at += 0.5
    assert 10 <= camera.at - start <= 15


def test_an_object_that_moved_where_nothing_is_processed_is_forgotten_soon() -> None:
    planner = RegionPlanner(model_input=_INPUT)
    camera = _Camera(planner)
    bee = (600, 300, 630, 320)
    camera.settle(_boxes(bee))
    results = []
    for _ in range(15):
        planner.observe(_motion(bee), frame=_FRAME, at=camera.at)
        results.append(len(planner.resolve(RegionPlan(_FRAME, camera.at, ()), [], _LABELS)[0]))
        camera.at += 0.1
    assert results[0] == 1
    assert results[-1] == 0


def test_result_marks_detections_of_this_frame() -> None:
    camera = _Camera()
    resting, moving = (100, 100, 130, 120), (1100, 600, 1130, 620)
    camera.settle(_boxes(resting, moving), frames=1)
    camera.planner.observe(_motion(moving), frame=_FRAME, at=camera.at)
    plan = camera.planner.plan(frame=_FRAME, at=camera.at)
    assert not any(_contains(region, resting) for region in plan.regions)
    found = [_detect(_boxes(resting, moving), region, confidence=0.5) for region in plan.regions]
    result, fresh = camera.planner.resolve(plan, found, _LABELS)
    np.testing.assert_allclose(result.xyxy(_FRAME), [resting, moving], atol=0.01)
    assert result.confidences.tolist() == pytest.approx([0.9, 0.5])
    np.testing.assert_allclose(fresh.xyxy(_FRAME), [moving], atol=0.01)


def test_an_object_that_a_region_cuts_is_processed_whole_in_the_next_frame() -> None:
    camera = _Camera()
    camera.settle(_boxes())
    mover = (600, 300, 630, 320)
    plan, _ = camera.frame(_boxes(), _motion(mover))
    (region,) = _crops(plan)
    edge = region.left + region.width
    bystander = (edge - 25, 350, edge + 10, 370)  # it came without motion
    _, result = camera.frame(_boxes(mover, bystander), _motion(mover))
    np.testing.assert_allclose(result, [mover], atol=0.01)
    _, result = camera.frame(_boxes(mover, bystander), _motion(mover))
    assert sorted(result.tolist()) == [pytest.approx(mover, abs=0.01), pytest.approx(bystander, abs=0.01)]


def test_a_large_object_is_verified_in_the_whole_frame() -> None:
    camera = _Camera()
    large = (100, 50, 900, 700)
    camera.settle(_boxes(large))
    plans = []
    for _ in range(20):
        plan, result = camera.frame(_boxes(large), _motion())
        np.testing.assert_allclose(result, [large], atol=0.01)
        plans.append(plan)
    assert sum(_WHOLE in plan.regions for plan in plans) >= 2
    assert sum(len(_crops(plan)) for plan in plans) <= 2


def test_a_walking_object_is_one_detection_in_every_frame() -> None:
    camera = _Camera()
    camera.settle(_boxes((100, 300, 130, 320)))
    for x in range(100, 1200, 7):
        bee = (x, 300, x + 30, 320)
        _, result = camera.frame(_boxes(bee), _motion((x - 7, 300, x + 30, 320)))
        np.testing.assert_allclose(result, [bee], atol=0.01)


@pytest.mark.parametrize("change", [lambda at: ((640, 480), at), lambda at: (_FRAME, at - 100)])
def test_another_size_or_a_time_that_goes_back_forgets_everything(
    change: Callable[[float], tuple[tuple[int, int], float]],
) -> None:
    camera = _Camera()
    camera.settle(_boxes((600, 300, 630, 320)))
    frame, at = change(camera.at)
    columns, rows = grid_size(frame)
    motion = Motion(np.zeros((rows, columns), dtype=np.bool_), everything=False)
    camera.planner.observe(motion, frame=frame, at=at)
    plan = camera.planner.plan(frame=frame, at=at)
    assert Region(0, 0, *frame) in plan.regions
    result, _ = camera.planner.resolve(plan, [_detect(_boxes(), region) for region in plan.regions], _LABELS)
    assert len(result) == 0


def test_a_frame_of_the_size_before_is_not_mixed_up_with_the_new_one() -> None:
    camera = _Camera()
    camera.settle(_boxes())
    plan = RegionPlan(_FRAME, camera.at - 0.1, (_WHOLE,))
    columns, rows = grid_size((640, 480))
    camera.planner.observe(Motion(np.ones((rows, columns), dtype=np.bool_), everything=True), frame=(640, 480), at=2)
    found = [_detect(_boxes((100, 100, 130, 120)), region) for region in plan.regions]
    camera.planner.resolve(plan, found, _LABELS)
    assert camera.planner.plan(frame=_FRAME, at=camera.at).regions == ()
    new = camera.planner.plan(frame=(640, 480), at=2)
    result, _ = camera.planner.resolve(new, [_detect(_boxes(), region) for region in new.regions], _LABELS)
    assert len(result) == 0


def test_after_a_gap_a_limited_rate_is_not_spent_on_turns_that_were_missed() -> None:
    camera = _Camera(RegionPlanner(model_input=_INPUT, max_inference_rate=10))
    camera.settle(_boxes())
    camera.at += 3600
    costs = [len(camera.frame(_boxes(), _motion())[0].regions) for _ in range(40)]
    assert sum(costs) <= 8


def test_frame_before_a_time_reset_is_separate() -> None:
    camera = _Camera()
    camera.at = 100.0
    camera.settle(_boxes())
    plan = RegionPlan(_FRAME, camera.at - 0.1, (_WHOLE,))
    camera.planner.observe(_motion(), frame=_FRAME, at=0)
    found = [_detect(_boxes((100, 100, 130, 120)), region) for region in plan.regions]
    camera.planner.resolve(plan, found, _LABELS)
    new = camera.planner.plan(frame=_FRAME, at=0)
    result, _ = camera.planner.resolve(new, [_detect(_boxes(), region) for region in new.regions], _LABELS)
    assert len(result) == 0


# Where regions are


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_regions_cover_all_due_cells_with_at_most_the_tiles(data: st.DataObject) -> None:
    frame = (data.draw(st.integers(1, 2500)), data.draw(st.integers(1, 2500)))
    model_input = data.draw(st.sampled_from([(320, 320), (640, 384), (64, 256)]))
    tiling = data.draw(st.sampled_from([Tiling(2, 2), Tiling(None, None), Tiling(8, 8), Tiling(3, 1)]))
    grid = RegionGrid(frame, model_input=model_input, tiling=tiling)
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    density = data.draw(st.sampled_from([0.002, 0.02, 0.5]))
    needed = np.where(
        rng.random((grid.rows, grid.columns)) < density, rng.uniform(0.1, 4, (grid.rows, grid.columns)), 0
    )
    margin = data.draw(st.floats(0, 300))
    regions = grid.cover(needed, margin=margin, limit=1000)
    assert len(regions) <= max(1, len(grid.tiles))
    for region in regions:
        assert region.left >= 0
        assert region.top >= 0
        assert region.width >= 1
        assert region.height >= 1
        assert region.left + region.width <= frame[0]
        assert region.top + region.height <= frame[1]
        needed[grid.inside(region)] = 0
    assert not needed.any()


def test_cells_wider_than_the_overlap_of_tiles_are_covered() -> None:
    grid = RegionGrid((257, 603), model_input=(64, 256), tiling=Tiling(8, 8))
    needed = np.ones((grid.rows, grid.columns))
    for region in grid.cover(needed, margin=0, limit=1000):
        needed[grid.inside(region)] = 0
    assert not needed.any()


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_each_cell_is_inside_of_a_tile(data: st.DataObject) -> None:
    frame = (data.draw(st.integers(1, 4000)), data.draw(st.integers(1, 4000)))
    tiling = data.draw(st.sampled_from([Tiling(2, 2), Tiling(None, None), Tiling(8, 8), Tiling(3, 1)]))
    grid = RegionGrid(frame, model_input=_INPUT, tiling=tiling)
    margin = data.draw(st.floats(0, 500))
    outside = np.ones((grid.rows, grid.columns), dtype=np.bool_)
    for tile in grid.tiles or (grid.whole,):
        outside[grid.inside(tile, margin=margin)] = False
    assert not outside.any()
