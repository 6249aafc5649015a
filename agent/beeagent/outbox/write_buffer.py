"""Results in memory: rows and counts, and the changes that are not committed yet."""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from beeagent.errors import BeeagentError

FULL: Final = "full"
EXPIRED: Final = "expired"
UNSTORED: Final = "not-stored"
DAMAGED: Final = "damaged"
"""Reasons for dropping a result: the outbox is full; it waited too long; the disk accepts nothing and memory is full;
it was lost with a damaged file."""


class UnreadableOutboxError(BeeagentError):
    """The file cannot be read at present."""


@dataclass(frozen=True, slots=True)
class Row:
    """A result that waits.

    Attributes:
        id: rows are in the order of their ids, in which they were appended.
        topic: where it is to be published.
        payload: what is to be published.
        taken_at: when it was appended, in whole seconds of the outbox's clock.
    """

    id: int
    topic: str
    payload: bytes
    taken_at: int = 0


@dataclass(frozen=True, slots=True)
class OutboxCounts:
    """Counts of results, over all restarts.

    Attributes:
        produced: stored, or dropped before they could be.
        delivered: acknowledged by the broker.
        dropped: given up, by reason; only reasons that occurred.
    """

    produced: int
    delivered: int
    dropped: Mapping[str, int]

    @property
    def waiting(self) -> int:
        """Not yet acknowledged."""
        # A row that was dropped in a commit, and acknowledged before the next one, counts twice until then.
        return max(0, self.produced - self.delivered - sum(self.dropped.values()))


@dataclass(frozen=True, slots=True)
class Totals:
    """The state of an outbox besides its rows.

    Attributes:
        sequences: the last number of each stream.
        delivered: number of acknowledged results.
        dropped: number of dropped results, by reason.
    """

    sequences: dict[str, int] = field(default_factory=dict)
    delivered: int = 0
    dropped: Counter[str] = field(default_factory=Counter)

    @property
    def waiting(self) -> int:
        """The number of rows that there must be."""
        return sum(self.sequences.values()) - self.delivered - sum(self.dropped.values())


@dataclass(frozen=True, slots=True)
class Batch:
    """The changes of one commit.

    Attributes:
        puts: new rows.
        removals: rows to remove, and why; None stands for delivered.
        sequences: the last numbers of the streams that have new ones.
        unstored: how many of those numbers were dropped before they could be stored.
        changes: the number of all changes so far, up to the last of these.
        reserved: reserved payloads, by key.
        released: keys that are no longer reserved.
    """

    puts: deque[Row]
    removals: dict[int, str | None]
    sequences: dict[str, int]
    unstored: int
    changes: int
    reserved: dict[str, bytes] = field(default_factory=dict)
    released: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Stored:
    """What a commit did beyond its batch.

    Attributes:
        gone: the reasons of removals whose rows were gone already.
        dropped: number of rows dropped for a limit, by reason.
    """

    gone: list[str | None]
    dropped: dict[str, int]


