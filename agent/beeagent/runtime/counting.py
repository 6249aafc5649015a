"""Tracking and counting in the running agent."""

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Final

from beeagent.camera import Frame
from beeagent.detection import Masks
from beeagent.errors import BeeagentError, InputError
from beeagent.messages import TrafficMessage, UnreadableError
from beeagent.runtime.pipeline import FrameResult
from beeagent.tracking import (
    CountHistory,
    Interval,
    Places,
    Totals,
    Tracker,
    TrackerOptions,
    Traffic,
    TrafficMonitor,
    TrafficReport,
    TrafficState,
    UnusualTraffic,
    load_places,
)

_LOG: Final = logging.getLogger(__name__)

_MAX_UNSTORED_MINUTES: Final = 1440
_TRACKS_FROM: Final = 0.45
"""Minimum confidence of a detection that begins a track, as a ratio of the threshold. It is lower than that for
publishing, since a tracked false alarm crosses no line, but a bee that is missed for too long is not counted."""


class Counting:
    """Tracks the detections from frame to frame, and counts them at the places of the camera.

    `update` is called for each frame in order, on one thread; `masks`, `reload` and `state` are thread-safe.

    The times of a video are its positions, added to the time at which its first frame was read.

    Args:
        places_file: file of lines, zones and masks; None for tracking without counting.
        interval_s: interval of the reports in seconds.
        threshold: minimum confidence of a published detection, 0 to 1.
        history: store for the counts; None to keep them in memory.
        find_unusual: True to compare the traffic with that of earlier days in `history`.
        last_message: returns the payload of the last available traffic message, or None; the source of the totals if
            the history file is damaged.
        on_places_problem: called with the reason why the places could not be reloaded, and with None after a success.
        on_history_problem: called with the reason why counts could not be stored, and with None after a success.

    Raises:
        InputError: the places or the totals cannot be read.
    """

    def __init__(  # noqa: PLR0913 - keywords
        self,
        *,
        places_file: Path | None,
        interval_s: float,
        threshold: float,
        history: CountHistory | None,
        find_unusual: bool = False,
        last_message: Callable[[], bytes | None] = lambda: None,
        on_places_problem: Callable[[str | None], None],
        on_history_problem: Callable[[str | None], None],
    ) -> None:
        self._file = places_file
        self._on_places_problem = on_places_problem
        self._history = history
        self._places = Places() if places_file is None else load_places(places_file)
        self._new_places: Places | None = None
        self._masks = self._places.all_masks
        self._tracker = Tracker(TrackerOptions(high_confidence=_TRACKS_FROM * threshold))
        self._traffic: Traffic | None = None
        self._monitor = TrafficMonitor(history) if history is not None and find_unusual else None
        self._unusual: list[UnusualTraffic] = []
        if places_file is not None:
            totals, store = None, None
            if history is not None:
                totals, origin = _totals_to_continue(history, last_message)
                store = _RetryingStore(history, origin, on_history_problem, on_minute=self._compare)
            self._traffic = Traffic(self._places, interval_s=interval_s, totals=totals, store=store)
        self._lock = threading.Lock()  # guards the traffic
        self._video_began: datetime | None = None
        self._video_at: datetime | None = None

    @property
    def masks(self) -> Masks:
        """The masks of the places in use. Thread-safe."""
        return self._masks

    def update(self, result: FrameResult) -> tuple[Sequence[int], TrafficReport | None]:
        """Track and count the detections of the next frame, with the candidates of lower confidence.

        Returns:
            The number of the confirmed track of each detection, 0 for none; and the report of the interval that ended
            before this frame, or None.
        """
        if (places := self._new_places) is not None:
            self._new_places, self._places, self._masks = None, places, places.all_masks
            if self._traffic is not None:
                with self._lock:
                    self._traffic.replace(places)
        frame, count = result.frame, len(result.detections)
        at_s, at = self._time_of(frame)
        candidates = result.detections if result.candidates is None else result.candidates
        tracked = self._tracker.update(candidates, at_s=at_s, frame_size=frame.size)
        numbers: list[int] = (tracked.tracks * tracked.confirmed)[:count].tolist()
        if self._traffic is None:
            return numbers, None
        with self._lock:
            return numbers, self._traffic.add(tracked, at)

    def take_unusual(self) -> list[UnusualTraffic]:
        """Return the unusual traffic found since the last call. Called on the thread of `update`."""
        unusual, self._unusual = self._unusual, []
        return unusual

    def _compare(self, minute: Interval) -> None:
        """Compare the traffic up to the end of a stored minute with that of earlier days."""
        if self._monitor is None or self._file is None:
            return
        try:
            # Before the places were changed, the same names may have counted something else.
            changed = datetime.fromtimestamp(self._file.stat().st_mtime, timezone.utc)
            found = self._monitor.check(minute.end, since=changed)
        except (BeeagentError, OSError) as error:
            _LOG.warning("traffic: not compared with that of earlier days: %s", error)
            return
        for one in found:
            _LOG.info(
                "traffic: unusually %s %s at %s in ten minutes: %d of %s, usually %d to %d at this time",
                one.kind, one.direction, one.place, one.counts[one.direction], one.label, one.usual.low, one.usual.high,
            )  # fmt: skip
        self._unusual += found

    def state(self, labels: Iterable[str]) -> TrafficState | None:
        """Return the current counts; None without places. For a video, as of its newest frame.

        Args:
            labels: classes to include even if they were not detected.
        """
        if self._traffic is None:
            return None
        with self._lock:
            return self._traffic.state(self._video_at or datetime.now(timezone.utc), labels)

    @property
    def places_file(self) -> Path | None:
        """The file of lines, zones and masks; None for tracking without counting."""
        return self._file

    @property
    def history_file(self) -> Path | None:
        """The file of the counts per minute; None if they are kept in memory."""
        return None if self._history is None else self._history.path

    def set_threshold(self, threshold: float) -> None:
        """Change the minimum confidence of a published detection, 0 to 1. Thread-safe."""
        self._tracker.set_high_confidence(_TRACKS_FROM * threshold)

    def today(self) -> dict[str, dict[str, Any]]:
        """Return the counts of today at each line and zone by label, and the current number in each zone.

        The format is that of the page's API. Thread-safe.
        """
        today: dict[str, dict[str, Any]] = {}
        if (state := self.state(())) is not None:
            for kind, places in (("line", state.lines), ("zone", state.zones)):
                for name, labels in places.items():
                    counts = {
                        label: {**values["today"], **({"inside": values["inside"]} if kind == "zone" else {})}
                        for label, values in labels.items()
                    }
                    nonzero = {label: numbers for label, numbers in counts.items() if any(numbers.values())}
                    today[name] = {"kind": kind, "labels": nonzero}
        return today

    @property
    def totals(self) -> dict[tuple[str, str, str], int]:
        """Number of passages over all restarts, by place, label and direction. Thread-safe."""
        return {} if self._traffic is None else dict(self._traffic.totals.ever)

    def reload(self) -> None:
        """Read the file of places again; if it is invalid, keep the current places and report the problem."""
        if self._file is None:
            return
        try:
            places = load_places(self._file)
        except InputError as error:
            self._on_places_problem(f"the new ones are not used: {error}")
            return
        self._new_places = places
        _LOG.info(
            "read %s again: %d lines, %d zones, %d masks",
            self._file, len(places.lines), len(places.zones), len(places.masks),
        )  # fmt: skip
        self._on_places_problem(None)

    def end(self) -> TrafficReport | None:
        """End all tracks, and the interval early; return its report, or None if it has no frames."""
        self._tracker.interrupt()
        if self._traffic is None:
            return None
        with self._lock:
            return self._traffic.close()

    def close(self) -> None:
        """Close the history file. Idempotent."""
        if self._history is not None:
            self._history.close()

    def _time_of(self, frame: Frame) -> tuple[float, datetime]:
        """Return the monotonic time of a frame in seconds, and its wall-clock time."""
        if frame.position_s is None:
            return frame.at_s, frame.captured_at
        position = timedelta(seconds=frame.position_s)
        if self._video_began is None:
            self._video_began = frame.captured_at - position
        self._video_at = self._video_began + position
        return frame.at_s, self._video_at


