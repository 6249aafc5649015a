"""The message of each frame: exactly one goes into the outbox, also where the process ends before it is decided."""

import logging
import time
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Final

from beeagent.messages import (
    DetectionsMessage,
    MessageTooLargeError,
    PublishRule,
    UnreadableError,
    detections_message,
    detections_topic,
)
from beeagent.outbox import Outbox
from beeagent.runtime.decision import Decision
from beeagent.settings import Settings

_LOG: Final = logging.getLogger(__name__)


class FrameMessages:
    """Makes messages of decisions, and puts them into the outbox. Used by one thread at a time, but for `hold`.

    Args:
        settings: of which the names in topics, and which frames make a message, count.
        outbox: takes the messages, and holds what is not yet decided.
        payload_limit: returns the bytes of a message at most; from a longer one, the weakest detections are left out.
    """

    def __init__(self, settings: Settings, outbox: Outbox, *, payload_limit: Callable[[], int]) -> None:
        self._settings = settings
        self._payload_limit = payload_limit
        self._outbox = outbox
        self._rule = PublishRule(settings.messages.publish)
        self._stream = f"{settings.agent.device}/{settings.camera.name}"
        self._topic = detections_topic(settings.messages.topic_prefix, settings.agent.device, settings.camera.name)

    def hold(self, decision: Decision) -> None:
        """Keep what is to be told of a frame should this process end before another decision falls.

        Args:
            decision: that one, of the `event_id` that the other one will have.
        """
        self._outbox.reserve(str(decision.event_id), self._encode(self._message(decision, seq=1)))

    def tell(self, decision: Decision) -> bytes | None:
        """Send what was decided on its way, and give the message; None where the frame makes none."""
        key = str(decision.event_id) if decision.held else None
        if self._rule.admits(decision.detections.counts()):
            return self._put(lambda seq: self._message(decision, seq=seq), releases=key)
        if key is not None:
            self._outbox.release(key)
        return None

    def tell_left_behind(self) -> list[bytes]:
        """Send what an earlier process held when it ended on its way, and give the messages. To be called once."""
        payloads = []
        for key, held in self._outbox.recovered_rows.items():
            try:
                message = _with_age(DetectionsMessage.decode(held))
            except (UnreadableError, ValueError):
                _LOG.error("outbox: the reserved message of a frame cannot be read, and is dropped")
                message = None
            if message is not None and self._rule.admits(message.counts):
                payloads.append(self._put(message.with_seq, releases=key))
            else:
                self._outbox.release(key)
        if payloads:
            _LOG.info("%d frames were being asked about when the agent ended last, and are told of now", len(payloads))
        return payloads

    def _put(self, build: Callable[[int], DetectionsMessage], *, releases: str | None) -> bytes:
        payload = b""

        def encoded(seq: int) -> bytes:
            nonlocal payload
            payload = self._encode(build(seq))
            return payload

        self._outbox.put(stream=self._stream, topic=self._topic, build=encoded, releases=releases)
        return payload

    def _encode(self, message: DetectionsMessage) -> bytes:
        try:
            return message.encode(limit=self._payload_limit())
        except MessageTooLargeError:
            # The publisher refuses it, which costs this message alone and is counted.
            return message.to_json()

    def _message(self, decision: Decision, *, seq: int) -> DetectionsMessage:
        result = decision.result
        return detections_message(
            event_id=decision.event_id,
            device=self._settings.agent.device,
            camera=self._settings.camera.name,
            seq=seq,
            captured_at=result.frame.captured_at,
            frame_width=result.frame.width,
            frame_height=result.frame.height,
            model=result.model,
            decided_by=decision.decided_by,
            fallback=decision.fallback,
            source=result.frame.name,
            position_s=result.frame.position_s,
            detections=decision.detections,
            inference_ms=result.inference_ms,
            total_ms=(time.monotonic_ns() - result.frame.captured_ns) / 1e6,
        )


def _with_age(message: DetectionsMessage) -> DetectionsMessage:
    """Bring the time since the capture up to now, as far as the wall clock can tell across a restart."""
    captured_at = datetime.fromisoformat(message.captured_at.replace("Z", "+00:00"))
    age_ms = (datetime.now(timezone.utc) - captured_at).total_seconds() * 1000
    return message.with_total_ms(max(message.latency_ms.total, round(age_ms, 1)))
