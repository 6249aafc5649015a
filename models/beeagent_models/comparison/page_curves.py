"""The curves of a comparison's page."""

from html import escape

import numpy as np
from numpy.typing import NDArray

from beeagent_models.comparison.comparison import Comparison, Contender
from beeagent_models.comparison.reference import ARTICLE
from beeagent_models.comparison.svg_chart import Line, Mark, chart


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
