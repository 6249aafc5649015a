"""Measure the value of a second opinion on labelled images: precision, recall and bytes sent at several budgets.

    python bench/second_opinion.py worth models/bees-lite0 DATA --oracle labels --oracle BUNDLE@2x2@0.5 --plot worth.svg
    python bench/second_opinion.py collect models/bees-lite0 DATA --oracle BUNDLE@2x2@0.5 --out kept

An oracle replaces the cloud model: a model bundle, with `@2x2` also on these tiles, with `@2x2@0.5` at this threshold;
or `labels`, the labels themselves, for a perfect cloud model. A budget is a share of the uncertain images; a random
selection of them is sent, and each figure is the mean over the selections. `collect` keeps the uncertain images with
both results as `beeagent --collect` does, for `beeagent train`.
"""

import argparse
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

import matplotlib as mpl
import numpy as np
from beeagent.camera import Frame, encode_jpeg
from beeagent.cloud import Collection, EdgeResult
from beeagent.detection import (
    Detections,
    Detector,
    DetectorOptions,
    ModelBundle,
    UncertaintyRange,
    parse_tiling,
    uncertainty_range,
)
from beeagent_models.datasets.dataset import Dataset, LabelledImage
from beeagent_models.datasets.image_files import load_image
from beeagent_models.datasets.reading import merge_datasets, parse_source, read_dataset
from beeagent_models.evaluation.coco_metrics import coco_metrics
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

_BUDGETS = (0.0, 0.05, 0.1, 0.25, 0.5, 1.0)
_LONGEST_SIDE, _QUALITY = 1280, 85  # as the agent's settings have them

Oracle = Callable[[LabelledImage], Detections]


@dataclass(frozen=True, slots=True)
class Edge:
    """The detections of the device's model in the images."""

    model: str
    dataset: Dataset
    threshold: float
    band: UncertaintyRange
    found: tuple[Detections, ...]

    @property
    def unsure(self) -> list[int]:
        """Indices of the uncertain images."""
        return [index for index, found in enumerate(self.found) if self.band.contains_any(found)]


@dataclass(frozen=True, slots=True)
class Row:
    """The figures of a budget."""

    budget: float
    calls: int
    precision: float
    recall: float
    megabytes: float

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        return 2 * self.precision * self.recall / max(self.precision + self.recall, 1e-9)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("worth", "collect"))
    parser.add_argument("bundle", type=Path)
    parser.add_argument("data", nargs="+", metavar="DATA[=LABELS]")
    parser.add_argument("--oracle", required=True, action="append", metavar="labels|BUNDLE[@TILES[@THRESHOLD]]")
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    edge = _edge(arguments.bundle, arguments.data, threads=arguments.threads)
    oracles = {name: _oracle(name, edge.dataset.labels, threads=arguments.threads) for name in arguments.oracle}
    if arguments.what == "collect":
        _collect(edge, next(iter(oracles.values())), arguments.out)
        return
    print(
        f"{edge.dataset.name}: {len(edge.dataset.images)} images; edge threshold {edge.threshold:.3f}, unsure from "
        f"{edge.band.low:.2f} to {edge.band.high:.2f}: {len(edge.unsure)} images"
    )
    worth = {name: _worth(edge, oracle, draws=arguments.draws) for name, oracle in oracles.items()}
    for name, rows in worth.items():
        _print(name, rows)
    if arguments.plot is not None:
        _plot(edge, worth, arguments.plot)


def _edge(path: Path, data: Sequence[str], *, threads: int) -> Edge:
    bundle = ModelBundle.load(path)
    sources = [parse_source(source) for source in data]
    dataset = merge_datasets([read_dataset(folder, labels=labels) for folder, labels in sources])
    band = uncertainty_range(bundle, threshold=bundle.threshold)
    low = min(band.low, bundle.threshold)
    detector = Detector(bundle, DetectorOptions(threads=threads, threshold=low))
    found = tuple(detector.detect(load_image(image)) for image in dataset.images)
    return Edge(bundle.identity, dataset, bundle.threshold, band, found)


def _oracle(name: str, labels: tuple[str, ...], *, threads: int) -> Oracle:
    if name == "labels":
        return partial(_by_labels, labels)
    path, tiles, threshold = (*name.split("@"), "", "")[:3]
    bundle = ModelBundle.load(Path(path))
    detector = Detector(
        bundle,
        DetectorOptions(
            threads=threads,
            threshold=float(threshold) if threshold else bundle.threshold,
            tiling=parse_tiling(tiles or "none"),
        ),
    )
    return lambda image: detector.detect(load_image(image))


