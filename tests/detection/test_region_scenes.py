"""Motion and regions on synthetic frames: difficult scenes cost inferences, not detections.

The model is perfect but for its resolution, so that a bee is missed only where no region shows it large enough.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import cv2
import numpy as np
import pytest
from beeagent.camera.synthetic.address import SceneOptions
from beeagent.camera.synthetic.scene import Scene
from beeagent.detection import Detections, Region, Tiling, iou
from beeagent.detection.motion import MotionDetector
from beeagent.detection.regions import RegionPlanner
from beeagent.detection.tiling import frame_regions, merge_regions
from numpy.typing import NDArray
from support.scene_frame import render

Pixels = NDArray[np.uint8]
Boxes = NDArray[np.float32]
Change = Callable[[Pixels, int, np.random.Generator], Pixels]

_SIZE = (640, 360)
_INPUT = (160, 160)
_FPS = 10
_FRAMES = 40
_MIN_SIDE = 8.0
"""Pixels of the model's input that a bee needs: 20 of the frame in a tile, 32 in the whole frame."""
_TILING = Tiling(2, 2)


@dataclass
class _Recall:
    found: int = 0
    bees: int = 0
    wrong: int = 0
    costs: list[int] = field(default_factory=list)

    def add(self, detections: Detections, truth: Boxes, *, cost: int) -> None:
        boxes = detections.xyxy(_SIZE)
        same = iou(boxes[:, None], truth[None]) >= 0.5
        self.found += int(same.any(axis=0).sum())
        self.bees += len(truth)
        self.wrong += int((~same.any(axis=1)).sum())
        self.costs.append(cost)

    @property
    def ratio(self) -> float:
        return self.found / self.bees


def _detect(truth: Boxes, region: Region) -> Detections:
    edges = np.array([region.left, region.top] * 2, dtype=np.float32)
    sides = np.array([region.width, region.height] * 2, dtype=np.float32)
    boxes = np.clip((truth - edges) / sides, 0, 1).astype(np.float32)
    visible = np.prod((boxes[:, 2:] - boxes[:, :2]) * sides[:2], axis=1) / np.prod(truth[:, 2:] - truth[:, :2], axis=1)
    shrink = max(region.width / _INPUT[0], region.height / _INPUT[1])
    boxes = boxes[(visible >= 0.5) & ((truth[:, 2:] - truth[:, :2]).max(axis=1) >= _MIN_SIDE * shrink)]
    return Detections(boxes, np.full(len(boxes), 0.9, dtype=np.float32), np.zeros(len(boxes), dtype=np.int64), ("bee",))


def _scene(bees: int, *, length: float = 26, frames: int = _FRAMES) -> Iterator[tuple[Pixels, Boxes]]:
    ratio = length / max(_SIZE)
    options = SceneOptions(
        width=_SIZE[0], height=_SIZE[1], fps=_FPS, seed=4, bees=(bees, bees), bee_length=(ratio, ratio)
    )
    scene = Scene(options)
    for _ in range(frames):
        drawn = render(scene)
        yield drawn.pixels, np.asarray(drawn.boxes, dtype=np.float32).reshape(-1, 4)
        scene.advance()


def _compare(
    frames: Iterator[tuple[Pixels, Boxes]], change: Change, *, max_inference_rate: float | None = None
) -> dict[str, _Recall]:
    rng = np.random.default_rng(0)
    motion = MotionDetector()
    planner = RegionPlanner(model_input=_INPUT, tiling=_TILING, max_inference_rate=max_inference_rate)
    recalls = {"whole": _Recall(), "tiles": _Recall(), "regions": _Recall()}
    fixed = frame_regions(_TILING, frame=_SIZE, model_input=_INPUT)
    for index, (pixels, truth) in enumerate(frames):
        at = index / _FPS
        found = [_detect(truth, region) for region in fixed]
        planner.observe(motion.update(change(pixels, index, rng), at=at), frame=_SIZE, at=at)
        plan = planner.plan(frame=_SIZE, at=at)
        result, _ = planner.resolve(plan, [_detect(truth, region) for region in plan.regions], ("bee",))
        recalls["whole"].add(found[0], truth, cost=1)
        recalls["tiles"].add(merge_regions(found, fixed, frame=_SIZE), truth, cost=len(fixed))
        recalls["regions"].add(result, truth, cost=len(plan.regions))
    return recalls


