"""History of counts per minute, for a year, in an SQLite file that other programs can read."""

import csv
import logging
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from datetime import datetime, timedelta, timezone
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Final, TextIO

from beeagent.errors import BeeagentError, InputError
from beeagent.outbox import is_damage, set_aside
from beeagent.output import prepare_tables
from beeagent.tracking.traffic import Interval, Totals

MAX_BYTES: Final = 20_000_000
KEEP_DAYS: Final = 366

_LOG: Final = logging.getLogger(__name__)

_DAMAGE_REPORTED_S: Final = 24 * 3600.0  # seconds for which a damaged file is reported
_CSV_HEADER: Final = ("minute", "place", "label", "in", "out", "inside", "frames")
_FORMAT: Final = 1
_PAGE_BYTES: Final = 4096
_MINUTES_OF_A_DAY: Final = 1440
# A minute is stored as the number of minutes since 1970, and each name once, so that a row takes about 15 bytes. A
# minute without counts has a row only in `minutes`, which distinguishes it from a minute without frames.
_SCHEMA: Final = """
CREATE TABLE names (id INTEGER PRIMARY KEY, place TEXT NOT NULL, label TEXT NOT NULL, UNIQUE (place, label));
CREATE TABLE minutes (minute INTEGER PRIMARY KEY, frames INTEGER NOT NULL);
CREATE TABLE counts (
    minute INTEGER NOT NULL, name INTEGER NOT NULL,
    "in" INTEGER NOT NULL, out INTEGER NOT NULL, inside INTEGER NOT NULL,
    PRIMARY KEY (minute, name)
) WITHOUT ROWID;
CREATE TABLE totals (id INTEGER PRIMARY KEY CHECK (id = 1), json TEXT NOT NULL);
CREATE VIEW traffic AS
    SELECT strftime('%Y-%m-%dT%H:%M:%SZ', m.minute * 60, 'unixepoch') AS minute,
           n.place, n.label, c."in", c.out, c.inside, m.frames
    FROM minutes m LEFT JOIN counts c USING (minute) LEFT JOIN names n ON n.id = c.name
"""


