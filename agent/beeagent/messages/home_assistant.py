"""The message that announces a camera to Home Assistant: MQTT device discovery.

https://www.home-assistant.io/integrations/mqtt/#device-discovery-payload
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from beeagent.messages.event import EVENT_TYPES
from beeagent.messages.message import MessageTooLargeError
from beeagent.messages.topics import check_prefix, events_topic, state_topic, status_topic

ORIGIN: Final = "beeagent"
_URL: Final = "https://github.com/beeagent/beeagent"
_MAX_EVENT_AGE_S: Final = 900  # of an event that Home Assistant shows
_UNALTERED: Final = re.compile("[A-Za-z0-9-]+")

Platform = str


@dataclass(frozen=True, slots=True)
class Announcement:
    """The announcement of a camera.

    Attributes:
        topic_prefix: prefix of the agent's topics.
        device: name of the device.
        camera: name of the camera.
        labels: labels of the objects counted in each frame.
        lines: labels counted at each line.
        zones: labels counted in each zone.
        agent_version: version of beeagent.
        expire_after_s: seconds without a state message after which values are no longer valid.
        temperature: True if the temperature of the processor is known.
        events: True if unusual traffic is published.
        page: address of the agent's page; None without one.
    """

    topic_prefix: str
    device: str
    camera: str
    labels: tuple[str, ...]
    lines: tuple[tuple[str, tuple[str, ...]], ...]
    zones: tuple[tuple[str, tuple[str, ...]], ...]
    agent_version: str
    expire_after_s: int
    temperature: bool = False
    events: bool = False
    page: str | None = None

    def components(self) -> dict[str, dict[str, Any]]:
        """Return the entities by their ids."""
        return dict(self._components())

    def encode(self, *, removed: Mapping[str, Platform], limit: int) -> bytes:
        """Return the message as UTF-8 JSON of at most `limit` bytes.

        Args:
            removed: platforms, by id, of entities that were announced before and are removed now.
            limit: maximum size in bytes.

        Raises:
            MessageTooLargeError: the message exceeds the limit.
        """
        status = status_topic(self.topic_prefix, self.device)
        message = {
            "device": {
                "identifiers": [identifier(*self.topic_prefix.split("/"), self.device)],
                "name": self.device,
                "manufacturer": ORIGIN,
                "model": "Camera agent",
                "sw_version": self.agent_version,
                **({} if self.page is None else {"configuration_url": self.page}),
            },
            "origin": {"name": ORIGIN, "sw_version": self.agent_version, "support_url": _URL},
            "state_topic": state_topic(self.topic_prefix, self.device, self.camera),
            "availability": [_availability_of_agent(status, self.camera)],
            "components": {**self.components(), **{key: {"platform": platform} for key, platform in removed.items()}},
        }
        payload = json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode()
        if len(payload) > limit:
            raise MessageTooLargeError(
                f"the discovery message for Home Assistant has {len(payload)} bytes, and {limit} is the limit: use "
                "fewer places, or a model of fewer labels"
            )
        return payload

    def _components(self) -> Iterator[tuple[str, dict[str, Any]]]:
        def count(template: str, unit: str, **fields: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
            return {
                "value_template": f"{{{{ {template} }}}}",
                "unit_of_measurement": unit,
                "suggested_display_precision": 0,
                **fields,
            }

        for label in self.labels:
            unit = f"{label}s"
            template = f"value_json.objects.get({_quoted(label)}, 0)"
            yield self._sensor(("objects", label), unit, live=True, **count(template, unit, state_class="measurement"))
        for kind, places in (("lines", self.lines), ("zones", self.zones)):
            for place, labels in places:
                for label in labels:
                    yield from self._of_place(kind, place, label, one_label=len(labels) == 1)
        if self.lines or self.zones:
            for name in ("first", "last"):
                template = f'{{{{ value_json.{name}_flight_at | default("None", true) }}}}'
                yield self._sensor(
                    (f"{name}-flight",), f"{name} flight today", device_class="timestamp", value_template=template
                )
            if self.events:
                # An event that waited for the broker is outdated: Home Assistant ignores an empty value.
                recent = f"now().timestamp() - as_timestamp(value_json.to) < {_MAX_EVENT_AGE_S}"
                yield self._component(
                    "event",
                    ("unusual-traffic",),
                    "unusual traffic",
                    expires=False,
                    state_topic=events_topic(self.topic_prefix, self.device, self.camera),
                    event_types=list(EVENT_TYPES),
                    value_template=f'{{{{ value if {recent} else "" }}}}',
                )
        yield self._binary_sensor("asleep", "asleep", value_template='{{ "ON" if value_json.asleep else "OFF" }}')
        yield self._binary_sensor(
            "camera-problem",
            "camera problem",
            value_template='{{ "ON" if value_json.camera_problem else "OFF" }}',
            device_class="problem",
        )
        diagnostic: dict[str, Any] = {"entity_category": "diagnostic"}
        yield self._sensor(
            ("frame-rate",),
            "frame rate",
            value_template="{{ value_json.frames_per_s }}",
            unit_of_measurement="frames/s",
            suggested_display_precision=1,
            state_class="measurement",
            **diagnostic,
        )
        state = state_topic(self.topic_prefix, self.device, self.camera)
        yield self._binary_sensor(
            "problem",
            "problem",
            value_template='{{ "ON" if value_json.problems else "OFF" }}',
            device_class="problem",
            json_attributes_topic=state,
            json_attributes_template='{{ {"reasons": value_json.problems} | tojson }}',
            **diagnostic,
        )
        status = status_topic(self.topic_prefix, self.device)
        agent = _availability_of_agent(status, self.camera)
        yield self._binary_sensor(
            "connected",
            "connected",
            expires=False,
            state_topic=status,
            value_template=agent["value_template"],
            payload_on="online",
            payload_off="offline",
            device_class="connectivity",
            availability=[],  # else it would be unavailable instead of off
            **diagnostic,
        )
        if self.temperature:
            yield self._sensor(
                ("temperature",),
                "processor temperature",
                value_template="{{ value_json.temperature_c }}",
                unit_of_measurement="°C",
                suggested_display_precision=0,
                device_class="temperature",
                state_class="measurement",
                **diagnostic,
            )
        waiting, dropped = "value_json.outbox.waiting", "value_json.outbox.dropped"
        yield self._sensor(
            ("waiting",), "results waiting", **count(waiting, "results", state_class="measurement"), **diagnostic
        )
        yield self._sensor(
            ("dropped",), "results dropped", **count(dropped, "results", state_class="total_increasing"), **diagnostic
        )
        yield self._sensor(
            ("last-delivery",),
            "last delivery",
            device_class="timestamp",
            value_template='{{ value_json.outbox.last_delivery_at | default("None", true) }}',
            **diagnostic,
        )

    def _of_place(self, kind: str, place: str, label: str, *, one_label: bool) -> Iterator[tuple[str, dict[str, Any]]]:
        counts, unit = f"value_json.{kind}[{_quoted(place)}][{_quoted(label)}]", f"{label}s"
        name = place if one_label else f"{place} {label}"

        def sensor(*keys: str, template: str, unit: str = unit, **fields: Any) -> tuple[str, dict[str, Any]]:  # noqa: ANN401
            return self._sensor(
                (place, label, *keys),
                f"{name} {' '.join(keys).replace('-', ' ')}",
                value_template=f"{{{{ {counts}{template} }}}}",
                unit_of_measurement=unit,
                suggested_display_precision=0,
                **fields,
            )

        for way in ("in", "out"):
            yield sensor(way, template=f'.total["{way}"]', state_class="total_increasing")
            yield sensor(
                way,
                "per-minute",
                template=f'.per_minute["{way}"]',
                unit=f"{unit}/min",
                state_class="measurement",
                live=True,
            )
        yield sensor(
            "away",
            template=".away",
            state_class="total",
            last_reset_value_template="{{ value_json.day_began_at }}",
        )
        if kind == "zones":
            yield sensor("inside", template=".inside", state_class="measurement", live=True)

    def _sensor(
        self,
        keys: tuple[str, ...],
        name: str,
        *,
        live: bool = False,
        **fields: Any,  # noqa: ANN401 - JSON
    ) -> tuple[str, dict[str, Any]]:
        """Return a sensor; a live sensor is unavailable while no frames are processed."""
        if live:
            fields["availability_mode"] = "all"
            fields["availability"] = [
                _availability_of_agent(status_topic(self.topic_prefix, self.device), self.camera),
                {
                    "topic": state_topic(self.topic_prefix, self.device, self.camera),
                    "value_template": '{{ "online" if value_json.watching else "offline" }}',
                },
            ]
        return self._component("sensor", keys, name, expires=True, **fields)

    def _binary_sensor(
        self,
        key: str,
        name: str,
        *,
        expires: bool = True,
        **fields: Any,  # noqa: ANN401 - JSON
    ) -> tuple[str, dict[str, Any]]:
        return self._component("binary_sensor", (key,), name, expires=expires, **fields)

    def _component(
        self,
        platform: Platform,
        keys: tuple[str, ...],
        name: str,
        *,
        expires: bool,
        **fields: Any,  # noqa: ANN401 - JSON
    ) -> tuple[str, dict[str, Any]]:
        key = identifier(*keys)
        entity = re.sub("[^a-z0-9]+", "_", f"{self.device}_{self.camera}_{name}".lower()).strip("_")
        if expires:
            fields["expire_after"] = self.expire_after_s
        return key, {
            "platform": platform,
            "unique_id": f"{camera_id(self.topic_prefix, self.device, self.camera)}_{key}",
            "default_entity_id": f"{platform}.{entity}",
            "name": f"{self.camera} {name}",
            **fields,
        }


def discovery_topic(home_assistant_prefix: str, topic_prefix: str, device: str, camera: str) -> str:
    """Return the topic of a camera's discovery message, such as `homeassistant/device/beeagent_hive-7_front/config`.

    Each camera has its own topic, since it has its own agent: Home Assistant merges the messages of two cameras of a
    device to one device.

    Raises:
        InputError: the prefix is not valid in a topic.
    """
    check_prefix("home_assistant_prefix", home_assistant_prefix)
    return f"{home_assistant_prefix}/device/{camera_id(topic_prefix, device, camera)}/config"


def camera_id(topic_prefix: str, device: str, camera: str) -> str:
    """Return the id of a camera in Home Assistant."""
    return identifier(*topic_prefix.split("/"), device, camera)


def identifier(*names: str) -> str:
    """Return an id for Home Assistant, of `A-Z a-z 0-9 _ -`, that is unique for the names."""
    plain = "_".join(re.sub("[^A-Za-z0-9-]+", "-", name) for name in names)
    if all(_UNALTERED.fullmatch(name) for name in names):
        return plain
    return f"{plain}-{hashlib.sha256(chr(0).join(names).encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"


def announced_components(payload: bytes) -> dict[str, Platform]:
    """Return the platform of each entity in a discovery message by its id; empty if it is not from beeagent."""
    try:
        message = json.loads(payload)
        if message["origin"]["name"] != ORIGIN:
            return {}
        return {str(key): str(entity["platform"]) for key, entity in message["components"].items() if len(entity) > 1}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def _availability_of_agent(status: str, camera: str) -> dict[str, str]:
    """Return the availability by the status topic; a status published by the agent of another camera is ignored."""
    names = '(value_json.cameras | default([]) | map(attribute="name") | list)'
    return {
        "topic": status,
        "value_template": f'{{% if {_quoted(camera)} in {names} %}}{{{{ "offline" if value_json.state == "offline" '
        'else "online" }}{% endif %}',
    }


def _quoted(text: str) -> str:
    """Return a text as a Jinja string literal."""
    return json.dumps(text)
