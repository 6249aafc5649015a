"""Counts per minute on the device, for a year: an SQLite file that other programs can read."""

import csv
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Final, TextIO

from beeagent.errors import BeeagentError, InputError
from beeagent.output import prepare_tables
from beeagent.tracking.traffic import Interval, Totals

MAX_BYTES: Final = 20_000_000
KEEP_DAYS: Final = 366

_CSV_HEADER: Final = ("minute", "place", "label", "in", "out", "inside", "frames")
_FORMAT: Final = 1
_PAGE_BYTES: Final = 4096
_MINUTES_OF_A_DAY: Final = 1440
# A minute is a number of minutes since 1970, and a name is stored once: a row takes some 15 bytes. A minute without a
# count has a row in `minutes` alone, so that a quiet camera and one that was off differ.
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
    """Keeps counts per minute and the totals in one file.

    Each `add` is one transaction. Minutes older than `keep_days` are deleted, and the oldest days before the file grows
    beyond `max_bytes`. Not for several threads at once; several processes may read.

        sqlite3 front.counts.sqlite3 'SELECT * FROM traffic WHERE minute >= "2026-05-04" LIMIT 10'

    Args:
        path: the file; made if it is missing.
        max_bytes: its largest size, 100,000 or more, the write-ahead log aside.
        keep_days: how long minutes are kept, 1 or more.

    Raises:
        InputError: the file is of another kind, of a later version, or cannot be written.
    """

    def __init__(self, path: Path, *, max_bytes: int = MAX_BYTES, keep_days: int = KEEP_DAYS) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._keep_days = keep_days
        self._names: dict[tuple[str, str], int] = {}
        try:
            self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            try:
                self._open()
            except BaseException:
                self._database.close()
                raise
        except sqlite3.Error as error:
            raise InputError(f"counts {path}: {error}: give a file that can be written, or move it away") from error

    def _open(self) -> None:
        database = self._database
        prepare_tables(
            database,
            f"counts {self._path}",
            tables=_SCHEMA,
            version=_FORMAT,
            pragmas=("journal_mode = WAL", "synchronous = FULL"),
        )
        self._names = {
            (place, label): number for number, place, label in database.execute("SELECT id, place, label FROM names")
        }

    @property
    def path(self) -> Path:
        """The file."""
        return self._path

    def close(self) -> None:
        """Close the file. Safe to call twice."""
        self._database.close()

    def totals(self) -> Totals:
        """Return the totals that were stored last; zeros if none were.

        Raises:
            InputError: they cannot be read.
        """
        row = self._database.execute("SELECT json FROM totals").fetchone()
        if row is None:
            return Totals()
        try:
            return Totals.from_json(row[0])
        except ValueError as error:
            raise InputError(f"counts {self._path}: {error}: move the file away to begin at 0") from error

    def add(self, minutes: Sequence[Interval], totals: Totals) -> None:
        """Store the counts of some minutes, and the totals, at once or not at all.

        Args:
            minutes: intervals of at most a minute each; two of the same minute are added up.
            totals: replace those stored before.

        Raises:
            BeeagentError: the file cannot be written; nothing of this was stored.
        """
        database, names = self._database, dict(self._names)
        try:
            database.execute("BEGIN IMMEDIATE")
            try:
                for interval in minutes:
                    self._add(interval)
                database.execute("INSERT OR REPLACE INTO totals VALUES (1, ?)", (totals.to_json(),))
                if minutes:
                    self._delete_old(_minute(minutes[-1].begin))
                database.execute("COMMIT")
            except BaseException:
                self._names = names
                if database.in_transaction:
                    database.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise BeeagentError(f"counts {self._path}: cannot be written: {error}") from error

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
        """Delete what is too old, and whole days from the oldest on while the file would be too large."""
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

    def export_csv(self, file: TextIO, *, since: datetime | None = None, until: datetime | None = None) -> int:
        """Write the counts as CSV, a row for each minute, place and label, by time; return the number of rows.

        A minute in which nothing was counted has one row without place and label.

        Args:
            file: open for text with `newline=""`.
            since: first moment, with a time zone; None for all.
            until: the moment after the last, likewise.
        """
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_CSV_HEADER)
        count = 0
        for row in self._select(since, until):
            writer.writerow(row)
            count += 1
        return count

    def _select(self, since: datetime | None, until: datetime | None) -> Iterator[tuple[Any, ...]]:
        low = -(2**62) if since is None else -((-int(since.timestamp())) // 60)
        high = 2**62 if until is None else -((-int(until.timestamp())) // 60)
        with closing(self._database.cursor()) as cursor:
            yield from cursor.execute(
                "SELECT strftime('%Y-%m-%dT%H:%M:%SZ', m.minute * 60, 'unixepoch'), n.place, n.label, "
                'c."in", c.out, c.inside, m.frames '
                "FROM minutes m LEFT JOIN counts c USING (minute) LEFT JOIN names n ON n.id = c.name "
                "WHERE m.minute >= ? AND m.minute < ? ORDER BY m.minute, n.place, n.label",
                (low, high),
            )


def read_traffic(path: Path, *, since: datetime, step_minutes: int) -> list[tuple[datetime, str, str, int, int]]:
    """Return the counts of a history, which another connection may be writing.

    Args:
        path: of the file.
        since: first moment, with a time zone.
        step_minutes: length of the steps over which counts are added up; they begin at multiples of it since 1970.

    Returns:
        Begin of the step, place, label, in and out, by time; only where there were any.

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
    """Return in, out and inside by place and label, where there is any."""
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
