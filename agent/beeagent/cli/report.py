"""`beeagent report`: the traffic of a day as a page, or counts as CSV.

Messages are untrusted: any client of the broker may have published them.
"""

import io
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Final, Literal

from beeagent.cli.watch import ANY_LEVEL, reader_options
from beeagent.errors import BeeagentError, InputError
from beeagent.messages import StatusMessage, TrafficMessage, UnreadableError, detections_topic
from beeagent.mqtt import Received, Subscription
from beeagent.output import shown, write_file
from beeagent.settings import Settings
from beeagent.tracking import Interval, StatusChange, day_of, read_history, report_page, summarize, write_csv

_MAX_INTERVALS: Final = 600_000  # of a camera: more than a year of minutes
_MAX_CAMERAS: Final = 1000
_MAX_STATUSES: Final = 100_000
_SQLITE: Final = b"SQLite format 3\0"
_TRAFFIC: Final = '"beeagent.traffic/1"'
_STATUS: Final = '"beeagent.status/1"'


def report_file(  # noqa: PLR0913 - keywords
    path: Path, *, device: str | None, camera: str | None, day: date | None, out: Path, write: Callable[[str], None]
) -> None:
    """Write the report of a file: messages of the agent, one per line, or its file of counts.

    Args:
        path: input file.
        device: name of the device; None for the only one in the messages.
        camera: name of the camera; None for the only one in the messages.
        day: day to show; None for the last day on a page, and for all days in CSV.
        out: file to write; its suffix selects the format.
        write: called with a summary, in a line without line break.

    Raises:
        InputError: A file cannot be used, or has no counts, or counts of several cameras.
    """
    form = _form(out)
    try:
        with path.open("rb") as file:
            is_history = file.read(len(_SQLITE)) == _SQLITE
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
    if is_history:
        report_history(path, camera=path.name.partition(".")[0], day=day, out=out, write=write)
        return
    messages = _Messages(device=device, camera=camera)
    try:
        with path.open("rb") as file:
            for line in file:
                messages.add(line)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
    traffic = messages.traffic()
    if traffic is None:
        raise InputError(f"{path}: has no traffic messages of {messages.selection}: run the agent with --places")
    write(_write_report(traffic, form=form, day=day, out=out))


def report_history(path: Path, *, camera: str, day: date | None, out: Path, write: Callable[[str], None]) -> None:
    """Write the report of a file of counts.

    Args:
        path: file of counts.
        camera: name of the camera in the report.
        day: day to show; None for the last day on a page, and for all days in CSV.
        out: file to write; its suffix selects the format.
        write: called with a summary, in a line without line break.

    Raises:
        InputError: A file cannot be used, or has no counts.
    """
    form = _form(out)
    intervals = read_history(path)
    if not intervals:
        raise InputError(f"counts {path}: are empty: let the agent run with --places for a minute")
    write(_write_report(_Traffic(camera, deque(intervals)), form=form, day=day, out=out))


def report_broker(  # noqa: PLR0913 - keywords
    settings: Settings,
    *,
    device: str | None,
    camera: str | None,
    day: date | None,
    seconds: float | None,
    out: Path,
    write: Callable[[str], None],
) -> None:
    """Collect messages from a broker, and update the report with each traffic message.

    Args:
        settings: settings with the broker, its credentials, and the topic prefix.
        device: name of the device; None for the only one in the messages.
        camera: name of the camera; None for the only one in the messages.
        day: day to show; None for the last day on a page, and for all days in CSV.
        seconds: duration in seconds; None to run until Ctrl-C.
        out: file to write; its suffix selects the format.
        write: called with each line, without line break.

    Raises:
        InputError: the broker has no address, is unreachable or refuses the connection, or the messages are of several
            cameras.
        BeeagentError: no traffic message was received, or the report cannot be written.
    """
    form = _form(out)
    options = reader_options(settings, "report", problem="has no traffic messages")
    prefix = settings.messages.topic_prefix
    for name in (device, camera):
        detections_topic(prefix, name or "any", "any")
    device_level = device or ANY_LEVEL
    filters = (f"{prefix}/{device_level}/{camera or ANY_LEVEL}/traffic", f"{prefix}/{device_level}/status")
    messages = _Messages(device=device, camera=camera)
    failures: list[BeeagentError] = []

    def handle(message: Received) -> None:
        try:
            if messages.add(message.payload) and (traffic := messages.traffic()) is not None:
                write(_write_report(traffic, form=form, day=day, out=out))
        except BeeagentError as error:
            failures.append(error)
            subscription.stop()

    subscription = Subscription(
        options=options,
        filters=filters,
        on_open=lambda: write(f"collecting {', '.join(filters)} at {options.address}"),
        on_message=handle,
        on_lost=lambda reason: write(f"{shown(reason)}; reconnecting"),
    )
    ending = None if seconds is None else threading.Timer(seconds, subscription.stop)
    if ending is not None:
        ending.daemon = True
        ending.start()
    try:
        subscription.run()
    except KeyboardInterrupt:
        subscription.stop()
    finally:
        if ending is not None:
            ending.cancel()
    if failures:
        raise failures[0]
    if messages.traffic() is None:
        raise BeeagentError(f"no traffic message of {messages.selection} was received: run the agent with --places")


