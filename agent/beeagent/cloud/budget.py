"""The limits on calls, per minute and per day, kept over restarts."""

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

_APPLICATION_ID: Final = 0x62656562  # "beeb"; marks the file as a budget
_FORMAT: Final = 1
_MINUTE_S: Final = 60.0
_DATES_KEPT: Final = 64

_TABLES: Final = f"""
BEGIN;
CREATE TABLE day (date TEXT PRIMARY KEY, calls INTEGER NOT NULL, touched INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE recent (at REAL NOT NULL);  -- seconds since 1970
PRAGMA application_id = {_APPLICATION_ID};
PRAGMA user_version = {_FORMAT};
COMMIT;
"""


class CallBudget:
    """Grants calls within the limits, each written to the disk before it is granted.

    So neither a restart nor a power cut gives a call back, and what cannot be written down is not granted. One small
    commit a call is all that the SD card sees, and the limits bound those too.

    A day is a date in UTC by the device's clock, and each date has a count of its own: a clock that jumps, and back
    again, finds what was spent. The minute is measured by a clock that does not jump; only across a restart is it
    taken from the wall clock, and calls that then seem to lie in the future count as just made.

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
            path: the SQLite file; its folder is made if need be; None keeps the counts in memory.
            per_minute: calls within any 60 seconds, 0 or more.
            per_day: calls on any date, 0 or more.
            wall: seconds since 1970.
            clock: seconds that never go back.

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
        """Take one call: None grants it; else which limit, of the minute or the day, does not."""
        with self._lock:
            here = self._clock()
            while self._recent and here - self._recent[0] >= _MINUTE_S:
                self._recent.popleft()
            if len(self._recent) >= self._per_minute:
                return "rate"
            try:
                if self._spent() >= self._per_day:
                    return "budget"
                self._note()
            except sqlite3.Error as error:
                _LOG.warning("the calls for a second opinion cannot be counted (%s), and so none is made", error)
                return "budget"
            self._recent.append(here)
            return None

    @property
    def spent_today(self) -> int:
        """Calls on this date; the whole limit where the file cannot be read."""
        with self._lock:
            try:
                return self._spent()
            except sqlite3.Error:
                return self._per_day

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._database.close()

    def _date(self) -> str:
        return datetime.fromtimestamp(self._wall(), tz=timezone.utc).date().isoformat()

    def _spent(self) -> int:
        found = self._database.execute("SELECT calls FROM day WHERE date = ?", (self._date(),)).fetchone()
        return int(found[0]) if found else 0

    def _note(self) -> None:
        execute = self._database.execute
        with self._database:  # one transaction: all of it, or nothing
            execute("BEGIN IMMEDIATE")
            execute(
                "INSERT INTO day VALUES (?, 1, (SELECT coalesce(max(touched), 0) + 1 FROM day))"
                " ON CONFLICT (date) DO UPDATE SET calls = calls + 1, touched = excluded.touched",
                (self._date(),),
            )
            execute(
                "DELETE FROM day WHERE date NOT IN (SELECT date FROM day ORDER BY touched DESC LIMIT ?)",
                (_DATES_KEPT,),
            )
            execute("INSERT INTO recent VALUES (?)", (self._wall(),))
            execute(
                "DELETE FROM recent WHERE rowid NOT IN (SELECT rowid FROM recent ORDER BY rowid DESC LIMIT ?)",
                (self._per_minute,),
            )


def _open(path: Path | None) -> sqlite3.Connection:
    try:
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        database = sqlite3.connect(
            ":memory:" if path is None else path, timeout=1.0, isolation_level=None, check_same_thread=False
        )
    except (OSError, sqlite3.Error) as error:
        raise InputError(f"budget {path} cannot be opened: {error}; check the folder and its rights") from error
    try:
        _prepare(database, path)
    except sqlite3.OperationalError as error:
        database.close()
        raise InputError(f"budget {path} cannot be used: {error}; check the folder and its rights") from error
    except sqlite3.DatabaseError as error:
        database.close()
        raise InputError(f"budget {path} is damaged or no budget ({error}): move it away") from error
    except InputError:
        database.close()
        raise
    return database


def _prepare(database: sqlite3.Connection, path: Path | None) -> None:
    # Two processes would not spend too much, for each commit is one; but each would have a minute of its own.
    database.execute("PRAGMA locking_mode = EXCLUSIVE")
    database.execute("PRAGMA journal_mode = WAL")
    # Money: what was granted is on the disk, also after a power cut.
    database.execute("PRAGMA synchronous = FULL")
    application = database.execute("PRAGMA application_id").fetchone()[0]
    tables = database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if application == 0 and tables == 0:
        database.executescript(_TABLES)
    elif application != _APPLICATION_ID:
        raise InputError(f"{path} is an SQLite file of another program: give the budget another place")
    version = database.execute("PRAGMA user_version").fetchone()[0]
    if version != _FORMAT:
        raise InputError(
            f"budget {path} has format {version} and this beeagent knows {_FORMAT}: use the beeagent that made it"
        )
