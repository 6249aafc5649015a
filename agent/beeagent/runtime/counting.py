"""Tracks and counts of the running agent: from the detections of each frame to the traffic of each interval."""

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
"""Confidence from which a detection begins a track, as a ratio of the threshold. A false alarm that is published is an
error; one that is tracked counts nothing, as it crosses no line. A bee that is missed for long is not counted."""


class Counting:
    """Follows the detections from frame to frame, and counts them at the places of the camera.

    `update` is called for each frame in order, on one thread; `masks`, `reload` and `state` on any thread.

    In a video, times are those of the video, from the moment at which its first frame was read.

    Args:
        places_file: the lines, zones and masks; None to follow only.
        interval_s: of the reports, in seconds.
        threshold: confidence from which a detection is published, 0 to 1. Tracks begin with less.
        history: keeps the counts; None to keep them in memory.
        find_unusual: whether to compare the traffic with that of earlier days in `history`.
        last_message: returns the payload of the last traffic message that is still here, None if there is none. It has
            the totals if the file of counts was damaged.
        on_places_problem: called with the reason why the places could not be reloaded, and with None once they were.
        on_history_problem: likewise for the counts that could not be stored.

    Raises:
        InputError: the places or the totals cannot be read.
    """

    def __init__(  # noqa: PLR0913 - its settings, and where it reports problems
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
                store = _ForgivingStore(history, origin, on_history_problem, on_minute=self._compare)
            self._traffic = Traffic(self._places, interval_s=interval_s, totals=totals, store=store)
        self._lock = threading.Lock()  # of the traffic
        self._video_began: datetime | None = None
        self._video_at: datetime | None = None

    @property
    def masks(self) -> Masks:
        """The masks of the places in use. Safe from any thread."""
        return self._masks

    def update(self, result: FrameResult) -> tuple[Sequence[int], TrafficReport | None]:
        """Follow and count the detections of the next frame, with the candidates of lower confidence.

        Returns:
            The number of the confirmed track of each detection, 0 where there is none; and the report of the interval
            that ended before this frame, if one did.
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
        """Return the unusual traffic that was found since the last call. On the thread of `update`."""
        unusual, self._unusual = self._unusual, []
        return unusual

    def _compare(self, minute: Interval) -> None:
        """Compare the traffic up to a minute that was stored with that of earlier days."""
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
        """Return the current counts; None without places. In a video, now is the time of its newest frame.

        Args:
            labels: classes to include, even if none of them was seen.
        """
        if self._traffic is None:
            return None
        with self._lock:
            return self._traffic.state(self._video_at or datetime.now(timezone.utc), labels)

    @property
    def places_file(self) -> Path | None:
        """The file of the lines, zones and masks; None if bees are followed only."""
        return self._file

    @property
    def history_file(self) -> Path | None:
        """The file of the counts per minute; None if they are kept in memory."""
        return None if self._history is None else self._history.path

    def set_threshold(self, threshold: float) -> None:
        """Use another confidence from which a detection is published, 0 to 1. From any thread."""
        self._tracker.set_high_confidence(_TRACKS_FROM * threshold)

    def today(self) -> dict[str, dict[str, Any]]:
        """Return who came in and went out today, by line and zone and by label, and who is in each zone now.

        As the page's API has it; from any thread.
        """
        found: dict[str, dict[str, Any]] = {}
        if (state := self.state(())) is not None:
            for kind, places in (("line", state.lines), ("zone", state.zones)):
                for name, labels in places.items():
                    counts = {
                        label: {**of["today"], **({"inside": of["inside"]} if kind == "zone" else {})}
                        for label, of in labels.items()
                    }
                    seen = {label: each for label, each in counts.items() if any(each.values())}
                    found[name] = {"kind": kind, "labels": seen}
        return found

    @property
    def totals(self) -> dict[tuple[str, str, str], int]:
        """How many came in and went out, over all restarts, by place, label and direction. Safe from any thread."""
        return {} if self._traffic is None else dict(self._traffic.totals.ever)

    def reload(self) -> None:
        """Read the file of places again; if it is wrong, go on with the places from before and report why."""
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
        """End all tracks, and the interval before its time; return its report, or None without a frame."""
        self._tracker.interrupt()
        if self._traffic is None:
            return None
        with self._lock:
            return self._traffic.close()

    def close(self) -> None:
        """Close the file of counts. Safe to call twice."""
        if self._history is not None:
            self._history.close()

    def _time_of(self, frame: Frame) -> tuple[float, datetime]:
        """Return the time of a frame in seconds of a clock that does not jump, and by the wall clock."""
        if frame.position_s is None:
            return frame.at_s, frame.captured_at
        position = timedelta(seconds=frame.position_s)
        if self._video_began is None:
            self._video_began = frame.captured_at - position
        self._video_at = self._video_began + position
        return frame.at_s, self._video_at


class _ForgivingStore:
    """Stores counts in a `CountHistory`, and keeps those that cannot be stored for the next time."""

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
        """Report a damaged file for a day; return whether there is one."""
        damage = self._history.damage
        if damage is not None:
            self._on_problem(f"{damage}; {self._origin}")
        return damage is not None


def _totals_to_continue(history: CountHistory, last_message: Callable[[], bytes | None]) -> tuple[Totals, str]:
    """Return the totals from before, and how they survived if the file of counts was damaged."""
    totals, origin = history.totals(), "the totals go on"
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
            origin = "the totals begin again at 0"
        else:
            totals, origin = _totals_of(message), f"the totals go on from those of {message.to}"
    return totals, origin


def _totals_of(message: TrafficMessage) -> Totals:
    totals = Totals(date.fromisoformat(message.day))
    for places in (message.lines, message.zones):
        for place, labels in places.items():
            for label, one in labels.items():
                for since, counts in ((one.today, totals.today), (one.total, totals.ever)):
                    counts[place, label, "in"] = since.in_
                    counts[place, label, "out"] = since.out
    return totals
