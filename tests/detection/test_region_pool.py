"""A detector pool with regions: the real model on moving parts, and carried-over detections elsewhere."""

from datetime import datetime, timezone

import numpy as np
import pytest
from beeagent import Frame, InputError
from beeagent.detection import (
    NO_MASKS,
    Detections,
    Detector,
    DetectorOptions,
    DetectorPool,
    Masks,
    Region,
    RegionOptions,
    Tiling,
    UncertaintyRange,
)
from beeagent.detection.pool import CANDIDATES
from numpy.typing import NDArray
from support.memory_bundle import bundle_of
from support.tiny_models import RED, square_finder

_SIDE = 512
_SQUARE = 48


def _pool(
    *,
    regions: RegionOptions | None,
    uncertainty: UncertaintyRange | None = None,
    candidates: bool = False,
    preview: bool = False,
) -> DetectorPool:
    options = DetectorOptions(threads=1, threshold=0.6, tiling=Tiling(4, 4))
    bundle = bundle_of(square_finder(max_detections=64), labels=("red",))
    return DetectorPool(
        bundle, options, size=1, uncertainty=uncertainty, regions=regions, candidates=candidates, preview=preview
    )


def _white() -> NDArray[np.uint8]:
    return np.full((_SIDE, _SIDE, 3), 255, dtype=np.uint8)


def _square(x: int, y: int = 200) -> NDArray[np.uint8]:
    pixels = _white()
    pixels[y : y + _SQUARE, x : x + _SQUARE] = RED
    return pixels


def _process(
    pool: DetectorPool, pixels: NDArray[np.uint8], *, at: float, masks: Masks = NO_MASKS
) -> tuple[Detections, Detections | None, int]:
    prepared = pool.choose_regions(pool.prepare(pixels, at=at, masks=masks))
    detections, unsure, *_ = pool.decode(pool.infer(0, prepared), prepared.layout, masks=masks)
    return detections, unsure, len(prepared.layout.regions)


def _in_square(detections: Detections, x: int, y: int = 200) -> NDArray[np.bool_]:
    boxes = detections.xyxy((_SIDE, _SIDE))
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    return np.asarray(((centres >= [x, y]) & (centres <= [x + _SQUARE, y + _SQUARE])).all(axis=1), dtype=np.bool_)


def test_a_moving_square_is_detected_in_every_frame_at_a_part_of_the_inferences() -> None:
    pool = _pool(regions=RegionOptions())
    costs = []
    for index in range(40):
        x = 30 + 10 * index
        detections, _, cost = _process(pool, _square(x), at=index / 10)
        costs.append(cost)
        if index >= 8:
            assert _in_square(detections, x).any()
            assert _in_square(detections, x).all()
    assert np.mean(costs[8:]) <= 6
    _, _, tiles = _process(_pool(regions=None), _square(30), at=0)
    assert tiles == 17


def test_a_square_at_rest_is_carried_over_where_nothing_is_processed() -> None:
    pool = _pool(regions=RegionOptions())
    costs = []
    for index in range(80):
        detections, _, cost = _process(pool, _square(100), at=index / 30)
        if index >= 40:
            costs.append(cost)
            assert _in_square(detections, 100).any()
    assert 0 in costs


def test_only_processed_regions_are_unsure() -> None:
    pool = _pool(regions=RegionOptions(), uncertainty=UncertaintyRange(0.3, 1.0))
    results = [_process(pool, _square(100), at=index / 30) for index in range(80)]
    assert any(unsure is not None for _, unsure, _ in results)
    assert all(unsure is None for _, unsure, cost in results if cost == 0)
    assert any(len(detections) and cost == 0 for detections, _, cost in results)


def test_the_maximum_inference_rate_is_kept() -> None:
    pool = _pool(regions=RegionOptions(max_inference_rate=10))
    costs = [_process(pool, _square(30 + 5 * index), at=index / 20)[2] for index in range(80)]
    assert sum(costs) <= 10 * 4 + 10
    assert max(sum(costs[start : start + 20]) for start in range(60)) <= 20


_LOWER_HALF = Masks((((0.0, 0.5), (1.0, 0.5), (1.0, 1.0), (0.0, 1.0)),))


