"""The report of an export for people: one HTML file that needs nothing beside it."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import cv2
import numpy as np
from beeagent.detection import Detections
from beeagent_models.drawing import draw
from numpy.typing import NDArray

_WIDTH = 480  # pixels, of a picture
_QUALITY = 80
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; color: #222; }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { padding: .3rem .8rem; border-bottom: 1px solid #ddd; text-align: right; font-variant-numeric: tabular-nums; }
th:first-child, td:first-child { text-align: left; }
.pictures { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(18rem, 1fr)); }
figure { margin: 0; } img { width: 100%; } figcaption { color: #666; font-size: 13px; }
.refused { color: #a00; font-weight: 600; }
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """What one model found in the pictures that are shown.

    Attributes:
        title: of the model, such as `int8`.
        threshold: from which its detections are drawn.
        found: what it found in each picture, weak detections too.
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
    pictures: Sequence[tuple[str, NDArray[np.uint8]]],
    columns: Sequence[Column],
) -> str:
    """Write the page.

    Args:
        title: of the page.
        lines: what is to be said first, a paragraph each.
        refused: why nothing was released; None if all was.
        header: of the table.
        rows: of the table.
        pictures: name and pixels, uint8, BGR, of each picture that is shown.
        columns: what each model found in them.
    """
    said = "".join(f"<p>{escape(line)}</p>\n" for line in lines)
    said += "" if refused is None else f'<p class="refused">{escape(refused)}</p>\n'
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>\n" for row in rows)
    shown = "".join(
        f'<h2>{escape(name)}</h2>\n<div class="pictures">\n'
        + "".join(_figure(pixels, column, index) for column in columns)
        + "</div>\n"
        for index, (name, pixels) in enumerate(pictures)
    )
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head><meta charset="utf-8"><title>{escape(title)}</title>\n'
        f"<style>{_STYLE}</style></head>\n<body>\n<h1>{escape(title)}</h1>\n{said}"
        f"<table>\n<tr>{head}</tr>\n{body}</table>\n{shown}</body>\n</html>\n"
    )


def _figure(pixels: NDArray[np.uint8], column: Column, index: int) -> str:
    found = column.found[index].at_least(column.threshold)
    drawn = draw(pixels, found)
    height = max(1, round(drawn.shape[0] * _WIDTH / drawn.shape[1]))
    small = cv2.resize(drawn, (_WIDTH, height), interpolation=cv2.INTER_AREA)
    _, encoded = cv2.imencode(".jpg", small, (cv2.IMWRITE_JPEG_QUALITY, _QUALITY))
    source = base64.b64encode(encoded.tobytes()).decode("ascii")
    caption = f"{column.title}: {len(found)} of {column.threshold:.2f} or more"
    return (
        f'<figure><img src="data:image/jpeg;base64,{source}" alt="{escape(caption)}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>\n"
    )
