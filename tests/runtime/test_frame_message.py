"""The message of a frame follows the limit that the publisher has at that moment."""

import json
import time
from datetime import datetime, timezone

import numpy as np
from beeagent.camera import Frame
from beeagent.detection import Detections
from beeagent.outbox import Outbox
from beeagent.runtime.decision import Decision
from beeagent.runtime.frame_message import FrameMessages
from beeagent.runtime.pipeline import FrameResult
from beeagent.settings import load_settings


def _decision(count: int) -> Decision:
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
    return Decision(FrameResult(frame, "bees@12345678", found, 1.0), found, "edge")


def test_limit_may_change_and_a_message_that_cannot_be_shortened_stays_whole() -> None:
    limit = 10_000
    outbox = Outbox(None)
    messages = FrameMessages(load_settings({"device": "hive-7"}, config=None), outbox, payload_limit=lambda: limit)
    whole = messages.tell(_decision(20))
    assert whole is not None
    limit = 1000
    shorter = messages.tell(_decision(20))
    assert shorter is not None
    assert len(shorter) <= limit
    assert json.loads(shorter)["omitted"] > 0
    limit = 100
    refused = messages.tell(_decision(20))  # by the publisher, which counts it
    assert refused is not None
    assert len(json.loads(refused)["detections"]) == 20
    outbox.close()
