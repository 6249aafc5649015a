"""The outbox, in which results wait until the broker has them."""

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
# Of results that wait for a disk that accepts nothing: a small device has no more memory to spare.
_MAX_UNSTORED_BYTES: Final = 16_000_000


class Outbox:
    """Numbers results and stores them in an SQLite file until they are delivered.

    `put` only appends a result to a buffer in memory: it never waits for the disk. A thread of the outbox commits the
    buffer, and a result is returned by `waiting`, and counts as produced, only after its commit. So a crash loses at
    most results that nobody has seen, whose numbers are then assigned again; a number that somebody has seen is never
    assigned to another result. Removals are committed along with the results that follow them: after a crash, delivered
    rows may be back, which are then published a second time.

    Commits are at most `commit_interval_s` apart. While `commit_immediately` is set, each result is committed at once;
    set it while there is a connection, and leave it off during an outage, where it would only wear out the disk.

    A file that is found to be damaged, at the start or later, is renamed, and what can be read of it is copied to a new
    one; what cannot is dropped and counted. docs/outbox.md explains all this for those who run it.

    The message of a frame whose result is not decided yet can be reserved; it is released in the commit that stores the
    result. Messages that a crashed process had reserved are in `recovered_rows`, by key, oldest first.

    One thread may put while another one reads and removes. The file belongs to one process at a time.
    """

    def __init__(  # noqa: PLR0913 - its settings
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
        """Open the outbox, or create it.

        Args:
            path: the SQLite file; its folder is created if necessary. None keeps everything in memory only.
            max_megabytes: maximum size of the file in 10^6 bytes; beyond that the oldest results are dropped.
            max_age_hours: how long a result may wait, in hours in which the device was on; older ones are dropped.
            commit_interval_s: how long a commit waits for more changes, in seconds.
            commit_at_once: whether `commit_immediately` has an effect.
            clock: measures ages; None for the device's.
            connect: opens the SQLite file, as `sqlite3.connect` does.

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
        # `_store` is used under `_store_lock` only, which may be held while the disk works; everything else
        # under `_changed`, which is held for moments. Where both are acquired, `_store_lock` comes first.
        self._store_lock = threading.Lock()
        self._changed = threading.Condition()
        self.recovered_rows = self._store.reserved()
        self._max_unstored_bytes = min(max_bytes, _MAX_UNSTORED_BYTES)
        totals = self._store.read_totals()
        self._sequences = dict(totals.sequences)
        self._stored_sequences = dict(totals.sequences)
        self._ended = totals.ended  # as in `Totals`, with what is not committed yet
        self._last_id = self._stored_id = self._store.last_id()
        self._pending = Batch()  # the changes that are not committed
        self._committing: Batch | None = None
        self._removed: set[int] = set()  # rows whose removal is not committed yet
        self._changes = self._stored_changes = 0  # numbers of changes
        self._commit_by = 0.0
        self._commit_immediately = False
        self._flushing = 0
        self._closing = False
        self._last_delivery: datetime | None = None
        self._failing: str | None = None  # why the last commit failed
        self._damaged: str | None = None  # why the file must be repaired before it is used; under `_store_lock`
        self._writer = threading.Thread(target=self._write, name="outbox", daemon=True)
        self._writer.start()

    @property
    def commit_immediately(self) -> bool:
        """Whether each result is committed at once."""
        with self._changed:
            return self._commit_immediately

    @commit_immediately.setter
    def commit_immediately(self, value: bool) -> None:
        with self._changed:
            self._commit_immediately = value and self._commit_at_once
            self._changed.notify_all()

    @property
    def problem(self) -> str | None:
        """Why results cannot be stored at present, or what was damaged within the last day; else None."""
        with self._changed:
            return self._failing or self._store.damage

    @property
    def stored_id(self) -> int:
        """The greatest id of a row that is stored, or was; rows that are stored later have greater ones."""
        with self._changed:
            return self._stored_id

    @property
    def last_delivery(self) -> datetime | None:
        """When the broker last acknowledged a result, in UTC; None if it has not since the start."""
        with self._changed:
            return self._last_delivery

    def listen(self, listener: Callable[[], None]) -> None:
        """Call `listener` after each commit of new results, on the outbox's thread; it must return at once."""
        with self._changed:
            self._listeners.append(listener)

    def reserve(self, key: str, payload: bytes) -> None:
        """Keep a payload until `put` or `release` releases its key. Nothing is written if that is before the commit."""
        with self._changed:
            self._pending.reserved[key] = payload
            self._note_change()

    def release(self, key: str) -> None:
        """Drop a reserved payload, without a result in its place."""
        with self._changed:
            if self._pending.reserved.pop(key, None) is None:
                self._pending.released.append(key)
            self._note_change()

    def next_number(self, stream: str) -> int:
        """Return the number, from 1, that the next result of a stream is assigned."""
        with self._changed:
            return self._sequences.get(stream, 0) + 1

    def put(self, *, stream: str, topic: str, payload: bytes, releases: str | None = None) -> int:
        """Append a result and assign its number, `next_number`.

        Args:
            stream: the sequence of numbers; one for each device and camera. Where payloads have the number in them,
                one caller at a time asks for the number and puts the result.
            topic: where it is to be published.
            payload: what is to be published.
            releases: the key of the reserved payload that this result replaces.

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
            found = self._use_store(lambda store: store.rows(after=after, limit=limit + len(removed)))
        except (sqlite3.Error, OSError) as error:
            raise UnreadableOutboxError(f"results cannot be read: {error}") from error
        return [row for row in found if row.id not in removed][:limit]

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
        """Drop rows that are given up."""
        with self._changed:
            self._remove(ids, reason)

    def depth(self) -> int:
        """Return the number of results that wait, stored or not."""
        with self._changed:
            return Totals(self._sequences, self._ended).waiting

    def counts(self) -> OutboxCounts:
        """Return the counts of the results that are stored."""
        with self._changed:
            produced = sum(self._stored_sequences.values()) + sum(batch.unstored for batch in self._uncommitted())
            dropped = {reason: number for reason, number in self._ended.items() if reason is not None and number}
            return OutboxCounts(produced, self._ended[None], dropped)

    def wait_for(self, condition: Callable[[], bool], *, timeout: float) -> bool:
        """Wait until a condition on the outbox holds; return whether it does after `timeout` seconds."""
        with self._changed:
            return self._changed.wait_for(condition, timeout)

    def flush(self, *, timeout: float) -> bool:
        """Commit all changes so far; return whether that was done within `timeout` seconds."""
        with self._changed:
            wanted = self._changes
            self._flushing += 1
            self._changed.notify_all()
            done = self._changed.wait_for(lambda: self._stored_changes >= wanted, timeout)
            self._flushing -= 1
        return done

    def close(self, *, timeout: float = 2.0) -> bool:
        """Commit all changes, and close the file. Safe to call twice.

        Returns:
            Whether everything was stored.
        """
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._writer.join(timeout)
        if self._writer.is_alive():
            return False  # the disk hangs; the file is as after a crash, which it survives
        self._commit_rest()
        with self._store_lock, self._changed:
            self._store.close()
            if unstored := self.depth() - self.counts().waiting:
                _LOG.error(
                    "%d results could not be stored and are lost; their numbers will be assigned again", unstored
                )
            return self._changes == self._stored_changes

    def _commit_rest(self) -> None:
        """Commit what is left after the writer has failed unexpectedly."""
        with self._changed:
            if self._changes == self._stored_changes or self._failing is not None:
                return
            batch = self._take_batch()
        try:
            self._use_store(partial(self._commit, batch))
        except Exception:  # noqa: BLE001 - closing continues after any error
            _LOG.exception("the last results cannot be stored")
            self._take_back(batch)

    # Up to `_take_batch`, the following are called under `_changed`.

    def _note_change(self) -> None:
        if self._changes == self._stored_changes:
            self._commit_by = time.monotonic() + self._commit_interval
        self._changes += 1
        self._changed.notify_all()

    def _remove(self, ids: Iterable[int], reason: str | None) -> None:
        """Remove rows; None stands for delivered. A row that is removed twice counts once."""
        for row_id in ids:
            if row_id not in self._removed:
                self._removed.add(row_id)
                self._pending.removals[row_id] = reason
                self._ended[reason] += 1
                self._note_change()

    def _uncommitted(self) -> list[Batch]:
        return [self._pending] if self._committing is None else [self._committing, self._pending]

    def _committed(self) -> Totals:
        """Return the totals that are stored, or were until the file was damaged."""
        ended = Counter(self._ended)
        for batch in self._uncommitted():
            ended[UNSTORED] -= batch.unstored
            ended.subtract(batch.removals.values())
        return Totals(dict(self._stored_sequences), +ended)

    def _take_batch(self) -> Batch:
        """Take all changes that are to be committed; `_commit` or `_take_back` follows."""
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
            except Exception:  # which ends this thread; `close` tries once more
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
        beyond = store.store(batch)
        with self._changed:
            self._committing = None
            self._removed.difference_update(batch.removals)
            self._stored_sequences.update(batch.sequences)
            if batch.puts:
                self._stored_id = batch.puts[-1].id
            self._ended.update(beyond)
            self._stored_changes = batch.changes

    def _take_back(self, batch: Batch) -> None:
        """Put back the changes of a batch that could not be committed."""
        with self._changed:
            batch.extend(self._pending)
            self._pending, self._committing = batch, None

    def _use_store(self, work: Callable[[OutboxStore], _T]) -> _T:
        """Use the file; if that finds it damaged, repair it and try again."""
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
        """Wait until there are changes to commit, or rows may have expired, and return the batch; None at the end."""
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
        """Put back what could not be stored, and wait; return False if the outbox is being closed."""
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
