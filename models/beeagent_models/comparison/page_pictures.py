"""The pictures of a comparison's page: each once as JPEG, boxes over it as SVG."""

import base64
from html import escape
from typing import Final

import numpy as np
from beeagent.cloud import encode_jpeg
from numpy.typing import NDArray

from beeagent_models.comparison.comparison import Comparison, Contender
from beeagent_models.datasets.dataset import LabelledImage
from beeagent_models.datasets.image_files import load_image
from beeagent_models.operating_point import OperatingPoint

MOST: Final = 24
"""Pictures on one page; with `_LONGEST_SIDE` and `_MOST_BYTES` that keeps it below 10 MB."""

_LONGEST_SIDE: Final = 960
_QUALITY: Final = 80
_MOST_BYTES: Final = 300_000

KEY: Final = (
    '<p class="legend"><span class="key"><i class="hit"></i>found</span> <span class="key"><i class="missed"></i>missed'
    '</span> <span class="key"><i class="alarm"></i>false alarm</span> <span class="key"><i class="truth"></i>labelled'
    "</span> Rest the pointer on a box to read its confidence.</p>"
)


def pictures(comparison: Comparison, indices: list[int]) -> str:
    """Show pictures: for each contender a row, with what it made of the picture at the two thresholds.

    Raises:
        InputError: a picture cannot be read.
    """
    return "\n".join(_picture(comparison, index) for index in indices)


def _picture(comparison: Comparison, index: int) -> str:
    image = comparison.dataset.images[index]
    head = f"{len(image.boxes)} labelled, {comparison.apart(index)} detections that one has and another has not"
    columns = "".join(f'<p class="at">{escape(words)}</p>' for words in comparison.showing.words)
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
        return '<div class="cell none">No threshold reaches that precision on these pictures.</div>'
    found, matches = contender.findings.found[index], contender.evaluation.metrics.matches[index]
    counted = matches.scored & (found.confidences >= np.float32(point.threshold))
    hits, alarms, missed = counted & matches.hits, counted & ~matches.hits, ~matches.found(point.threshold)
    told = (
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
        f'aria-label="{escape(f"{image.path.name}, {contender.name}, {told}")}">{"".join(boxes)}</svg>'
        f"<p>{told}</p></div>"
    )


def _box(box: NDArray[np.floating], kind: str, text: str) -> str:
    left, top, right, bottom = (float(edge) for edge in box)
    place = f'x="{left:.1f}" y="{top:.1f}" width="{right - left:.1f}" height="{bottom - top:.1f}"'
    # A dark line below makes the bright one legible on any ground.
    under = f'<rect class="under" {place}/>' if kind != "truth" else ""
    return f'{under}<rect class="box {kind}" {place}><title>{escape(text)}</title></rect>'


def _address(image: LabelledImage) -> str:
    jpeg = encode_jpeg(load_image(image), longest_side=_LONGEST_SIDE, quality=_QUALITY, max_bytes=_MOST_BYTES)
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()
