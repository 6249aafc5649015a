"""From the result of each frame to its message in the outbox, by way of a second opinion where the model is unsure."""

import logging
import threading
import time
from collections.abc import Sequence
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
    """What is published of a frame: the detections, and who decided on them.

    Attributes:
        result: of the model on the device.
        detections: those that count.
        decided_by: the model on the device or the cloud model.
        fallback: with `edge-degraded`, why there was no second opinion; else None.
        event_id: the same for every decision on this frame.
        tracks: number of the track of each detection of the model on the device, 0 for none; None without tracking.
    """

    result: FrameResult
    detections: Detections
    decided_by: DecidedBy = "edge"
    fallback: str | None = None
    event_id: UUID = field(default_factory=uuid4)
    tracks: Sequence[int] | None = None


class Results:
    """Puts exactly one message of each frame into the outbox, where the settings publish the frame at all.

    A frame without uncertain detections goes in at once. An uncertain one goes to the cloud model, where there is one,
    and its message follows when the second opinion arrives or has failed: a slow answer delays its own frame alone.
    Until then the outbox reserves the message without a second opinion; `start` publishes it if the process ended
    before.

    Messages go in one at a time. Those of other frames keep their order, and late answers go in between.

    With tracking, each frame is followed and counted first, in order, and the traffic of an interval goes in when the
    first frame after it comes, or when the camera falls asleep. An event goes in when the traffic is unusual. Only
    detections of the model on the device have tracks.
    """

    def __init__(  # noqa: PLR0913 - the parts that it connects
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
        """Set up; nothing runs before `start`.

        Args:
            settings: the names in topics, and which frames are published.
            outbox: takes the messages.
            publisher: has the limit of a message's size; the weakest detections of a longer one are left out.
            opinion: the second opinion; None to publish what the model on the device detects.
            counting: tracks and counts; None without tracking.
            live: shows each frame to those who look; None without a page.
            output: where each message is written as well; None for nowhere.
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
        """The exception with which the message of a frame with a second opinion failed; None if none did."""
        return self._failure

    def start(self) -> None:
        """Start the second opinion, and publish the messages that an earlier process had reserved when it ended."""
        if self._opinion is not None:
            self._opinion.start()
        published = 0
        for key, held in self._outbox.recovered_rows.items():
            try:
                message = _updated(DetectionsMessage.decode(held), seq=self._outbox.next_number(self._stream))
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
        """Decide on a frame, now or once there is a second opinion; never waits for one.

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
        """End the tracks and the interval of the traffic, and publish it. Safe to call more than once."""
        if self._counting is not None and (report := self._counting.end()) is not None:
            self._publish_traffic(report, asleep=Asleep.between(period.since, period.until))

    def end(self, *, timeout: float, unless: threading.Event) -> None:
        """Publish what is left: the traffic of the last interval, and the frames whose second opinion is pending.

        Waits for second opinions up to `timeout` seconds or until `unless` is set, and publishes without the others.
        """
        if self._counting is not None and (report := self._counting.end()) is not None:
            self._publish_traffic(report)
        if self._opinion is None:
            return
        by = time.monotonic() + timeout
        while not unless.is_set() and time.monotonic() < by:
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
            self._failure = error  # raised by the next `add`, on another thread

    def _publish(self, decision: _Decision, *, releases: str | None = None) -> None:
        with self._lock:
            if self._rule.admits(decision.detections.counts()):
                message = self._message(decision, seq=self._outbox.next_number(self._stream))
                self._put(message, stream=self._stream, topic=self._topic, releases=releases)
            elif releases is not None:
                self._outbox.release(releases)

    def _publish_traffic(self, report: TrafficReport, *, asleep: Asleep | None = None) -> None:
        stream = f"{self._stream}/traffic"
        with self._lock:
            message = traffic_message(
                event_id=uuid4(),
                device=self._settings.agent.device,
                camera=self._settings.camera.name,
                seq=self._outbox.next_number(stream),
                begin=report.interval.begin,
                end=report.interval.end,
                day=report.day,
                frames_per_s=report.interval.frames_per_s,
                lines=report.lines,
                zones=report.zones,
                asleep=asleep,
            )
            self._put(message, stream=stream, topic=self._traffic_topic)

    def _publish_event(self, unusual: UnusualTraffic) -> None:
        stream = f"{self._stream}/events"
        with self._lock:
            message = event_message(
                event_id=uuid4(),
                device=self._settings.agent.device,
                camera=self._settings.camera.name,
                seq=self._outbox.next_number(stream),
                event_type=f"unusually_{unusual.kind}_{unusual.direction}",
                place=unusual.place,
                label=unusual.label,
                begin=unusual.begin,
                end=unusual.end,
                counts=unusual.counts,
                usual=UsualCounts(**asdict(unusual.usual)),
            )
            self._put(message, stream=stream, topic=self._events_topic)

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
            # The publisher refuses it, which costs this message alone and is counted.
            return message.to_json()


def _updated(message: DetectionsMessage, *, seq: int) -> DetectionsMessage:
    """Set the number, and the time since the capture, as far as the wall clock is right across a restart."""
    captured_at = datetime.fromisoformat(message.captured_at.replace("Z", "+00:00"))
    age_ms = (datetime.now(timezone.utc) - captured_at).total_seconds() * 1000
    return message.updated(seq=seq, total_ms=max(message.latency_ms.total, round(age_ms, 1)))