class CountHistory:
    """Stores counts per minute and the totals in a file.

    Each `add` is one transaction. Minutes older than `keep_days` are deleted, and the oldest days if the file would
    exceed `max_bytes`. Not thread-safe; several processes may read.

    A damaged file is renamed to `<name>.damaged-<n>`, at the start or later, and replaced by a new one.

        sqlite3 front.counts.sqlite3 'SELECT * FROM traffic WHERE minute >= "2026-05-04" LIMIT 10'

    Args:
        path: path of the file, which is created if necessary.
        max_bytes: maximum size of the file without its write-ahead log, 100,000 or more.
        keep_days: number of days for which minutes are kept, 1 or more.

    Raises:
        InputError: the file is of another kind, of a later version, or cannot be written.
    """

    def __init__(self, path: Path, *, max_bytes: int = MAX_BYTES, keep_days: int = KEEP_DAYS) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._keep_days = keep_days
        self._names: dict[tuple[str, str], int] = {}
        self._damage: str | None = None
        self._reported_until = 0.0
        self._database: sqlite3.Connection
        try:
            try:
                self._open()
            except sqlite3.DatabaseError as error:
                if not is_damage(error):
                    raise
                self._restart(str(error))
        except (sqlite3.Error, OSError) as error:
            raise InputError(f"counts {path}: {error}: give a file that can be written, or move it away") from error

    def _open(self) -> None:
        self._database = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        try:
            self._prepare()
        except BaseException:
            self._database.close()
            raise

    def _prepare(self) -> None:
        database = self._database
        prepare_tables(
            database,
            f"counts {self._path}",
            tables=_SCHEMA,
            version=_FORMAT,
            pragmas=("journal_mode = WAL", "synchronous = FULL"),
        )
        problem = str(database.execute("PRAGMA quick_check(1)").fetchone()[0])
        if problem != "ok":
            raise sqlite3.DatabaseError(" ".join(problem.split()))
        _stored_totals(database)
        self._names = {
            (place, label): number for number, place, label in database.execute("SELECT id, place, label FROM names")
        }

    @property
    def path(self) -> Path:
        """The path of the file."""
        return self._path

    def _restart(self, reason: str) -> None:
        """Rename the damaged file, and create a new one."""
        self._database.close()
        aside = set_aside(self._path)
        self._path.with_name(f"{self._path.name}-shm").unlink(missing_ok=True)
        self._damage = f"the file was damaged ({reason}) and renamed to {aside.name}"
        self._reported_until = time.monotonic() + _DAMAGE_REPORTED_S
        _LOG.error("counts %s: %s; the history restarts", self._path, self._damage)
        self._open()
        with suppress(sqlite3.Error), closing(sqlite3.connect(aside)) as damaged:
            damaged.execute("PRAGMA writable_schema = ON")  # required for reading a truncated file
            self._store_totals(_stored_totals(damaged))

    @property
    def damage(self) -> str | None:
        """Damage of the file within the last day; else None."""
        return self._damage if time.monotonic() < self._reported_until else None

    def close(self) -> None:
        """Close the file. Idempotent."""
        self._database.close()

    def totals(self) -> Totals:
        """Return the last stored totals, or those recovered from a damaged file; zeros if there are none."""
        return _stored_totals(self._database)

    def windows(self, begin: datetime, *, minutes: int, count: int) -> list[Interval]:
        """Return successive windows with their counts; windows that lack frames in a minute are left out.

        Args:
            begin: begin of the first window, a full minute, with a time zone.
            minutes: length of a window.
            count: number of windows.

        Raises:
            BeeagentError: the file cannot be read.
        """
        limits = {"begin": _minute(begin), "length": minutes, "end": _minute(begin) + minutes * count}
        where = "WHERE minute >= :begin AND minute < :end"
        try:
            frames = self._database.execute(
                f"SELECT (minute - :begin) / :length AS number, sum(frames) FROM minutes {where} AND frames > 0 "  # noqa: S608 - no input
                "GROUP BY number HAVING count(*) = :length ORDER BY number",
                limits,
            ).fetchall()
            rows = self._database.execute(
                'SELECT (minute - :begin) / :length AS number, n.place, n.label, sum("in"), sum(out) '  # noqa: S608
                f"FROM counts c JOIN names n ON n.id = c.name {where} GROUP BY number, c.name",
                limits,
            ).fetchall()
        except sqlite3.Error as error:
            raise BeeagentError(f"counts {self._path}: cannot be read: {error}") from error
        counts: dict[int, dict[tuple[str, str, str], int]] = {}
        for number, place, label, into, out in rows:
            counts.setdefault(number, {}).update({(place, label, "in"): into, (place, label, "out"): out})
        length = timedelta(minutes=minutes)
        return [
            Interval(begin + number * length, begin + (number + 1) * length, total, counts.get(number, {}), {})
            for number, total in frames
        ]

    def first_counts(self, since: datetime) -> dict[tuple[str, str], datetime]:
        """Return when each class was first counted at each place, by place and label, from a moment on.

        Raises:
            BeeagentError: the file cannot be read.
        """
        try:
            rows = self._database.execute(
                "SELECT n.place, n.label, min(c.minute) FROM counts c JOIN names n ON n.id = c.name "
                'WHERE c.minute >= ? AND c."in" + c.out > 0 GROUP BY c.name',
                (_minute(since),),
            ).fetchall()
        except sqlite3.Error as error:
            raise BeeagentError(f"counts {self._path}: cannot be read: {error}") from error
        return {(place, label): datetime.fromtimestamp(minute * 60, timezone.utc) for place, label, minute in rows}

    def add(self, minutes: Sequence[Interval], totals: Totals) -> None:
        """Store the counts of some minutes and the totals in one transaction.

        Args:
            minutes: intervals of at most a minute; those of the same minute are added up.
            totals: totals, which replace the stored ones.

        Raises:
            BeeagentError: the file cannot be written; nothing was stored.
        """
        try:
            try:
                self._store(minutes, totals)
            except sqlite3.DatabaseError as error:
                if not is_damage(error):
                    raise
                self._restart(str(error))
                self._store(minutes, totals)
        except (sqlite3.Error, OSError, InputError) as error:
            raise BeeagentError(f"counts {self._path}: cannot be written: {error}") from error

    def _store(self, minutes: Sequence[Interval], totals: Totals) -> None:
        database, names = self._database, dict(self._names)
        database.execute("BEGIN IMMEDIATE")
        try:
            for index, interval in enumerate(minutes, 1):
                self._add(interval)
                if index % 60 == 0 or index == len(minutes):  # also in between, to keep the file within its limit
                    self._delete_old(_minute(interval.begin))
            self._store_totals(totals)
            database.execute("COMMIT")
        except BaseException:
            self._names = names
            with suppress(sqlite3.Error):  # SQLite may have rolled back already
                database.execute("ROLLBACK")
            raise

    def _store_totals(self, totals: Totals) -> None:
        self._database.execute("INSERT OR REPLACE INTO totals VALUES (1, ?)", (totals.to_json(),))

    def _add(self, interval: Interval) -> None:
        minute = _minute(interval.begin)
        self._database.execute(
            "INSERT INTO minutes VALUES (?, ?) ON CONFLICT DO UPDATE SET frames = frames + excluded.frames",
            (minute, interval.frames),
        )
        for (place, label), (into, out, inside) in _rows(interval).items():
            self._database.execute(
                'INSERT INTO counts VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET "in" = "in" + excluded."in", '
                "out = out + excluded.out, inside = excluded.inside",
                (minute, self._name(place, label), into, out, inside),
            )

    def _name(self, place: str, label: str) -> int:
        known = self._names.get((place, label))
        if known is None:
            known = self._database.execute("INSERT INTO names (place, label) VALUES (?, ?)", (place, label)).lastrowid
            assert known is not None  # noqa: S101 - a row was inserted
            self._names[place, label] = known
        return known

    def _delete_old(self, now: int) -> None:
        """Delete minutes that are too old, and the oldest days while the file is too large."""
        limit = now - self._keep_days * _MINUTES_OF_A_DAY
        self._delete_before(limit)
        while self._used_bytes() > self._max_bytes - 8 * _PAGE_BYTES:
            oldest = self._database.execute("SELECT min(minute) FROM minutes").fetchone()[0]
            if oldest is None or oldest >= now:
                break
            self._delete_before(min(oldest + _MINUTES_OF_A_DAY, now))

    def _delete_before(self, minute: int) -> None:
        for table in ("minutes", "counts"):
            self._database.execute(f"DELETE FROM {table} WHERE minute < ?", (minute,))  # noqa: S608 - no input

    def _used_bytes(self) -> int:
        pages, free = (
            int(self._database.execute(f"PRAGMA {name}").fetchone()[0]) for name in ("page_count", "freelist_count")
        )
        return (pages - free) * _PAGE_BYTES


