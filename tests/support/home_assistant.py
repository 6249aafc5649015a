"""Entities and states that Home Assistant derives from discovery and state messages, by its documentation."""

import json
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from jinja2.sandbox import ImmutableSandboxedEnvironment
from jsonschema import Draft202012Validator

_SCHEMA = json.loads(Path(__file__).with_name("home_assistant_discovery.schema.json").read_text(encoding="utf-8"))
_JINJA = ImmutableSandboxedEnvironment()
_JINJA.globals.update(
    now=lambda: datetime.now(timezone.utc),
    as_timestamp=lambda text: datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp(),
)
_VALIDATOR = Draft202012Validator(_SCHEMA)


def entities(discovery: bytes) -> dict[str, dict[str, Any]]:
    """Check a discovery message; return its entities by their default ids, with the options that they share."""
    message = json.loads(discovery)
    _VALIDATOR.validate(message)
    shared = {key: message[key] for key in ("availability", "availability_mode", "state_topic") if key in message}
    components = [one for one in message["components"].values() if len(one) > 1]
    assert len({one["unique_id"] for one in components}) == len(components)
    assert len({one["default_entity_id"] for one in components}) == len(components)
    return {one["default_entity_id"]: {**shared, **one} for one in components}


def state_of(entity: Mapping[str, Any], messages: Mapping[str, bytes]) -> str | None:
    """Return the state of an entity by the newest message of each topic; None if it is unavailable."""
    available = []
    for source in entity["availability"]:
        payload = _rendered(source["value_template"], messages.get(source["topic"]))
        available.append(payload == source.get("payload_available", "online"))
    mode = entity.get("availability_mode", "latest")
    if available and not (all(available) if mode == "all" else available[-1]):
        return None
    value = _rendered(entity["value_template"], messages.get(entity["state_topic"]))
    if entity["platform"] == "binary_sensor":
        return {entity.get("payload_on", "ON"): "on", entity.get("payload_off", "OFF"): "off"}.get(value, "unknown")
    if "unit_of_measurement" in entity:
        float(value)  # a numeric sensor takes nothing else
    if entity["platform"] == "event":
        return str(json.loads(value)["event_type"]) if value else "unknown"
    return "unknown" if value == "None" else value


def _rendered(template: str, payload: bytes | None) -> str:
    if payload is None:
        return ""
    return str(_JINJA.from_string(template).render(value=payload.decode(), value_json=json.loads(payload)))
