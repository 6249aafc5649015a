"""Reports of evaluations: tables for the terminal, and plots of precision-recall curves."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from beeagent.errors import InputError
from beeagent.output import shown
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.console import Group
from rich.table import Table
from rich.text import Text

from beeagent_models.datasets.atomic_write import check_output_file
from beeagent_models.evaluation.error_breakdown import ErrorKind
from beeagent_models.evaluation.measurement import PRECISIONS, Evaluation

PLOT_SUFFIXES = (".png", ".svg", ".pdf")

_KIND_NAMES: Final = {
    ErrorKind.MISSED: "missed",
    ErrorKind.DUPLICATE: "duplicate",
    ErrorKind.LOCALISATION: "loc",
    ErrorKind.LABEL: "label",
    ErrorKind.LABEL_AND_LOCALISATION: "label+loc",
    ErrorKind.BACKGROUND: "background",
}
_BINS_PER_ROW: Final = 2
_MULTI_CLASS_KINDS: Final = frozenset({ErrorKind.LABEL, ErrorKind.LABEL_AND_LOCALISATION})
_LEGEND: Final = (
    "AP: IoU 0.50 to 0.95. Recall and errors at the threshold: missed, no matching detection; duplicate, the object is "
    "already matched; loc (localisation), IoU 0.1 to 0.5; background, IoU below 0.1."
)


def evaluation_tables(evaluations: Sequence[Evaluation]) -> Group:
    """Return the metrics as rich tables for a terminal, with a column per dataset."""
    first = evaluations[0].point
    parts: list[Table | Text] = [
        _summary(evaluations),
        Text(f"threshold: {first.chosen_by}; precision, recall and F1 at the threshold and IoU 0.5", style="dim"),
    ]
    if any(evaluation.curve.truths for evaluation in evaluations):
        parts += [Text("\nprecision by confidence, and number of detections", style="bold"), _reliability(evaluations)]
    for evaluation in evaluations:
        name = shown(evaluation.dataset.name)
        where = "image" if evaluation.input_size is None else "model's input"
        parts += [
            Text(f"\n{name}: by size in pixels of the {where}", style="bold"),
            _by_size(evaluation) if evaluation.curve.truths else _alarms_by_size(evaluation),
        ]
        if len(evaluation.dataset.labels) > 1:
            parts += [Text(f"\n{name}: by class", style="bold"), _by_label(evaluation)]
    parts.append(Text(f"\n{_LEGEND}", style="dim"))
    return Group(*parts)


def _summary(evaluations: Sequence[Evaluation]) -> Table:
    table = _table(*(shown(evaluation.dataset.name) for evaluation in evaluations))
    table.add_row("images", *(str(len(one.dataset.images)) for one in evaluations))
    table.add_row("images without box", *(str(one.images_without_boxes) for one in evaluations))
    table.add_row("boxes", *(str(one.curve.truths) for one in evaluations))
    if any(one.min_size for one in evaluations):
        table.add_row(f"left out, < {evaluations[0].min_size:g} px", *(str(one.left_out) for one in evaluations))
    table.add_row("AP", *(_percent(one.metrics.ap) for one in evaluations))
    table.add_row("AP50", *(_percent(one.metrics.ap50) for one in evaluations))
    table.add_row("AP75", *(_percent(one.metrics.ap75) for one in evaluations))
    table.add_row("threshold", *(f"{one.point.threshold:.4f}" for one in evaluations))
    for name in ("precision", "recall", "f1"):
        values = (getattr(one.point, name) if one.curve.truths else None for one in evaluations)
        table.add_row({"f1": "F1"}.get(name, name), *(_percent(value) for value in values))
    table.add_row("best F1", *(_best_f1(one) for one in evaluations))
    for precision in PRECISIONS:
        table.add_row(f"recall at P >= {precision:g}", *(_recall_at(one, precision) for one in evaluations))
    alarms = (one.false_alarms_per_image for one in evaluations)
    table.add_row("alarms/image w/o box", *("-" if one is None else f"{one:.3f}" for one in alarms))
    for name, from_threshold in (("calibration error", False), ("  from threshold on", True)):
        table.add_row(name, *(_calibration_error(one, from_threshold=from_threshold) for one in evaluations))
    if all(one.seconds is not None for one in evaluations):
        table.add_row("time/image, median", *(_milliseconds(one) for one in evaluations))
    return table


def _by_size(evaluation: Evaluation) -> Table:
    several = len(evaluation.dataset.labels) > 1
    kinds = [kind for kind in ErrorKind if several or kind not in _MULTI_CLASS_KINDS]
    table = _table("boxes", "AP", "AP50", "recall", *(_KIND_NAMES[kind] for kind in kinds))
    for row in evaluation.by_size:
        counts = (str(row.errors[kind]) for kind in kinds)
        table.add_row(row.size, str(row.boxes), _percent(row.ap), _percent(row.ap50), _percent(row.recall), *counts)
    metrics, point = evaluation.metrics, evaluation.point
    figures = (_percent(metrics.ap), _percent(metrics.ap50), _percent(point.recall))
    totals = (str(evaluation.errors.total(kind)) for kind in kinds)
    table.add_row("all", str(evaluation.curve.truths), *figures, *totals, style="bold")
    return table


def _alarms_by_size(evaluation: Evaluation) -> Table:
    table = _table("false alarms")
    for row in evaluation.by_size:
        table.add_row(row.size, str(row.errors[ErrorKind.BACKGROUND]))
    return table


def _reliability(evaluations: Sequence[Evaluation]) -> Table:
    """Return a table of precision by confidence, for datasets with a box."""
    with_boxes = [evaluation for evaluation in evaluations if evaluation.curve.truths]
    table = _table(*(shown(evaluation.dataset.name) for evaluation in with_boxes))
    curves = [evaluation.reliability() for evaluation in with_boxes]
    bins = len(curves[0].detections) if curves else 0
    for start in range(0, bins, _BINS_PER_ROW):
        row = slice(start, start + _BINS_PER_ROW)
        counts = [(int(curve.right[row].sum()), int(curve.detections[row].sum())) for curve in curves]
        if any(number for _, number in counts):
            cells = (f"{_percent(right / number if number else None)} of {number}" for right, number in counts)
            table.add_row(f"{start / bins:.1f} to {min(start + _BINS_PER_ROW, bins) / bins:.1f}", *cells)
    return table


def _by_label(evaluation: Evaluation) -> Table:
    table = _table("AP50")
    for label, ap50 in evaluation.metrics.ap50_by_label.items():
        table.add_row(Text(shown(label)), _percent(ap50))
    return table


def _table(*columns: str) -> Table:
    # Narrow enough for three datasets in 80 columns.
    table = Table(box=None, header_style="bold", padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("", style="bold", no_wrap=True)
    for name in columns:
        table.add_column(Text(name), justify="right", overflow="fold")
    return table


def _best_f1(evaluation: Evaluation) -> str:
    if not evaluation.curve.truths:
        return "-"
    best = evaluation.best_f1
    return f"{_percent(best.f1)} at {best.threshold:.2f}"


def _recall_at(evaluation: Evaluation, precision: float) -> str:
    if not evaluation.curve.truths:
        return "-"
    point = evaluation.at_precision(precision)
    return "0.0 %" if point is None else f"{_percent(point.recall)} at {point.threshold:.2f}"


def _calibration_error(evaluation: Evaluation, *, from_threshold: bool) -> str:
    curve = evaluation.reliability(from_confidence=evaluation.point.threshold if from_threshold else 0.0)
    return "-" if curve.error is None or not evaluation.curve.truths else f"{curve.error:.3f}"


def _milliseconds(evaluation: Evaluation) -> str:
    return "-" if evaluation.seconds is None else f"{1e3 * np.median(evaluation.seconds):.1f} ms"


def check_plot_path(path: Path) -> None:
    """Check in advance that the plot can be written.

    Raises:
        InputError: the suffix is unknown or the folder is missing.
    """
    check_output_file(path, what="plot", suffixes=PLOT_SUFFIXES)


def plot_curves(evaluations: Sequence[Evaluation], path: Path) -> None:
    """Plot precision over recall at IoU 0.5 for each dataset with a box, with the threshold marked.

    Raises:
        InputError: the file cannot be written.
    """
    figure = Figure(figsize=(7, 6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for evaluation in evaluations:
        if not evaluation.curve.truths:
            continue
        curve, point = evaluation.curve, evaluation.point
        # matplotlib reads $ as mathematics, and hides labels that begin with an underscore.
        name = shown(evaluation.dataset.name).replace("$", r"\$")
        label = f"{name}: AP50 {_percent(evaluation.metrics.ap50)}"
        (line,) = axes.plot(curve.recall, curve.precision, linewidth=1.5, label=f" {label}")
        axes.plot(point.recall, point.precision, "o", color=line.get_color(), markersize=9)
        axes.annotate(
            f"threshold {point.threshold:.3f}\nprecision {point.precision:.3f}, recall {point.recall:.3f}",
            (point.recall, point.precision),
            xytext=(-12, -12),
            textcoords="offset points",
            ha="right" if point.recall > 0.5 else "left",
            va="top" if point.precision > 0.5 else "bottom",
        )
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1.02), ylim=(0, 1.02), title="precision and recall, IoU 0.5")
    if axes.lines:
        axes.legend(loc="lower left")
    axes.grid(visible=True, alpha=0.3)
    try:
        figure.savefig(path, dpi=120)
    except OSError as error:
        raise InputError(f"the plot {path} cannot be written: {error.strerror or error}") from None


def _percent(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{value * 100:.1f} %"