def _flag_below(pixels: NDArray[np.uint8], index: int) -> NDArray[np.uint8]:
    """Wave a red flag in the lower half."""
    x = 300 + 40 * (index % 3)
    pixels[350 : 350 + _SQUARE, x : x + _SQUARE] = RED
    return pixels


def test_a_flag_in_a_mask_costs_nothing_and_is_no_detection() -> None:
    costs = {}
    for masks in (NO_MASKS, _LOWER_HALF):
        pool = _pool(regions=RegionOptions())
        results = [_process(pool, _flag_below(_white(), index), at=index / 30, masks=masks) for index in range(90)]
        costs[masks] = [cost for _, _, cost in results[45:]]
        assert any(len(detections) for detections, _, _ in results) == (not masks)
    still = _pool(regions=RegionOptions())
    resting = [_process(still, _white(), at=index / 30)[2] for index in range(90)][45:]
    assert sum(costs[_LOWER_HALF]) == sum(resting)
    assert sum(costs[NO_MASKS]) > sum(resting)


def test_mask_drops_unsure_detections_and_nothing_beside_it() -> None:
    pool = _pool(regions=RegionOptions(), uncertainty=UncertaintyRange(0.3, 1.0))
    for index in range(40):
        pixels = _flag_below(_square(30 + 5 * index, 100), index)
        detections, unsure, _ = _process(pool, pixels, at=index / 10, masks=_LOWER_HALF)
        if index >= 8:
            assert _in_square(detections, 30 + 5 * index, 100).all()
            assert len(detections)
        assert unsure is None or _in_square(unsure, 30 + 5 * index, 100).any()
    for index in range(40, 80):
        _, unsure, _ = _process(pool, _flag_below(_white(), index), at=index / 10, masks=_LOWER_HALF)
        assert index < 50 or unsure is None


def test_objects_in_a_mask_that_is_new_are_forgotten_at_once() -> None:
    pool = _pool(regions=RegionOptions())
    for index in range(40):
        detections, _, _ = _process(pool, _square(100, 400), at=index / 30)
    assert _in_square(detections, 100, 400).any()
    detections, _, _ = _process(pool, _square(100, 400), at=40 / 30, masks=_LOWER_HALF)
    assert len(detections) == 0


def test_regions_of_a_dropped_frame_are_chosen_again() -> None:
    pool = _pool(regions=RegionOptions())
    for index in range(60):
        _process(pool, _white(), at=index / 10)
    pool.prepare(_square(100), at=6.0)  # replaced in the queue by the next
    prepared = pool.choose_regions(pool.prepare(_white(), at=6.1))
    assert any(_holds(region, 100, 200) for region in prepared.layout.regions if region.width < _SIDE)


def test_without_regions_all_of_a_frame_is_processed() -> None:
    pool = _pool(regions=None)
    for at in (0.0, 0.1, 0.2):
        prepared = pool.prepare(_square(100), at=at)
        assert pool.choose_regions(prepared) is prepared
        assert len(prepared.layout.regions) == 17


def _holds(region: Region, x: int, y: int) -> bool:
    right, bottom = region.left + region.width, region.top + region.height
    return region.left <= x and region.top <= y and x + _SQUARE <= right and y + _SQUARE <= bottom


def test_detect_stream_matches_the_pool() -> None:
    pool = _pool(regions=RegionOptions(max_inference_rate=40))
    options = DetectorOptions(threads=1, threshold=0.6, tiling=Tiling(4, 4))
    detector = Detector(bundle_of(square_finder(max_detections=64), labels=("red",)), options)
    now = datetime.now(timezone.utc)
    frames = [Frame(_square(30 + 10 * index), now, 0, index, "hive.mp4", index / 10) for index in range(40)]
    stream = detector.detect_stream(iter(frames), max_inference_rate=40)
    for index, (frame, detections) in enumerate(stream):
        assert frame is frames[index]
        expected, _, _ = _process(pool, frame.pixels, at=frame.at_s)
        np.testing.assert_array_equal(detections.boxes, expected.boxes)
        np.testing.assert_array_equal(detections.confidences, expected.confidences)
    assert index == 39
    assert len(detections)


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan")])
def test_an_inference_rate_that_is_not_above_zero_is_refused_at_once(rate: float) -> None:
    detector = Detector(bundle_of(square_finder(), labels=("red",)), DetectorOptions(threads=1))
    with pytest.raises(InputError, match="max_inference_rate is"):
        detector.detect_stream([], max_inference_rate=rate)