def _same(pixels: Pixels, _index: int, _rng: np.random.Generator) -> Pixels:
    return pixels


def _shaking(by: float) -> Change:
    def change(pixels: Pixels, _index: int, rng: np.random.Generator) -> Pixels:
        matrix = np.array([[1, 0, rng.uniform(-by, by)], [0, 1, rng.uniform(-by, by)]])
        return np.asarray(cv2.warpAffine(pixels, matrix, _SIZE, borderMode=cv2.BORDER_REPLICATE), dtype=np.uint8)

    return change


def _light(pixels: Pixels, index: int, _rng: np.random.Generator) -> Pixels:
    return np.asarray(cv2.convertScaleAbs(pixels, alpha=0.7 + 0.4 * np.sin(index / 4)), dtype=np.uint8)


def _infrared(pixels: Pixels, index: int, _rng: np.random.Generator) -> Pixels:
    if index // 10 % 2 == 0:
        return pixels
    return np.asarray(cv2.merge([255 - cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY)] * 3), dtype=np.uint8)


def _rain(pixels: Pixels, _index: int, rng: np.random.Generator) -> Pixels:
    pixels = pixels.copy()
    for x, y in rng.integers(0, _SIZE, (150, 2)).tolist():
        cv2.line(pixels, (x, y), (x + 2, y + 15), (210, 210, 210), 1, cv2.LINE_AA)
    return pixels


def _everything(pixels: Pixels, index: int, _rng: np.random.Generator) -> Pixels:
    coarse = np.random.default_rng(index).integers(0, 256, (45, 80, 3), dtype=np.uint8)
    return np.asarray(cv2.addWeighted(pixels, 0.6, cv2.resize(coarse, _SIZE), 0.4, 0), dtype=np.uint8)


_DISTURBANCES: dict[str, Change] = {
    "none": _same,
    "a camera that shakes": _shaking(1),
    "a camera that shakes strongly": _shaking(6),
    "light that changes": _light,
    "infrared switching": _infrared,
    "rain": _rain,
    "everything moves": _everything,
}


@pytest.mark.parametrize("name", _DISTURBANCES)
def test_few_bees_are_found_as_by_tiles_at_less_cost(name: str) -> None:
    recalls = _compare(_scene(4), _DISTURBANCES[name])
    assert recalls["tiles"].ratio >= 0.9  # or the scene would show nothing
    assert recalls["whole"].ratio <= 0.2
    assert recalls["regions"].ratio >= recalls["tiles"].ratio - 0.03
    assert recalls["regions"].wrong <= 0.03 * recalls["regions"].bees
    assert max(recalls["regions"].costs) <= 3
    assert np.mean(recalls["regions"].costs) <= 0.6 * 5


@pytest.mark.parametrize("max_inference_rate", [None, float(_FPS)])
def test_while_everything_moves_regions_are_no_worse_than_the_whole_frame(max_inference_rate: float | None) -> None:
    recalls = _compare(_scene(6, length=44), _everything, max_inference_rate=max_inference_rate)
    assert recalls["whole"].ratio >= 0.9
    assert recalls["regions"].ratio >= recalls["whole"].ratio - 0.03
    if max_inference_rate is not None:
        assert sum(recalls["regions"].costs) <= max_inference_rate * (1 + _FRAMES / _FPS)


def test_a_still_crowd_is_not_forgotten_and_costs_less_than_tiles() -> None:
    (frame,) = _scene(40, frames=1)
    recalls = _compare(iter([frame] * 100), _same)
    assert recalls["regions"].ratio >= recalls["tiles"].ratio - 0.01
    assert recalls["regions"].wrong == 0
    assert np.mean(recalls["regions"].costs) <= 0.2 * 5


def test_an_empty_board_costs_a_tenth_of_tiles() -> None:
    recalls = _compare(_scene(0, frames=80), _same)
    assert np.mean(recalls["regions"].costs) <= 0.1 * 5
