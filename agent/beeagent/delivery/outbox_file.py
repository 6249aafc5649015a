"""The SQLite file in which results wait."""

import sqlite3
from collections import Counter, deque
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from beeagent.errors import InputError

FULL: Final = "full"
UNSTORED: Final = "not-stored"
"""Reasons for dropping: the outbox is full; the disk takes nothing and memory is full."""

_APPLICATION_ID: Final = 0x62656573  # "bees"; marks the file as an outbox
_FORMAT: Final = 1
_DROP_STEP: Final = 16  # rows dropped at once when the outbox is full

_TABLES: Final = """
BEGIN;
CREATE TABLE message (id INTEGER PRIMARY KEY, topic TEXT NOT NULL, payload BLOB NOT NULL);
CREATE TABLE state (
    kind TEXT NOT NULL,     -- seq: the last number of stream `name`; delivered; dropped: for reason `name`
    name TEXT NOT NULL,
    value INTEGER NOT NULL,
    PRIMARY KEY (kind, name)
) WITHOUT ROWID;
PRAGMA application_id = {application_id};
PRAGMA user_version = {format};
COMMIT;
"""


@dataclass(frozen=True, slots=True)
class Row:
    """A result that waits. Rows are in the order of their ids, which is that in which they were taken."""

    id: int
    topic: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Batch:
    """What one commit stores.

    Attributes:
        puts: new rows.
        removals: rows to remove, and why; None stands for delivered.
        sequences: the last numbers of the streams that have new ones.
        unstored: how many of those numbers were given up before they could be stored.
        changes: how many changes there had been, all in all, with the last of these.
    """

    puts: deque[Row]
    removals: dict[int, str | None]
    sequences: dict[str, int]
    unstored: int
    changes: int


class OutboxFile:
    """Rows, numbers and counts in one SQLite file. Used by one thread at a time, and by one process.

    All changes of a commit are stored, or none: at any moment, the numbers given are as many as the rows, the
    delivered and the dropped together.
    """

    def __init__(self, path: Path | None, *, max_bytes: int) -> None:
        """Open the file, or create it.

        Args:
            path: its folder is made if need be; None keeps everything in memory.
            max_bytes: of the file's used pages; when a commit passes it, the oldest rows are dropped.

        Raises:
            InputError: the file cannot be used.
        """
        self._max_bytes = max_bytes
        self._database = _open(path)

    def read_state(self, kind: str) -> dict[str, int]:
        """Give values by name: `seq` the last numbers of streams, `delivered` (one, unnamed), `dropped` by reason."""
        return dict(self._database.execute("SELECT name, value FROM state WHERE kind = ?", (kind,)).fetchall())

    def last_id(self) -> int:
        """Give the greatest id of a row; 0 if there is none."""
        return int(self._database.execute("SELECT coalesce(max(id), 0) FROM message").fetchone()[0])

    def rows(self, *, after: int, limit: int) -> list[Row]:
        """Give the oldest rows whose id is greater than `after`."""
        found = self._database.execute(
            "SELECT id, topic, payload FROM message WHERE id > ? ORDER BY id LIMIT ?", (after, limit)
        )
        return [Row(*row) for row in found.fetchall()]

    def store(self, batch: Batch) -> tuple[list[str | None], int]:
        """Commit a batch.

        Returns:
            The reasons of removals whose rows were gone already, and how many rows were dropped for being too many.
        """
        execute = self._database.execute
        execute("BEGIN IMMEDIATE")
        try:
            self._database.executemany(
                "INSERT INTO message VALUES (?, ?, ?)", ((row.id, row.topic, row.payload) for row in batch.puts)
            )
            gone: list[str | None] = []
            counted: Counter[tuple[str, str]] = Counter()
            for row_id, reason in batch.removals.items():
                if execute("DELETE FROM message WHERE id = ?", (row_id,)).rowcount:
                    counted["delivered" if reason is None else "dropped", reason or ""] += 1
                else:
                    gone.append(reason)
            counted["dropped", UNSTORED] += batch.unstored
            full = self._drop_oldest()
            counted["dropped", FULL] += full
            self._database.executemany("INSERT OR REPLACE INTO state VALUES ('seq', ?, ?)", batch.sequences.items())
            self._database.executemany(
                "INSERT INTO state VALUES (?, ?, ?)"
                " ON CONFLICT (kind, name) DO UPDATE SET value = value + excluded.value",
                ((kind, name, number) for (kind, name), number in counted.items() if number),
            )
            execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):  # SQLite may have rolled back by itself
                execute("ROLLBACK")
            raise
        return gone, full

    def _drop_oldest(self) -> int:
        """Drop rows until what is used of the file is within its limit; say how many."""
        dropped = 0
        while self._used_bytes() > self._max_bytes:
            step = self._database.execute(
                "DELETE FROM message WHERE id IN (SELECT id FROM message ORDER BY id LIMIT ?)", (_DROP_STEP,)
            ).rowcount
            if step == 0:
                break
            dropped += step
        return dropped

    def _used_bytes(self) -> int:
        pages, free, size = (
            self._database.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("page_count", "freelist_count", "page_size")
        )
        return int((pages - free) * size)

    def close(self) -> None:
        """Close the file."""
        self._database.close()


def _open(path: Path | None) -> sqlite3.Connection:
    try:
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        database = sqlite3.connect(
            ":memory:" if path is None else path, timeout=1.0, isolation_level=None, check_same_thread=False
        )
    except (OSError, sqlite3.Error) as error:
        raise InputError(f"outbox {path} cannot be opened: {error}; check the folder and its rights") from error
    try:
        _prepare(database, path)
    except sqlite3.OperationalError as error:
        database.close()
        if "locked" in str(error):
            raise InputError(f"outbox {path} is in use by another beeagent: stop that one first") from error
        raise InputError(f"outbox {path} cannot be used: {error}; check the folder and its rights") from error
    except sqlite3.DatabaseError as error:
        database.close()
        raise InputError(f"outbox {path} is damaged or no outbox ({error}): move it away") from error
    except InputError:
        database.close()
        raise
    return database


def _prepare(database: sqlite3.Connection, path: Path | None) -> None:
    # One process at a time: two would give the same numbers. It also spares the shared-memory file of WAL.
    database.execute("PRAGMA locking_mode = EXCLUSIVE")
    # WAL with NORMAL: a commit survives the end of the process at any moment without waiting for the disk. What
    # a power cut takes, it takes from the end, and the file stays sound. https://www.sqlite.org/wal.html
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = NORMAL")
    application = database.execute("PRAGMA application_id").fetchone()[0]
    tables = database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if application == 0 and tables == 0:
        database.executescript(_TABLES.format(application_id=_APPLICATION_ID, format=_FORMAT))
    elif application != _APPLICATION_ID:
        raise InputError(f"{path} is an SQLite file of another program: give the outbox another place")
    version = database.execute("PRAGMA user_version").fetchone()[0]
    if version != _FORMAT:
        raise InputError(
            f"outbox {path} has format {version} and this beeagent knows {_FORMAT}: use the beeagent that made it"
        )
    # Takes the lock now rather than at the first result.
    database.execute("BEGIN IMMEDIATE")
    database.execute("COMMIT")
