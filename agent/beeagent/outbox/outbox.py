"""The outbox, which stores results until the broker has acknowledged them."""

import logging
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from beeagent.outbox.database import Connect
from beeagent.outbox.recovery import is_damage
from beeagent.outbox.rows import DAMAGED, UNSTORED, Batch, OutboxCounts, Row, Totals, UnreadableOutboxError
from beeagent.outbox.store import BootClock, OutboxStore, boot_clock

_T = TypeVar("_T")

_LOG: Final = logging.getLogger(__name__)

_RETRY_S: Final = 1.0  # after a commit that failed
_EXPIRE_EVERY_S: Final = 60.0  # when nothing else is to be committed
# Limit for results in memory while the disk accepts no writes: a small device has no more memory to spare.
_MAX_UNSTORED_BYTES: Final = 16_000_000


class Outbox:
    """Numbers results and stores them in an SQLite file until they are delivered.

    `put` only appends a result to a write buffer in memory and never waits for the disk. A thread of the outbox commits
    the buffer; only then is a result returned by `waiting` and counted as produced. So a crash loses only results that
    were never published, and their numbers are assigned again; the number of a published result is never assigned
    again. Removals are committed together with the next results: after a crash, delivered rows may be restored, and are
    then published a second time.

    Commits are at most `commit_interval_s` apart. While `commit_immediately` is set, each result is committed at once;
    set it while there is a connection, and unset it during an outage, when it would only wear out the disk.

    A damaged file is renamed, at the start or later, and its readable rows are copied to a new one; the others are
    dropped and counted. See docs/outbox.md.

    The message of a frame whose result is still undecided can be reserved; it is released in the commit that stores the
    result. Messages reserved by a crashed process are in `recovered_rows`, by key, oldest first.

    One thread may put while another one reads and removes. The file can be used by one process at a time.
    """

    def __init__(  # noqa: PLR0913 - keywords
        self,
        path: Path | None,
        *,
        max_megabytes: float = 100.0,
        max_age_hours: float = 168.0,
        commit_interval_s: float = 0.25,
        commit_at_once: bool = True,
        clock: BootClock | None = None,
        connect: Connect = sqlite3.connect,
    ) -> None:
        """Open or create the outbox.

        Args:
            path: path of the SQLite file, whose folder is created if necessary; None for a database in memory.
            max_megabytes: maximum size of the file in 10^6 bytes; beyond that the oldest results are dropped.
            max_age_hours: maximum age of a result in hours during which the device was on; older ones are dropped.
            commit_interval_s: maximum delay of a commit in seconds, in which changes are collected.
            commit_at_once: False to ignore `commit_immediately`.
            clock: clock for the ages; None for that of the device.
            connect: opens the SQLite file, with the parameters of `sqlite3.connect`.

        Raises:
            InputError: the file cannot be used.
            ValueError: a limit is not positive.
        """
        if max_megabytes <= 0 or max_age_hours <= 0 or commit_interval_s < 0:
            raise ValueError(
                f"max_megabytes {max_megabytes}, max_age_hours {max_age_hours} or commit_interval_s "
                f"{commit_interval_s} is out of range"
            )
        max_bytes = int(max_megabytes * 1e6)
        self._store = OutboxStore(
            path,
            max_bytes=max_bytes,
            max_age_s=max_age_hours * 3600,
            clock=clock or boot_clock(),
            connect=connect,
        )
        self._commit_interval = commit_interval_s
        self._commit_at_once = commit_at_once
        self._listeners: list[Callable[[], None]] = []
        # `_store` is guarded by `_store_lock`, which may be held during disk access; everything else by `_changed`,
        # which is held only briefly. If both are needed, `_store_lock` is acquired first.
        self._store_lock = threading.Lock()
        self._changed = threading.Condition()
        self.recovered_rows = self._store.reserved()
        self._max_unstored_bytes = min(max_bytes, _MAX_UNSTORED_BYTES)
        totals = self._store.read_totals()
        self._sequences = dict(totals.sequences)
        self._stored_sequences = dict(totals.sequences)
        self._ended = totals.ended  # as in `Totals`, including uncommitted changes
        self._last_id = self._stored_id = self._store.last_id()
        self._pending = Batch()  # uncommitted changes
        self._committing: Batch | None = None
        self._removed: set[int] = set()  # rows whose removal is not committed yet
        self._changes = self._stored_changes = 0  # numbers of all and of committed changes
        self._commit_by = 0.0
        self._commit_immediately = False
        self._flushing = 0
        self._closing = False
        self._last_delivery: datetime | None = None
        self._failing: str | None = None  # reason why the last commit failed
        self._damaged: str | None = None  # damage to repair before the next use; guarded by `_store_lock`
        self._writer = threading.Thread(target=self._write, name="outbox", daemon=True)
        self._writer.start()

    @property
    def commit_immediately(self) -> bool:
        """True if each result is committed at once."""
        with self._changed:
            return self._commit_immediately

    @commit_immediately.setter
    def commit_immediately(self, value: bool) -> None:
        with self._changed:
            self._commit_immediately = value and self._commit_at_once
            self._changed.notify_all()

    @property
    def problem(self) -> str | None:
        """Reason why results cannot be stored now, or damage within the last day; else None."""
        with self._changed:
            return self._failing or self._store.damage

    @property
    def stored_id(self) -> int:
        """The greatest id of any row stored so far; later rows have greater ids."""
        with self._changed:
            return self._stored_id

    @property
    def last_delivery(self) -> datetime | None:
        """Time of the broker's last acknowledgement, in UTC; None if there is none since the start."""
        with self._changed:
            return self._last_delivery

    def listen(self, listener: Callable[[], None]) -> None:
        """Call `listener` after each commit of new results, on the outbox's thread; it must return at once."""
        with self._changed:
            self._listeners.append(listener)

    def reserve(self, key: str, payload: bytes) -> None:
        """Keep a payload until `put` or `release` releases its key. Not written if it is released before the commit."""
        with self._changed:
            self._pending.reserved[key] = payload
            self._note_change()

    def release(self, key: str) -> None:
        """Drop a reserved payload without storing a result."""
        with self._changed:
            if self._pending.reserved.pop(key, None) is None:
                self._pending.released.append(key)
            self._note_change()

    def next_number(self, stream: str) -> int:
        """Return the number of the next result of a stream, from 1."""
        with self._changed:
            return self._sequences.get(stream, 0) + 1

    def put(self, *, stream: str, topic: str, payload: bytes, releases: str | None = None) -> int:
        """Append a result and assign its number, `next_number`.

        Args:
            stream: the sequence of numbers, one for each device and camera. If payloads contain the number, calls of
                `next_number` and `put` must not be interleaved.
            topic: topic of the message.
            payload: payload of the message.
            releases: key of the reserved payload that this result replaces.

        Returns:
            The number.

        Raises:
            ValueError: the outbox is closed.
        """
        with self._changed:
            if self._closing:
                raise ValueError("the outbox is closed")
            pending, number = self._pending, self._sequences.get(stream, 0) + 1
            self._sequences[stream] = pending.sequences[stream] = number
            self._last_id += 1
            pending.puts.append(Row(self._last_id, topic, payload, int(self._store.now())))
            pending.put_bytes += len(payload)
            while pending.put_bytes > self._max_unstored_bytes:  # the disk does not keep up
                pending.put_bytes -= len(pending.puts.popleft().payload)
                pending.unstored += 1
                self._ended[UNSTORED] += 1
            if releases is not None:
                self.release(releases)
            self._note_change()
            return number

    def waiting(self, *, after: int = 0, limit: int = 100) -> list[Row]:
        """Return the oldest stored rows whose id is greater than `after`, at most `limit` of them.

        Raises:
            UnreadableOutboxError: the file cannot be read.
        """
        with self._changed:
            removed = frozenset(self._removed)
        try:
            rows = self._use_store(lambda store: store.rows(after=after, limit=limit + len(removed)))
        except (sqlite3.Error, OSError) as error:
            raise UnreadableOutboxError(f"results cannot be read: {error}") from error
        return [row for row in rows if row.id not in removed][:limit]

    def newest(self, topic: str) -> Row | None:
        """Return the newest stored row of a topic; None if there is none. Reads all rows.

        Raises:
            UnreadableOutboxError: the file cannot be read.
        """
        try:
            return self._use_store(lambda store: store.newest(topic))
        except (sqlite3.Error, OSError) as error:
            raise UnreadableOutboxError(f"results cannot be read: {error}") from error

    def delivered(self, ids: Iterable[int]) -> None:
        """Remove rows that the broker has acknowledged."""
        with self._changed:
            self._remove(ids, None)
            self._last_delivery = datetime.now(timezone.utc)

    def drop(self, ids: Iterable[int], *, reason: str) -> None:
        """Drop abandoned rows."""
        with self._changed:
            self._remove(ids, reason)

    def depth(self) -> int:
        """Return the number of waiting results, committed or not."""
        with self._changed:
            return Totals(self._sequences, self._ended).waiting

    def counts(self) -> OutboxCounts:
        """Return the counts of committed results."""
        with self._changed:
            produced = sum(self._stored_sequences.values()) + sum(batch.unstored for batch in self._uncommitted())
            dropped = {reason: number for reason, number in self._ended.items() if reason is not None and number}
            return OutboxCounts(produced, self._ended[None], dropped)

    def wait_for(self, condition: Callable[[], bool], *, timeout: float) -> bool:
        """Wait until a condition on the outbox is true; return False after `timeout` seconds."""
        with self._changed:
            return self._changed.wait_for(condition, timeout)

    def flush(self, *, timeout: float) -> bool:
        """Commit all changes so far; return False if that takes more than `timeout` seconds."""
        with self._changed:
            target = self._changes
            self._flushing += 1
            self._changed.notify_all()
            done = self._changed.wait_for(lambda: self._stored_changes >= target, timeout)
            self._flushing -= 1
        return done

    def close(self, *, timeout: float = 2.0) -> bool:
        """Commit all changes, and close the file. Idempotent.

        Returns:
            True if everything was stored.
        """
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._writer.join(timeout)
        if self._writer.is_alive():
            return False  # the disk hangs; the file is consistent, as after a crash
        self._commit_rest()
        with self._store_lock, self._changed:
            self._store.close()
            if unstored := self.depth() - self.counts().waiting:
                _LOG.error(
                    "%d results could not be stored and are lost; their numbers will be assigned again", unstored
                )
            return self._changes == self._stored_changes

    def _commit_rest(self) -> None:
        """Commit the remaining changes after an unexpected failure of the writer."""
        with self._changed:
            if self._changes == self._stored_changes or self._failing is not None:
                return
            batch = self._take_batch()
        try:
            self._use_store(partial(self._commit, batch))
        except Exception:  # noqa: BLE001 - closing continues after any error
            _LOG.exception("the last results cannot be stored")
            self._take_back(batch)

    # The methods up to `_take_batch` require `_changed`.

    def _note_change(self) -> None:
        if self._changes == self._stored_changes:
            self._commit_by = time.monotonic() + self._commit_interval
        self._changes += 1
        self._changed.notify_all()

    def _remove(self, ids: Iterable[int], reason: str | None) -> None:
        """Remove rows for a reason, None for delivered. A row that is removed twice counts once."""
        for row_id in ids:
            if row_id not in self._removed:
                self._removed.add(row_id)
                self._pending.removals[row_id] = reason
                self._ended[reason] += 1
                self._note_change()

    def _uncommitted(self) -> list[Batch]:
        return [self._pending] if self._committing is None else [self._committing, self._pending]

    def _committed(self) -> Totals:
        """Return the committed totals."""
        ended = Counter(self._ended)
        for batch in self._uncommitted():
            ended[UNSTORED] -= batch.unstored
            ended.subtract(batch.removals.values())
        return Totals(dict(self._stored_sequences), +ended)

    def _take_batch(self) -> Batch:
        """Take all pending changes for a commit; `_commit` or `_take_back` must follow."""
        batch = self._committing = self._pending
        batch.changes = self._changes
        self._pending = Batch()
        return batch

    def _write(self) -> None:
        while (batch := self._next_batch()) is not None:
            try:
                self._use_store(partial(self._commit, batch))
            except (sqlite3.Error, OSError) as error:
                if not self._retry(batch, f"results cannot be stored: {error}"):
                    return
                continue
            except Exception:  # ends this thread; `close` retries once
                self._take_back(batch)
                raise
            with self._changed:
                if self._failing is not None:
                    _LOG.info("results are stored again")
                self._failing = None
                self._commit_by = time.monotonic() + self._commit_interval
                self._changed.notify_all()
                listeners = list(self._listeners) if batch.puts else []
            for listener in listeners:
                listener()

    def _commit(self, batch: Batch, store: OutboxStore) -> None:
        corrections = store.store(batch)
        with self._changed:
            self._committing = None
            self._removed.difference_update(batch.removals)
            self._stored_sequences.update(batch.sequences)
            if batch.puts:
                self._stored_id = batch.puts[-1].id
            self._ended.update(corrections)
            self._stored_changes = batch.changes

    def _take_back(self, batch: Batch) -> None:
        """Return the changes of a batch that could not be committed to the pending ones."""
        with self._changed:
            batch.extend(self._pending)
            self._pending, self._committing = batch, None

    def _use_store(self, work: Callable[[OutboxStore], _T]) -> _T:
        """Use the file; if it turns out to be damaged, repair it and retry."""
        with self._store_lock:
            if self._damaged is None:
                try:
                    return work(self._store)
                except sqlite3.Error as error:
                    if not is_damage(error):
                        raise
                    self._damaged = str(error)
            with self._changed:
                totals = self._committed()
            lost = self._store.repair(totals, self._damaged)
            self._damaged = None
            with self._changed:
                self._ended[DAMAGED] += lost
            return work(self._store)

    def _next_batch(self) -> Batch | None:
        """Wait for changes, or until rows may have expired, and return the batch; None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._closing or self._changes != self._stored_changes, _EXPIRE_EVERY_S)
            while self._changes != self._stored_changes:
                if self._closing or self._flushing or (self._commit_immediately and self._pending.puts):
                    break
                left = self._commit_by - time.monotonic()
                if left <= 0 or not self._changed.wait(left):
                    break
            if self._closing and self._changes == self._stored_changes:
                return None
            return self._take_batch()

    def _retry(self, batch: Batch, reason: str) -> bool:
        """Take back a failed batch and wait before the next commit; return False if the outbox is closing."""
        self._take_back(batch)
        with self._changed:
            if self._failing != reason:
                _LOG.error("%s", reason)
            self._failing = reason
            self._changed.notify_all()
            if self._closing:
                return False
            self._changed.wait_for(lambda: self._closing, _RETRY_S)
            return True
