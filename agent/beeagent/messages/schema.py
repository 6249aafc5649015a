"""The JSON Schemas of the messages, as files for other programs.

They are generated from the models: after a change of a model, call `write_schemas`.
"""

import json
from pathlib import Path
from typing import Any, Final, cast

from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import core_schema

from beeagent.errors import InputError
from beeagent.messages.detections import DetectionsMessage
from beeagent.messages.event import EventMessage
from beeagent.messages.message import Message
from beeagent.messages.state import StateMessage
from beeagent.messages.status import StatusMessage
from beeagent.messages.traffic import TrafficMessage

_FOLDER: Final = Path(__file__).with_name("schemas")
_MODELS: Final[dict[str, type[Message]]] = {
    "detections": DetectionsMessage,
    "event": EventMessage,
    "state": StateMessage,
    "status": StatusMessage,
    "traffic": TrafficMessage,
}


def load_schema(name: str) -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a message, which has the name of its schema, such as `traffic`.

    Raises:
        InputError: there is no schema with that name.
    """
    if name not in _MODELS:
        *others, last = sorted(_MODELS)
        raise InputError(f"there is no schema {name!r}: give {', '.join(others)} or {last}")
    return cast("dict[str, Any]", json.loads(_file(name).read_text(encoding="utf-8")))


def generate_schema(name: str) -> dict[str, Any]:
    """Generate the JSON Schema of a message from its model; `load_schema` returns the same from the file."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:beeagent:schema:{name}:1",
        **_MODELS[name].model_json_schema(schema_generator=_Generator),
    }


def write_schemas() -> None:
    """Write the generated schemas to the source tree."""
    for name in _MODELS:
        text = json.dumps(generate_schema(name), indent=2, ensure_ascii=False)
        _file(name).write_text(f"{text}\n", encoding="utf-8")


class _Generator(GenerateJsonSchema):
    """Generates optional fields in place of nullable ones, and no titles of fields."""

    def model_schema(self, schema: core_schema.ModelSchema) -> dict[str, Any]:
        written = super().model_schema(schema)
        written["description"] = " ".join(written["description"].split())
        return written

    def nullable_schema(self, schema: core_schema.NullableSchema) -> dict[str, Any]:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> dict[str, Any]:
        return self.generate_inner(schema["schema"])

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ANN401, ARG002 - pydantic's signature
        return False

    def sort(self, value: dict[str, Any], parent_key: str | None = None) -> dict[str, Any]:  # noqa: ARG002 - pydantic's signature
        return value


def _file(name: str) -> Path:
    return _FOLDER / f"{name}-1.schema.json"
