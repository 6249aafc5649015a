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
        ended: number of results that no longer wait: of dropped ones by reason, of delivered ones for None.
    """

    sequences: dict[str, int] = field(default_factory=dict)
    ended: Counter[str | None] = field(default_factory=Counter)

    @property
    def waiting(self) -> int:
        """The number of rows that there must be."""
        return sum(self.sequences.values()) - self.ended.total()


@dataclass(slots=True)
class Batch:
    """Changes that are stored in one commit.

    Attributes:
        puts: new rows.
        put_bytes: of their payloads.
        removals: rows to remove, and why; None stands for delivered.
        sequences: the last numbers of the streams that have new ones.
        unstored: how many of those numbers were dropped before they could be stored.
        reserved: reserved payloads, by key.
        released: keys that are no longer reserved. One may be in both: a commit reserves first, then releases.
        changes: the number of all changes so far, up to the last of these.
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
