"""Storage of results in the SQLite file, with limits of size and age."""

import logging
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from beeagent.errors import InputError
from beeagent.outbox.database import Connect, DamagedError, create_database, lock_outbox, open_database, stored_totals
from beeagent.outbox.recovery import read_totals, readable_reserved, readable_rows, set_aside
from beeagent.outbox.rows import DAMAGED, EXPIRED, FULL, UNSTORED, Batch, Row, Totals

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_LOG: Final = logging.getLogger(__name__)

_DAMAGE_REPORTED_S: Final = 24 * 3600.0  # seconds for which a damaged file is reported
_DROP_STEP: Final = 16  # rows dropped at once when the outbox is full
_RESERVE: Final = "INSERT OR REPLACE INTO held VALUES (?, ?)"
_INSERT: Final = "INSERT INTO message (id, taken_at, topic, payload) VALUES (?, ?, ?, ?)"


@dataclass(frozen=True, slots=True)
class BootClock:
    """Seconds since the boot of the device, including suspend; the same in every process.

    Attributes:
        boot: id of this boot of the device.
        seconds: returns the seconds since the boot.
    """

    boot: str
    seconds: Callable[[], float]


def boot_clock() -> BootClock:
    """Return the clock of this device: Linux's CLOCK_BOOTTIME.

    The time of day is unsuitable: a Pi without a battery-backed clock jumps by hours or years when the network sets it.
    """
    if sys.platform == "linux":
        return BootClock(_BOOT_ID.read_text(encoding="ascii").strip(), lambda: time.clock_gettime(time.CLOCK_BOOTTIME))
    return BootClock("", time.monotonic)  # for development elsewhere; a device runs Linux


