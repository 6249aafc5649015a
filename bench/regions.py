"""Measure recall, precision and inferences of the whole frame, of tiles and of regions.

    python bench/regions.py                                   drawn scenes with known truth, a perfect detector
    python bench/regions.py --model bees-lite0 --only day     the same with a real model
    python bench/regions.py --model bees-lite0 --only day --plot day.svg   and a plot of it
    python bench/regions.py --model bees-lite0 --video hive.mp4   agreement with all tiles on a recording
    python bench/regions.py --model bees-lite0 --dataset hive     labelled images, each processed as a first frame
    python bench/regions.py --motion                          processor time of motion detection on one core

The perfect detector returns the truth inside a region, but for bees of which less than half is visible or that have
less than 8 pixels of the model's input: so results depend on which regions are processed, not on a model's weights.

Of a recording, the truth is not known: the detections of tiles are taken for it. A second row shows how far the model
agrees with itself: it is that of the same tiles, moved by 8 pixels.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import cv2
import matplotlib as mpl
import numpy as np
from beeagent.camera import open_camera
from beeagent.camera.synthetic.address import SceneOptions
from beeagent.camera.synthetic.scene import Scene
from beeagent.detection import Detections, Detector, Region, iou, parse_tiling
from beeagent.detection.motion import MotionDetector
from beeagent.detection.regions import RegionPlanner
from beeagent.detection.tiling import frame_regions, merge_regions
from beeagent_models.datasets import load_image, read_dataset
from beeagent_models.synthetic.boxes import visible_boxes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

_INPUT = (320, 320)
_MIN_SIDE_AT_INPUT = 8.0
_MIN_VISIBLE = 0.5
_MATCH_IOU = 0.5
_LABELS = ("bee",)
_BEES = (16, 28, 40)
"""Lengths of bees in pixels."""
_DAY = ((0, 0.1), (0, 0.1), (0, 0.1), (0, 0.2), (1, 0.4), (3, 0.7), (8, 0.9), (20, 1.0), (40, 1.0), (70, 1.1))
"""The parts of a day, from night to noon: number of bees and relative light."""
_MOVED = 8
"""Pixels by which tiles are moved, to measure how far a model agrees with itself."""

Pixels = NDArray[np.uint8]
Boxes = NDArray[np.float32]


class Sample(NamedTuple):
    """A frame; `truth` are the boxes in pixels, None if unknown."""

    pixels: Pixels
    at: float
    truth: Boxes | None

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return int(self.pixels.shape[1]), int(self.pixels.shape[0])


Scores = dict[str, "Score"]
Detect = Callable[[Sample, Region], Detections]
Change = Callable[[Pixels, int], Pixels]


@dataclass(slots=True)
class Score:
    """Accuracy and cost of the detections."""

    right: int = 0
    wrong: int = 0
    missed: int = 0
    inferences: int = 0
    frames: int = 0
    ranked: list[tuple[float, bool]] = field(default_factory=list)

    def add(self, detections: Detections, truth: Boxes, *, size: tuple[int, int], inferences: int) -> None:
        """Count one frame."""
        found = detections.xyxy(size)
        overlaps = iou(found[:, None], truth[None]) if len(found) and len(truth) else np.zeros((len(found), len(truth)))
        right = 0
        # By descending confidence, each to the best remaining box.
        for row, confidence in zip(overlaps, detections.confidences.tolist(), strict=True):
            matched = bool(row.size) and bool(row.max() >= _MATCH_IOU)
            if matched:
                overlaps[:, row.argmax()] = 0
                right += 1
            self.ranked.append((confidence, matched))
        self.right += right
        self.wrong += len(found) - right
        self.missed += len(truth) - right
        self.inferences += inferences
        self.frames += 1

    @property
    def recall(self) -> float:
        """Ratio of detected true boxes; NaN without true boxes."""
        return self.right / (self.right + self.missed) if self.right + self.missed else float("nan")

    @property
    def precision(self) -> float:
        """Ratio of correct detections; NaN without detections."""
        return self.right / (self.right + self.wrong) if self.right + self.wrong else float("nan")

    def recall_at(self, precision: float) -> float:
        """Return the recall at the lowest higher threshold with at least this precision; NaN without one."""
        right, best = 0, 0
        for count, (_, matched) in enumerate(sorted(self.ranked, reverse=True), start=1):
            right += matched
            if right >= precision * count:
                best = right
        return best / (self.right + self.missed) if self.ranked else float("nan")


def main() -> None:
    """Run the benchmark and print tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a bundle or a bundled model; without it, the perfect detector")
    parser.add_argument("--video", help="a recording, compared with all tiles; needs --model")
    parser.add_argument("--dataset", type=Path, help="labelled images, in any format that training reads")
    parser.add_argument("--images", type=int, default=60, help="number of images of the dataset, at even distances")
    parser.add_argument("--plot", type=Path, help="SVG or PNG file of the days to write")
    parser.add_argument("--only", help="only scenes whose name contains this")
    parser.add_argument("--tiles", default="2x2")
    parser.add_argument("--seconds", type=float, default=3.0, help="duration of each scene, and of each part of a day")
    parser.add_argument("--fps", type=float, default=10.0)
    parser.add_argument("--rate", type=float, help="maximum number of inferences per second")
    parser.add_argument("--motion", action="store_true", help="measure motion detection")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    if arguments.motion:
        _measure_motion(_scenes(seconds=arguments.seconds, fps=arguments.fps), only=arguments.only)
        return
    detector = None if arguments.model is None else Detector.load(arguments.model, tiles="none", threads=1)
    detect = _perfect if detector is None else _real(detector)
    model_input = _INPUT if detector is None else detector.input_size
    print(
        "| scene | recall: whole | tiles | tiles at that precision | regions | precision: tiles | regions "
        "| inferences | of those of tiles |"
    )
    print("|" + " --- |" * 9)
    if arguments.video:
        scenes = {Path(arguments.video).name: _video(arguments.video, seconds=arguments.seconds)}
    elif arguments.dataset:
        scenes = {arguments.dataset.stem: _images(arguments.dataset, count=arguments.images)}
    else:
        scenes = _scenes(seconds=arguments.seconds, fps=arguments.fps)
    days: dict[str, list[Scores]] = {}
    for name, samples in scenes.items():
        if arguments.only is not None and arguments.only not in name:
            continue
        planner = RegionPlanner(
            model_input=model_input, tiling=parse_tiling(arguments.tiles), max_inference_rate=arguments.rate
        )
        scores, by_part = _compare(
            samples, detect, planner, tiles=arguments.tiles, model_input=model_input, part_s=arguments.seconds
        )
        _print(name, scores)
        if name.startswith("day"):
            days[name] = by_part
    if arguments.plot:
        _plot(arguments.plot, days, title=arguments.model or "a perfect detector")


