"""Publishing of the live values of the camera."""

import logging
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Final

from beeagent.messages import (
    MessageTooLargeError,
    StateMessage,
    state_message,
    state_topic,
)
from beeagent.outbox import Publisher
from beeagent.runtime.counting import Counting
from beeagent.runtime.home_assistant import HomeAssistant
from beeagent.runtime.status import Health
from beeagent.settings import Settings
from beeagent.tracking import TrafficState

_LOG: Final = logging.getLogger(__name__)

_MIN_INTERVAL_S: Final = 2.0  # between two state messages
_MAX_LABELS: Final = 8  # maximum number of labels of a model for which undetected labels have a value
_STALE_S: Final = 30.0  # age from which the newest frame is not current
_VOLATILE: Final[dict[str, Any]] = {
    "at": True,
    "frames_per_s": True,
    "temperature_c": True,
    "outbox": {"waiting", "last_delivery_at"},
}
"""Fields whose change alone does not cause a message."""


class StateReporter:
    """Publishes the state message when a value has changed, at most every 2 seconds, and at least once per interval.

    The first message follows the first frame, the first problem of the camera, or its first sleep. `check` is called on
    one thread.

    Args:
        settings: the names in topics, the interval, and the limits of the camera.
        health: state of the agent.
        labels: labels of the model at the start.
        counting: tracking and counting; None without tracking.
        publisher: publisher of the messages.
        home_assistant: announcement of the camera; None for none.
        thermometer: file of the processor's temperature in thousandths of a degree Celsius, which need not exist.
        clock: returns monotonic seconds.
    """

    def __init__(  # noqa: PLR0913 - keywords
        self,
        settings: Settings,
        *,
        health: Health,
        labels: tuple[str, ...],
        counting: Counting | None,
        publisher: Publisher,
        home_assistant: HomeAssistant | None = None,
        thermometer: Path = Path("/sys/class/thermal/thermal_zone0/temp"),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._device, self._camera = settings.agent.device, settings.camera.name
        self._topic = state_topic(settings.messages.topic_prefix, self._device, self._camera)
        self._interval = settings.messages.state_interval
        self._stale_s = max(_STALE_S, 3 * settings.camera.timeout, 3 / (settings.camera.max_rate or 1.0))
        self._health = health
        self._labels = labels
        self._seen: set[str] = set()
        self._counting = counting
        self._publisher = publisher
        self._home_assistant = home_assistant
        self._thermometer = thermometer
        self._clock = clock
        self._published: dict[str, Any] | None = None
        self._published_at = 0.0
        self._too_large = False

    def check(self) -> None:
        """Publish the message if it is due. Does not block."""
        if not self._interval:
            return
        now = self._clock()
        since = now - self._published_at
        due = self._published is None or since >= self._interval
        if not due and since < _MIN_INTERVAL_S:
            return
        labels, message = self._message()
        if message is None:
            return
        values = message.model_dump(exclude=_VOLATILE)
        if self._home_assistant is not None:  # first, so that the entity of a new value exists
            due = self._home_assistant.announce(self._publisher, labels, message, now=now) or due
        if due or values != self._published:
            self._published, self._published_at = values, now
            self._publish(message)

    def _publish(self, message: StateMessage) -> None:
        try:
            payload = message.encode(limit=self._publisher.payload_limit)
        except MessageTooLargeError as error:
            if not self._too_large:
                self._too_large = True
                _LOG.error("the state is not published on %s: %s", self._topic, error)
            return
        self._publisher.retain(topic=self._topic, payload=payload)

    def _message(self) -> tuple[tuple[str, ...], StateMessage | None]:
        """Return the labels of the objects, and the current state, or None before the first."""
        now = self._health.snapshot()
        problem = "camera" in now.problems
        asleep = now.asleep is not None
        if not (now.camera.frames_read or problem or asleep):
            return (), None
        detections = self._health.newest
        names = self._labels if detections is None else detections.labels
        counts = {} if detections is None else detections.counts()
        self._seen.update(counts)
        labels = tuple(sorted(set(names))) if len(names) <= _MAX_LABELS else tuple(sorted(self._seen))
        age = now.camera.frame_age_s
        recent = age is not None and age < self._stale_s
        watching = recent and not (problem or asleep or "inference" in now.problems)
        traffic = None if self._counting is None else self._counting.state(labels)
        return labels, state_message(
            device=self._device,
            camera=self._camera,
            at=datetime.now(timezone.utc),
            model=now.model,
            watching=watching,
            objects={label: counts.get(label, 0) for label in labels} if watching else {},
            frames_per_s=now.camera.frames_per_s,
            asleep=asleep,
            camera_problem=problem,
            problems=now.reasons,
            waiting=now.outbox.waiting,
            dropped=sum(now.outbox.dropped.values()),
            last_delivery=now.last_delivery,
            temperature_c=_temperature(self._thermometer),
            **_fields(traffic),
        )


def _temperature(thermometer: Path) -> float | None:
    try:
        return int(thermometer.read_text(encoding="ascii")) / 1000
    except (OSError, ValueError):  # no thermometer
        return None


def _fields(traffic: TrafficState | None) -> dict[str, Any]:
    if traffic is None:
        return {}
    return {
        "day": traffic.day,
        "day_began": traffic.day_began,
        "first_flight": traffic.first_flight,
        "last_flight": traffic.last_flight,
        "lines": traffic.lines,
        "zones": traffic.zones,
    }