class _RetryingStore:
    """Stores counts in a `CountHistory`, and keeps those that cannot be stored for the next attempt."""

    def __init__(
        self,
        history: CountHistory,
        origin: str,
        on_problem: Callable[[str | None], None],
        *,
        on_minute: Callable[[Interval], None],
    ) -> None:
        self._history = history
        self._on_minute = on_minute  # called with each full minute that was stored
        self._origin = origin  # of the totals, if the file was damaged
        self._on_problem = on_problem
        self._unstored: deque[Interval] = deque(maxlen=_MAX_UNSTORED_MINUTES)
        self._report_damage()

    def add(self, minutes: Sequence[Interval], totals: Totals) -> None:
        self._unstored.extend(minutes)
        try:
            self._history.add(list(self._unstored), totals)
        except BeeagentError as error:
            self._on_problem(str(error))
            return
        self._unstored.clear()
        if not self._report_damage():
            self._on_problem(None)
        for minute in minutes:
            if not minute.end.timestamp() % 60:
                self._on_minute(minute)

    def _report_damage(self) -> bool:
        """Report a damaged file; return False if there is none."""
        damage = self._history.damage
        if damage is not None:
            self._on_problem(f"{damage}; {self._origin}")
        return damage is not None


def _totals_to_continue(history: CountHistory, last_message: Callable[[], bytes | None]) -> tuple[Totals, str]:
    """Return the totals to continue, and a description of their origin for a damaged history file."""
    totals, origin = history.totals(), "the totals continue"
    if history.damage is None:
        return totals, origin
    if totals == Totals():
        try:
            payload = last_message()
            message = None if payload is None else TrafficMessage.decode(payload)
        except (BeeagentError, UnreadableError) as error:
            _LOG.warning("counts: the last traffic message cannot be read: %s", error)
            message = None
        if message is None:
            origin = "the totals restart at 0"
        else:
            totals, origin = _totals_of(message), f"the totals continue from those of {message.to}"
    return totals, origin


def _totals_of(message: TrafficMessage) -> Totals:
    totals = Totals(date.fromisoformat(message.day))
    for places in (message.lines, message.zones):
        for place, labels in places.items():
            for label, traffic in labels.items():
                for source, counts in ((traffic.today, totals.today), (traffic.total, totals.ever)):
                    counts[place, label, "in"] = source.in_
                    counts[place, label, "out"] = source.out
    return totals
