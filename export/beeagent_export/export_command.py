"""`beeagent export`: options of the command line in; progress and a summary out."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import typer
from beeagent.detection.geometry import Fit
from beeagent.errors import InputError
from rich.console import Console

from beeagent_export.conversion import Precision
from beeagent_export.exporter import ExportOptions, ExportResult, export_bundle
from beeagent_export.native_output import hidden_native_output
from beeagent_export.postprocess import PostProcessOptions
from beeagent_export.progress import Progress, console_progress

_Choice = TypeVar("_Choice", Fit, Precision)


def run_export(  # noqa: PLR0913 - each a choice of its own
    *,
    source: Path,
    out: Path,
    calibrate: Path | None,
    precision: str,
    calibration_pictures: int,
    labels: Path | None,
    input_size: int | None,
    fit: str,
    threshold: float | None,
    max_detections: int,
    min_score: float,
    iou: float,
    name: str | None,
    model_version: str,
    licence: str,
    report: Path | None,
    force: bool,
    verbose: bool,
) -> None:
    """Export a trained detector, showing progress on standard error and a summary on standard output.

    Args:
        source: checkpoint of `beeagent train`, or a SavedModel of the Object Detection API.
        out: folder of the bundle.
        calibrate: the user's own pictures.
        precision: a value of `Precision`.
        calibration_pictures: to calibrate on, at most.
        labels: names of the classes of a SavedModel.
        input_size: in pixels; None for the source's own.
        fit: a value of `Fit`.
        threshold: the bundle's, 0 to 1; None for the default.
        max_detections: of a picture, 1 or more.
        min_score: below which the model drops a detection, 0 to 1.
        iou: overlap from which the weaker of two boxes is dropped, above 0 to 1.
        name: of the model; None for the bundle's folder.
        model_version: of the model.
        licence: SPDX expression of the weights.
        report: of parity; None for one beside the bundle.
        force: replace a bundle that is there.
        verbose: show what TensorFlow prints.

    Raises:
        InputError: something given cannot be used.
        BeeagentError: the conversion failed.
    """
    out = Path(os.path.normpath(out))
    options = ExportOptions(
        source=source,
        out=out,
        report=report or out.with_name(f"{out.name}.report.json") if out.name else out,
        name=name or out.resolve().name,
        version=model_version,
        licence=licence,
        precision=_choice(Precision, precision, "--precision"),
        calibrate=calibrate,
        calibration_pictures=calibration_pictures,
        labels=labels,
        input_size=input_size,
        fit=_choice(Fit, fit, "--fit"),
        threshold=threshold,
        postprocess=PostProcessOptions(max_detections=max_detections, score_threshold=min_score, iou_threshold=iou),
        force=force,
    )
    with _progress() as progress, contextlib.nullcontext() if verbose else hidden_native_output():
        result = export_bundle(options, progress=progress)
    typer.echo(_summary(options, result))


def _choice(kind: type[_Choice], value: str, option: str) -> _Choice:
    try:
        return kind(value)
    except ValueError:
        raise InputError(f"{option} is {value!r}: choose one of {', '.join(kind)}") from None


@contextlib.contextmanager
def _progress() -> Iterator[Progress]:
    """Show progress on what is standard error now, whatever becomes of the descriptor meanwhile."""
    with (
        os.fdopen(os.dup(2), "w") as file,
        console_progress(Console(file=file)) as progress,
    ):
        yield progress


def _summary(options: ExportOptions, result: ExportResult) -> str:
    spec = result.manifest.input
    model = f"{result.manifest.name} {result.manifest.version}, {options.precision.value}"
    lines = [f"{options.out}: {model}, {spec.width}x{spec.height}, {result.size / 1e6:.1f} MB"]
    if result.parity is None:
        lines.append("not compared with its source: give pictures with --calibrate")
    else:
        pictures = len(result.parity.pictures)
        lines.append(
            f"against its source on {pictures} picture{'s' if pictures > 1 else ''}"
            f"{' of the calibration' if result.parity.seen_in_calibration else ''}: "
            f"scores differ by {result.parity.score_difference:.3f} at most, "
            f"boxes overlap by {result.parity.smallest_iou:.2f} at least; see {options.report}"
        )
    return "\n".join(lines)
