"""Formats the metrics of a comparison, and builds tables for the terminal."""

from typing import Final

from beeagent.output import shown
from rich.console import Group
from rich.table import Table
from rich.text import Text

from beeagent_models.comparison.comparison import ARTICLE, Agreement, Comparison, Contender, Reference
from beeagent_models.comparison.contenders import Kind
from beeagent_models.datasets import Dataset

_UNKNOWN: Final = "-"

KIND_NAMES: Final[dict[Kind, str]] = {
    "device": "device",
    "messages": "messages",
    "answers": "cloud, stored",
    "cloud": "cloud",
}


def dataset_size(dataset: Dataset) -> str:
    """Return the numbers of images and boxes as text."""
    images, boxes = len(dataset.images), sum(len(image.boxes) for image in dataset.images)
    return f"{images:,} image{'' if images == 1 else 's'}, {boxes:,} box{'' if boxes == 1 else 'es'}"


def metric_cells(contender: Contender) -> tuple[str, ...]:
    """Return AP50, AP, threshold, precision, recall, F1, milliseconds, bytes sent, and US dollars per 1,000 images."""
    point, metrics = contender.evaluation.point, contender.evaluation.metrics
    time, price = contender.milliseconds, contender.price
    figures = (metrics.ap50, metrics.ap, point.threshold, point.precision, point.recall, point.f1)
    return (
        *(f"{value:.3f}" for value in figures),
        _UNKNOWN if time is None else f"{time:.1f}" if time < 100 else f"{time:,.0f}",
        f"{contender.sent:,.0f}",
        _UNKNOWN if price is None else "0" if price == 0 else f"{price:,.2f}",
    )


def reference_cells(one: Reference, *, unknown: str = _UNKNOWN) -> tuple[str, ...]:
    """Return the same cells for a model of the article."""
    return (*[unknown] * 3, f"{one.precision:.3f}", f"{one.recall:.3f}", f"{one.f1:.3f}", *[unknown] * 3)


def agreement_cells(pair: Agreement) -> tuple[str, ...]:
    """Return boxes by both, by the first alone, by the second alone and by neither, share, and unmatched detections."""
    counts = (pair.both, pair.first_alone, pair.second_alone, pair.neither)
    return (*(f"{count:,}" for count in counts), f"{100 * pair.share:.0f} %", f"{int(pair.apart.sum()):,}")


def comparison_table(comparison: Comparison, *, limit: int) -> Group:
    """Return rich tables for a terminal.

    Args:
        comparison: the comparison.
        limit: maximum number of images with disagreement to list.
    """
    parts: list[Table | Text] = [_figures(comparison), Text(), _agreement(comparison)]
    disputed = comparison.most_apart(limit)
    if disputed:
        parts += [Text(), _disputed(comparison, disputed)]
    return Group(*parts)


def _figures(comparison: Comparison) -> Table:
    dataset = comparison.dataset
    title = Text(f"{shown(dataset.name)}: {dataset_size(dataset)}, at IoU 0.5")
    table = _table(title, "AP50", "threshold", "precision", "recall", "F1", "ms", "bytes", "$/1,000")
    for contender in comparison.contenders:
        ap50, _, *figures = metric_cells(contender)
        table.add_row(Text(shown(contender.name)), ap50, *figures)
    for one in ARTICLE:
        table.add_row(Text(one.name), *reference_cells(one, unknown="")[1:], style="dim")
    table.caption = "article: on its own dataset. $: cost of the running cloud model"
    if any(contender.price is None for contender in comparison.contenders):
        table.caption += "; --images-per-hour sets how often it is called"
    return table


def _table(title: Text, *columns: str) -> Table:
    # Narrow enough for 80 columns.
    table = Table(
        title=title, box=None, header_style="bold", padding=(0, 1, 0, 0), pad_edge=False, title_justify="left"
    )
    table.caption_justify = "left"
    table.add_column("", style="bold", overflow="fold")
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _agreement(comparison: Comparison) -> Table:
    title = Text("Detected ground-truth boxes, each at its threshold")
    table = _table(title, "both", "first alone", "second alone", "neither", "shared")
    names = [shown(contender.name) for contender in comparison.contenders]
    for pair in comparison.agreements:
        table.add_row(Text(f"{names[pair.first]}, {names[pair.second]}"), *agreement_cells(pair)[:-1])
    return table


def _disputed(comparison: Comparison, indices: list[int]) -> Table:
    table = _table(Text("Images with the most disagreement"), "unmatched detections")
    for index in indices:
        table.add_row(Text(shown(comparison.dataset.images[index].path.name)), str(comparison.apart(index)))
    return table
