"""The HTML page of a comparison: figures, curves and images, each image once as JPEG with boxes over it as SVG."""

import base64
from collections.abc import Iterable
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Final

import numpy as np
from beeagent import __version__
from beeagent.camera import encode_jpeg
from beeagent.errors import InputError
from numpy.typing import NDArray

from beeagent_models.comparison.charts import curves
from beeagent_models.comparison.comparison import ARTICLE, Comparison, Contender
from beeagent_models.comparison.table import (
    UNKNOWN,
    boxes_in_words,
    bytes_in_words,
    images_in_words,
    kind_in_words,
    milliseconds_in_words,
    price_in_words,
)
from beeagent_models.datasets import LabelledImage, load_image
from beeagent_models.evaluation import OperatingPoint

MAX_IMAGES: Final = 24
"""Images on one page; with `_LONGEST_SIDE` and `_MOST_BYTES` that keeps it below 10 MB."""

_LONGEST_SIDE: Final = 960
_QUALITY: Final = 80
_MAX_BYTES: Final = 300_000

KEY: Final = (
    '<p class="legend"><span class="key"><i class="hit"></i>found</span> <span class="key"><i class="missed"></i>missed'
    '</span> <span class="key"><i class="alarm"></i>false alarm</span> <span class="key"><i class="truth"></i>labelled'
    "</span> Rest the pointer on a box to read its confidence.</p>"
)


def images(comparison: Comparison, indices: list[int]) -> str:
    """Show images: for each contender a row, with what it made of the image at the two thresholds.

    Raises:
        InputError: an image cannot be read.
    """
    return "\n".join(_image(comparison, index) for index in indices)


def _image(comparison: Comparison, index: int) -> str:
    image = comparison.dataset.images[index]
    head = f"{len(image.boxes)} labelled, {comparison.apart(index)} detections without counterpart"
    columns = "".join(f'<p class="at">{escape(words)}</p>' for words in comparison.drawing.words)
    rows = "".join(
        f'<p class="who"><i class="dot c{number}"></i>{escape(contender.name)}</p>'
        + "".join(_cell(index, image, contender, point) for point in contender.points)
        for number, contender in enumerate(comparison.contenders)
    )
    return (
        f"<article><style>.p{index}{{background-image:url({_address(image)})}}</style>"
        f"<h3>{escape(image.path.name)} <small>{head}</small></h3>"
        f'<div class="cells">{columns}{rows}</div></article>'
    )


def _cell(index: int, image: LabelledImage, contender: Contender, point: OperatingPoint) -> str:
    if not point.floors_kept:
        return '<div class="cell none">No threshold reaches that precision on these images.</div>'
    found, matches = contender.findings.found[index], contender.evaluation.metrics.matches[index]
    counted = matches.scored & (found.confidences >= np.float32(point.threshold))
    hits, alarms, missed = counted & matches.hits, counted & ~matches.hits, ~matches.found(point.threshold)
    counts = (
        f"threshold {point.threshold:.3f}: {int(hits.sum())} found, {int(missed.sum())} missed, "
        f"{int(alarms.sum())} false alarms"
    )
    size = np.array([image.width, image.height] * 2, np.float64)
    boxes = [
        *(_box(box, "truth", "labelled") for box in image.boxes[~missed]),
        *(_box(box, "missed", "missed") for box in image.boxes[missed]),
        *(_box(found.boxes[i] * size, "alarm", f"{found.confidences[i]:.3f}") for i in np.flatnonzero(alarms)),
        *(_box(found.boxes[i] * size, "hit", f"{found.confidences[i]:.3f}") for i in np.flatnonzero(hits)),
    ]
    return (
        f'<div class="cell"><svg class="photo p{index}" viewBox="0 0 {image.width} {image.height}" role="img" '
        f'aria-label="{escape(f"{image.path.name}, {contender.name}, {counts}")}">{"".join(boxes)}</svg>'
        f"<p>{counts}</p></div>"
    )


def _box(box: NDArray[np.floating], kind: str, text: str) -> str:
    left, top, right, bottom = (float(edge) for edge in box)
    place = f'x="{left:.1f}" y="{top:.1f}" width="{right - left:.1f}" height="{bottom - top:.1f}"'
    # A dark line below makes the bright one legible on any ground.
    under = f'<rect class="under" {place}/>' if kind != "truth" else ""
    return f'{under}<rect class="box {kind}" {place}><title>{escape(text)}</title></rect>'


def _address(image: LabelledImage) -> str:
    jpeg = encode_jpeg(load_image(image), longest_side=_LONGEST_SIDE, quality=_QUALITY, max_bytes=_MAX_BYTES)
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()


_SUFFIXES: Final = frozenset({".html", ".htm"})
_COLUMNS: Final = (
    "AP50", "AP", "threshold", "precision", "recall", "F1", "ms an image", "bytes sent", "$ for 1,000"
)  # fmt: skip


def check_page_path(path: Path) -> None:
    """Refuse a file that the page cannot be written to, before the long work begins.

    Raises:
        InputError: the suffix is unknown or the folder is missing.
    """
    if path.suffix.lower() not in _SUFFIXES:
        raise InputError(f"the page {path} must end in .html")
    if not path.absolute().parent.is_dir():
        raise InputError(f"the page {path} cannot be written: there is no folder {path.absolute().parent}")


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
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"the page {path} cannot be written: {error.strerror or error}") from None


