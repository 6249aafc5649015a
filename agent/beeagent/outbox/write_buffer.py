"""What the outbox knows in memory: changes that wait for their commit, and the counts."""

from collections import Counter, deque
from collections.abc import Callable, Iterable

from beeagent.outbox.records import UNSTORED, Batch, OutboxCounts, Row, Stored, Totals


class Ledger:
    """Keeps the books. Not safe for threads: the outbox has the lock.

    Args:
        totals: what is stored.
        last_id: the greatest id of a row that is stored; 0 if there is none.
        max_bytes: of payloads that wait for their commit; beyond that the oldest go.
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
        self._unstored = 0  # numbers given up, and not yet committed
        self._removals: dict[int, str | None] = {}
        self._out: Batch | None = None  # handed out
        self._removed: set[int] = set()  # rows whose removal is not yet committed
        self._held: dict[str, bytes] = {}  # not yet committed
        self._let_go: list[str] = []  # likewise
        self._touched: set[str] = set()  # streams whose number is not yet committed
        self.changes = 0
        self.stored_changes = 0

    @property
    def unstored_puts(self) -> bool:
        """Whether results wait for their commit."""
        return bool(self._puts)

    @property
    def unsettled(self) -> bool:
        """Whether there are changes that are not yet committed."""
        return self.changes != self.stored_changes

    @property
    def removed(self) -> frozenset[int]:
        """Rows that were removed, though the file may have them still."""
        return frozenset(self._removed)

    def take(self, *, stream: str, topic: str, build: Callable[[int], bytes], taken_at: int) -> int:
        """Note a result; give its number. What `build` raises goes through, and nothing is noted then."""
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

    def hold(self, key: str, payload: bytes) -> None:
        """Note what is to be kept until a result takes its place."""
        self._held[key] = payload
        self.changes += 1

    def let_go(self, key: str) -> None:
        """Note that something is held no more. What was not handed out yet never gets to the disk."""
        if self._held.pop(key, None) is None:
            self._let_go.append(key)
        self.changes += 1

    def remove(self, ids: Iterable[int], *, reason: str | None) -> None:
        """Note that rows go; None stands for delivered. A row that goes twice counts once."""
        for row_id in ids:
            if row_id not in self._removed:
                self._removals[row_id] = reason
                self._removed.add(row_id)
                self._count(reason, 1)
                self.changes += 1

    def counts(self) -> OutboxCounts:
        """Give what became of the results so far. Those that are not stored are not produced yet."""
        dropped = {reason: number for reason, number in self._dropped.items() if number}
        return OutboxCounts(sum(self._stored_sequences.values()) + self._unstored, self._delivered, dropped)

    def depth(self) -> int:
        """Give the number of results that wait, stored or not."""
        return sum(self._sequences.values()) - self._delivered - sum(self._dropped.values())

    def batch(self) -> Batch:
        """Hand out what is to be committed. It comes back with `settle` or `take_back`."""
        batch = Batch(
            puts=self._puts,
            removals=self._removals,
            sequences={stream: self._sequences[stream] for stream in self._touched},
            unstored=self._unstored,
            changes=self.changes,
            held=self._held,
            let_go=self._let_go,
        )
        self._puts, self._put_bytes = deque(), 0
        self._removals, self._touched = {}, set()
        self._held, self._let_go = {}, []
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
        """Put what could not be committed back in its place."""
        self._out = None
        self._puts.extendleft(reversed(batch.puts))
        self._put_bytes += sum(len(row.payload) for row in batch.puts)
        self._removals = {**batch.removals, **self._removals}
        # What came and went while the batch was out is in both, and goes: a commit holds first, and then lets go.
        self._held = {**batch.held, **self._held}
        self._let_go = [*batch.let_go, *self._let_go]
        self._touched.update(batch.sequences)

    def committed(self) -> Totals:
        """Give what is stored, or was until the file was damaged."""
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
        """Note that stored rows were lost."""
        self._dropped[reason] += number

    def _count(self, reason: str | None, number: int) -> None:
        if reason is None:
            self._delivered += number
        else:
            self._dropped[reason] += number
