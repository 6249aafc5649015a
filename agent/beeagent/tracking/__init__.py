"""Tracks of bees, places in the frame, and counts of bees that fly in and out.

A `Tracker` assigns track numbers to the detections of successive frames, `Traffic` counts at the lines and zones of
`Places`, and `CountHistory` stores the counts. This package does not depend on transports or threads.
"""

from typing import TYPE_CHECKING

from beeagent import lazy_exports

if TYPE_CHECKING:
    from beeagent.tracking.counting import Passage, PlaceCounter
    from beeagent.tracking.daily import Day, StatusChange, day_of, summarize
    from beeagent.tracking.drawing import draw_places
    from beeagent.tracking.history import CountHistory, read_history, read_traffic, write_csv
    from beeagent.tracking.page import report_page
    from beeagent.tracking.places import Area, Line, Places, format_places, load_places, parse_places, validate_places
    from beeagent.tracking.tracker import TrackedFrame, Tracker, TrackerOptions
    from beeagent.tracking.traffic import (
        Interval,
        IntervalCounter,
        Totals,
        Traffic,
        TrafficReport,
        TrafficState,
        TrafficStore,
    )
    from beeagent.tracking.unusual import TrafficMonitor, UnusualTraffic, Usual, usual_counts
else:  # `__getattr__` would make a type checker accept any name
    __getattr__ = lazy_exports(
        __name__,
        {
            "counting": ("Passage", "PlaceCounter"),
            "daily": ("Day", "StatusChange", "day_of", "summarize"),
            "drawing": ("draw_places",),
            "history": ("CountHistory", "read_history", "read_traffic", "write_csv"),
            "page": ("report_page",),
            "places": ("Area", "Line", "Places", "format_places", "load_places", "parse_places", "validate_places"),
            "tracker": ("TrackedFrame", "Tracker", "TrackerOptions"),
            "traffic": (
                "Interval",
                "IntervalCounter",
                "Totals",
                "Traffic",
                "TrafficReport",
                "TrafficState",
                "TrafficStore",
            ),
            "unusual": ("TrafficMonitor", "UnusualTraffic", "Usual", "usual_counts"),
        },
    )

__all__ = [
    "Area", "CountHistory", "Day", "Interval", "IntervalCounter", "Line", "Passage", "PlaceCounter", "Places",
    "StatusChange", "Totals", "TrackedFrame", "Tracker", "TrackerOptions", "Traffic", "TrafficMonitor", "TrafficReport",
    "TrafficState", "TrafficStore", "UnusualTraffic", "Usual", "day_of", "draw_places", "format_places", "load_places",
    "parse_places", "read_history", "read_traffic", "report_page", "summarize", "usual_counts", "validate_places",
    "write_csv",
]  # fmt: skip
