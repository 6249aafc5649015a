"""What the cloud model costs: calls per minute and per day, limited across restarts, and the hours that it runs."""

import logging
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Final, Literal

from beeagent.errors import InputError

_LOG: Final = logging.getLogger(__name__)

_APPLICATION_ID: Final = 0x62656562  # "beeb"; marks a budget file
_FORMAT: Final = 1
_MINUTE_S: Final = 60.0
_MAX_DATES: Final = 64
_MAX_GAP_S: Final = 3600.0  # results further apart say nothing about the time between

_TABLES: Final = f"""
BEGIN;
CREATE TABLE day (date TEXT PRIMARY KEY, calls INTEGER NOT NULL, touched INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE recent (at REAL NOT NULL);  -- seconds since 1970
PRAGMA application_id = {_APPLICATION_ID};
PRAGMA user_version = {_FORMAT};
COMMIT;
"""


class CallBudget:
    """Permits calls within the limits, each written to disk before it is permitted.

    So neither a restart nor a power cut refunds a call, and a call that cannot be recorded is not permitted. The SD
    card sees one small commit per call, and the limits bound those too.

    A day is a date in UTC by the device's clock, and each date has its own count, so a clock that jumps back and forth
    finds the calls already made. The minute is measured by the monotonic clock; across a restart it is taken from the
    wall clock, and calls that then lie in the future count as just made.

    Safe from any thread; one process at a time.
    """

    def __init__(
        self,
        path: Path | None,
        *,
        per_minute: int,
        per_day: int,
        wall: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Open the file, or create it.

        Args:
            path: the SQLite file; its folder is created if necessary; None keeps the counts in memory.
            per_minute: calls within any 60 seconds, 0 or more.
            per_day: calls on any date, 0 or more.
            wall: seconds since 1970.
            clock: monotonic seconds.

        Raises:
            InputError: the file cannot be used.
        """
        self._per_minute = per_minute
        self._per_day = per_day
        self._wall = wall
        self._clock = clock
        self._lock = threading.Lock()
        self._database = _open(path)
        now, here = wall(), clock()
        ages = [now - at for (at,) in self._database.execute("SELECT at FROM recent ORDER BY rowid")]
        self._recent = deque(sorted(here - max(0.0, age) for age in ages if age < _MINUTE_S))

    def spend(self) -> Literal["rate", "budget"] | None:
        """Record one call, and return None; or return the limit that is reached, of the minute or of the day."""
        with self._lock:
            here = self._clock()
            while self._recent and here - self._recent[0] >= _MINUTE_S:
                self._recent.popleft()
            if len(self._recent) >= self._per_minute:
                return "rate"
            try:
                if self._spent_today() >= self._per_day:
                    return "budget"
                self._record()
            except sqlite3.Error as error:
                _LOG.warning("no second opinion: the calls cannot be counted (%s)", error)
                return "budget"
            self._recent.append(here)
            return None

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._database.close()

    def _date(self) -> str:
        return datetime.fromtimestamp(self._wall(), tz=timezone.utc).date().isoformat()

    def _spent_today(self) -> int:
        row = self._database.execute("SELECT calls FROM day WHERE date = ?", (self._date(),)).fetchone()
        return int(row[0]) if row else 0

    def _record(self) -> None:
        execute = self._database.execute
        with self._database:  # one transaction
            execute("BEGIN IMMEDIATE")
            execute(
                "INSERT INTO day VALUES (?, 1, (SELECT coalesce(max(touched), 0) + 1 FROM day))"
                " ON CONFLICT (date) DO UPDATE SET calls = calls + 1, touched = excluded.touched",
                (self._date(),),
            )
            execute(
                "DELETE FROM day WHERE date NOT IN (SELECT date FROM day ORDER BY touched DESC LIMIT ?)",
                (_MAX_DATES,),
            )
            execute("INSERT INTO recent VALUES (?)", (self._wall(),))
            execute(
                "DELETE FROM recent WHERE rowid NOT IN (SELECT rowid FROM recent ORDER BY rowid DESC LIMIT ?)",
                (self._per_minute,),
            )


class RunningTime:
    """Adds up the time between results of the cloud model, which AWS bills by the hour.

    Two results at most an hour apart count as one period in which the model ran, unless the service reported in between
    that it does not. So the sum is a lower bound: the time before the first result and after the last is not observed.

    Not thread-safe.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Start at zero; `clock` returns monotonic seconds."""
        self._clock = clock
        self._last: float | None = None
        self._seconds = 0.0

    @property
    def seconds(self) -> float:
        """Seconds for which the model was observed running."""
        return self._seconds

    def note_result(self) -> None:
        """The model returned a result just now."""
        now = self._clock()
        if self._last is not None and now - self._last <= _MAX_GAP_S:
            self._seconds += now - self._last
        self._last = now

    def note_not_running(self) -> None:
        """The service reported just now that the model does not run."""
        self._last = None


def _open(path: Path | None) -> sqlite3.Connection:
    try:
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        database = sqlite3.connect(
            ":memory:" if path is None else path, timeout=1.0, isolation_level=None, check_same_thread=False
        )
    except (OSError, sqlite3.Error) as error:
        raise InputError(f"budget {path} cannot be opened: {error}; check the folder and its permissions") from error
    try:
        _prepare(database, path)
    except sqlite3.OperationalError as error:
        database.close()
        raise InputError(f"budget {path} cannot be used: {error}; check the folder and its permissions") from error
    except sqlite3.DatabaseError as error:
        database.close()
        raise InputError(f"budget {path} is damaged or not a budget file ({error}): move it away") from error
    except InputError:
        database.close()
        raise
    return database


def _prepare(database: sqlite3.Connection, path: Path | None) -> None:
    # Two processes would respect the limit per day, but each would have its own limit per minute.
    database.execute("PRAGMA locking_mode = EXCLUSIVE")
    database.execute("PRAGMA journal_mode = WAL")
    # Calls cost money: what was permitted is on disk, even after a power cut.
    database.execute("PRAGMA synchronous = FULL")
    application = database.execute("PRAGMA application_id").fetchone()[0]
    tables = database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if application == 0 and tables == 0:
        database.executescript(_TABLES)
    elif application != _APPLICATION_ID:
        raise InputError(f"{path} is an SQLite file of another program: use another state folder")
    version = database.execute("PRAGMA user_version").fetchone()[0]
    if version != _FORMAT:
        raise InputError(
            f"budget {path} has format {version}, and this version of beeagent reads format {_FORMAT}: use the version "
            "that wrote it"
        )
