"""Shows an evaluation to people: a table for the terminal, a precision-recall curve as a picture."""

from pathlib import Path

import numpy as np
from beeagent.errors import InputError
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.console import Group
from rich.table import Table

from beeagent_models.evaluation import Evaluation

PLOT_SUFFIXES = (".png", ".svg", ".pdf")


def evaluation_table(evaluation: Evaluation) -> Group:
    """Lay the figures out for a terminal; print it with rich."""
    metrics, point, dataset = evaluation.metrics, evaluation.point, evaluation.dataset
    table = Table(title=f"{dataset.name}: {len(dataset.images)} pictures, {evaluation.curve.truths} boxes", box=None)
    table.add_column("", style="bold")
    table.add_column("", justify="right")
    table.add_column("", style="dim")
    table.add_row("AP", _percent(metrics.ap), "IoU 0.50 to 0.95")
    table.add_row("AP50", _percent(metrics.ap50), "IoU 0.5")
    table.add_row("AP75", _percent(metrics.ap75), "IoU 0.75")
    for size, meaning in (("small", "below 32x32 px"), ("medium", "up to 96x96 px"), ("large", "above 96x96 px")):
        table.add_row(f"AP {size}", _percent(metrics.ap_by_size[size]), f"{meaning} at the network's input")
    table.add_row("threshold", f"{point.threshold:.4f}", point.chosen_by)
    alarms = f"{point.false_positives} false alarms"
    table.add_row("precision", _percent(point.precision), f"at IoU 0.5; {point.true_positives} hits, {alarms}")
    table.add_row("recall", _percent(point.recall), f"at IoU 0.5; {point.false_negatives} missed")
    table.add_row("F1", _percent(point.f1), "")
    if evaluation.seconds is not None:
        median, high = np.percentile(evaluation.seconds, [50, 95]) * 1e3
        table.add_row("time", f"{median:.1f} ms", f"a picture, median; 95th percentile {high:.1f} ms")
    if len(dataset.labels) == 1:
        return Group(table)
    classes = Table(title="AP50 of each class", box=None, show_header=False)
    for label, ap50 in metrics.ap50_by_label.items():
        classes.add_row(label, _percent(ap50))
    return Group(table, classes)


def check_plot_path(path: Path) -> None:
    """Refuse a file that the curve cannot be written to, before the long work begins.

    Raises:
        InputError: the suffix is unknown or the folder is missing.
    """
    if path.suffix.lower() not in PLOT_SUFFIXES:
        raise InputError(f"the plot {path} must end in {', '.join(PLOT_SUFFIXES)}")
    if not path.absolute().parent.is_dir():
        raise InputError(f"the plot {path} cannot be written: there is no folder {path.absolute().parent}")


def plot_curve(evaluation: Evaluation, path: Path) -> None:
    """Draw precision over recall at IoU 0.5 with the chosen threshold marked.

    Raises:
        InputError: the file cannot be written.
    """
    curve, point = evaluation.curve, evaluation.point
    figure = Figure(figsize=(7, 6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.plot(curve.recall, curve.precision, color="black", linewidth=1.5)
    axes.plot(point.recall, point.precision, "o", color="tab:red", markersize=9)
    axes.annotate(
        f"threshold {point.threshold:.3f}\nprecision {point.precision:.3f}, recall {point.recall:.3f}",
        (point.recall, point.precision),
        xytext=(-12, -12),
        textcoords="offset points",
        ha="right" if point.recall > 0.5 else "left",
        va="top" if point.precision > 0.5 else "bottom",
    )
    axes.set(
        xlabel="recall",
        ylabel="precision",
        xlim=(0, 1.02),
        ylim=(0, 1.02),
        title=f"{evaluation.dataset.name} at IoU 0.5: AP50 {_percent(evaluation.metrics.ap50)}",
    )
    axes.grid(visible=True, alpha=0.3)
    try:
        figure.savefig(path, dpi=120)
    except OSError as error:
        raise InputError(f"the plot {path} cannot be written: {error.strerror or error}") from None


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value * 100:.1f} %"
