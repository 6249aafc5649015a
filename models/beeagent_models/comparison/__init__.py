"""Comparing detectors on labelled images: device models, cloud models, and results of either.

Converts each to detections, measures all by the same metrics, and shows them side by side.
"""

from typing import TYPE_CHECKING

from beeagent import lazy_exports

if TYPE_CHECKING:
    from beeagent_models.comparison.command import ComparisonOptions, run_comparison
    from beeagent_models.comparison.comparison import DrawingThresholds, Price
else:  # a type checker would accept any name
    __getattr__ = lazy_exports(
        __name__,
        {
            "command": ("ComparisonOptions", "run_comparison"),
            "comparison": ("DrawingThresholds", "Price"),
        },
    )

__all__ = [
    "ComparisonOptions",
    "DrawingThresholds",
    "Price",
    "run_comparison",
]
