"""The HTML page of a comparison: metrics, curves, and images as JPEG with SVG boxes."""

import base64
from pathlib import Path
from typing import Any, Final

import numpy as np
from beeagent import __version__
from beeagent.camera import encode_jpeg
from numpy.typing import NDArray

from beeagent_models.comparison.charts import over_threshold, precision_recall
from beeagent_models.comparison.comparison import ARTICLE, Comparison, Contender
from beeagent_models.comparison.table import (
    KIND_NAMES,
    agreement_cells,
    dataset_size,
    metric_cells,
    reference_cells,
)
from beeagent_models.datasets import LabelledImage, load_image
from beeagent_models.datasets.atomic_write import atomic_write, check_output_file
from beeagent_models.evaluation import OperatingPoint
from beeagent_models.templates import render

MAX_IMAGES: Final = 24
"""Maximum number of images, so that a page stays below 10 MB with `_LONGEST_SIDE` and `_MAX_BYTES`."""

_LONGEST_SIDE: Final = 960
_QUALITY: Final = 80
_MAX_BYTES: Final = 300_000
_COLUMNS: Final = (
    "AP50", "AP", "threshold", "precision", "recall", "F1", "ms per image", "bytes sent", "$ per 1,000"
)  # fmt: skip


def check_page_path(path: Path) -> None:
    """Check in advance that the page can be written.

    Raises:
        InputError: the suffix is unknown or the folder is missing.
    """
    check_output_file(path, what="page", suffixes=(".html", ".htm"))


def write_page(comparison: Comparison, path: Path, *, limit: int) -> None:
    """Write the page.

    Args:
        comparison: the comparison.
        path: file to write.
        limit: maximum number of images with disagreement to show.

    Raises:
        InputError: an image cannot be read, or the file cannot be written.
    """
    text = comparison_page(comparison, limit=limit)
    with atomic_write(path) as file:
        file.write(text)


def comparison_page(comparison: Comparison, *, limit: int) -> str:
    """Render the page; arguments and errors as in `write_page`."""
    contenders = comparison.contenders
    return render(
        "beeagent_models.comparison",
        "page.html.jinja",
        version=__version__,
        dataset=comparison.dataset,
        size=dataset_size(comparison.dataset),
        prices=comparison.prices,
        contenders=contenders,
        columns=_COLUMNS,
        best_f1=max(contender.evaluation.point.f1 for contender in contenders),
        rows=[(one, KIND_NAMES[one.findings.kind], metric_cells(one)) for one in contenders],
        references=[(one.name, reference_cells(one)) for one in ARTICLE],
        chart={
            "precision_recall": precision_recall(comparison),
            "over_threshold": [over_threshold(index, one) for index, one in enumerate(contenders)],
        },
        agreements=[
            (contenders[pair.first].name, contenders[pair.second].name, agreement_cells(pair))
            for pair in comparison.agreements
        ],
        drawn_at=comparison.drawing.descriptions,
        images=[_image(comparison, index) for index in comparison.most_apart(limit)],
    )


def _image(comparison: Comparison, index: int) -> tuple[Any, ...]:
    image = comparison.dataset.images[index]
    jpeg = encode_jpeg(load_image(image), longest_side=_LONGEST_SIDE, quality=_QUALITY, max_bytes=_MAX_BYTES)
    url = "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()
    cells = [[_cell(index, image, one, point) for point in one.points] for one in comparison.contenders]
    return index, image, comparison.apart(index), url, cells


def _cell(index: int, image: LabelledImage, contender: Contender, point: OperatingPoint) -> dict[str, Any] | None:
    """Return counts and boxes of a contender in an image at a threshold; None if no threshold keeps the floors."""
    if not point.floors_kept:
        return None
    detections, matches = contender.findings.detections[index], contender.evaluation.metrics.matches[index]
    hits, alarms, missed = matches.classify(detections.confidences, point.threshold)
    boxes = detections.boxes * np.array([image.width, image.height] * 2, np.float64)
    return {
        "counts": f"threshold {point.threshold:.3f}: {int(hits.sum())} hits, {int(missed.sum())} missed, "
        f"{int(alarms.sum())} false alarms",
        "boxes": [
            *(("truth", "labelled", _svg_rect(box)) for box in image.boxes[~missed]),
            *(("missed", "missed", _svg_rect(box)) for box in image.boxes[missed]),
            *(("alarm", f"{detections.confidences[i]:.3f}", _svg_rect(boxes[i])) for i in np.flatnonzero(alarms)),
            *(("hit", f"{detections.confidences[i]:.3f}", _svg_rect(boxes[i])) for i in np.flatnonzero(hits)),
        ],
    }


def _svg_rect(box: NDArray[np.floating]) -> list[str]:
    left, top, right, bottom = (float(edge) for edge in box)
    return [f"{value:.1f}" for value in (left, top, right - left, bottom - top)]
