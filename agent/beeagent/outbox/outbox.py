"""Where results wait until the broker has them."""

import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from beeagent.outbox.boot_clock import BootClock, boot_clock
from beeagent.outbox.damage import is_damage
from beeagent.outbox.records import DAMAGED, Batch, OutboxCounts, Row, UnreadableOutboxError
from beeagent.outbox.store import OutboxFile
from beeagent.outbox.write_buffer import Ledger

__all__ = ["Outbox", "OutboxCounts", "UnreadableOutboxError"]

_T = TypeVar("_T")

_LOG: Final = logging.getLogger(__name__)

_RETRY_S: Final = 1.0  # after a commit that failed
_LOOK_FOR_EXPIRED_S: Final = 60.0  # when nothing else is to be committed
# Of results that wait for a disk that takes nothing. A small device has no more to give.
_MAX_UNSTORED_BYTES: Final = 16_000_000


class Outbox:
    """Takes results, numbers them, and keeps them in an SQLite file until they are delivered.

    `put` only notes a result in memory: it never waits for the disk. A thread of the outbox commits what was
    noted, and a result can be had with `waiting`, and counts as produced, only after its commit. So a crash loses at
    most results that nobody has seen, whose numbers are then given again; and a number that somebody has seen is
    never given to another result. Removals are committed along with the results that follow them: a crash may bring
    back rows that were delivered, which are then published a second time.

    Commits are at most `commit_interval_s` apart. While `hurry` is set, each result is committed at once; set it
    while somebody waits for results, and leave it off during an outage, where it would only wear out the disk.

    A file that turns out to be damaged, at the start or later, is set aside, and what can be read of it goes on in a
    new one; what cannot is dropped and counted. docs/outbox.md tells all this to those who run it.

    What is not decided yet can be held there, and goes in the commit that stores its result. What a process held that
    crashed is in `left_behind`, by key, oldest first.

    One thread may put while another one takes and removes. The file belongs to one process at a time.
    """

    def __init__(  # noqa: PLR0913 - what a user can set of it
        self,
        path: Path | None,
        *,
        max_megabytes: float = 100.0,
        max_age_hours: float = 168.0,
        commit_interval_s: float = 0.25,
        commit_at_once: bool = True,
        clock: BootClock | None = None,
    ) -> None:
        """Open the outbox, or create it.

        Args:
            path: the SQLite file; its folder is made if need be. None keeps everything in memory only.
            max_megabytes: what may wait, in megabytes (10^6 bytes) of the file; beyond that the oldest go.
            max_age_hours: how long a result may wait, in hours in which the device was on; older ones go.
            commit_interval_s: how long a commit waits for more to store with it, in seconds.
            commit_at_once: whether `hurry` has an effect.
            clock: what ages are measured with; None for the device's.

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
        self._file = OutboxFile(path, max_bytes=max_bytes, max_age_s=max_age_hours * 3600, clock=clock or boot_clock())
        self._commit_interval = commit_interval_s
        self._commit_at_once = commit_at_once
        self._listeners: list[Callable[[], None]] = []
        # `_file` is used under `_file_lock` only, which may be held while the disk works; everything else
        # under `_changed`, which is held for moments. Where both are taken, `_file_lock` comes first.
        self._file_lock = threading.Lock()
        self._changed = threading.Condition()
        self._ledger = Ledger(
            self._file.read_totals(), last_id=self._file.last_id(), max_bytes=min(max_bytes, _MAX_UNSTORED_BYTES)
        )
        self.left_behind = self._file.held()
        self._commit_by = 0.0
        self._hurry = False
        self._flushing = 0
        self._closing = False
        self._fault: str | None = None
        self._broken: str | None = None  # why the file is to be repaired before it is used; under `_file_lock`
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
            self._hurry = value and self._commit_at_once
            self._changed.notify_all()

    @property
    def fault(self) -> str | None:
        """Why results cannot be stored at present, or what was damaged within a day, in plain words; else None."""
        with self._changed:
            return self._fault or self._file.damage

    @property
    def stored_id(self) -> int:
        """The greatest id of a row that is stored, or was; rows that are stored later have greater ones."""
        with self._changed:
            return self._ledger.stored_id

    def listen(self, listener: Callable[[], None]) -> None:
        """Call `listener` after each commit of new results, on the outbox's thread; it must return at once."""
        with self._changed:
            self._listeners.append(listener)

    def hold(self, key: str, payload: bytes) -> None:
        """Keep something until `put` or `let_go` settles its key. Nothing is written if that is before the commit."""
        with self._noting():
            self._ledger.hold(key, payload)

    def let_go(self, key: str) -> None:
        """Hold something no more, without a result in its place."""
        with self._noting():
            self._ledger.let_go(key)

    def put(self, *, stream: str, topic: str, build: Callable[[int], bytes], settles: str | None = None) -> int:
        """Take a result, and give it its number.

        Args:
            stream: what the numbers count; one for each device and camera.
            topic: where it is to be published.
            build: makes the payload from the number, from 1. It must not use the outbox. If it raises, nothing
                is taken and the number is not used.
            settles: the key of what is held no more once this result is there.

        Returns:
            The number.

        Raises:
            ValueError: the outbox is closed.
        """
        with self._noting():
            if self._closing:
                raise ValueError("the outbox is closed")
            number = self._ledger.take(stream=stream, topic=topic, build=build, taken_at=int(self._file.now()))
            if settles is not None:
                self._ledger.let_go(settles)
        return number

    def waiting(self, *, after: int = 0, limit: int = 100) -> list[Row]:
        """Give the oldest stored rows whose id is greater than `after`, at most `limit` of them.

        Raises:
            UnreadableOutboxError: the file cannot be read.
        """

        def read(file: OutboxFile) -> list[Row]:
            with self._changed:
                removed = self._ledger.removed
            found = file.rows(after=after, limit=limit + len(removed))
            return [row for row in found if row.id not in removed][:limit]

        try:
            return self._use_file(read)
        except (sqlite3.Error, OSError) as error:
            raise UnreadableOutboxError(f"results cannot be read: {error}") from error

    def delivered(self, ids: Iterable[int]) -> None:
        """Remove rows that the broker has acknowledged."""
        with self._noting():
            self._ledger.remove(ids, reason=None)

    def drop(self, ids: Iterable[int], *, reason: str) -> None:
        """Remove rows that are given up."""
        with self._noting():
            self._ledger.remove(ids, reason=reason)

    def depth(self) -> int:
        """Give the number of results that wait, stored or not."""
        with self._changed:
            return self._ledger.depth()

    def counts(self) -> OutboxCounts:
        """Give what became of the results so far; of those that are stored."""
        with self._changed:
            return self._ledger.counts()

    def flush(self, *, timeout: float) -> bool:
        """Commit what has been noted so far; say whether that was done within `timeout` seconds."""
        with self._changed:
            wanted = self._ledger.changes
            self._flushing += 1
            self._changed.notify_all()
            done = self._changed.wait_for(lambda: self._ledger.stored_changes >= wanted, timeout)
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
        self._commit_rest()
        with self._file_lock, self._changed:
            self._file.close()
            if unstored := self._ledger.depth() - self._ledger.counts().waiting:
                _LOG.error("%d results could not be stored and are gone; their numbers will be given again", unstored)
            return not self._ledger.unsettled

    def _commit_rest(self) -> None:
        """Commit what a writer has left that failed in an unforeseen way."""
        with self._changed:
            if not self._ledger.unsettled or self._fault is not None:
                return
            batch = self._ledger.batch()
        try:
            self._use_file(partial(self._store, batch))
        except Exception:  # noqa: BLE001 - the end goes on, whatever it was
            _LOG.exception("the last results cannot be stored")
            with self._changed:
                self._ledger.take_back(batch)

    @contextmanager
    def _noting(self) -> Iterator[None]:
        """Have the lock while something is noted, and see to it that it is committed."""
        with self._changed:
            began = not self._ledger.unsettled
            yield
            if began:
                self._commit_by = time.monotonic() + self._commit_interval
            self._changed.notify_all()

    def _write(self) -> None:
        while (batch := self._next_batch()) is not None:
            try:
                self._use_file(partial(self._store, batch))
            except (sqlite3.Error, OSError) as error:
                if not self._take_back(batch, f"results cannot be stored: {error}"):
                    return
                continue
            except Exception:  # which ends this thread; `close` tries once more
                with self._changed:
                    self._ledger.take_back(batch)
                raise
            with self._changed:
                if self._fault is not None:
                    _LOG.info("results are stored again")
                self._fault = None
                self._commit_by = time.monotonic() + self._commit_interval
                self._changed.notify_all()
                listeners = list(self._listeners) if batch.puts else []
            for listener in listeners:
                listener()

    def _store(self, batch: Batch, file: OutboxFile) -> None:
        stored = file.store(batch)
        with self._changed:
            self._ledger.settle(batch, stored)

    def _use_file(self, work: Callable[[OutboxFile], _T]) -> _T:
        """Do something with the file; where that finds it damaged, repair it, and do it again."""
        with self._file_lock:
            if self._broken is None:
                try:
                    return work(self._file)
                except sqlite3.Error as error:
                    if not is_damage(error):
                        raise
                    self._broken = str(error)
            with self._changed:
                totals = self._ledger.committed()
            lost = self._file.repair(totals, self._broken)
            self._broken = None
            with self._changed:
                self._ledger.lose(lost, reason=DAMAGED)
            return work(self._file)

    def _next_batch(self) -> Batch | None:
        """Wait until something is to be committed, or may have waited too long, and take it; None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._closing or self._ledger.unsettled, _LOOK_FOR_EXPIRED_S)
            while self._ledger.unsettled and not self._urgent():
                left = self._commit_by - time.monotonic()
                if left <= 0 or not self._changed.wait(left):
                    break
            if self._closing and not self._ledger.unsettled:
                return None
            return self._ledger.batch()

    def _urgent(self) -> bool:
        return bool(self._closing or self._flushing or (self._hurry and self._ledger.unstored_puts))

    def _take_back(self, batch: Batch, fault: str) -> bool:
        """Put what could not be stored back in its place, and wait; False if there is no use in waiting."""
        with self._changed:
            self._ledger.take_back(batch)
            if self._fault != fault:
                _LOG.error("%s", fault)
            self._fault = fault
            self._changed.notify_all()
            if self._closing:
                return False
            self._changed.wait_for(lambda: self._closing, _RETRY_S)
            return True
