"""What the report of an export says."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from beeagent_export.export_options import ExportOptions
from beeagent_export.measurement import THREADS, Measured
from beeagent_export.report import as_json
from beeagent_export.report_page import Column, report_page
from beeagent_export.source import Source
from beeagent_export.variant import Variant

_HEADER = (
    "model", "size", "time", "AP", "AP50", "AP lost", "threshold", "precision", "recall", "score off", "box off",
    "overlap",
)  # fmt: skip

_MEANINGS = (
    f"Time is that of one inference with {THREADS} threads on the machine that exported. Score and box off are the "
    "largest differences to the source's raw heads, of a score and of a side as a ratio of the input; overlap is the "
    "smallest of a box with itself."
)


def report_files(  # noqa: PLR0913 - all that a report tells of
    options: ExportOptions,
    source: Source,
    variants: Sequence[Variant],
    reference: Measured | None,
    shown: Sequence[tuple[str, NDArray[np.uint8]]],
    *,
    refused: str | None,
) -> dict[Path, str]:
    """Write the report for programs and the one for people.

    Args:
        options: of the export.
        source: what was exported.
        variants: what came of it.
        reference: the float source; None without pictures.
        shown: the pictures that are shown, uint8, BGR, with their names.
        refused: why nothing was released; None if all was.

    Returns:
        The text of each file by its path.
    """
    report: dict[str, object] = {
        "name": options.name,
        "version": options.version,
        "architecture": source.architecture,
        "source": reference.to_json() if reference is not None else None,
        "variants": [variant.to_json() for variant in variants],
        "max_drop": options.max_drop,
        "refused": refused,
        "threads": THREADS,
    }
    return {options.report: as_json(report), options.page: _page(options, source, variants, reference, shown, refused)}


def _page(  # noqa: PLR0913, PLR0917 - as above
    options: ExportOptions,
    source: Source,
    variants: Sequence[Variant],
    reference: Measured | None,
    shown: Sequence[tuple[str, NDArray[np.uint8]]],
    refused: str | None,
) -> str:
    columns = [
        Column(title=variant.precision.value, threshold=variant.manifest.threshold.value, found=variant.measured.found)
        for variant in variants
    ]
    if reference is not None:
        own = reference.evaluation.point.threshold if reference.evaluation is not None else columns[0].threshold
        columns.insert(0, Column(title="float source", threshold=own, found=reference.found))
    rows = [] if reference is None else [("float source", *_figures(reference), "", "", "")]
    rows += [
        (variant.precision.value, *_figures(variant.measured, variant), *_differences(variant)) for variant in variants
    ]
    return report_page(
        title=f"{options.name} {options.version}",
        lines=[
            f"{source.architecture}, {source.heads.width}x{source.heads.height}, {', '.join(source.heads.labels)}.",
            _measured_on(variants),
            _MEANINGS,
        ],
        refused=refused,
        header=_HEADER,
        rows=rows,
        pictures=shown,
        columns=columns,
    )


def _measured_on(variants: Sequence[Variant]) -> str:
    evaluation = variants[0].measured.evaluation
    if evaluation is None:
        return "AP was not measured: give labelled pictures with --validate."
    dataset = evaluation.dataset
    return (
        f"Measured on {dataset.name}: {len(dataset.images)} pictures, {evaluation.curve.truths} boxes; precision and "
        "recall at IoU 0.5 and each model's own threshold, which was chosen on the same pictures."
    )


def _figures(measured: Measured, variant: Variant | None = None) -> tuple[str, ...]:
    size = measured.size if variant is None else variant.size
    head = (f"{size / 1e6:.1f} MB", f"{measured.milliseconds:.1f} ms")
    evaluation = measured.evaluation
    if evaluation is None:
        threshold = "" if variant is None else f"{variant.manifest.threshold.value:.3f}"
        return (*head, "", "", "", threshold, "", "")
    point, metrics = evaluation.point, evaluation.metrics
    lost = "" if variant is None or variant.drop is None else f"{variant.drop:+.2f}"
    return (
        *head,
        f"{metrics.ap * 100:.2f}",
        f"{metrics.ap50 * 100:.2f}",
        lost,
        f"{point.threshold:.3f}",
        f"{point.precision:.3f}",
        f"{point.recall:.3f}",
    )


def _differences(variant: Variant) -> tuple[str, str, str]:
    parity = variant.parity
    if parity is None:
        return "", "", ""
    return f"{parity.score_difference:.3f}", f"{parity.box_difference:.3f}", f"{parity.smallest_iou:.2f}"
