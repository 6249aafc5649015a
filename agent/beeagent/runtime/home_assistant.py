"""The announcement of the camera to Home Assistant."""

import logging
import random
import threading
import time
from collections.abc import Callable, Mapping
from math import ceil
from typing import Final

from beeagent import __version__
from beeagent.messages import (
    Announcement,
    MessageTooLargeError,
    StateMessage,
    announced_components,
    discovery_topic,
)
from beeagent.mqtt import Received
from beeagent.outbox import MAX_PAYLOAD_BYTES, Publisher
from beeagent.settings import Settings

_LOG: Final = logging.getLogger(__name__)

_BIRTH_TOPIC: Final = "homeassistant/status"
_MAX_BIRTH_PAUSE_S: Final = 5.0


class HomeAssistant:
    """Announces the camera to Home Assistant by MQTT device discovery, retained.

    The announcement is repeated, after a random pause, when Home Assistant has started, according to its birth message.
    Entities of earlier announcements, also of previous processes, that are not in the current one are removed.

    Args:
        settings: the names in topics, and the interval of the state messages.
        pause_s: returns the seconds from a birth message to the announcement; None for a random pause of at most 5.
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
        """Handlers of received messages by topic."""
        # The topic of the birth message is configured separately and does not depend on the prefix.
        births = (_BIRTH_TOPIC, f"{self._settings.home_assistant.prefix}/status")
        return {**dict.fromkeys(births, self._handle_status), self._topic: self._handle_announcement}

    def announce(self, publisher: Publisher, labels: tuple[str, ...], state: StateMessage, *, now: float) -> bool:
        """Publish the announcement if it has changed or Home Assistant has started; return True in this case.

        Args:
            publisher: publisher of the message.
            labels: labels of the objects.
            state: current state, with the places and their labels.
            now: current time, by `time.monotonic`.
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
            temperature=state.temperature_c is not None,
            events=self._settings.tracking.unusual_traffic,
            page=self._settings.page.url_in_network,
        )
        with self._lock:
            earlier, self._earlier = self._earlier, {}
            born = self._born_at is not None and now >= self._born_at
            if born:
                self._born_at = None
        if self._announced is None or self._announced[0] != announcement or earlier.keys() - self._removed.keys():
            components = announcement.components()
            if self._announced is not None:
                earlier |= {key: str(entity["platform"]) for key, entity in self._announced[0].components().items()}
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
        if message.retained and len(message.payload) <= MAX_PAYLOAD_BYTES:
            with self._lock:
                self._earlier |= announced_components(message.payload)


def _labels_of(places: Mapping[str, Mapping[str, object]] | None) -> tuple[tuple[str, tuple[str, ...]], ...]:
    return tuple((name, tuple(labels)) for name, labels in (places or {}).items())
