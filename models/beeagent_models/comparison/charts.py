"""Draws the curves of a comparison as SVG that uses the colours of its page, light or dark."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

import numpy as np
from numpy.typing import NDArray

from beeagent_models.comparison.comparison import ARTICLE, Comparison, Contender

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
) -> str:
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
    parts = [
        f'<svg class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}">',
        *_grid(x_label, y_label),
        *(_vertical(x, word) for x, word in verticals),
        *(f'<polyline class="curve {escape(line.style)}" points="{_points(line)}"/>' for line in lines if len(line.xs)),
        *(_mark(mark) for mark in marks),
        "</svg>",
    ]
    return "\n".join(parts)


def thinned(xs: NDArray[np.float64], ys: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Leave out the points that lie next to the last one kept; the first and the last point stay."""
    kept = [0] if len(xs) else []
    for index in range(1, len(xs)):
        last = kept[-1]
        if abs(xs[index] - xs[last]) + abs(ys[index] - ys[last]) > _FINE or index == len(xs) - 1:
            kept.append(index)
    return xs[kept], ys[kept]


def _grid(x_label: str, y_label: str) -> list[str]:
    parts = []
    for step in range(6):
        value = step / 5
        x, y = _x(value), _y(value)
        parts += [
            f'<line class="grid" x1="{x:.1f}" y1="{_y(0):.1f}" x2="{x:.1f}" y2="{_y(1):.1f}"/>',
            f'<line class="grid" x1="{_x(0):.1f}" y1="{y:.1f}" x2="{_x(1):.1f}" y2="{y:.1f}"/>',
            f'<text class="tick" x="{x:.1f}" y="{_y(0) + 18:.1f}" text-anchor="middle">{value:.1f}</text>',
            f'<text class="tick" x="{_x(0) - 8:.1f}" y="{y + 4:.1f}" text-anchor="end">{value:.1f}</text>',
        ]
    across, middle = (_x(0) + _x(1)) / 2, (_y(0) + _y(1)) / 2
    turned = f'transform="rotate(-90 14 {middle:.1f})"'
    parts += [
        f'<text class="axis" x="{across:.1f}" y="{_HEIGHT - 8}" text-anchor="middle">{escape(x_label)}</text>',
        f'<text class="axis" x="14" y="{middle:.1f}" text-anchor="middle" {turned}>{escape(y_label)}</text>',
    ]
    return parts


def _vertical(x: float, word: str) -> str:
    at, right = _x(x), x > 0.8
    return (
        f'<line class="vertical" x1="{at:.1f}" y1="{_y(0):.1f}" x2="{at:.1f}" y2="{_y(1):.1f}"/>'
        f'<text class="tick" x="{at + (-5 if right else 5):.1f}" y="{_y(1) + 12:.1f}" '
        f'text-anchor="{"end" if right else "start"}">{escape(word)}</text>'
    )


def _mark(mark: Mark) -> str:
    x, y, right = _x(mark.x), _y(mark.y), mark.x > 0.75
    shape = (
        f'<circle class="mark {escape(mark.style)}{" hollow" if mark.hollow else ""}" cx="{x:.1f}" cy="{y:.1f}" r="5">'
    )
    # Below a mark at the top edge, where curves run.
    base = y + (16 if mark.y > 0.95 else 4)
    label = (
        f'<text class="tick" x="{x + (-10 if right else 10):.1f}" y="{base:.1f}" '
        f'text-anchor="{"end" if right else "start"}">{escape(mark.label)}</text>'
        if mark.label
        else ""
    )
    return f"{shape}<title>{escape(mark.text)}</title></circle>{label}"


def _points(line: Line) -> str:
    xs, ys = thinned(line.xs, line.ys)
    return " ".join(f"{_x(float(x)):.1f},{_y(float(y)):.1f}" for x, y in zip(xs, ys, strict=True))


def _x(value: float) -> float:
    return _LEFT + value * (_WIDTH - _LEFT - _RIGHT)


def _y(value: float) -> float:
    return _HEIGHT - _BOTTOM - value * (_HEIGHT - _TOP - _BOTTOM)


def curves(comparison: Comparison) -> str:
    """Draw precision over recall, all in one; and both over the threshold, a chart for each contender."""
    parts = [_figure(_legend(comparison), _precision_recall(comparison), "Precision over recall")]
    for index, contender in enumerate(comparison.contenders):
        key = _key(f"c{index}", "precision") + _key(f"c{index} dashed", "recall")
        parts.append(_figure(key, _over_threshold(index, contender), f"{contender.name}: over the threshold"))
    return f'<div class="charts">{"".join(parts)}</div>'


def _figure(legend: str, drawn: str, title: str) -> str:
    return f'<figure><figcaption>{escape(title)}</figcaption>{drawn}<div class="legend">{legend}</div></figure>'


def _legend(comparison: Comparison) -> str:
    return "".join(_key(f"c{index}", contender.name) for index, contender in enumerate(comparison.contenders))


def _key(style: str, word: str) -> str:
    swatch = f'<polyline class="curve {style}" points="0,4 22,4"/>'
    return f'<span class="key"><svg class="swatch" viewBox="0 0 22 8">{swatch}</svg> {escape(word)}</span> '


def _precision_recall(comparison: Comparison) -> str:
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


def _over_threshold(index: int, contender: Contender) -> str:
    curve, point = contender.evaluation.curve, contender.evaluation.point
    # Ascending, and drawn as what it is: each value holds up to the next weaker detection.
    xs = curve.thresholds[::-1]
    lines = [
        Line(*_stairs(xs, curve.precision[::-1]), f"c{index}"),
        Line(*_stairs(xs, curve.recall[::-1]), f"c{index} dashed"),
    ]
    marks = [
        Mark(point.threshold, value, f"c{index}", f"{what} {value:.3f} at {point.threshold:.3f}")
        for what, value in (("precision", point.precision), ("recall", point.recall))
    ]
    title = f"Precision and recall of {contender.name} over the threshold"
    best = [(point.threshold, f"best F1 at {point.threshold:.3f}")]
    return chart(title=title, x_label="threshold", y_label="", lines=lines, marks=marks, verticals=best)


def _stairs(xs: NDArray[np.float64], ys: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """From 0 on: up to the threshold `xs[i]` the value is `ys[i]`."""
    starts = np.concatenate([[0.0], xs[:-1]]) if len(xs) else xs
    return np.column_stack([starts, xs]).ravel(), np.repeat(ys, 2)
