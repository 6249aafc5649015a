"""Draws the curves of a comparison as SVG that uses the colours of its page, light or dark."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from beeagent_models.comparison.comparison import ARTICLE, Comparison, Contender
from beeagent_models.templates import render

_WIDTH, _HEIGHT = 440, 330
_LEFT, _RIGHT, _TOP, _BOTTOM = 50, 12, 12, 46
_FINE: Final = 0.002
"""Points of a curve closer together than this are drawn as one: nobody sees them, and thousands make the page slow."""


@dataclass(frozen=True, slots=True)
class Line:
    """A curve.

    Attributes:
        xs: float64, shape (n,), 0 to 1, in the order in which they are joined.
        ys: likewise.
        style: classes of the page's style sheet.
    """

    xs: NDArray[np.float64]
    ys: NDArray[np.float64]
    style: str


@dataclass(frozen=True, slots=True)
class Mark:
    """A point with a word.

    Attributes:
        x: 0 to 1.
        y: 0 to 1.
        style: classes of the page's style sheet.
        text: tooltip.
        label: written beside it.
        hollow: whether it is a ring instead of a disc.
    """

    x: float
    y: float
    style: str
    text: str
    label: str = ""
    hollow: bool = False


def chart(  # noqa: PLR0913 - each a part of a chart
    *,
    title: str,
    x_label: str,
    y_label: str,
    lines: Sequence[Line],
    marks: Sequence[Mark] = (),
    verticals: Sequence[tuple[float, str]] = (),
) -> Markup:
    """Draw a chart whose axes run from 0 to 1.

    Args:
        title: what it shows, for those who cannot see it.
        x_label: below the axis.
        y_label: beside the axis.
        lines: the curves.
        marks: points on top of them.
        verticals: values of x to mark by a line, each with a word at its head.

    Returns:
        An `svg` element.
    """
    svg = render(
        "beeagent_models.comparison",
        "chart.svg.jinja",
        width=_WIDTH,
        height=_HEIGHT,
        x=lambda value, shift=0.0: f"{_LEFT + value * (_WIDTH - _LEFT - _RIGHT) + shift:.1f}",
        y=lambda value, shift=0.0: f"{_HEIGHT - _BOTTOM - value * (_HEIGHT - _TOP - _BOTTOM) + shift:.1f}",
        title=title,
        x_label=x_label,
        y_label=y_label,
        lines=[(line.style, list(zip(*thinned(line.xs, line.ys), strict=True))) for line in lines],
        marks=marks,
        verticals=verticals,
    )
    return Markup(svg)  # noqa: S704 - the template escapes what it fills in


def thinned(xs: NDArray[np.float64], ys: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Leave out the points that lie next to the last one kept; the first and the last point stay."""
    kept = [0] if len(xs) else []
    for index in range(1, len(xs)):
        last = kept[-1]
        if abs(xs[index] - xs[last]) + abs(ys[index] - ys[last]) > _FINE or index == len(xs) - 1:
            kept.append(index)
    return xs[kept], ys[kept]


def precision_recall(comparison: Comparison) -> Markup:
    """Draw precision over recall of all contenders, with the article's figures."""
    lines, marks = [], []
    for index, contender in enumerate(comparison.contenders):
        curve, point = contender.evaluation.curve, contender.evaluation.point
        lines.append(Line(curve.recall, curve.precision, f"c{index}"))
        text = f"{contender.name} at {point.threshold:.3f}: precision {point.precision:.3f}, recall {point.recall:.3f}"
        marks.append(Mark(point.recall, point.precision, f"c{index}", text))
    for one in ARTICLE:
        text = f"{one.name}, on its own data: precision {one.precision:.2f}, recall {one.recall:.2f}"
        marks.append(Mark(one.recall, one.precision, "reference", text, label=one.name, hollow=True))
    title = f"Precision over recall on {comparison.dataset.name}, with the article's figures on its own data"
    return chart(title=title, x_label="recall", y_label="precision", lines=lines, marks=marks)


def over_threshold(index: int, contender: Contender) -> Markup:
    """Draw precision and recall of one contender over the threshold."""
    curve, point = contender.evaluation.curve, contender.evaluation.point
    # Ascending, and drawn as what it is: up to the threshold `xs[i]` the value is `ys[i]`, from 0 on.
    xs = np.concatenate([[0.0], np.repeat(curve.thresholds[::-1], 2)])[:-1]
    lines = [
        Line(xs, np.repeat(curve.precision[::-1], 2), f"c{index}"),
        Line(xs, np.repeat(curve.recall[::-1], 2), f"c{index} dashed"),
    ]
    marks = [
        Mark(point.threshold, value, f"c{index}", f"{what} {value:.3f} at {point.threshold:.3f}")
        for what, value in (("precision", point.precision), ("recall", point.recall))
    ]
    title = f"Precision and recall of {contender.name} over the threshold"
    best = [(point.threshold, f"best F1 at {point.threshold:.3f}")]
    return chart(title=title, x_label="threshold", y_label="", lines=lines, marks=marks, verticals=best)
