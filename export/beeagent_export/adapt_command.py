"""`beeagent adapt`: trains from a base model, compares it with the result, and writes the bundles that are better."""

import contextlib
import sys
from collections.abc import Sequence

import typer
from beeagent.errors import BeeagentError
from beeagent_models.datasets import Split
from beeagent_models.evaluation import Evaluation
from beeagent_models.training.command import training_report
from rich.console import Console
from rich.table import Table

from beeagent_export.adaptation import FEW_BOXES, Adaptation, AdaptationOptions, Comparison
from beeagent_export.bundle import as_json, atomic_files, refuse_unwritable
from beeagent_export.terminal import export_progress, hidden_native_output

_TABLE_WIDTH = 100


def run_adapt(options: AdaptationOptions, *, verbose: bool) -> None:
    """Adapt a model to the user's images, print metrics before and after, and write the bundles that are better.

    Args:
        options: settings of the adaptation.
        verbose: show TensorFlow's output.

    Raises:
        InputError: an option or a file cannot be used.
        BeeagentError: a model is not better than the base, and is therefore not released.
    """
    report_path = options.out.with_name(f"{options.out.name}.report.json") if options.out.name else options.out
    refuse_unwritable(report_path, what="report")
    adaptation = Adaptation(options)
    Console(stderr=True).print(_describe_split(adaptation.split), highlight=False, soft_wrap=True)
    with training_report(adaptation.run) as report:
        checkpoint = adaptation.train(report)
    with export_progress() as progress, contextlib.nullcontext() if verbose else hidden_native_output():
        comparisons = adaptation.compare(checkpoint, progress)
    with atomic_files({report_path: _report(adaptation, comparisons)}):
        released = adaptation.release(comparisons)
    Console(width=None if sys.stdout.isatty() else _TABLE_WIDTH).print(_table(adaptation, comparisons))
    for comparison in comparisons:
        if not comparison.adapted.point.floors_kept:
            typer.echo(f"the threshold of {comparison.out}: {comparison.adapted.point.chosen_by}")
    for path in released:
        typer.echo(f"{path}: better than the base, released")
    typer.echo(f"report: {report_path}")
    rejected = [f"{one.out} is not released: {one.objection}" for one in comparisons if one.objection]
    if rejected:
        raise BeeagentError(f"{'; '.join(rejected)}; label more images of more series, or train longer")


def _describe_split(split: Split) -> str:
    train, held_back = split.train, split.held_back
    counts = f"{len(train.images)} training images, {len(held_back.images)} held back"
    if split.series is None:
        return (
            f"{counts}: all images are of one series, so its last ones are held back; they resemble the training "
            "images, so expect lower metrics on other days"
        )
    return f"{counts}, from {split.series} series that are not trained on"


def _table(adaptation: Adaptation, comparisons: Sequence[Comparison]) -> Table:
    images, boxes = len(adaptation.split.held_back.images), adaptation.held_back_boxes
    few = "; too few boxes for a reliable comparison" if boxes < FEW_BOXES else ""
    table = Table(title=f"int8, on {images} held-back images with {boxes} boxes{few}", title_justify="left")
    for column in ("model", "AP50", "precision", "recall", "false alarms", "per image without a box", "threshold"):
        table.add_column(column, justify="left" if column == "model" else "right")
    for comparison in comparisons:
        size = "x".join(map(str, comparison.input_size))
        table.add_row(f"base {size}", *_cells(comparison.base))
        table.add_row(f"adapted {size}", *_cells(comparison.adapted), end_section=True)
    return table


def _cells(evaluation: Evaluation) -> tuple[str, ...]:
    point, alarms = evaluation.point, evaluation.false_alarms_per_image
    ap50, precision, recall, threshold = (
        f"{value:.3f}" for value in (evaluation.metrics.ap50, point.precision, point.recall, point.threshold)
    )
    return ap50, precision, recall, str(point.false_positives), "" if alarms is None else f"{alarms:.2f}", threshold


def _report(adaptation: Adaptation, comparisons: Sequence[Comparison]) -> str:
    split = adaptation.split
    return as_json(
        {
            "base": adaptation.base.name,
            "data": split.train.name,
            "train": [image.path.name for image in split.train.images],
            "held_back": [image.path.name for image in split.held_back.images],
            "series_held_back": split.series,
            "precision_floor": adaptation.choice.precision_floor,
            "models": [comparison.to_json() for comparison in comparisons],
        }
    )
