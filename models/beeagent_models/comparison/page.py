"""The HTML page of a comparison: figures, curves and images, each image once as JPEG with boxes over it as SVG."""

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
    agreement_in_words,
    figures_in_words,
    reference_in_words,
    size_in_words,
)
from beeagent_models.datasets import LabelledImage, load_image
from beeagent_models.datasets.atomic_write import atomic_write, check_output_file
from beeagent_models.evaluation import OperatingPoint
from beeagent_models.templates import render

MAX_IMAGES: Final = 24
"""Images on one page; with `_LONGEST_SIDE` and `_MAX_BYTES` that keeps it below 10 MB."""

_LONGEST_SIDE: Final = 960
_QUALITY: Final = 80
_MAX_BYTES: Final = 300_000
_COLUMNS: Final = (
    "AP50", "AP", "threshold", "precision", "recall", "F1", "ms an image", "bytes sent", "$ for 1,000"
)  # fmt: skip


def check_page_path(path: Path) -> None:
    """Refuse a file that the page cannot be written to, before the long work begins.

    Raises:
        InputError: the suffix is unknown or the folder is missing.
    """
    check_output_file(path, what="page", suffixes=(".html", ".htm"))


def write_page(comparison: Comparison, path: Path, *, limit: int) -> None:
    """Write the page.

    Args:
        comparison: the figures.
        path: the file.
        limit: maximum number of images to show, those with most disagreement.

    Raises:
        InputError: an image cannot be read, or the file not be written.
    """
    text = comparison_page(comparison, limit=limit)
    with atomic_write(path) as file:
        file.write(text)


def comparison_page(comparison: Comparison, *, limit: int) -> str:
    """Return the page; arguments and errors as of `write_page`."""
    contenders = comparison.contenders
    return render(
        "beeagent_models.comparison",
        "page.html.jinja",
        version=__version__,
        dataset=comparison.dataset,
        size=size_in_words(comparison.dataset),
        prices=comparison.prices,
        contenders=contenders,
        columns=_COLUMNS,
        best_f1=max(contender.evaluation.point.f1 for contender in contenders),
        rows=[(one, KIND_NAMES[one.findings.kind], figures_in_words(one)) for one in contenders],
        references=[(one.name, reference_in_words(one)) for one in ARTICLE],
        chart={
            "precision_recall": precision_recall(comparison),
            "over_threshold": [over_threshold(index, one) for index, one in enumerate(contenders)],
        },
        agreements=[
            (contenders[pair.first].name, contenders[pair.second].name, agreement_in_words(pair))
            for pair in comparison.agreements
        ],
        drawn_at=comparison.drawing.words,
        images=[_image(comparison, index) for index in comparison.most_apart(limit)],
    )


def _image(comparison: Comparison, index: int) -> tuple[Any, ...]:
    image = comparison.dataset.images[index]
    jpeg = encode_jpeg(load_image(image), longest_side=_LONGEST_SIDE, quality=_QUALITY, max_bytes=_MAX_BYTES)
    address = "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()
    cells = [[_cell(index, image, one, point) for point in one.points] for one in comparison.contenders]
    return index, image, comparison.apart(index), address, cells


def _cell(index: int, image: LabelledImage, contender: Contender, point: OperatingPoint) -> dict[str, Any] | None:
    """Return what a contender made of an image at a threshold; None where there is no such threshold."""
    if not point.floors_kept:
        return None
    found, matches = contender.findings.detections[index], contender.evaluation.metrics.matches[index]
    hits, alarms, missed = matches.classify(found.confidences, point.threshold)
    boxes = found.boxes * np.array([image.width, image.height] * 2, np.float64)
    return {
        "counts": f"threshold {point.threshold:.3f}: {int(hits.sum())} found, {int(missed.sum())} missed, "
        f"{int(alarms.sum())} false alarms",
        "boxes": [
            *(("truth", "labelled", _place(box)) for box in image.boxes[~missed]),
            *(("missed", "missed", _place(box)) for box in image.boxes[missed]),
            *(("alarm", f"{found.confidences[i]:.3f}", _place(boxes[i])) for i in np.flatnonzero(alarms)),
            *(("hit", f"{found.confidences[i]:.3f}", _place(boxes[i])) for i in np.flatnonzero(hits)),
        ],
    }


def _place(box: NDArray[np.floating]) -> list[str]:
    left, top, right, bottom = (float(edge) for edge in box)
    return [f"{value:.1f}" for value in (left, top, right - left, bottom - top)]
