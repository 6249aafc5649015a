"""Messages of frames and intervals, which are put into the outbox, after a second opinion if the model is unsure."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from functools import partial
from typing import Final
from uuid import UUID, uuid4

from beeagent.camera import SleepPeriod
from beeagent.cloud import CloudResult, SecondOpinion
from beeagent.detection import Detections
from beeagent.messages import (
    Asleep,
    DecidedBy,
    DetectionsMessage,
    Message,
    MessageTooLargeError,
    PublishRule,
    UnreadableError,
    UsualCounts,
    detections_message,
    detections_topic,
    event_message,
    events_topic,
    traffic_message,
    traffic_topic,
)
from beeagent.outbox import Outbox, Publisher
from beeagent.output import LineOutput
from beeagent.runtime.counting import Counting
from beeagent.runtime.pipeline import FrameResult
from beeagent.settings import Settings
from beeagent.tracking import TrafficReport, UnusualTraffic
from beeagent.web import LiveView

_LOG: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Decision:
    """The final detections of a frame, and their origin.

    Attributes:
        result: result of the model on the device.
        detections: detections to publish.
        decided_by: origin of the detections.
        fallback: reason for the missing second opinion, with `edge-degraded`; else None.
        event_id: UUID, the same for all decisions on this frame.
        tracks: track number of each detection of the model on the device, 0 for none; None without tracking.
    """

    result: FrameResult
    detections: Detections
    decided_by: DecidedBy = "edge"
    fallback: str | None = None
    event_id: UUID = field(default_factory=uuid4)
    tracks: Sequence[int] | None = None


class Results:
    """Puts exactly one message for each frame that is to be published into the outbox.

    The message of a frame without unsure detections is put at once. With a cloud model, an unsure frame is submitted to
    it, and its message is put when the second opinion has arrived or failed: a slow response delays only its own frame.
    Until then the outbox reserves the message without a second opinion, which `start` publishes if the process ended
    before.

    Messages are put one at a time, in the order of the frames, except those of second opinions.

    With tracking, each frame is first tracked and counted in order. The traffic message of an interval is put at the
    first frame after it, or when the camera falls asleep, and an event when the traffic is unusual. Only detections of
    the model on the device have tracks.
    """

    def __init__(  # noqa: PLR0913 - keywords
        self,
        settings: Settings,
        *,
        outbox: Outbox,
        publisher: Publisher,
        opinion: SecondOpinion | None = None,
        counting: Counting | None = None,
        live: LiveView | None = None,
        output: LineOutput | None = None,
    ) -> None:
        """Connect the parts.

        Args:
            settings: the names in topics, and the rule for publishing.
            outbox: destination of the messages.
            publisher: publisher, whose payload limit applies to messages.
            opinion: second opinion; None for none.
            counting: tracking and counting; None without tracking.
            live: live view of the frames; None without a page.
            output: additional destination of messages; None for none.
        """
        self._settings = settings
        self._outbox = outbox
        self._publisher = publisher
        self._opinion = opinion
        self._counting = counting
        self._live = live
        self._output = output
        self._rule = PublishRule(settings.messages.publish)
        self._stream = f"{settings.agent.device}/{settings.camera.name}"
        self._topic = detections_topic(settings.messages.topic_prefix, settings.agent.device, settings.camera.name)
        self._traffic_topic = traffic_topic(settings.messages.topic_prefix, settings.agent.device, settings.camera.name)
        self._events_topic = events_topic(settings.messages.topic_prefix, settings.agent.device, settings.camera.name)
        self._lock = threading.Lock()  # one decision at a time, from the pipeline or from the second opinion
        self._failure: Exception | None = None

    @property
    def failure(self) -> Exception | None:
        """The exception raised for a frame with a second opinion; None if there is none."""
        return self._failure

    def start(self) -> None:
        """Start the second opinion, and publish the messages that a previous process had reserved."""
        if self._opinion is not None:
            self._opinion.start()
        published = 0
        for key, payload in self._outbox.recovered_rows.items():
            try:
                message = _updated(DetectionsMessage.decode(payload), seq=self._outbox.next_number(self._stream))
            except (UnreadableError, ValueError):
                _LOG.error("outbox: the reserved message of a frame cannot be read, and is dropped")
                message = None
            if message is not None and self._rule.admits(message.counts):
                self._put(message, stream=self._stream, topic=self._topic, releases=key)
                published += 1
            else:
                self._outbox.release(key)
        if published:
            _LOG.info("publishing %d results whose second opinion was pending when the agent ended", published)

    def add(self, result: FrameResult) -> None:
        """Process the result of a frame; does not wait for a second opinion.

        Raises:
            Exception: the message of this frame, or of an earlier one with a second opinion, failed.
        """
        if self._failure is not None:
            raise self._failure
        tracks = None
        if self._counting is not None:
            tracks, report = self._counting.update(result)
            if report is not None:
                self._publish_traffic(report)
            for unusual in self._counting.take_unusual():
                self._publish_event(unusual)
        if self._live is not None:
            self._live.add(
                result.frame,
                detections=result.detections,
                candidates=result.candidates if result.preview is None else result.preview,
                tracks=tracks,
                inference_ms=result.inference_ms,
            )
        if self._opinion is None or result.unsure is None:
            self._publish(_Decision(result, result.detections, tracks=tracks))
            return
        degraded = _Decision(result, result.detections, "edge-degraded", "timeout", tracks=tracks)
        self._outbox.reserve(str(degraded.event_id), self._encode(self._message(degraded, seq=1)))
        future = self._opinion.submit(
            result.frame, result.unsure, above_threshold=len(result.detections), model=result.model
        )
        future.add_done_callback(partial(self._handle_opinion, degraded))

    def fall_asleep(self, period: SleepPeriod) -> None:
        """End the tracks and the interval, and publish its traffic message. Idempotent."""
        if self._counting is not None and (report := self._counting.end()) is not None:
            self._publish_traffic(report, asleep=Asleep.between(period.since, period.until))

    def end(self, *, timeout: float, unless: threading.Event) -> None:
        """Publish the traffic of the last interval, and the frames whose second opinion is pending.

        It waits for second opinions up to `timeout` seconds or until `unless` is set, and then publishes without them.
        """
        if self._counting is not None and (report := self._counting.end()) is not None:
            self._publish_traffic(report)
        if self._opinion is None:
            return
        deadline = time.monotonic() + timeout
        while not unless.is_set() and time.monotonic() < deadline:
            if self._opinion.drain(timeout=0.1):
                break
        self._opinion.stop()

    def _handle_opinion(self, degraded: _Decision, future: "Future[CloudResult]") -> None:
        opinion = future.result()
        detections = opinion.detections if opinion.decided_by == "cloud" else degraded.detections
        decision = replace(
            degraded,
            detections=detections,
            decided_by=opinion.decided_by,
            fallback=opinion.reason,
            tracks=None if opinion.decided_by == "cloud" else degraded.tracks,
        )
        try:
            self._publish(decision, releases=str(decision.event_id))
        except Exception as error:  # noqa: BLE001 - a future would swallow it
            self._failure = error  # raised by the next `add` on another thread

    def _publish(self, decision: _Decision, *, releases: str | None = None) -> None:
        with self._lock:
            if self._rule.admits(decision.detections.counts()):
                message = self._message(decision, seq=self._outbox.next_number(self._stream))
                self._put(message, stream=self._stream, topic=self._topic, releases=releases)
            elif releases is not None:
                self._outbox.release(releases)

    def _publish_traffic(self, report: TrafficReport, *, asleep: Asleep | None = None) -> None:
        build = partial(
            traffic_message,
            begin=report.interval.begin,
            end=report.interval.end,
            day=report.day,
            frames_per_s=report.interval.frames_per_s,
            lines=report.lines,
            zones=report.zones,
            asleep=asleep,
        )
        self._publish_numbered(build, stream=f"{self._stream}/traffic", topic=self._traffic_topic)

    def _publish_event(self, unusual: UnusualTraffic) -> None:
        build = partial(
            event_message,
            event_type=f"unusually_{unusual.kind}_{unusual.direction}",
            place=unusual.place,
            label=unusual.label,
            begin=unusual.begin,
            end=unusual.end,
            counts=unusual.counts,
            usual=UsualCounts(**asdict(unusual.usual)),
        )
        self._publish_numbered(build, stream=f"{self._stream}/events", topic=self._events_topic)

    def _publish_numbered(self, build: Callable[..., Message], *, stream: str, topic: str) -> None:
        """Publish a message that only lacks its id, device, camera and number."""
        with self._lock:
            message = build(
                event_id=uuid4(),
                device=self._settings.agent.device,
                camera=self._settings.camera.name,
                seq=self._outbox.next_number(stream),
            )
            self._put(message, stream=stream, topic=topic)

    def _put(self, message: Message, *, stream: str, topic: str, releases: str | None = None) -> None:
        payload = self._encode(message)
        self._outbox.put(stream=stream, topic=topic, payload=payload, releases=releases)
        if self._output is not None:
            self._output.write(payload)

    def _message(self, decision: _Decision, *, seq: int) -> DetectionsMessage:
        result, frame = decision.result, decision.result.frame
        height, width = frame.pixels.shape[:2]
        return detections_message(
            event_id=decision.event_id,
            device=self._settings.agent.device,
            camera=self._settings.camera.name,
            seq=seq,
            captured_at=frame.captured_at,
            frame_width=width,
            frame_height=height,
            model=result.model,
            decided_by=decision.decided_by,
            fallback=decision.fallback,
            source=frame.name,
            position_s=frame.position_s,
            detections=decision.detections,
            inference_ms=result.inference_ms,
            total_ms=(time.monotonic_ns() - frame.captured_ns) / 1e6,
            tracks=decision.tracks,
        )

    def _encode(self, message: Message) -> bytes:
        try:
            return message.encode(limit=self._publisher.payload_limit)
        except MessageTooLargeError:
            # The publisher refuses it, which drops only this message and is counted.
            return message.to_json()


def _updated(message: DetectionsMessage, *, seq: int) -> DetectionsMessage:
    """Set the number and the total latency, by the wall clock."""
    captured_at = datetime.fromisoformat(message.captured_at.replace("Z", "+00:00"))
    age_ms = (datetime.now(timezone.utc) - captured_at).total_seconds() * 1000
    return message.updated(seq=seq, total_ms=max(message.latency_ms.total, round(age_ms, 1)))
