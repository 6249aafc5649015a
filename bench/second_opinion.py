"""What a second opinion is worth, on labelled pictures: precision and recall at several budgets, what was sent.

    python bench/second_opinion.py worth models/bees-lite0 DATA --stand-in BUNDLE --plot worth.svg
    python bench/second_opinion.py collect models/bees-lite0 DATA --stand-in BUNDLE --out kept

In the cloud's place stands another model bundle, which may look at tiles (`--stand-in-tiles`), or with
`--stand-in labels` the labels themselves: what a cloud model that is always right would be worth. `worth` asks about
the first unsure pictures up to each budget, in an order drawn from `--seed`, as an agent does whose budget ends.
`collect` keeps the unsure pictures with both answers as `beeagent --collect` does, for `beeagent train`.
"""

import argparse
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
from beeagent.detection.band import Band, chosen_band
from beeagent.detection.bundle import load_bundle
from beeagent.detection.detections import Detections
from beeagent.detection.detector import DetectorOptions
from beeagent.detection.tiled import TiledDetector
from beeagent.detection.tiles import parse_tiling
from beeagent.fallback.collection import Collection
from beeagent.fallback.picture import jpeg_within
from beeagent.frames.frame import Frame
from beeagent_models.coco_metrics import coco_metrics
from beeagent_models.datasets.dataset import Dataset, LabelledImage
from beeagent_models.datasets.reading import merge_datasets, parse_source, read_dataset
from beeagent_models.evaluation import read_picture
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

_BUDGETS = (0.0, 0.05, 0.1, 0.25, 0.5, 1.0)
_LONGEST_SIDE, _QUALITY = 1280, 85  # as the agent's settings have them

StandIn = Callable[[LabelledImage], Detections]


@dataclass(frozen=True, slots=True)
class Edge:
    """What the device's model makes of the pictures."""

    dataset: Dataset
    threshold: float
    band: Band
    found: tuple[Detections, ...]

    @property
    def unsure(self) -> list[int]:
        """Which pictures it would ask about."""
        return [index for index, found in enumerate(self.found) if self.band.holds(found)]


@dataclass(frozen=True, slots=True)
class Row:
    """What a budget leads to."""

    asked: int
    precision: float
    recall: float
    megabytes: float

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        return 2 * self.precision * self.recall / max(self.precision + self.recall, 1e-9)


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("worth", "collect"))
    parser.add_argument("bundle", type=Path)
    parser.add_argument("data", nargs="+", metavar="DATA[=LABELS]")
    parser.add_argument("--stand-in", required=True, metavar="BUNDLE|labels")
    parser.add_argument("--stand-in-tiles", default="none")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    edge = _edge(arguments.bundle, arguments.data)
    stand_in = _stand_in(arguments.stand_in, arguments.stand_in_tiles)
    if arguments.what == "collect":
        _collect(edge, stand_in, arguments.out)
        return
    rows = _worth(edge, stand_in, seed=arguments.seed)
    _print(edge, rows)
    if arguments.plot is not None:
        _plot(edge, rows, arguments.plot, stand_in=arguments.stand_in)


def _edge(path: Path, data: Sequence[str]) -> Edge:
    bundle = load_bundle(path)
    sources = [parse_source(source) for source in data]
    dataset = merge_datasets([read_dataset(folder, labels=labels) for folder, labels in sources])
    band = chosen_band(bundle, threshold=bundle.threshold)
    low = min(band.low, bundle.threshold)
    detector = TiledDetector(bundle, DetectorOptions(threads=2, threshold=low), parse_tiling("none"))
    found = tuple(detector.detect(read_picture(image)) for image in dataset.images)
    return Edge(dataset, bundle.threshold, band, found)


def _stand_in(name: str, tiles: str) -> StandIn:
    if name == "labels":
        return _by_labels
    bundle = load_bundle(Path(name))
    detector = TiledDetector(bundle, DetectorOptions(threads=2, threshold=bundle.threshold), parse_tiling(tiles))
    return lambda image: detector.detect(read_picture(image))


def _by_labels(image: LabelledImage) -> Detections:
    size = np.array([image.width, image.height] * 2, np.float32)
    count = len(image.boxes)
    return Detections(
        np.clip(image.boxes / size, 0, 1), np.ones(count, np.float32), np.zeros(count, np.int64), ("bee",)
    )


def _worth(edge: Edge, stand_in: StandIn, *, seed: int) -> list[Row]:
    images = edge.dataset.images
    order = list(np.random.default_rng(seed).permutation(edge.unsure))
    answers = {index: stand_in(images[index]) for index in order}
    sizes = {
        index: len(jpeg_within(read_picture(images[index]), longest_side=_LONGEST_SIDE, quality=_QUALITY))
        for index in order
    }
    rows = []
    for budget in _BUDGETS:
        asked = set(order[: math.ceil(budget * len(images))])
        told = [
            answers[index] if index in asked else found.from_confidence(edge.threshold)
            for index, found in enumerate(edge.found)
        ]
        matches = coco_metrics(edge.dataset, told).matches
        hits = sum(int(match.hits.sum()) for match in matches)
        truths = sum(len(image.boxes) for image in images)
        rows.append(
            Row(
                asked=len(asked),
                precision=hits / max(1, sum(map(len, told))),
                recall=hits / truths,
                megabytes=sum(sizes[index] for index in asked) / 1e6,
            )
        )
    return rows


def _print(edge: Edge, rows: Sequence[Row]) -> None:
    count = len(edge.dataset.images)
    print(
        f"{edge.dataset.name}: {count} pictures; edge threshold {edge.threshold:.3f}, unsure from {edge.band.low:.2f} "
        f"to {edge.band.high:.2f}: {len(edge.unsure)} pictures\n"
    )
    print("| budget | pictures asked about | precision | recall | F1 | sent |")
    print("| --- | --- | --- | --- | --- | --- |")
    for budget, row in zip(_BUDGETS, rows, strict=True):
        print(
            f"| {budget:.0%} | {row.asked} | {row.precision:.3f} | {row.recall:.3f} | {row.f1:.3f} | "
            f"{row.megabytes:.1f} MB |"
        )


def _plot(edge: Edge, rows: Sequence[Row], path: Path, *, stand_in: str) -> None:
    figure = Figure(figsize=(6, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    shares = [row.asked / len(edge.dataset.images) * 100 for row in rows]
    axes.plot(shares, [row.precision for row in rows], "o-", color="#0072B2", label="precision")
    axes.plot(shares, [row.recall for row in rows], "s-", color="#D55E00", label="recall")
    axes.set(
        xlabel="pictures asked about, %",
        ylim=(0, 1.02),
        title=f"{len(edge.dataset.images)} pictures, IoU 0.5; in the cloud's place: {Path(stand_in).name}",
    )
    axes.grid(visible=True, alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=120, metadata={"Date": None} if path.suffix == ".svg" else None)


def _collect(edge: Edge, stand_in: StandIn, folder: Path) -> None:
    collection = Collection(
        folder, megabytes=1000, longest_side=_LONGEST_SIDE, quality=_QUALITY, origin="bench/stand-in"
    )
    for index in edge.unsure:
        image = edge.dataset.images[index]
        frame = Frame(read_picture(image), datetime.now(timezone.utc), 0, index, image.path.name)
        collection.keep(frame, edge.found[index], stand_in(image))
        if collection.fault is not None:
            raise SystemExit(collection.fault)
    collection.close()
    print(f"{collection.pictures} of {len(edge.dataset.images)} pictures kept, {collection.megabytes:.1f} MB")


if __name__ == "__main__":
    main()
