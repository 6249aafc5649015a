"""Shows a comparison in a terminal."""

from beeagent.shown_text import shown
from rich.console import Group
from rich.table import Table
from rich.text import Text

from beeagent_models.comparison.comparison import Comparison, Contender
from beeagent_models.comparison.reference import ARTICLE
from beeagent_models.comparison.wording import (
    boxes_in_words,
    bytes_in_words,
    milliseconds_in_words,
    pictures_in_words,
    price_in_words,
)


def comparison_table(comparison: Comparison, *, most: int) -> Group:
    """Lay the figures out for a terminal; print it with rich.

    Args:
        comparison: the figures.
        most: how many pictures to name on which the contenders differ most.
    """
    parts: list[Table | Text] = [_figures(comparison), Text(), _agreement(comparison)]
    different = comparison.most_apart(most)
    if different:
        parts += [Text(), _different(comparison, different)]
    return Group(*parts)


def _figures(comparison: Comparison) -> Table:
    dataset = comparison.dataset
    boxes = sum(len(image.boxes) for image in dataset.images)
    title = Text(
        f"{shown(dataset.name)}: {pictures_in_words(len(dataset.images))}, {boxes_in_words(boxes)}, at IoU 0.5"
    )
    table = _table(title, "AP50", "threshold", "precision", "recall", "F1", "ms", "bytes", "$/1,000")
    for contender in comparison.contenders:
        table.add_row(Text(shown(contender.name)), *_row(contender))
    for one in ARTICLE:
        figures = (f"{one.precision:.3f}", f"{one.recall:.3f}", f"{one.f1:.3f}")
        table.add_row(Text(one.name), "", "", *figures, "", "", "", style="dim")
    table.caption = "article: on its own data, for scale. $: a cloud model while it runs"
    if any(contender.price is None for contender in comparison.contenders):
        table.caption += "; --images-per-hour says how much it is asked"
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
    table = _table(Text("Pictures on which they differ most"), "detections that one has and another has not")
    for index in indices:
        table.add_row(Text(shown(comparison.dataset.images[index].path.name)), str(comparison.apart(index)))
    return table
