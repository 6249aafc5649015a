"""`beeagent export`: options of the command line in; progress and a summary out."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import typer
from beeagent.detection import Fit
from beeagent.errors import InputError
from beeagent_models.input_size import parse_input_size
from beeagent_models.operating_point import ThresholdChoice
from rich.console import Console

from beeagent_export.conversion import Precision
from beeagent_export.export_options import ExportOptions
from beeagent_export.exporter import ExportResult, export_bundle
from beeagent_export.native_output import hidden_native_output
from beeagent_export.postprocess import PostProcessOptions
from beeagent_export.progress import Progress, console_progress
from beeagent_export.variant import Variant
from beeagent_export.writable import refuse_unwritable

_Choice = TypeVar("_Choice", Fit, Precision)


def run_export(  # noqa: PLR0913 - each a choice of its own
    *,
    source: Path,
    out: Path,
    calibrate: Path | None,
    precisions: Sequence[str],
    validate: Sequence[str],
    calibrate_confidence: Sequence[str],
    attribute: str | None,
    max_drop: float,
    calibration_pictures: int,
    labels: Path | None,
    input_size: str | None,
    fit: str | None,
    choice: ThresholdChoice,
    max_detections: int,
    min_score: float,
    iou: float,
    name: str | None,
    model_version: str,
    licence: str,
    report: Path | None,
    float16_checkpoint: Path | None,
    force: bool,
    verbose: bool,
) -> None:
    """Export a trained detector, showing progress on standard error and a summary on standard output.

    Args:
        source: checkpoint of `beeagent train`, or a SavedModel of the Object Detection API.
        out: folder of the first precision's bundle.
        calibrate: the user's own pictures.
        precisions: values of `Precision`; none for int8.
        validate: labelled data sets, `PATH` or `PATH=label,label`.
        calibrate_confidence: labelled datasets likewise, to calibrate confidence on.
        attribute: the label attribute, of manifests that have several.
        max_drop: points of AP that a variant may lose.
        calibration_pictures: to calibrate on, at most.
        labels: names of the classes of a SavedModel.
        input_size: `WIDTHxHEIGHT` or one side, in pixels; None for the source's own.
        fit: a value of `Fit`; None for the source's own.
        choice: of the bundle's threshold.
        max_detections: of a picture, 1 or more.
        min_score: below which the model drops a detection, 0 to 1.
        iou: overlap from which the weaker of two boxes is dropped, above 0 to 1.
        name: of the model; None for the bundle's folder.
        model_version: of the model.
        licence: SPDX expression of the weights.
        report: file of the report for programs; None for one beside the bundle.
        float16_checkpoint: file for the checkpoint with its kernels as float16.
        force: replace a bundle that is there.
        verbose: show what TensorFlow prints.

    Raises:
        InputError: something given cannot be used.
        BeeagentError: the conversion failed, or a variant lost more AP than it may.
    """
    out = Path(os.path.normpath(out))
    if float16_checkpoint is not None:
        if source.is_dir():
            raise InputError(f"--float16-checkpoint makes a smaller checkpoint, but {source} is a folder: leave it out")
        refuse_unwritable(float16_checkpoint, what="checkpoint")
    options = ExportOptions(
        source=source,
        out=out,
        report=report or out.with_name(f"{out.name}.report.json") if out.name else out,
        name=name or out.resolve().name,
        version=model_version,
        licence=licence,
        precisions=_precisions(precisions),
        calibrate=calibrate,
        calibration_pictures=calibration_pictures,
        labels=labels,
        input_size=parse_input_size(input_size) if input_size is not None else None,
        fit=_choice(Fit, fit, "--fit") if fit is not None else None,
        validate=tuple(validate),
        calibrate_confidence=tuple(calibrate_confidence),
        attribute=attribute,
        max_drop=max_drop,
        choice=choice,
        postprocess=PostProcessOptions(max_detections=max_detections, score_threshold=min_score, iou_threshold=iou),
        force=force,
    )
    with export_progress() as progress, contextlib.nullcontext() if verbose else hidden_native_output():
        result = export_bundle(options, progress=progress)
        if float16_checkpoint is not None:
            from beeagent_models.efficientdet import halve_checkpoint  # noqa: PLC0415 - TensorFlow prints at its import

            halve_checkpoint(source, float16_checkpoint)
    if result.confidence is not None:
        typer.echo(result.confidence.in_words())
    for variant in result.variants:
        typer.echo(_summary(variant))
    typer.echo(_where(options, result))


def _precisions(values: Sequence[str]) -> tuple[Precision, ...]:
    chosen = tuple(_choice(Precision, value, "--precision") for value in values) or (Precision.INT8,)
    if len(set(chosen)) != len(chosen):
        raise InputError(f"--precision is given twice as {', '.join(values)}: give each once")
    return chosen


def _choice(kind: type[_Choice], value: str, option: str) -> _Choice:
    try:
        return kind(value)
    except ValueError:
        raise InputError(f"{option} is {value!r}: choose one of {', '.join(kind)}") from None


@contextlib.contextmanager
def export_progress() -> Iterator[Progress]:
    """Show progress on what is standard error now, whatever becomes of the descriptor meanwhile."""
    with (
        os.fdopen(os.dup(2), "w") as file,
        console_progress(Console(file=file)) as progress,
    ):
        yield progress


def _summary(variant: Variant) -> str:
    spec = variant.manifest.input
    model = f"{variant.manifest.name} {variant.manifest.version}, {variant.precision.value}"
    lines = [f"{variant.out}: {model}, {spec.width}x{spec.height}, {variant.size / 1e6:.1f} MB"]
    parity, evaluation = variant.parity, variant.measured.evaluation
    if parity is not None:
        pictures = len(parity.pictures)
        lines.append(
            f"against its source on {pictures} picture{'s' if pictures > 1 else ''}"
            f"{' of the calibration' if parity.seen_in_calibration else ''}: "
            f"scores differ by {parity.score_difference:.3f} at most, "
            f"boxes overlap by {parity.smallest_iou:.2f} at least"
        )
    if evaluation is not None and variant.drop is not None:
        point = evaluation.point
        lines.append(
            f"on {evaluation.dataset.name}: AP {evaluation.metrics.ap * 100:.1f} %, {variant.drop:+.2f} points lost; "
            f"at {point.threshold:.3f} precision {point.precision:.3f} and recall {point.recall:.3f}"
        )
    return "\n".join(lines)


def _where(options: ExportOptions, result: ExportResult) -> str:
    measured = result.variants[0].measured.evaluation is not None
    return f"report: {options.page}" + (
        "" if measured else "; AP was not measured: give labelled pictures with --validate"
    )
