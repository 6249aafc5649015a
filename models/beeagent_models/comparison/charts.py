"""SVG charts of a comparison, with the colours of the page's light or dark theme."""

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
_MIN_DISTANCE: Final = 0.002
"""Minimum distance of the points of a curve: thousands of indistinguishable points make the page slow."""


@dataclass(frozen=True, slots=True)
class Line:
    """A curve.

    Attributes:
        xs: float64, shape (n,), 0 to 1.
        ys: float64, shape (n,), 0 to 1.
        style: CSS classes.
    """

    xs: NDArray[np.float64]
    ys: NDArray[np.float64]
    style: str


@dataclass(frozen=True, slots=True)
class Mark:
    """A marked point.

    Attributes:
        x: x coordinate, 0 to 1.
        y: y coordinate, 0 to 1.
        style: CSS classes.
        text: tooltip.
        label: text beside the point.
        hollow: draw a ring instead of a disc.
    """

    x: float
    y: float
    style: str
    text: str
    label: str = ""
    hollow: bool = False


def chart(  # noqa: PLR0913
    *,
    title: str,
    x_label: str,
    y_label: str,
    lines: Sequence[Line],
    marks: Sequence[Mark] = (),
    verticals: Sequence[tuple[float, str]] = (),
) -> Markup:
    """Render a chart with axes from 0 to 1.

    Args:
        title: title for screen readers.
        x_label: label of the x axis.
        y_label: label of the y axis.
        lines: the curves.
        marks: marked points.
        verticals: x values of vertical lines with their labels.

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
        lines=[(line.style, list(zip(*simplify(line.xs, line.ys), strict=True))) for line in lines],
        marks=marks,
        verticals=verticals,
    )
    return Markup(svg)  # noqa: S704 - the template escapes its values


def simplify(xs: NDArray[np.float64], ys: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Drop points that are close to the previous kept one, except for the first and the last point."""
    kept = [0] if len(xs) else []
    for index in range(1, len(xs)):
        last = kept[-1]
        if abs(xs[index] - xs[last]) + abs(ys[index] - ys[last]) > _MIN_DISTANCE or index == len(xs) - 1:
            kept.append(index)
    return xs[kept], ys[kept]


def precision_recall(comparison: Comparison) -> Markup:
    """Render precision over recall of all contenders, with the article's figures."""
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
    """Render precision and recall of one contender by threshold."""
    curve, point = contender.evaluation.curve, contender.evaluation.point
    # Step functions: the value is constant up to each threshold, in ascending order.
    xs = np.concatenate([[0.0], np.repeat(curve.thresholds[::-1], 2)])[:-1]
    lines = [
        Line(xs, np.repeat(curve.precision[::-1], 2), f"c{index}"),
        Line(xs, np.repeat(curve.recall[::-1], 2), f"c{index} dashed"),
    ]
    marks = [
        Mark(point.threshold, value, f"c{index}", f"{name} {value:.3f} at {point.threshold:.3f}")
        for name, value in (("precision", point.precision), ("recall", point.recall))
    ]
    title = f"Precision and recall of {contender.name} over the threshold"
    best = [(point.threshold, f"best F1 at {point.threshold:.3f}")]
    return chart(title=title, x_label="threshold", y_label="", lines=lines, marks=marks, verticals=best)