@dataclass(frozen=True, slots=True)
class _Traffic:
    camera: str  # as shown in the report
    intervals: deque[Interval]
    statuses: tuple[StatusChange, ...] = ()


@dataclass(slots=True)
class _Messages:
    """The traffic in messages, by device and camera."""

    device: str | None
    camera: str | None
    _intervals: dict[tuple[str, str], deque[Interval]] = field(default_factory=dict)
    _statuses: dict[str, deque[StatusChange]] = field(default_factory=dict)
    _known: set[str] = field(default_factory=set)

    @property
    def selection(self) -> str:
        return f"device {self.device or 'any'} and camera {self.camera or 'any'}"

    def add(self, payload: bytes) -> bool:
        """Add a message; return True for a new traffic message of the selection. Other messages are ignored."""
        text = payload.strip()
        if _STATUS.encode() in text:
            self._add_status(text)
        if _TRAFFIC.encode() not in text:
            return False
        try:
            message = TrafficMessage.decode(text)
        except UnreadableError:
            return False
        if self.device not in {None, message.device} or self.camera not in {None, message.camera}:
            return False
        key, event = (message.device, message.camera), str(message.event_id)
        if event in self._known or (key not in self._intervals and len(self._intervals) >= _MAX_CAMERAS):
            return False
        self._known.add(event)
        self._intervals.setdefault(key, deque(maxlen=_MAX_INTERVALS)).append(_interval(message))
        if message.asleep is not None:
            self._add_change(message.device, StatusChange(_moment(message.asleep.since), "asleep"))
        return True

    def _add_status(self, text: bytes) -> None:
        try:
            message = StatusMessage.decode(text)
        except UnreadableError:
            return
        if self.device not in {None, message.device} or (
            message.device not in self._statuses and len(self._statuses) >= _MAX_CAMERAS
        ):
            return
        at = _moment(message.at)
        if message.state == "offline":  # the time of a last will is the time of its connection
            ends = (intervals[-1].end for (device, _), intervals in self._intervals.items() if device == message.device)
            at = max((at, *ends))
        self._add_change(message.device, StatusChange(at, message.state, tuple(message.reasons)))

    def _add_change(self, device: str, change: StatusChange) -> None:
        self._statuses.setdefault(device, deque(maxlen=_MAX_STATUSES)).append(change)

    def traffic(self) -> _Traffic | None:
        """Return the traffic of the camera; None if there is none yet.

        Raises:
            InputError: the messages are of several cameras.
        """
        if len(self._intervals) > 1:
            names = ", ".join(f"{shown(device)}/{shown(camera)}" for device, camera in list(self._intervals)[:10])
            raise InputError(f"there are messages of several cameras ({names}): give --device and --camera-name")
        for (device, camera), intervals in self._intervals.items():
            return _Traffic(f"{device}, camera {camera}", intervals, tuple(self._statuses.get(device, ())))
        return None


def _interval(message: TrafficMessage) -> Interval:
    begin, end = _moment(message.from_), _moment(message.to)
    counts: dict[tuple[str, str, str], int] = {}
    inside: dict[str, dict[str, int]] = {}
    for places in (message.lines, message.zones):
        for place, labels in places.items():
            for label, count in labels.items():
                counts[place, label, "in"], counts[place, label, "out"] = count.in_, count.out
    for zone, by_label in message.zones.items():
        inside[zone] = {label: count.inside for label, count in by_label.items()}
    return Interval(begin, end, round(message.frames_per_s * (end - begin).total_seconds()), counts, inside)


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def _form(out: Path) -> Literal["page", "csv"]:
    match out.suffix.lower():
        case ".html" | ".htm":
            return "page"
        case ".csv":
            return "csv"
    raise InputError(f"--out {out}: the name must end in .html for a page, or .csv for a table")


def _write_report(traffic: _Traffic, *, form: Literal["page", "csv"], day: date | None, out: Path) -> str:
    """Write the report; return a summary in one line."""
    if form == "csv":
        file = io.StringIO(newline="")
        intervals = sorted(traffic.intervals, key=lambda interval: interval.begin)
        rows = write_csv([interval for interval in intervals if day is None or day_of(interval.begin) == day], file)
        _replace(out, file.getvalue())
        return f"{out}: {rows} rows"
    shown_day = day_of(max(interval.begin for interval in traffic.intervals)) if day is None else day
    summary = summarize(traffic.intervals, shown_day, statuses=traffic.statuses)
    _replace(out, report_page(summary, camera=traffic.camera))
    counts = ", ".join(f"{shown(place.place)}: {place.into} in, {place.out} out" for place in summary.places[:5])
    return f"{out}: {shown_day.isoformat()}, {counts or 'nothing counted'}"


def _replace(path: Path, text: str) -> None:
    """Replace a file atomically, since a browser may be reading it."""
    try:
        write_file(path, [text.encode()], mode=0o666)
    except OSError as error:
        raise BeeagentError(f"--out {path}: cannot be written: {error.strerror or error}") from error
