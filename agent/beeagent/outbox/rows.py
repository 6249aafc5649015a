"""Results in memory: rows, counts, and the changes of one commit."""

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from beeagent.errors import BeeagentError

FULL: Final = "full"
EXPIRED: Final = "expired"
UNSTORED: Final = "not-stored"
DAMAGED: Final = "damaged"
"""Reasons for dropping a result: the outbox is full; the result is too old; it could not be stored and the memory limit
was reached; it was lost with a damaged file."""


class UnreadableOutboxError(BeeagentError):
    """The file cannot be read now."""


@dataclass(frozen=True, slots=True)
class Row:
    """A waiting result.

    Attributes:
        id: id of the row; ids ascend in the order in which rows were appended.
        topic: topic of the message.
        payload: payload of the message.
        taken_at: time at which it was appended, in whole seconds of the outbox's clock.
    """

    id: int
    topic: str
    payload: bytes
    taken_at: int = 0


@dataclass(frozen=True, slots=True)
class OutboxCounts:
    """Counts of results, over all restarts.

    Attributes:
        produced: number of results stored, or dropped before they could be stored.
        delivered: number of results acknowledged by the broker.
        dropped: number of dropped results by reason; only reasons that occurred.
    """

    produced: int
    delivered: int
    dropped: Mapping[str, int]

    @property
    def waiting(self) -> int:
        """Number of results that are neither acknowledged nor dropped."""
        # A row dropped in a commit and acknowledged before the next one counts twice until then.
        return max(0, self.produced - self.delivered - sum(self.dropped.values()))


@dataclass(frozen=True, slots=True)
class Totals:
    """The state of an outbox except its rows.

    Attributes:
        sequences: last number of each stream.
        ended: number of results that no longer wait: dropped ones by reason, delivered ones under None.
    """

    sequences: dict[str, int] = field(default_factory=dict)
    ended: Counter[str | None] = field(default_factory=Counter)

    @property
    def waiting(self) -> int:
        """The expected number of rows."""
        return sum(self.sequences.values()) - self.ended.total()


@dataclass(slots=True)
class Batch:
    """Changes that are stored in one commit.

    Attributes:
        puts: new rows.
        put_bytes: size of their payloads.
        removals: reason for removing each row, by id; None for delivered rows.
        sequences: last number of each stream with new results.
        unstored: number of results that were dropped before they could be stored.
        reserved: reserved payloads, by key.
        released: keys to release. A key may be in both: a commit reserves first, then releases.
        changes: total number of changes of the outbox up to the last one in this batch.
    """

    puts: deque[Row] = field(default_factory=deque)
    put_bytes: int = 0
    removals: dict[int, str | None] = field(default_factory=dict)
    sequences: dict[str, int] = field(default_factory=dict)
    unstored: int = 0
    reserved: dict[str, bytes] = field(default_factory=dict)
    released: list[str] = field(default_factory=list)
    changes: int = 0

    def extend(self, later: "Batch") -> None:
        """Add the changes of a later batch."""
        self.puts.extend(later.puts)
        self.put_bytes += later.put_bytes
        self.removals.update(later.removals)
        self.sequences.update(later.sequences)
        self.unstored += later.unstored
        self.reserved.update(later.reserved)
        self.released += later.released
