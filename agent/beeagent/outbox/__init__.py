"""The outbox of results and their delivery to a publisher, independent of the content of results."""

from beeagent.outbox.dead_letters import DeadLetterFile
from beeagent.outbox.outbox import Outbox
from beeagent.outbox.publisher import MAX_PAYLOAD_BYTES, DiscardPublisher, Outcome, Publisher, PublisherState, Receipt
from beeagent.outbox.recovery import is_damage, set_aside
from beeagent.outbox.rows import OutboxCounts, Row, UnreadableOutboxError
from beeagent.outbox.sender import Sender
from beeagent.outbox.store import BootClock, boot_clock

__all__ = [
    "MAX_PAYLOAD_BYTES",
    "BootClock",
    "DeadLetterFile",
    "DiscardPublisher",
    "Outbox",
    "OutboxCounts",
    "Outcome",
    "Publisher",
    "PublisherState",
    "Receipt",
    "Row",
    "Sender",
    "UnreadableOutboxError",
    "boot_clock",
    "is_damage",
    "set_aside",
]