def read_history(path: Path, *, since: datetime | None = None, until: datetime | None = None) -> list[Interval]:
    """Return the minutes in a file of counts, oldest first. The file is not changed; an agent may be writing to it.

    Args:
        path: path of the file.
        since: beginning, with a time zone; None for the first minute.
        until: exclusive end, with a time zone; None for the last minute.

    Raises:
        InputError: there is no such file, it is of another kind, or damaged.
    """
    if not path.is_file():
        raise InputError(f"counts {path}: there is no such file: run the agent with --places, or give another")
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
            return list(_intervals(database, since, until))
    except sqlite3.Error as error:
        raise InputError(f"counts {path}: {error}: give a file of counts of the agent") from error


def write_csv(intervals: Iterable[Interval], file: TextIO) -> int:
    """Write counts as CSV, with a row for each minute, place and label; return the number of rows.

    A minute without counts has one row without place and label. An interval of more than a minute is written at the
    minute of its beginning.

    Args:
        intervals: intervals, oldest first.
        file: text file, opened with `newline=""`.
    """
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(_CSV_HEADER)
    written = 0
    for minute, group in groupby(intervals, key=lambda interval: _minute(interval.begin)):
        frames, rows = 0, dict[tuple[str, str], tuple[int, int, int]]()
        for interval in group:
            frames += interval.frames
            for name, (into, out, inside) in _rows(interval).items():
                before = rows.get(name, (0, 0, 0))
                rows[name] = (before[0] + into, before[1] + out, inside)
        at = datetime.fromtimestamp(minute * 60, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        if not rows:
            writer.writerow((at, *[""] * 5, frames))
        for (place, label), counts in sorted(rows.items()):
            writer.writerow((at, place, label, *counts, frames))
        written += max(1, len(rows))
    return written


def _intervals(database: sqlite3.Connection, since: datetime | None, until: datetime | None) -> Iterator[Interval]:
    low = -(2**62) if since is None else -((-int(since.timestamp())) // 60)
    high = 2**62 if until is None else -((-int(until.timestamp())) // 60)
    with closing(database.cursor()) as cursor:
        cursor.execute(
            'SELECT m.minute, m.frames, n.place, n.label, c."in", c.out, c.inside '
            "FROM minutes m LEFT JOIN counts c USING (minute) LEFT JOIN names n ON n.id = c.name "
            "WHERE m.minute >= ? AND m.minute < ? ORDER BY m.minute, n.place, n.label",
            (low, high),
        )
        for (minute, frames), rows in groupby(cursor, key=itemgetter(0, 1)):
            counts: dict[tuple[str, str, str], int] = {}
            inside: dict[str, dict[str, int]] = {}
            for _, _, place, label, into, out, now in rows:
                if place is not None:
                    counts[place, label, "in"], counts[place, label, "out"] = into, out
                    inside.setdefault(place, {})[label] = now
            begin = datetime.fromtimestamp(minute * 60, timezone.utc)
            yield Interval(begin, begin + timedelta(minutes=1), frames, counts, inside)


def _stored_totals(database: sqlite3.Connection) -> Totals:
    """Return the totals in a file; zeros if there are none.

    Raises:
        sqlite3.DatabaseError: the totals cannot be read.
    """
    row = database.execute("SELECT json FROM totals").fetchone()
    try:
        return Totals() if row is None else Totals.from_json(row[0])
    except ValueError as error:
        raise sqlite3.DatabaseError(str(error)) from error


def read_traffic(path: Path, *, since: datetime, step_minutes: int) -> list[tuple[datetime, str, str, int, int]]:
    """Return the counts in a history file, which may be open in another connection.

    Args:
        path: path of the file.
        since: beginning, with a time zone.
        step_minutes: length of the steps over which counts are added up; they begin at multiples of it since 1970.

    Returns:
        Beginning of the step, place, label, in and out, by time; steps without counts are omitted.

    Raises:
        BeeagentError: the file cannot be read.
    """
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
            rows = database.execute(
                'SELECT c.minute / ?1 * ?1 AS step, n.place, n.label, sum(c."in"), sum(c.out) '
                "FROM counts c JOIN names n ON n.id = c.name WHERE c.minute >= ?2 "
                'GROUP BY step, n.place, n.label HAVING sum(c."in") + sum(c.out) > 0 ORDER BY step, n.place, n.label',
                (step_minutes, _minute(since)),
            ).fetchall()
    except sqlite3.Error as error:
        raise BeeagentError(f"counts {path}: cannot be read: {error}") from error
    return [
        (datetime.fromtimestamp(minute * 60, timezone.utc), place, label, into, out)
        for minute, place, label, into, out in rows
    ]


def _rows(interval: Interval) -> Mapping[tuple[str, str], tuple[int, int, int]]:
    """Return in, out and inside by place and label; places and labels without counts are omitted."""
    keys = {(place, label) for place, label, _ in interval.counts}
    keys |= {(zone, label) for zone, counts in interval.inside.items() for label, count in counts.items() if count}
    return {
        (place, label): (
            interval.counts.get((place, label, "in"), 0),
            interval.counts.get((place, label, "out"), 0),
            interval.inside.get(place, {}).get(label, 0),
        )
        for place, label in sorted(keys)
    }


def _minute(at: datetime) -> int:
    return int(at.astimezone(timezone.utc).timestamp() // 60)
