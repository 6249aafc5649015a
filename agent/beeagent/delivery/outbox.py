"""Where results wait until the broker has them."""

import logging
import sqlite3
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from beeagent.delivery.outbox_file import FULL, UNSTORED, Batch, OutboxFile, Row

_LOG: Final = logging.getLogger(__name__)

_RETRY_S: Final = 1.0  # after a commit that failed


@dataclass(frozen=True, slots=True)
class OutboxCounts:
    """What became of the results that the outbox took, over all restarts.

    Attributes:
        produced: taken.
        delivered: acknowledged by the broker.
        dropped: given up, by reason; only reasons that occurred.
    """

    produced: int
    delivered: int
    dropped: Mapping[str, int]

    @property
    def waiting(self) -> int:
        """Not yet acknowledged."""
        return self.produced - self.delivered - sum(self.dropped.values())


class Outbox:
    """Takes results, numbers them, and keeps them in an SQLite file until they are delivered.

    `put` only notes a result in memory: it never waits for the disk. A thread of the outbox commits what was
    noted, and a result can be had with `waiting` only after its commit. So a crash loses at most results that
    nobody has seen, whose numbers are then given again; and a number that somebody has seen is never given to
    another result. Removals are committed along with the results that follow them: a crash may bring back rows
    that were delivered, which are then published a second time.

    Commits are at most `commit_interval_s` apart. While `hurry` is set, each result is committed at once; set it
    while somebody waits for results, and leave it off during an outage, where it would only wear out the disk.

    One thread may put while another one takes and removes. The file belongs to one process at a time.
    """

    def __init__(self, path: Path | None, *, max_megabytes: float = 100.0, commit_interval_s: float = 0.25) -> None:
        """Open the outbox, or create it.

        Args:
            path: the SQLite file; its folder is made if need be. None keeps everything in memory only.
            max_megabytes: what may wait, in megabytes (10^6 bytes) of the file; beyond that the oldest go.
            commit_interval_s: how long a commit waits for more to store with it, in seconds.

        Raises:
            InputError: the file cannot be used.
            ValueError: a limit is not positive.
        """
        if max_megabytes <= 0 or commit_interval_s < 0:
            raise ValueError(f"max_megabytes {max_megabytes} or commit_interval_s {commit_interval_s} is out of range")
        self._max_bytes = int(max_megabytes * 1e6)
        self._file = OutboxFile(path, max_bytes=self._max_bytes)
        self._commit_interval = commit_interval_s
        self._listeners: list[Callable[[], None]] = []
        # `_file` is used under `_file_lock` only, which may be held while the disk works; everything else
        # under `_changed`, which is held for moments. Where both are taken, `_file_lock` comes first.
        self._file_lock = threading.Lock()
        self._changed = threading.Condition()
        self._sequences = self._file.read_state("seq")
        self._delivered = self._file.read_state("delivered").get("", 0)
        self._dropped = Counter(self._file.read_state("dropped"))
        self._next_id = self._file.last_id() + 1
        self._puts: deque[Row] = deque()
        self._put_bytes = 0
        self._unstored = 0
        self._removals: dict[int, str | None] = {}
        self._removed: set[int] = set()  # rows whose removal is not yet committed
        self._touched: set[str] = set()  # streams whose number is not yet committed
        self._changes = 0
        self._stored_changes = 0
        self._commit_by = 0.0
        self._hurry = False
        self._flushing = 0
        self._closing = False
        self._fault: str | None = None
        self._writer = threading.Thread(target=self._write, name="outbox", daemon=True)
        self._writer.start()

    @property
    def hurry(self) -> bool:
        """Whether each result is committed at once."""
        with self._changed:
            return self._hurry

    @hurry.setter
    def hurry(self, value: bool) -> None:
        with self._changed:
            self._hurry = value
            self._changed.notify_all()

    @property
    def fault(self) -> str | None:
        """Why results cannot be stored at present, in plain words; None when they can."""
        with self._changed:
            return self._fault

    def listen(self, listener: Callable[[], None]) -> None:
        """Call `listener` after each commit of new results, on the outbox's thread; it must return at once."""
        with self._changed:
            self._listeners.append(listener)

    def put(self, *, stream: str, topic: str, build: Callable[[int], bytes]) -> int:
        """Take a result, and give it its number.

        Args:
            stream: what the numbers count; one for each device and camera.
            topic: where it is to be published.
            build: makes the payload from the number, from 1. It must not use the outbox. If it raises, nothing
                is taken and the number is not used.

        Returns:
            The number.

        Raises:
            ValueError: the outbox is closed.
        """
        with self._changed:
            if self._closing:
                raise ValueError("the outbox is closed")
            number = self._sequences.get(stream, 0) + 1
            payload = build(number)
            self._sequences[stream] = number
            self._touched.add(stream)
            self._puts.append(Row(self._next_id, topic, payload))
            self._next_id += 1
            self._put_bytes += len(payload)
            while self._put_bytes > self._max_bytes:  # the disk does not keep up
                self._put_bytes -= len(self._puts.popleft().payload)
                self._unstored += 1
                self._dropped[UNSTORED] += 1
            self._note_change()
        return number

    def waiting(self, *, after: int = 0, limit: int = 100) -> list[Row]:
        """Give the oldest stored rows whose id is greater than `after`, at most `limit` of them.

        Raises:
            sqlite3.Error: the file cannot be read.
        """
        with self._file_lock:
            with self._changed:
                removed = set(self._removed)
            found = self._file.rows(after=after, limit=limit + len(removed))
        return [row for row in found if row.id not in removed][:limit]

    def delivered(self, ids: Iterable[int]) -> None:
        """Remove rows that the broker has acknowledged."""
        self._remove(list(ids), reason=None)

    def drop(self, ids: Iterable[int], *, reason: str) -> None:
        """Remove rows that are given up."""
        self._remove(list(ids), reason=reason)

    def depth(self) -> int:
        """Give the number of results that wait, stored or not."""
        return self.counts().waiting

    def counts(self) -> OutboxCounts:
        """Give what became of the results so far."""
        with self._changed:
            dropped = {reason: number for reason, number in self._dropped.items() if number}
            return OutboxCounts(sum(self._sequences.values()), self._delivered, dropped)

    def flush(self, *, timeout: float) -> bool:
        """Commit what has been noted so far; say whether that was done within `timeout` seconds."""
        with self._changed:
            wanted = self._changes
            self._flushing += 1
            self._changed.notify_all()
            done = self._changed.wait_for(lambda: self._stored_changes >= wanted, timeout)
            self._flushing -= 1
        return done

    def close(self, *, timeout: float = 2.0) -> bool:
        """Commit what has been noted, and close the file. Safe to call twice.

        Returns:
            Whether everything was stored.
        """
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._writer.join(timeout)
        if self._writer.is_alive():
            return False  # the disk hangs; the file stays as after a crash, which it survives
        with self._file_lock, self._changed:
            self._file.close()
            return self._stored_changes == self._changes

    def _remove(self, ids: Iterable[int], *, reason: str | None) -> None:
        with self._changed:
            for row_id in ids:
                if row_id in self._removed:
                    continue
                self._removals[row_id] = reason
                self._removed.add(row_id)
                self._count(reason, 1)
                self._note_change()

    def _count(self, reason: str | None, number: int) -> None:
        if reason is None:
            self._delivered += number
        else:
            self._dropped[reason] += number

    def _note_change(self) -> None:
        if self._changes == self._stored_changes:
            self._commit_by = time.monotonic() + self._commit_interval
        self._changes += 1
        self._changed.notify_all()

    def _write(self) -> None:
        while (batch := self._next_batch()) is not None:
            try:
                with self._file_lock:
                    gone, full = self._file.store(batch)
                    with self._changed:
                        self._removed.difference_update(batch.removals)
            except sqlite3.Error as error:
                if not self._take_back(batch, f"results cannot be stored: {error}"):
                    return
                continue
            with self._changed:
                for reason in gone:
                    self._count(reason, -1)
                if full:
                    self._count(FULL, full)
                if self._fault is not None:
                    _LOG.info("results are stored again")
                self._fault = None
                self._stored_changes = batch.changes
                self._commit_by = time.monotonic() + self._commit_interval
                self._changed.notify_all()
                listeners = list(self._listeners) if batch.puts else []
            for listener in listeners:
                listener()

    def _next_batch(self) -> Batch | None:
        """Wait until something is to be committed, and take it; None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._closing or self._changes != self._stored_changes)
            while not (self._closing or self._flushing or (self._hurry and self._puts)):
                left = self._commit_by - time.monotonic()
                if left <= 0 or not self._changed.wait(left):
                    break
            if self._changes == self._stored_changes:
                return None
            batch = Batch(
                puts=self._puts,
                removals=self._removals,
                sequences={stream: self._sequences[stream] for stream in self._touched},
                unstored=self._unstored,
                changes=self._changes,
            )
            self._puts, self._put_bytes, self._unstored = deque(), 0, 0
            self._removals, self._touched = {}, set()
            return batch

    def _take_back(self, batch: Batch, fault: str) -> bool:
        """Put what could not be stored back in its place, and wait; False if there is no use in waiting."""
        with self._changed:
            self._puts.extendleft(reversed(batch.puts))
            self._put_bytes += sum(len(row.payload) for row in batch.puts)
            self._unstored += batch.unstored
            self._removals = {**batch.removals, **self._removals}
            self._touched.update(batch.sequences)
            if self._fault != fault:
                _LOG.error("%s", fault)
            self._fault = fault
            self._changed.notify_all()
            if self._closing:
                return False
            self._changed.wait_for(lambda: self._closing, _RETRY_S)
            return True