def _by_labels(labels: tuple[str, ...], image: LabelledImage) -> Detections:
    size = np.array([image.width, image.height] * 2, np.float32)
    return Detections(np.clip(image.boxes / size, 0, 1), np.ones(len(image.boxes), np.float32), image.class_ids, labels)


def _worth(edge: Edge, oracle: Oracle, *, draws: int) -> list[Row]:
    answers = {index: oracle(edge.dataset.images[index]) for index in edge.unsure}
    sizes = {
        index: len(encode_jpeg(load_image(edge.dataset.images[index]), longest_side=_LONGEST_SIDE, quality=_QUALITY))
        for index in edge.unsure
    }
    generator = np.random.default_rng(0)
    orders = [[int(index) for index in generator.permutation(edge.unsure)] for _ in range(draws)]
    rows = []
    for budget in _BUDGETS:
        calls = math.ceil(budget * len(edge.unsure))
        # If all or none are sent, every selection is the same.
        drawn = [frozenset(order[:calls]) for order in (orders if 0 < calls < len(edge.unsure) else orders[:1])]
        precision, recall = np.mean([_figures(edge, answers, chosen) for chosen in drawn], axis=0).tolist()
        sent = float(np.mean([sum(sizes[index] for index in chosen) for chosen in drawn]))
        rows.append(Row(budget, calls, precision, recall, sent / 1e6))
    return rows


def _figures(edge: Edge, answers: Mapping[int, Detections], sent: frozenset[int]) -> tuple[float, float]:
    """Return precision and recall at IoU 0.5."""
    detections = [
        answers[index] if index in sent else found.at_least(edge.threshold) for index, found in enumerate(edge.found)
    ]
    matches = coco_metrics(edge.dataset, detections).matches
    hits = sum(int(match.hits.sum()) for match in matches)
    truths = sum(len(match.matched_confidence) for match in matches)
    return hits / max(1, sum(int(match.scored.sum()) for match in matches)), hits / truths


def _print(name: str, rows: Sequence[Row]) -> None:
    print(f"\noracle: {name}\n")
    print("| uncertain frames sent | calls | sent | precision | recall | F1 |")
    print("| --- | --- | --- | --- | --- | --- |")
    for row in rows:
        print(
            f"| {row.budget:.0%} | {row.calls} | {row.megabytes:.1f} MB | {row.precision:.3f} | {row.recall:.3f} | "
            f"{row.f1:.3f} |"
        )


def _plot(edge: Edge, worth: Mapping[str, Sequence[Row]], path: Path) -> None:
    mpl.rcParams["svg.hashsalt"] = "beeagent"  # the same figures make the same file
    figure = Figure(figsize=(4.5 * len(worth), 3.8), layout="constrained")
    FigureCanvasAgg(figure)
    for place, (name, rows) in enumerate(worth.items(), start=1):
        axes = figure.add_subplot(1, len(worth), place)
        shares = [row.budget * 100 for row in rows]
        axes.plot(shares, [row.precision for row in rows], "o-", color="#0072B2", label="precision")
        axes.plot(shares, [row.recall for row in rows], "s-", color="#D55E00", label="recall")
        axes.set(xlabel="uncertain frames sent, %", ylim=(0, 1.02), title=f"oracle: {Path(name).name}")
        axes.grid(visible=True, alpha=0.3)
        axes.legend(loc="lower right")
    figure.suptitle(f"{edge.model} on {len(edge.dataset.images)} images, IoU 0.5")
    figure.savefig(path, dpi=120, metadata={"Date": None} if path.suffix == ".svg" else None)


def _collect(edge: Edge, oracle: Oracle, folder: Path) -> None:
    collection = Collection(folder, megabytes=1000, longest_side=_LONGEST_SIDE, quality=_QUALITY, origin="bench/oracle")
    for index in edge.unsure:
        image = edge.dataset.images[index]
        frame = Frame(load_image(image), datetime.now(timezone.utc), 0, index, image.path.name)
        found = edge.found[index]
        above_threshold = len(found.at_least(edge.threshold))
        collection.add(frame, EdgeResult(found, above_threshold, edge.model), oracle(image))
        if collection.fault is not None:
            raise SystemExit(collection.fault)
    collection.close()
    kept = collection.counts
    print(f"{kept.pictures} of {len(edge.dataset.images)} images kept, {kept.megabytes:.1f} MB")


if __name__ == "__main__":
    main()