class WriteBuffer:
    """Changes that are not committed yet, and the counts. Not thread-safe: the outbox locks it.

    Args:
        totals: as stored.
        last_id: the greatest id of a stored row; 0 if there is none.
        max_bytes: of payloads that are not committed yet; beyond that the oldest are dropped.
    """

    def __init__(self, totals: Totals, *, last_id: int, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._sequences = dict(totals.sequences)
        self._stored_sequences = dict(totals.sequences)
        self._delivered = totals.delivered
        self._dropped = Counter(totals.dropped)
        self._last_id = last_id
        self.stored_id = last_id
        self._puts: deque[Row] = deque()
        self._put_bytes = 0
        self._unstored = 0  # numbers of dropped results, not yet committed
        self._removals: dict[int, str | None] = {}
        self._out: Batch | None = None  # being committed
        self._removed: set[int] = set()  # rows whose removal is not yet committed
        self._reserved: dict[str, bytes] = {}  # not yet committed
        self._released: list[str] = []  # likewise
        self._touched: set[str] = set()  # streams whose number is not yet committed
        self.changes = 0
        self.stored_changes = 0

    @property
    def unstored_puts(self) -> bool:
        """Whether there are new rows that are not yet committed."""
        return bool(self._puts)

    @property
    def unsettled(self) -> bool:
        """Whether there are changes that are not yet committed."""
        return self.changes != self.stored_changes

    @property
    def removed(self) -> frozenset[int]:
        """Rows that were removed, though they may still be in the file."""
        return frozenset(self._removed)

    def append(self, *, stream: str, topic: str, build: Callable[[int], bytes], taken_at: int) -> int:
        """Append a result and return its number. If `build` raises, nothing is appended."""
        number = self._sequences.get(stream, 0) + 1
        payload = build(number)
        self._sequences[stream] = number
        self._touched.add(stream)
        self._last_id += 1
        self._puts.append(Row(self._last_id, topic, payload, taken_at))
        self._put_bytes += len(payload)
        while self._put_bytes > self._max_bytes:  # the disk does not keep up
            self._put_bytes -= len(self._puts.popleft().payload)
            self._unstored += 1
            self._dropped[UNSTORED] += 1
        self.changes += 1
        return number

    def reserve(self, key: str, payload: bytes) -> None:
        """Keep a payload until a result replaces it."""
        self._reserved[key] = payload
        self.changes += 1

    def release(self, key: str) -> None:
        """Drop a reserved payload. One that is not being committed yet never gets to the disk."""
        if self._reserved.pop(key, None) is None:
            self._released.append(key)
        self.changes += 1

    def remove(self, ids: Iterable[int], *, reason: str | None) -> None:
        """Remove rows; None stands for delivered. A row that is removed twice counts once."""
        for row_id in ids:
            if row_id not in self._removed:
                self._removals[row_id] = reason
                self._removed.add(row_id)
                self._count(reason, 1)
                self.changes += 1

    def counts(self) -> OutboxCounts:
        """Return the counts of results. Those that are not stored are not produced yet."""
        dropped = {reason: number for reason, number in self._dropped.items() if number}
        return OutboxCounts(sum(self._stored_sequences.values()) + self._unstored, self._delivered, dropped)

    def depth(self) -> int:
        """Return the number of results that wait, stored or not."""
        return sum(self._sequences.values()) - self._delivered - sum(self._dropped.values())

    def batch(self) -> Batch:
        """Take all changes that are to be committed. They come back with `settle` or `take_back`."""
        batch = Batch(
            puts=self._puts,
            removals=self._removals,
            sequences={stream: self._sequences[stream] for stream in self._touched},
            unstored=self._unstored,
            changes=self.changes,
            reserved=self._reserved,
            released=self._released,
        )
        self._puts, self._put_bytes = deque(), 0
        self._removals, self._touched = {}, set()
        self._reserved, self._released = {}, []
        self._out = batch
        return batch

    def settle(self, batch: Batch, stored: Stored) -> None:
        """Note that a batch was committed."""
        self._out = None
        self._removed.difference_update(batch.removals)
        self._stored_sequences.update(batch.sequences)
        self._unstored -= batch.unstored
        if batch.puts:
            self.stored_id = batch.puts[-1].id
        for reason in stored.gone:
            self._count(reason, -1)
        self._dropped.update(stored.dropped)
        self.stored_changes = batch.changes

    def take_back(self, batch: Batch) -> None:
        """Put back the changes of a batch that could not be committed."""
        self._out = None
        self._puts.extendleft(reversed(batch.puts))
        self._put_bytes += sum(len(row.payload) for row in batch.puts)
        self._removals = {**batch.removals, **self._removals}
        # What was reserved in the batch and released since is in both: a commit reserves first, then releases.
        self._reserved = {**batch.reserved, **self._reserved}
        self._released = [*batch.released, *self._released]
        self._touched.update(batch.sequences)

    def committed(self) -> Totals:
        """Return the totals that are stored, or were until the file was damaged."""
        dropped = Counter(self._dropped)
        dropped[UNSTORED] -= self._unstored
        delivered = self._delivered
        pending = [*self._removals.values(), *(self._out.removals.values() if self._out is not None else ())]
        for reason in pending:
            if reason is None:
                delivered -= 1
            else:
                dropped[reason] -= 1
        return Totals(dict(self._stored_sequences), delivered, +dropped)

    def lose(self, number: int, *, reason: str) -> None:
        """Count stored rows that were lost."""
        self._dropped[reason] += number

    def _count(self, reason: str | None, number: int) -> None:
        if reason is None:
            self._delivered += number
        else:
            self._dropped[reason] += number