def _compare(  # noqa: PLR0913 - parameters of a comparison
    samples: Iterator[Sample],
    detect: Detect,
    planner: RegionPlanner,
    *,
    tiles: str,
    model_input: tuple[int, int],
    part_s: float,
) -> tuple[Scores, list[Scores]]:
    """Return the scores of the whole frame, of tiles and of regions, in total and per part of `part_s` seconds."""
    total, parts = _new_scores(), [_new_scores()]
    motion = MotionDetector()
    for sample in samples:
        frame = sample.size
        fixed = frame_regions(parse_tiling(tiles), frame=frame, model_input=model_input)
        found = [detect(sample, region) for region in fixed]
        merged = merge_regions(found, fixed, frame=frame)
        truth = merged.xyxy(frame) if sample.truth is None else sample.truth
        planner.observe(motion.update(sample.pixels, at=sample.at), frame=frame, at=sample.at)
        plan = planner.plan(frame=frame, at=sample.at)
        everything, _ = planner.resolve(plan, [detect(sample, region) for region in plan.regions], found[0].labels)
        results = {
            "whole": (found[0], 1),
            "tiles": (merged, len(fixed)),
            "regions": (everything, len(plan.regions)),
        }
        if sample.truth is None:
            moved = _moved(fixed, frame)
            results["moved"] = (
                merge_regions([detect(sample, region) for region in moved], moved, frame=frame),
                len(moved),
            )
        while len(parts) <= sample.at // part_s:
            parts.append(_new_scores())
        for scores in (total, parts[max(0, int(sample.at // part_s))]):
            for name, (detections, inferences) in results.items():
                scores[name].add(detections, truth, size=frame, inferences=inferences)
    return total, parts


def _new_scores() -> Scores:
    return {name: Score() for name in ("whole", "tiles", "regions", "moved")}


def _moved(regions: tuple[Region, ...], frame: tuple[int, int]) -> tuple[Region, ...]:
    """Return the whole frame, and its tiles moved towards the middle."""
    return regions[:1] + tuple(
        Region(
            min(region.left + _MOVED, max(0, frame[0] - region.width - _MOVED)),
            min(region.top + _MOVED, max(0, frame[1] - region.height - _MOVED)),
            region.width,
            region.height,
        )
        for region in regions[1:]
    )


def _print(name: str, scores: Scores) -> None:
    whole, tiles = scores["whole"], scores["tiles"]
    for suffix, chosen in (("", scores["regions"]), (", tiles moved", scores["moved"])):
        if chosen.frames:
            print(
                f"| {name}{suffix} | {whole.recall:.3f} | {tiles.recall:.3f} "
                f"| {tiles.recall_at(chosen.precision):.3f} | {chosen.recall:.3f} | {tiles.precision:.3f} "
                f"| {chosen.precision:.3f} | {chosen.inferences / chosen.frames:.2f} "
                f"| {chosen.inferences / tiles.inferences:.0%} |".replace("nan", ""),
                flush=True,
            )


def _plot(path: Path, days: dict[str, list[Scores]], *, title: str) -> None:
    figure = Figure(figsize=(10, 4), layout="constrained")
    FigureCanvasAgg(figure)
    cost, recall = figure.subplots(1, 2)
    parts = range(len(_DAY))
    for number, (name, by_part) in enumerate(days.items()):
        colour = f"C{number}"
        regions, tiles = ([scores[way] for scores in by_part[: len(_DAY)]] for way in ("regions", "tiles"))
        cost.plot(parts, [score.inferences / score.frames for score in regions], "o-", color=colour, label=name)
        recall.plot(parts, [score.recall for score in regions], "o-", color=colour, label=f"{name}: regions")
        recall.plot(parts, [score.recall for score in tiles], "s:", color=colour, label="tiles")
    cost.axhline(5, linestyle=":", color="grey", label="2x2 tiles and the whole frame")
    cost.axhline(2, linestyle="--", color="grey", label="40 % of that, the goal over the day")
    cost.set(ylabel="inferences per frame", ylim=(0, 5.3))
    recall.set(ylabel="recall", ylim=(0, 1.02))
    for axes in (cost, recall):
        axes.set_xticks(parts, [f"{bees}\n{light:.0%}" for bees, light in _DAY])
        axes.set_xlabel("part of the day: bees, light")
        axes.grid(visible=True, alpha=0.3)
        axes.legend(fontsize="x-small")
    figure.suptitle(title)
    mpl.rcParams["svg.hashsalt"] = "regions"
    figure.savefig(path, dpi=100, metadata={"Date": None} if path.suffix == ".svg" else None)


def _perfect(sample: Sample, region: Region) -> Detections:
    truth = np.empty((0, 4), dtype=np.float32) if sample.truth is None else sample.truth
    edges = np.array([region.left, region.top] * 2, dtype=np.float32)
    sides = np.array([region.width, region.height] * 2, dtype=np.float32)
    boxes = np.clip((truth - edges) / sides, 0, 1).astype(np.float32)
    visible = np.prod((boxes[:, 2:] - boxes[:, :2]) * sides[:2], axis=1)
    longer = (truth[:, 2:] - truth[:, :2]).max(axis=1, initial=0)
    at_input = longer / max(region.width / _INPUT[0], region.height / _INPUT[1])
    whole = np.prod(truth[:, 2:] - truth[:, :2], axis=1)
    boxes = boxes[(visible >= _MIN_VISIBLE * whole) & (at_input >= _MIN_SIDE_AT_INPUT)]
    return Detections(
        boxes, np.full(len(boxes), 0.9, dtype=np.float32), np.zeros(len(boxes), dtype=np.int64), labels=_LABELS
    )


def _real(detector: Detector) -> Detect:
    def detect(sample: Sample, region: Region) -> Detections:
        rows = slice(region.top, region.top + region.height)
        return detector.detect(sample.pixels[rows, region.left : region.left + region.width])

    return detect


def _scenes(*, seconds: float, fps: float) -> dict[str, Iterator[Sample]]:
    scenes: dict[str, Iterator[Sample]] = {}
    for size in ((1280, 720), (1920, 1080)):
        suffix = f", {size[0]}x{size[1]}"
        scenes["empty" + suffix] = _scene(size, (0, 0), seconds=seconds, fps=fps)
        for length in _BEES:
            scenes[f"few of {length} px" + suffix] = _scene(size, (2, 6), length=length, seconds=seconds, fps=fps)
        scenes["crowd of 28 px" + suffix] = _scene(size, (60, 70), seconds=seconds, fps=fps)
        for length in _BEES:
            scenes[f"day, {length} px" + suffix] = _day(size, length=length, seconds=seconds, fps=fps)
    for name, change in _changes((1280, 720)).items():
        scenes[f"few of 28 px, {name}"] = _scene((1280, 720), (2, 6), seconds=seconds, fps=fps, change=change)
    return scenes


def _scene(  # noqa: PLR0913 - parameters of a scene
    size: tuple[int, int],
    bees: tuple[int, int],
    *,
    length: float = 28,
    seconds: float,
    fps: float,
    change: Change = lambda pixels, _: pixels,
    start: float = 0.0,
) -> Iterator[Sample]:
    ratio = length / max(size)
    scene = Scene(SceneOptions(width=size[0], height=size[1], fps=fps, seed=3, bees=bees, bee_length=(ratio, ratio)))
    for index in range(round(seconds * fps)):
        image, placed = scene.draw()
        yield Sample(change(image, index), start + index / fps, visible_boxes(image.shape, placed))
        scene.advance()


def _day(size: tuple[int, int], *, length: float, seconds: float, fps: float) -> Iterator[Sample]:
    """Yield a day from night to noon in ten parts, with increasing light and number of bees."""
    for hour, (bees, light) in enumerate(_DAY):
        change, start = _dimmed(light), hour * seconds
        yield from _scene(size, (bees, bees), length=length, seconds=seconds, fps=fps, change=change, start=start)


def _dimmed(light: float) -> Change:
    rng = np.random.default_rng(0)

    def change(pixels: Pixels, _index: int) -> Pixels:
        noise = np.empty(pixels.shape, dtype=np.int16)
        cv2.randn(noise, 0, 5 if light < 0.3 else 1)
        noise = np.roll(noise, int(rng.integers(1000)))
        return np.asarray(cv2.add(cv2.convertScaleAbs(pixels, alpha=light), noise, dtype=cv2.CV_8U), dtype=np.uint8)

    return change


def _changes(size: tuple[int, int]) -> dict[str, Change]:
    """Return changes of the whole frame, while few bees move."""
    rng = np.random.default_rng(1)

    def shifted(pixels: Pixels, by: float) -> Pixels:
        matrix = np.array([[1, 0, rng.uniform(-by, by)], [0, 1, rng.uniform(-by, by)]])
        return np.asarray(cv2.warpAffine(pixels, matrix, size, borderMode=cv2.BORDER_REPLICATE), dtype=np.uint8)

    def light(pixels: Pixels, index: int) -> Pixels:
        return np.asarray(cv2.convertScaleAbs(pixels, alpha=0.7 + 0.4 * np.sin(index / 4)), dtype=np.uint8)

    def infrared(pixels: Pixels, index: int) -> Pixels:
        if index // 20 % 2 == 0:
            return pixels
        return np.asarray(cv2.merge([cv2.addWeighted(pixels[..., 2], 1.3, pixels[..., 0], -0.6, 60)] * 3), np.uint8)

    def rain(pixels: Pixels, _index: int) -> Pixels:
        pixels = pixels.copy()
        for x, y in zip(rng.integers(0, size[0], 300).tolist(), rng.integers(0, size[1], 300).tolist(), strict=True):
            cv2.line(pixels, (x, y), (x + 3, y + 25), (210, 210, 210), 1, cv2.LINE_AA)
        return pixels

    def everything(pixels: Pixels, index: int) -> Pixels:
        coarse = np.random.default_rng(index).integers(0, 256, (90, 160, 3), dtype=np.uint8)
        return np.asarray(cv2.addWeighted(pixels, 0.7, cv2.resize(coarse, size), 0.3, 0), dtype=np.uint8)

    return {
        "shaking by 2 px": lambda pixels, _: shifted(pixels, 2),
        "shaking by 12 px": lambda pixels, _: shifted(pixels, 12),
        "changing light": light,
        "infrared switching": infrared,
        "rain": rain,
        "everything moves": everything,
    }


def _video(path: str, *, seconds: float) -> Iterator[Sample]:
    with open_camera(path) as frames:
        for frame in frames:
            at = frame.position_s or 0.0
            if at > seconds:
                break
            yield Sample(frame.pixels, at, None)


def _images(path: Path, *, count: int) -> Iterator[Sample]:
    dataset = read_dataset(path)
    for index, image in enumerate(dataset.images[:: max(1, len(dataset.images) // count)]):
        # With decreasing times, each image is processed as a first frame.
        yield Sample(load_image(image), -float(index), image.boxes)


def _measure_motion(scenes: dict[str, Iterator[Sample]], *, only: str | None) -> None:
    print("| scene | median ms | 95 % ms | cells that move |")
    print("| --- | --- | --- | --- |")
    for name, samples in scenes.items():
        if only is not None and only not in name:
            continue
        detector, times, moving = MotionDetector(), [], []
        for sample in samples:
            began = time.process_time()
            moving.append(detector.update(sample.pixels, at=sample.at).moving.mean())
            times.append(1e3 * (time.process_time() - began))
        print(
            f"| {name} | {np.median(times):.2f} | {np.percentile(times, 95):.2f} | {np.mean(moving[1:]):.1%} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
