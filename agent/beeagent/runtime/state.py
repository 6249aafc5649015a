"""Publishes the live values of the camera, and announces it to Home Assistant."""

import logging
import random
import threading
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from math import ceil
from typing import Any, Final

from beeagent import __version__
from beeagent.messages import (
    Announcement,
    MessageTooLargeError,
    StateMessage,
    announced_components,
    discovery_topic,
    state_message,
    state_topic,
)
from beeagent.mqtt import Received
from beeagent.outbox import Publisher
from beeagent.runtime.counting import Counting
from beeagent.runtime.status import Health
from beeagent.settings import Settings
from beeagent.tracking import TrafficState

_LOG: Final = logging.getLogger(__name__)

_MIN_INTERVAL_S: Final = 2.0  # between two state messages
_MAX_LABELS: Final = 8  # of a model, up to which each label has a value even before it was detected
_STALE_S: Final = 30.0  # age of the newest frame from which it no longer shows what is there now
_MAX_BIRTH_PAUSE_S: Final = 5.0
_VOLATILE: Final[dict[str, Any]] = {"at": True, "frames_per_s": True, "outbox": {"waiting", "last_delivery_at"}}
"""Fields whose change alone is no reason for a message."""


class StateReporter:
    """Publishes the state message when a value has changed, at most every 2 seconds, and at least once an interval.

    The first follows the first frame, or the first problem of the camera. `check` is called on one thread.

    Args:
        settings: the names in topics, the interval, and when the camera counts as lost.
        health: the state of the agent.
        labels: of the model at the start.
        counting: tracks and counts; None without tracking.
        publisher: takes the messages.
        home_assistant: announces the camera; None not to.
        clock: the time in seconds, which does not jump.
    """

    def __init__(  # noqa: PLR0913 - what it reads, and where it publishes
        self,
        settings: Settings,
        *,
        health: Health,
        labels: tuple[str, ...],
        counting: Counting | None,
        publisher: Publisher,
        home_assistant: "HomeAssistant | None" = None,
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
        self._clock = clock
        self._published: dict[str, Any] | None = None
        self._published_at = 0.0
        self._too_large = False

    def check(self) -> None:
        """Publish what is due. Never waits."""
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
        if self._home_assistant is not None:  # first, so that a new value finds its entity
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
        """Return the labels of the objects, and the current state; None before there is one."""
        now = self._health.snapshot()
        problem = "camera" in now.problems
        if not (now.camera.frames_read or problem):
            return (), None
        detections = self._health.newest
        names = self._labels if detections is None else detections.labels
        counts = {} if detections is None else detections.counts()
        self._seen.update(counts)
        labels = tuple(sorted(set(names))) if len(names) <= _MAX_LABELS else tuple(sorted(self._seen))
        age = now.camera.frame_age_s
        watching = age is not None and age < self._stale_s and not problem and "inference" not in now.problems
        traffic = None if self._counting is None else self._counting.state(labels)
        return labels, state_message(
            device=self._device,
            camera=self._camera,
            at=datetime.now(timezone.utc),
            model=now.model,
            watching=watching,
            objects={label: counts.get(label, 0) for label in labels} if watching else {},
            frames_per_s=now.camera.frames_per_s,
            camera_problem=problem,
            problems=now.reasons,
            waiting=now.outbox.waiting,
            dropped=sum(now.outbox.dropped.values()),
            last_delivery=now.last_delivery,
            **_fields(traffic),
        )


class HomeAssistant:
    """Announces the camera to Home Assistant, on the topic of MQTT device discovery, retained.

    Again, after a random pause, when Home Assistant has started, which its birth message reports. Entities that an
    earlier announcement had, of this process or of one before, and this one has not, are removed.

    Args:
        settings: the names in topics, and the interval of the state messages.
        pause_s: returns the seconds from a birth message to the announcement; None for a random number up to 5.
    """

    def __init__(self, settings: Settings, *, pause_s: Callable[[], float] | None = None) -> None:
        self._settings = settings
        self._topic = discovery_topic(
            settings.home_assistant.prefix, settings.messages.topic_prefix, settings.agent.device, settings.camera.name
        )
        self._expire_after_s = ceil(3 * settings.messages.state_interval + 5)
        self._pause_s = pause_s or (lambda: random.uniform(0.5, _MAX_BIRTH_PAUSE_S))  # noqa: S311 - no secret
        self._lock = threading.Lock()
        self._born_at: float | None = None
        self._earlier: dict[str, str] = {}
        self._removed: dict[str, str] = {}
        self._announced: tuple[Announcement, dict[str, str]] | None = None
        self._payload: bytes | None = None

    @property
    def subscriptions(self) -> dict[str, Callable[[Received], None]]:
        """What to subscribe to, and what to call with each message; it returns at once."""
        return {
            f"{self._settings.home_assistant.prefix}/status": self._handle_status,
            self._topic: self._handle_announcement,
        }

    def announce(self, publisher: Publisher, labels: tuple[str, ...], state: StateMessage, *, now: float) -> bool:
        """Publish the announcement if it has changed, or if Home Assistant has started; return whether it did.

        Args:
            publisher: takes the message.
            labels: of the objects.
            state: has the places and their labels.
            now: by `time.monotonic`.
        """
        announcement = Announcement(
            topic_prefix=self._settings.messages.topic_prefix,
            device=self._settings.agent.device,
            camera=self._settings.camera.name,
            labels=labels,
            lines=_labels_of(state.lines),
            zones=_labels_of(state.zones),
            agent_version=__version__,
            expire_after_s=self._expire_after_s,
        )
        with self._lock:
            earlier, self._earlier = self._earlier, {}
            born = self._born_at is not None and now >= self._born_at
            if born:
                self._born_at = None
        if self._announced is None or self._announced[0] != announcement or earlier.keys() - self._removed.keys():
            components = announcement.components()
            if self._announced is not None:
                earlier |= {key: str(one["platform"]) for key, one in self._announced[0].components().items()}
            self._removed = {
                key: platform for key, platform in (self._removed | earlier).items() if key not in components
            }
        if self._announced != (announcement, self._removed):
            self._announced = announcement, self._removed
            try:
                self._payload = announcement.encode(removed=self._removed, limit=publisher.payload_limit)
            except MessageTooLargeError as error:
                _LOG.error("%s", error)
                self._payload = None
        elif not born:
            return False
        if self._payload is not None:
            publisher.retain(topic=self._topic, payload=self._payload)
        return True

    def _handle_status(self, message: Received) -> None:
        if message.payload == b"online":
            with self._lock:
                self._born_at = time.monotonic() + self._pause_s()

    def _handle_announcement(self, message: Received) -> None:
        if message.retained:
            with self._lock:
                self._earlier |= announced_components(message.payload)


def _labels_of(places: Mapping[str, Mapping[str, object]] | None) -> tuple[tuple[str, tuple[str, ...]], ...]:
    return tuple((name, tuple(labels)) for name, labels in (places or {}).items())


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