class OutboxStore:
    """Rows, numbers and counts in one SQLite file. For one thread at a time, in one process.

    Commits are atomic, with the invariant that the number of assigned numbers is the sum of rows, delivered results and
    dropped results.
    """

    def __init__(
        self,
        path: Path | None,
        *,
        max_bytes: int,
        max_age_s: float,
        clock: BootClock,
        connect: Connect = sqlite3.connect,
    ) -> None:
        """Open or create the file. A damaged one is renamed, and its readable rows are copied to a new one.

        Args:
            path: path of the file, whose folder is created if necessary; None for a database in memory.
            max_bytes: maximum size of the file's used pages; a commit that exceeds it drops the oldest rows.
            max_age_s: maximum age of a row in seconds of the outbox's clock; a commit drops older ones.
            clock: clock of the device.
            connect: opens the SQLite file, with the parameters of `sqlite3.connect`.

        Raises:
            InputError: the file cannot be used.
        """
        self._path = path
        self._max_bytes = max_bytes
        self._max_age = max_age_s
        self._clock = clock
        self._connect = connect
        self._aside: Path | None = None
        self._clock_stored = False
        self._oldest_taken_at = float("-inf")  # lower bound; rows are only appended
        self._damage: str | None = None
        self._reported_until = 0.0
        self._database: sqlite3.Connection
        self._lock = None if path is None else lock_outbox(path)
        try:
            self._open()
        except BaseException:
            self._release()
            raise

    @property
    def damage(self) -> str | None:
        """Damage within the last day and its consequences; else None. Thread-safe."""
        return self._damage if time.monotonic() < self._reported_until else None

    def now(self) -> float:
        """Return the time of the outbox's clock, in seconds.

        It runs only while the device is on, since the device cannot measure the time while it is off. It never
        decreases, and does not depend on the time of day. Thread-safe.
        """
        return self._clock_began + self._clock.seconds()

    def read_totals(self) -> Totals:
        """Return the numbers and counts."""
        return stored_totals(self._database)

    def last_id(self) -> int:
        """Return the greatest id of a row; 0 if there is none."""
        return int(self._database.execute("SELECT coalesce(max(id), 0) FROM message").fetchone()[0])

    def rows(self, *, after: int, limit: int) -> list[Row]:
        """Return the oldest rows whose id is greater than `after`."""
        cursor = self._database.execute(
            "SELECT id, topic, payload, taken_at FROM message WHERE id > ? ORDER BY id LIMIT ?", (after, limit)
        )
        return [Row(*columns) for columns in cursor.fetchall()]

    def newest(self, topic: str) -> Row | None:
        """Return the newest row of a topic; None if there is none."""
        columns = self._database.execute(
            "SELECT id, topic, payload, taken_at FROM message WHERE topic = ? ORDER BY id DESC LIMIT 1", (topic,)
        ).fetchone()
        return None if columns is None else Row(*columns)

    def reserved(self) -> dict[str, bytes]:
        """Return the reserved payloads by key, in the order in which they were reserved."""
        return dict(self._database.execute("SELECT key, payload FROM held ORDER BY rowid").fetchall())

    def store(self, batch: Batch) -> Counter[str | None]:
        """Commit a batch, and drop rows that are too old or too many.

        Returns:
            Number of rows dropped by reason, due to limits; minus the number of removals whose rows no longer existed.
        """
        execute = self._database.execute
        execute("BEGIN IMMEDIATE")
        try:
            if not self._clock_stored:
                self._store_clock()
            corrections: Counter[str | None] = Counter()
            for row_id, reason in batch.removals.items():
                if not execute("DELETE FROM message WHERE id = ?", (row_id,)).rowcount:
                    corrections[reason] -= 1
            # After the removals, so that new rows reuse the space of old ones and no page is split.
            self._database.executemany(_INSERT, ((row.id, row.taken_at, row.topic, row.payload) for row in batch.puts))
            self._database.executemany(_RESERVE, batch.reserved.items())
            self._database.executemany("DELETE FROM held WHERE key = ?", ((key,) for key in batch.released))
            corrections.update({EXPIRED: self._drop_expired(), FULL: self._drop_oldest()})
            ended = Counter(batch.removals.values())
            ended[UNSTORED] += batch.unstored
            ended.update(corrections)
            self._database.executemany("INSERT OR REPLACE INTO state VALUES ('seq', ?, ?)", batch.sequences.items())
            self._database.executemany(
                "INSERT INTO state VALUES (?, ?, ?)"
                " ON CONFLICT (kind, name) DO UPDATE SET value = value + excluded.value",
                _state_rows(ended),
            )
            execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):  # SQLite may have rolled back already
                execute("ROLLBACK")
            raise
        self._clock_stored = True
        return corrections

    def repair(self, totals: Totals | None, reason: str) -> int:
        """Rename the file, and continue in a new one with the readable rows.

        If it fails, call it again.

        Args:
            totals: last stored totals; None to read them from the damaged file, or start from zero if that fails.
            reason: damage of the file.

        Returns:
            The number of lost rows.

        Raises:
            OSError: the file cannot be renamed.
            sqlite3.Error: a new file cannot be created.
        """
        if hasattr(self, "_database"):
            self._database.close()
        if self._path is None:
            raise sqlite3.OperationalError(f"memory is damaged: {reason}")
        if self._aside is None:
            self._aside = set_aside(self._path)
        else:  # the new file of the previous attempt
            self._path.unlink(missing_ok=True)
        known = totals if totals is not None else read_totals(self._aside)
        self._database = create_database(self._path, connect=self._connect)
        self._page_bytes = self._pragma("page_size")
        self._clock_stored = False
        lost = 0 if known is None else self._refill(known, self._aside)
        effect = "its numbers could not be read and start again from 1" if known is None else f"{lost} results are lost"
        self._damage = f"the file was damaged ({reason}) and renamed to {self._aside.name}: {effect}"
        self._reported_until = time.monotonic() + _DAMAGE_REPORTED_S
        _LOG.error("outbox: %s", self._damage)
        self._aside = None
        return lost

    def close(self) -> None:
        """Close the file, so that another process can use it. Idempotent."""
        self._database.close()
        self._release()

    def _open(self) -> None:
        try:
            self._database = open_database(self._path, connect=self._connect)
        except DamagedError as damage:
            try:
                self.repair(None, str(damage))
            except (OSError, sqlite3.Error) as error:
                raise InputError(
                    f"outbox {self._path} is damaged ({damage}) and cannot be replaced: {error}; move it away"
                ) from error
        self._page_bytes = self._pragma("page_size")
        self._clock_began = self._begin_clock()

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.close()

    def _refill(self, totals: Totals, aside: Path) -> int:
        """Store the readable rows; return the number of lost rows."""
        execute = self._database.execute
        execute("BEGIN IMMEDIATE")
        lost = totals.waiting
        for row in readable_rows(aside):
            if lost == 0:
                break
            execute(_INSERT, (row.id, row.taken_at, row.topic, row.payload))
            lost -= 1
        self._database.executemany(_RESERVE, readable_reserved(aside))
        totals.ended[DAMAGED] += lost
        sequences = [("seq", *entry) for entry in totals.sequences.items()]
        self._database.executemany("INSERT INTO state VALUES (?, ?, ?)", [*sequences, *_state_rows(totals.ended)])
        execute("COMMIT")
        return lost

    def _begin_clock(self) -> float:
        """Return the time of the outbox's clock at this boot of the device.

        It is stored together with the rows. If there is none for this boot, all rows are older, and the clock continues
        from the newest row.
        """
        execute = self._database.execute
        newest = int(execute("SELECT coalesce(max(taken_at), 0) FROM message").fetchone()[0])
        if self._damage is not None:  # the clock is lost: rather assume too little time than too much
            return newest - self._clock.seconds()
        known = execute("SELECT value FROM state WHERE kind = 'clock' AND name = ?", (self._clock.boot,)).fetchone()
        return newest if known is None else int(known[0])

    def _store_clock(self) -> None:
        self._database.execute("DELETE FROM state WHERE kind = 'clock'")
        self._database.execute("INSERT INTO state VALUES ('clock', ?, ?)", (self._clock.boot, int(self._clock_began)))

    def _drop_expired(self) -> int:
        """Drop rows that are too old; return their number. Rows are in the order of their age."""
        oldest = self.now() - self._max_age
        if self._oldest_taken_at >= oldest:
            return 0
        kept = self._database.execute(
            "SELECT id, taken_at FROM message WHERE taken_at >= ? ORDER BY id LIMIT 1", (oldest,)
        ).fetchone()
        if kept is None:
            return self._database.execute("DELETE FROM message").rowcount
        self._oldest_taken_at = kept[1]
        return self._database.execute("DELETE FROM message WHERE id < ?", (kept[0],)).rowcount

    def _drop_oldest(self) -> int:
        """Drop rows until the used pages of the file are within the limit; return the number of rows."""
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
        # Free pages do not count, but need not be queried while the whole file is within the limit.
        pages = self._pragma("page_count")
        if pages * self._page_bytes > self._max_bytes:
            pages -= self._pragma("freelist_count")
        return pages * self._page_bytes

    def _pragma(self, name: str) -> int:
        return int(self._database.execute(f"PRAGMA {name}").fetchone()[0])


def _state_rows(ended: Counter[str | None]) -> list[tuple[str, str, int]]:
    return [("delivered" if reason is None else "dropped", reason or "", n) for reason, n in ended.items() if n]
