"""The reports of an export: JSON, and a self-contained HTML page."""

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

_IMAGE_WIDTH = 480
_JPEG_QUALITY = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """Detections of one model in the images of the report.

    Attributes:
        title: name of the model, such as `int8`.
        threshold: minimum confidence of the drawn detections.
        detections: detections in each image, including those below the threshold.
    """

    title: str
    threshold: float
    detections: Sequence[Detections]


def report_page(  # noqa: PLR0913
    *,
    title: str,
    lines: Sequence[str],
    rejection: str | None,
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    images: Sequence[tuple[str, NDArray[np.uint8]]],
    columns: Sequence[Column],
) -> str:
    """Render the HTML page.

    Args:
        title: title of the page.
        lines: introductory paragraphs.
        rejection: reason why no bundle was written; None if they were.
        header: header of the table.
        rows: rows of the table.
        images: name and pixels of each image, uint8, BGR.
        columns: detections of each model in the images.
    """
    return render(
        "beeagent_export",
        "report.html.jinja",
        title=title,
        lines=lines,
        rejection=rejection,
        header=header,
        rows=rows,
        images=[
            (name, [_figure(pixels, column, index) for column in columns])
            for index, (name, pixels) in enumerate(images)
        ],
    )


def _figure(pixels: NDArray[np.uint8], column: Column, index: int) -> tuple[str, str]:
    """Return the image with the detections of one model drawn, as base64 JPEG, and a caption."""
    detections = column.detections[index].at_least(column.threshold)
    drawn = draw(pixels, detections)
    height = max(1, round(drawn.shape[0] * _IMAGE_WIDTH / drawn.shape[1]))
    small = cv2.resize(drawn, (_IMAGE_WIDTH, height), interpolation=cv2.INTER_AREA)
    _, encoded = cv2.imencode(".jpg", small, (cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY))
    caption = f"{column.title}: {len(detections)} with confidence ≥ {column.threshold:.2f}"
    return base64.b64encode(encoded.tobytes()).decode("ascii"), caption


_HEADER = (
    "model", "size", "time", "AP", "AP50", "AP lost", "threshold", "precision", "recall", "score difference",
    "box difference", "IoU",
)  # fmt: skip

_LEGEND = (
    f"Time is the median of an inference with {THREADS} threads on the machine of the export. Score difference, box "
    "difference (as a ratio of the input) and IoU compare the raw heads with those of the source: maximum differences, "
    "and the minimum IoU of the two boxes of an anchor."
)


def report_files(  # noqa: PLR0913
    options: ExportOptions,
    source: Source,
    variants: Sequence[Variant],
    reference: Measured | None,
    images: Sequence[tuple[str, NDArray[np.uint8]]],
    *,
    rejection: str | None,
) -> dict[Path, str]:
    """Render the JSON report and the HTML report.

    Args:
        options: settings of the export.
        source: exported source.
        variants: exported variants.
        reference: measurements of the float source; None without images.
        images: name and pixels of the images to show, uint8, BGR.
        rejection: reason why no bundle was written; None if they were.

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
        "refused": rejection,
        "threads": THREADS,
    }
    columns = [
        Column(title=one.precision.value, threshold=one.manifest.threshold.value, detections=one.measured.detections)
        for one in variants
    ]
    if reference is not None:
        own = reference.evaluation.point.threshold if reference.evaluation is not None else columns[0].threshold
        columns.insert(0, Column(title="float source", threshold=own, detections=reference.detections))
    rows = [] if reference is None else [("float source", *_figures(reference), "", "", "")]
    rows += [(one.precision.value, *_figures(one.measured, one), *_differences(one)) for one in variants]
    page = report_page(
        title=f"{options.name} {options.version}",
        lines=[
            f"{source.architecture}, {source.heads.width}x{source.heads.height}, {', '.join(source.heads.labels)}.",
            _measured_on(variants),
            _LEGEND,
        ],
        rejection=rejection,
        header=_HEADER,
        rows=rows,
        images=images,
        columns=columns,
    )
    return {options.report: as_json(report), options.html_report: page}


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
