"""The figures of a comparison in words, and as tables for the terminal."""

from typing import Final

from beeagent.output import shown
from rich.console import Group
from rich.table import Table
from rich.text import Text

from beeagent_models.comparison.comparison import ARTICLE, Comparison, Contender
from beeagent_models.comparison.contenders import Kind

UNKNOWN: Final = "-"

_KINDS: Final[dict[Kind, str]] = {
    "device": "device",
    "messages": "messages",
    "answers": "cloud, kept",
    "cloud": "cloud",
}


def kind_in_words(kind: Kind) -> str:
    """Return the kind of a contender in words."""
    return _KINDS[kind]


def milliseconds_in_words(milliseconds: float | None) -> str:
    """Write a time."""
    return UNKNOWN if milliseconds is None else f"{milliseconds:.1f}" if milliseconds < 100 else f"{milliseconds:,.0f}"


def images_in_words(count: int) -> str:
    """Write a number of images."""
    return f"{count:,} image{'' if count == 1 else 's'}"


def boxes_in_words(count: int) -> str:
    """Write a number of boxes."""
    return f"{count:,} box{'' if count == 1 else 'es'}"


def bytes_in_words(count: float) -> str:
    """Write a number of bytes."""
    return f"{count:,.0f}"


def price_in_words(dollars: float | None) -> str:
    """Write US dollars."""
    return UNKNOWN if dollars is None else "0" if dollars == 0 else f"{dollars:,.2f}"


def comparison_table(comparison: Comparison, *, limit: int) -> Group:
    """Lay the figures out for a terminal; print it with rich.

    Args:
        comparison: the figures.
        limit: maximum number of images to name, those with most disagreement.
    """
    parts: list[Table | Text] = [_figures(comparison), Text(), _agreement(comparison)]
    different = comparison.most_apart(limit)
    if different:
        parts += [Text(), _different(comparison, different)]
    return Group(*parts)


def _figures(comparison: Comparison) -> Table:
    dataset = comparison.dataset
    boxes = sum(len(image.boxes) for image in dataset.images)
    title = Text(f"{shown(dataset.name)}: {images_in_words(len(dataset.images))}, {boxes_in_words(boxes)}, at IoU 0.5")
    table = _table(title, "AP50", "threshold", "precision", "recall", "F1", "ms", "bytes", "$/1,000")
    for contender in comparison.contenders:
        table.add_row(Text(shown(contender.name)), *_row(contender))
    for one in ARTICLE:
        figures = (f"{one.precision:.3f}", f"{one.recall:.3f}", f"{one.f1:.3f}")
        table.add_row(Text(one.name), "", "", *figures, "", "", "", style="dim")
    table.caption = "article: on its own data, for scale. $: a cloud model while it runs"
    if any(contender.price is None for contender in comparison.contenders):
        table.caption += "; --images-per-hour sets how often it is called"
    return table


def _table(title: Text, *columns: str) -> Table:
    # So narrow that it fits 80 columns.
    table = Table(
        title=title, box=None, header_style="bold", padding=(0, 1, 0, 0), pad_edge=False, title_justify="left"
    )
    table.caption_justify = "left"
    table.add_column("", style="bold", overflow="fold")
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _row(contender: Contender) -> tuple[str, ...]:
    point, metrics = contender.evaluation.point, contender.evaluation.metrics
    return (
        f"{metrics.ap50:.3f}",
        f"{point.threshold:.3f}",
        f"{point.precision:.3f}",
        f"{point.recall:.3f}",
        f"{point.f1:.3f}",
        milliseconds_in_words(contender.milliseconds),
        bytes_in_words(contender.sent),
        price_in_words(contender.price),
    )


def _agreement(comparison: Comparison) -> Table:
    title = Text("Labelled boxes found, each at its threshold")
    table = _table(title, "both", "first alone", "second alone", "neither", "shared")
    names = [shown(contender.name) for contender in comparison.contenders]
    for pair in comparison.agreements:
        counts = (pair.both, pair.first_alone, pair.second_alone, pair.neither)
        pair_name = Text(f"{names[pair.first]}, {names[pair.second]}")
        table.add_row(pair_name, *map(str, counts), f"{100 * pair.share:.0f} %")
    return table


def _different(comparison: Comparison, indices: list[int]) -> Table:
    table = _table(Text("Images on which they differ most"), "detections without counterpart")
    for index in indices:
        table.add_row(Text(shown(comparison.dataset.images[index].path.name)), str(comparison.apart(index)))
    return table
