"""Messages follow the current payload limit of the publisher."""

import json
import time
from datetime import datetime, timezone

import numpy as np
from beeagent.camera import Frame
from beeagent.detection import Detections
from beeagent.outbox import DiscardPublisher, Outbox
from beeagent.runtime.pipeline import FrameResult
from beeagent.runtime.results import Results
from beeagent.settings import load_settings

_DEADLINE = 45.0


class _Publisher(DiscardPublisher):
    limit = 10_000

    @property
    def payload_limit(self) -> int:
        return self.limit


def _result(count: int) -> FrameResult:
    found = Detections(
        boxes=np.tile(np.array([0.25, 0.5, 0.5, 0.75], np.float32), (count, 1)),
        confidences=np.full(count, 0.9, np.float32),
        class_ids=np.zeros(count, np.int64),
        labels=("bee",),
    )
    frame = Frame(
        pixels=np.zeros((8, 8, 3), np.uint8),
        captured_at=datetime(2026, 5, 4, tzinfo=timezone.utc),
        captured_ns=time.monotonic_ns(),
        index=0,
    )
    return FrameResult(frame, "bees@12345678", found, 1.0)


def test_message_follows_changing_payload_limit() -> None:
    publisher, outbox = _Publisher(), Outbox(None)
    results = Results(load_settings({"device": "hive-7"}, config=None), outbox=outbox, publisher=publisher)
    for limit in (10_000, 1000, 100):
        publisher.limit = limit
        results.add(_result(20))
    assert outbox.flush(timeout=_DEADLINE)
    whole, shorter, too_long = (row.payload for row in outbox.waiting())
    assert len(json.loads(whole)["detections"]) == 20
    assert len(shorter) <= 1000
    assert json.loads(shorter)["omitted"] > 0
    assert len(json.loads(too_long)["detections"]) == 20  # the publisher refuses it, which is counted
    outbox.close()
