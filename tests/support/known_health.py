"""The health of an agent with set counts."""

from datetime import datetime
from types import SimpleNamespace
from typing import Any

from beeagent.camera import CaptureCounts, Sleep
from beeagent.outbox import OutboxCounts
from beeagent.runtime.status import Health, Problems
from beeagent.settings import load_settings


def known_health(
    problems: Problems,
    *,
    captured: CaptureCounts | None = None,
    outbox: OutboxCounts | None = None,
    last_delivery: datetime | None = None,
    sleep: Sleep | None = None,
) -> Health:
    """Return the health of hive-7 with the camera front; counts that are not given are 0."""
    counts = outbox or OutboxCounts(produced=0, delivered=0, dropped={})
    parts: dict[str, Any] = {
        "capture": SimpleNamespace(counts=captured or CaptureCounts()),
        "pipeline": SimpleNamespace(lost=0, replaced=0, model="bees@12345678"),
        "outbox": SimpleNamespace(counts=lambda: counts, last_delivery=last_delivery),
    }
    settings = load_settings({"device": "hive-7", "camera_name": "front"})
    return Health(settings, problems=problems, sleep=sleep, **parts)
