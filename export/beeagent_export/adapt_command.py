"""`beeagent adapt`: options from the command line in; a training run, a table before and after, and bundles out."""

import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path

import typer
from beeagent.detection import DEFAULT_MODEL, default_model
from beeagent.errors import BeeagentError, InputError
from beeagent_models.augmentation.mixture import read_training_sets
from beeagent_models.datasets.reading import merge_datasets, parse_source, read_dataset
from beeagent_models.datasets.split import Division, hold_back
from beeagent_models.evaluation import Evaluation
from beeagent_models.input_size import check_alignment, parse_input_size
from beeagent_models.training_command import training_report
from rich.console import Console
from rich.table import Table

from beeagent_export.adaptation import Adaptation, AdaptationOptions, Comparison
from beeagent_export.bundle import refuse_existing
from beeagent_export.export_command import export_progress
from beeagent_export.native_output import hidden_native_output
from beeagent_export.report import as_json, written
from beeagent_export.writable import refuse_unwritable

RELEASED_CHECKPOINT = "checkpoint.float16.npz"
"""In the folder of the default model, in the repository; it is not part of the package that a device installs."""

_FEW_BOXES = 50
_TABLE_WIDTH = 100


def run_adapt(  # noqa: PLR0913 - each a choice of its own
    *,
    data: Sequence[str],
    attribute: str | None,
    also: Sequence[str],
    base: Path | None,
    out: Path,
    run: Path | None,
    input_sizes: Sequence[str],
    held_back: float,
    series: str | None,
    precision_floor: float,
    minutes: float,
    steps: int | None,
    seed: int,
    workers: int,
    force: bool,
    verbose: bool,
) -> None:
    """Adapt a model to the user's images, print figures before and after, and write the bundles that are better.

    Args:
        data: the user's datasets, `PATH` or `PATH=label,label`.
        attribute: the label attribute, of manifests that have several.
        also: further datasets to train on, `PATH[=LABELS][@WEIGHT]`.
        base: the checkpoint to start from; None for the released one.
        out: folder of the bundle to write; the report lies beside it, as `OUT.report.json`.
        run: folder of the training run; None for `OUT.run`.
        input_sizes: further inputs to export for, `WIDTHxHEIGHT`.
        held_back: share of the images that are only measured on.
        series: a regular expression that names an image's series; see `hold_back`.
        precision_floor: that the threshold keeps on the images held back.
        minutes: of training, at most.
        steps: of training, in place of minutes.
        seed: draws the images held back and decides the training.
        workers: processes that make training images.
        force: replace bundles that are there.
        verbose: show what TensorFlow prints.

    Raises:
        InputError: something given cannot be used.
        BeeagentError: a model is not better than the base, and is not released.
    """
    refuse_existing(out, force=force)
    sizes = tuple(parse_input_size(text) for text in input_sizes)
    for size in sizes:
        check_alignment(size)
    report_path = out.with_name(f"{out.name}.report.json")
    refuse_unwritable(report_path, what="report")
    sources = [parse_source(text) for text in data]
    own = [read_dataset(path, labels=labels, label_attribute=attribute) for path, labels in sources]
    division = hold_back(merge_datasets(own), fraction=held_back, seed=seed, pattern=series)
    options = AdaptationOptions(
        base=base or _released_checkpoint(),
        out=out,
        run=run or out.with_name(f"{out.name}.run"),
        division=division,
        also=tuple(part for text in also for part in read_training_sets(text)),
        input_sizes=sizes,
        precision_floor=precision_floor,
        minutes=minutes,
        steps=steps,
        seed=seed,
        workers=workers,
        force=force,
        command=" ".join(["beeagent", *sys.argv[1:]]),
    )
    adaptation = Adaptation(options)
    Console(stderr=True).print(_division_in_words(division), highlight=False, soft_wrap=True)
    with training_report(options.run) as report:
        checkpoint = adaptation.train(report)
    with export_progress() as progress, contextlib.nullcontext() if verbose else hidden_native_output():
        comparisons = adaptation.compare(checkpoint, progress)
    with written({report_path: _report(options, comparisons)}):
        released = adaptation.release(comparisons)
    Console(width=None if sys.stdout.isatty() else _TABLE_WIDTH).print(_table(division, comparisons))
    for comparison in comparisons:
        if not comparison.adapted.point.floors_kept:
            typer.echo(f"the threshold of {comparison.out}: {comparison.adapted.point.chosen_by}")
    for path in released:
        typer.echo(f"{path}: better than the base, released")
    typer.echo(f"report: {report_path}")
    objections = [f"{one.out} is not released: {one.objection}" for one in comparisons if one.objection]
    if objections:
        raise BeeagentError(f"{'; '.join(objections)}; label more images of more series, or train longer")


def _released_checkpoint() -> Path:
    path = default_model() / RELEASED_CHECKPOINT
    if not path.is_file():
        raise InputError(
            f"the checkpoint of {DEFAULT_MODEL} is not part of the installed package: take "
            f"models/{DEFAULT_MODEL}/{RELEASED_CHECKPOINT} from beeagent's repository, and give it with --base"
        )
    return path


def _division_in_words(division: Division) -> str:
    train, held_back = division.train, division.held_back
    words = f"{len(train.images)} images to train on, {len(held_back.images)} held back"
    if division.series is None:
        return (
            f"{words}: all are of one series, so its last images are held back; they resemble the others, and other "
            "days will be harder than these figures say"
        )
    return f"{words}, of {division.series} series that are not trained on"


def _table(division: Division, comparisons: Sequence[Comparison]) -> Table:
    images = division.held_back.images
    boxes = sum(len(image.boxes) for image in images)
    few = "; few boxes: the difference may be luck" if boxes < _FEW_BOXES else ""
    table = Table(title=f"int8, on {len(images)} images held back, with {boxes} boxes{few}", title_justify="left")
    for column in ("model", "AP50", "precision", "recall", "false alarms", "…per image without a box", "threshold"):
        table.add_column(column, justify="left" if column == "model" else "right")
    for comparison in comparisons:
        size = "x".join(map(str, comparison.input_size))
        table.add_row(f"base {size}", *_cells(comparison.base))
        table.add_row(f"adapted {size}", *_cells(comparison.adapted), end_section=True)
    return table


def _cells(evaluation: Evaluation) -> tuple[str, ...]:
    point, alarms = evaluation.point, evaluation.false_alarms_per_image
    return (
        f"{evaluation.metrics.ap50:.3f}",
        f"{point.precision:.3f}",
        f"{point.recall:.3f}",
        str(point.false_positives),
        "" if alarms is None else f"{alarms:.2f}",
        f"{point.threshold:.3f}",
    )


def _report(options: AdaptationOptions, comparisons: Sequence[Comparison]) -> str:
    division = options.division
    return as_json(
        {
            "base": options.base.name,
            "data": division.train.name,
            "train": [image.path.name for image in division.train.images],
            "held_back": [image.path.name for image in division.held_back.images],
            "series_held_back": division.series,
            "precision_floor": options.precision_floor,
            "models": [comparison.to_json() for comparison in comparisons],
        }
    )
