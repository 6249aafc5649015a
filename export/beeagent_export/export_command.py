"""`beeagent export`: runs an export with a progress display and prints a summary."""

import contextlib

import typer

from beeagent_export.bundle import refuse_unwritable
from beeagent_export.exporter import export_bundle
from beeagent_export.options import ExportOptions
from beeagent_export.terminal import export_progress, hidden_native_output
from beeagent_export.variant import Variant


def run_export(options: ExportOptions, *, verbose: bool) -> None:
    """Export a trained detector, with progress on standard error and a summary on standard output.

    Args:
        options: settings of the export.
        verbose: show TensorFlow's output.

    Raises:
        InputError: an option or a file cannot be used.
        BeeagentError: the conversion failed, or a variant lost more AP than allowed.
    """
    if options.float16_checkpoint is not None:
        refuse_unwritable(options.float16_checkpoint, what="checkpoint")
    with export_progress() as progress, contextlib.nullcontext() if verbose else hidden_native_output():
        result = export_bundle(options, progress=progress)
        if options.float16_checkpoint is not None:
            from beeagent_models.efficientdet import halve_checkpoint  # noqa: PLC0415 - TensorFlow prints at its import

            halve_checkpoint(options.source, options.float16_checkpoint)
    if result.confidence is not None:
        typer.echo(result.confidence.summary())
    for variant in result.variants:
        typer.echo(_summary(variant))
    evaluated = result.variants[0].measured.evaluation is not None
    hint = "" if evaluated else "; AP was not measured: give labelled images with --validate"
    typer.echo(f"report: {options.html_report}{hint}")


def _summary(variant: Variant) -> str:
    spec = variant.manifest.input
    model = f"{variant.manifest.name} {variant.manifest.version}, {variant.precision.value}"
    lines = [f"{variant.out}: {model}, {spec.width}x{spec.height}, {variant.size / 1e6:.1f} MB"]
    parity, evaluation = variant.parity, variant.measured.evaluation
    if parity is not None:
        images = len(parity.images)
        lines.append(
            f"compared with its source on {images} {'calibration ' if parity.seen_in_calibration else ''}"
            f"image{'s' if images > 1 else ''}: maximum score difference {parity.score_difference:.3f}, "
            f"minimum IoU of boxes {parity.smallest_iou:.2f}"
        )
    if evaluation is not None and variant.drop is not None:
        point = evaluation.point
        lines.append(
            f"on {evaluation.dataset.name}: AP {evaluation.metrics.ap * 100:.1f} %, {variant.drop:+.2f} points lost; "
            f"at {point.threshold:.3f} precision {point.precision:.3f} and recall {point.recall:.3f}"
        )
    return "\n".join(lines)