def test_candidates_include_detections_below_the_threshold() -> None:
    pixels = _white()
    for x, red in ((0, 255), (100, 110), (200, 50)):  # the model's scores: 1, 0.43 and 0.2
        pixels[200 : 200 + _SQUARE, x : x + _SQUARE] = (0, 0, red)
    plain, tracking = _pool(regions=None), _pool(regions=None, candidates=True)
    decoded = {}
    for pool in (plain, tracking):
        prepared = pool.choose_regions(pool.prepare(pixels, at=0.0))
        decoded[pool] = pool.decode(pool.infer(0, prepared), prepared.layout)
    alone, both = decoded[plain], decoded[tracking]
    assert (alone.unsure, both.unsure) == (None, None)
    np.testing.assert_array_equal(alone.candidates.boxes, alone.detections.boxes)
    np.testing.assert_array_equal(both.detections.boxes, alone.detections.boxes)
    count = len(both.detections)
    np.testing.assert_array_equal(both.candidates.boxes[:count], both.detections.boxes)
    lower = both.candidates.confidences[count:]
    assert len(lower) > 0
    assert (lower < 0.6).all()
    assert (lower >= 0.6 * CANDIDATES - 1e-6).all()


@pytest.mark.parametrize("uncertainty", [None, UncertaintyRange(0.4, 0.9)])
def test_preview_with_regions_has_weak_detections_that_nothing_follows(uncertainty: UncertaintyRange | None) -> None:
    """The detections, candidates and regions are those without a preview."""
    plain, previewing = (
        _pool(regions=RegionOptions(), candidates=True, uncertainty=uncertainty, preview=preview)
        for preview in (False, True)
    )
    weak_frames = 0
    for index in range(12):
        pixels = _square(30 + 10 * index)
        pixels[400 : 400 + _SQUARE, 300 : 300 + _SQUARE] = (0, 0, 110)  # the model's score is 0.43
        decoded, regions = [], []
        for pool in (plain, previewing):
            prepared = pool.choose_regions(pool.prepare(pixels, at=index / 10))
            regions.append(prepared.layout.regions)
            decoded.append(pool.decode(pool.infer(0, prepared), prepared.layout))
        alone, both = decoded
        assert regions[0] == regions[1]
        for one, other in ((alone.detections, both.detections), (alone.candidates, both.candidates)):
            np.testing.assert_array_equal(one.boxes, other.boxes)
            np.testing.assert_array_equal(one.confidences, other.confidences)
        assert (alone.unsure is None) == (both.unsure is None)
        np.testing.assert_array_equal(alone.preview.boxes, alone.detections.boxes)
        count = len(both.detections)
        np.testing.assert_array_equal(both.preview.boxes[:count], both.detections.boxes)
        weak = both.preview.confidences[count:]
        assert ((weak < 0.6) & (weak >= 0.6 * CANDIDATES - 1e-6)).all()
        weak_frames += bool(_in_square(both.preview, 300, 400)[count:].any())
    assert weak_frames > 0
    assert previewing.has_regions
    assert previewing.lowest == pytest.approx(0.6 * CANDIDATES)
    assert plain.lowest == 0.6


def test_preview_with_regions_has_nothing_in_masks() -> None:
    pixels = _white()
    pixels[200 : 200 + _SQUARE, 200 : 200 + _SQUARE] = (0, 0, 110)
    mask = Masks((((0.3, 0.3), (0.6, 0.3), (0.6, 0.6), (0.3, 0.6)),))
    weak = {NO_MASKS: 0, mask: 0}
    for masks in weak:
        pool = _pool(regions=RegionOptions(), preview=True)
        for index in range(12):
            prepared = pool.choose_regions(pool.prepare(pixels, at=index / 10))
            weak[masks] += len(pool.decode(pool.infer(0, prepared), prepared.layout, masks=masks).preview)
    assert weak[NO_MASKS] > 0
    assert weak[mask] == 0