def comparison_page(comparison: Comparison, *, limit: int) -> str:
    """Return the page; arguments and errors as of `write_page`."""
    dataset = comparison.dataset
    boxes = sum(len(image.boxes) for image in dataset.images)
    size = f"{images_in_words(len(dataset.images))}, {boxes_in_words(boxes)} with labels"
    style = files("beeagent_models.comparison").joinpath("page.css").read_text(encoding="utf-8")
    names = escape(" · ".join(contender.name for contender in comparison.contenders))
    indices = comparison.most_apart(limit)
    shown = f"<h2>Images on which they differ most</h2>{KEY}{images(comparison, indices)}" if indices else ""
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(dataset.name)}: {names}</title>
<style>
{style}</style>
</head>
<body>
<h1>{escape(dataset.name)}</h1>
<p class="lead">{size}; a box is found at IoU 0.5 or more.</p>
<h2>Figures</h2>
{_figures(comparison)}
{_notes(comparison)}
<h2>Curves</h2>
{curves(comparison)}
<h2>Agreement</h2>
{_agreement(comparison)}
<p class="note">Labelled boxes, each contender at its own threshold. Shared: of those that either found, the part that
both found. Apart: detections that one has and the other has not, right or wrong.</p>
{shown}
<p class="note foot">Made by beeagent {escape(__version__)}.</p>
</body>
</html>
"""


def _figures(comparison: Comparison) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in _COLUMNS)
    best = max(contender.evaluation.point.f1 for contender in comparison.contenders)
    rows = "".join(_row(index, contender, best) for index, contender in enumerate(comparison.contenders))
    for one in ARTICLE:
        figures = (UNKNOWN, UNKNOWN, UNKNOWN, f"{one.precision:.3f}", f"{one.recall:.3f}", f"{one.f1:.3f}")
        cells = _cells([*figures, UNKNOWN, UNKNOWN, UNKNOWN])
        rows += (
            f'<tr class="reference"><td><i class="dot"></i>{escape(one.name)}</td><td class="word">on its own data</td>'
            f"{cells}</tr>"
        )
    return f'<div class="wide"><table><tr><th></th><th class="word"></th>{head}</tr>{rows}</table></div>'


def _row(index: int, contender: Contender, best: float) -> str:
    point, metrics = contender.evaluation.point, contender.evaluation.metrics
    f1 = f'<td class="best">{point.f1:.3f}</td>' if point.f1 == best else f"<td>{point.f1:.3f}</td>"
    before = (metrics.ap50, metrics.ap, point.threshold, point.precision, point.recall)
    after = (
        milliseconds_in_words(contender.milliseconds),
        bytes_in_words(contender.sent),
        price_in_words(contender.price),
    )
    return (
        f'<tr><td><i class="dot c{index}"></i>{escape(contender.name)}</td>'
        f'<td class="word">{escape(kind_in_words(contender.findings.kind))}</td>'
        f"{_cells(f'{value:.3f}' for value in before)}{f1}{_cells(after)}</tr>"
    )


def _notes(comparison: Comparison) -> str:
    prices = comparison.prices
    rate = (
        "as many images an hour as it answered, one by one"
        if prices.images_per_hour is None
        else f"{prices.images_per_hour:,.0f} images an hour"
    )
    return f"""<p class="note">Precision, recall and F1 are those at each one's threshold, where its F1 on these
images is best. AP50 is the average precision over all thresholds at IoU 0.5, AP the mean over IoU 0.50 to 0.95, as
COCO defines them.</p>
<p class="note">Time: the median; of a model of the device on the machine that made this page, of a cloud model with
the way there and back. Bytes sent: the mean size of an image's JPEG for a cloud model, of its message for the
device.</p>
<p class="note">Price: a cloud model is billed by the hour while it runs, asked or not; here ${prices.hourly:g} an hour
(aws.amazon.com/rekognition/pricing) at {rate}, where that is known. A model of the
device costs nothing for each image.</p>
<p class="note">The article's figures are those that the reference article measured on its own photographs. They are no
result on these images, and stand here to give a scale.</p>"""


def _agreement(comparison: Comparison) -> str:
    names = [escape(contender.name) for contender in comparison.contenders]
    head = "".join(f"<th>{name}</th>" for name in ("both", "first alone", "second alone", "neither", "shared", "apart"))
    rows = "".join(
        f"<tr><td>{names[pair.first]} <small>and</small> {names[pair.second]}</td>"
        + _cells(f"{count:,}" for count in (pair.both, pair.first_alone, pair.second_alone, pair.neither))
        + f"<td>{100 * pair.share:.0f} %</td><td>{int(pair.apart.sum()):,}</td></tr>"
        for pair in comparison.agreements
    )
    return f'<div class="wide"><table><tr><th></th>{head}</tr>{rows}</table></div>'


def _cells(texts: Iterable[str]) -> str:
    return "".join(f"<td>{escape(text)}</td>" for text in texts)
