"""What the outbox is made of: rows, the changes that one commit stores, and the totals."""

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from beeagent.errors import BeeagentError

FULL: Final = "full"
EXPIRED: Final = "expired"
UNSTORED: Final = "not-stored"
DAMAGED: Final = "damaged"
"""Reasons for dropping: the outbox is full; waited too long; the disk takes nothing and memory is full; was lost
with a damaged file."""


class UnreadableOutboxError(BeeagentError):
    """The file cannot be read at present."""


@dataclass(frozen=True, slots=True)
class Row:
    """A result that waits.

    Attributes:
        id: rows are in the order of their ids, which is that in which they were taken.
        topic: where it is to be published.
        payload: what is to be published.
        taken_at: when it was taken, in whole seconds of the outbox's clock.
    """

    id: int
    topic: str
    payload: bytes
    taken_at: int = 0


@dataclass(frozen=True, slots=True)
class OutboxCounts:
    """What became of the results that the outbox took, over all restarts.

    Attributes:
        produced: taken and stored, or given up before they could be.
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


@dataclass(frozen=True, slots=True)
class Totals:
    """The state of an outbox besides its rows.

    Attributes:
        sequences: the last number of each stream.
        delivered: how many were acknowledged.
        dropped: how many were given up, by reason.
    """

    sequences: dict[str, int] = field(default_factory=dict)
    delivered: int = 0
    dropped: Counter[str] = field(default_factory=Counter)

    @property
    def waiting(self) -> int:
        """How many rows there must be."""
        return sum(self.sequences.values()) - self.delivered - sum(self.dropped.values())


@dataclass(frozen=True, slots=True)
class Batch:
    """What one commit stores.

    Attributes:
        puts: new rows.
        removals: rows to remove, and why; None stands for delivered.
        sequences: the last numbers of the streams that have new ones.
        unstored: how many of those numbers were given up before they could be stored.
        changes: how many changes there had been, all in all, with the last of these.
        held: what is held for results that are yet to come, by key.
        let_go: keys of what is held no more.
    """

    puts: deque[Row]
    removals: dict[int, str | None]
    sequences: dict[str, int]
    unstored: int
    changes: int
    held: dict[str, bytes] = field(default_factory=dict)
    let_go: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Stored:
    """What a commit did beyond what its batch said.

    Attributes:
        gone: the reasons of removals whose rows were gone already.
        dropped: rows given up for a limit, by reason.
    """

    gone: list[str | None]
    dropped: dict[str, int]
