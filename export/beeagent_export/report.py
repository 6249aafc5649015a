"""The reports of an export: JSON for programs, and one self-contained HTML file for people."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from beeagent.detection import Detections
from beeagent_models.drawing import draw
from beeagent_models.templates import render
from numpy.typing import NDArray

from beeagent_export.bundle import as_json
from beeagent_export.measurement import THREADS, Measured
from beeagent_export.options import ExportOptions
from beeagent_export.source import Source
from beeagent_export.variant import Variant

_WIDTH = 480  # pixels, of an image
_QUALITY = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """What one model found in the images that are shown.

    Attributes:
        title: of the model, such as `int8`.
        threshold: from which its detections are drawn.
        found: what it found in each image, weak detections too.
    """

    title: str
    threshold: float
    found: Sequence[Detections]


def report_page(  # noqa: PLR0913 - the parts of a page
    *,
    title: str,
    lines: Sequence[str],
    refused: str | None,
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    images: Sequence[tuple[str, NDArray[np.uint8]]],
    columns: Sequence[Column],
) -> str:
    """Write the page.

    Args:
        title: of the page.
        lines: what is to be said first, a paragraph each.
        refused: why nothing was released; None if all was.
        header: of the table.
        rows: of the table.
        images: name and pixels, uint8, BGR, of each image that is shown.
        columns: what each model found in them.
    """
    return render(
        "beeagent_export",
        "report.html.jinja",
        title=title,
        lines=lines,
        refused=refused,
        header=header,
        rows=rows,
        images=[
            (name, [_figure(pixels, column, index) for column in columns])
            for index, (name, pixels) in enumerate(images)
        ],
    )


def _figure(pixels: NDArray[np.uint8], column: Column, index: int) -> tuple[str, str]:
    """Return the image with what one model found, a JPEG in base64, and its caption."""
    found = column.found[index].at_least(column.threshold)
    drawn = draw(pixels, found)
    height = max(1, round(drawn.shape[0] * _WIDTH / drawn.shape[1]))
    small = cv2.resize(drawn, (_WIDTH, height), interpolation=cv2.INTER_AREA)
    _, encoded = cv2.imencode(".jpg", small, (cv2.IMWRITE_JPEG_QUALITY, _QUALITY))
    caption = f"{column.title}: {len(found)} of {column.threshold:.2f} or more"
    return base64.b64encode(encoded.tobytes()).decode("ascii"), caption


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
        reference: the float source; None without images.
        shown: the images that are shown, uint8, BGR, with their names.
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
    columns = [
        Column(title=one.precision.value, threshold=one.manifest.threshold.value, found=one.measured.found)
        for one in variants
    ]
    if reference is not None:
        own = reference.evaluation.point.threshold if reference.evaluation is not None else columns[0].threshold
        columns.insert(0, Column(title="float source", threshold=own, found=reference.found))
    rows = [] if reference is None else [("float source", *_figures(reference), "", "", "")]
    rows += [(one.precision.value, *_figures(one.measured, one), *_differences(one)) for one in variants]
    page = report_page(
        title=f"{options.name} {options.version}",
        lines=[
            f"{source.architecture}, {source.heads.width}x{source.heads.height}, {', '.join(source.heads.labels)}.",
            _measured_on(variants),
            _MEANINGS,
        ],
        refused=refused,
        header=_HEADER,
        rows=rows,
        images=shown,
        columns=columns,
    )
    return {options.report: as_json(report), options.page: page}


def _measured_on(variants: Sequence[Variant]) -> str:
    evaluation = variants[0].measured.evaluation
    if evaluation is None:
        return "AP was not measured: give labelled images with --validate."
    dataset = evaluation.dataset
    return (
        f"Measured on {dataset.name}: {len(dataset.images)} images, {evaluation.curve.truths} boxes; precision and "
        "recall at IoU 0.5 and each model's own threshold, which was chosen on the same images."
    )


def _figures(measured: Measured, variant: Variant | None = None) -> tuple[str, ...]:
    size = measured.size if variant is None else variant.size
    head = (f"{size / 1e6:.1f} MB", f"{measured.milliseconds:.1f} ms")
    evaluation = measured.evaluation
    if evaluation is None:
        return (*head, "", "", "", "" if variant is None else f"{variant.manifest.threshold.value:.3f}", "", "")
    point, metrics = evaluation.point, evaluation.metrics
    lost = "" if variant is None or variant.drop is None else f"{variant.drop:+.2f}"
    at_threshold = (f"{value:.3f}" for value in (point.threshold, point.precision, point.recall))
    return (*head, f"{metrics.ap * 100:.2f}", f"{metrics.ap50 * 100:.2f}", lost, *at_threshold)


def _differences(variant: Variant) -> tuple[str, str, str]:
    parity = variant.parity
    if parity is None:
        return "", "", ""
    return f"{parity.score_difference:.3f}", f"{parity.box_difference:.3f}", f"{parity.smallest_iou:.2f}"
