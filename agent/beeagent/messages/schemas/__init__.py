"""The JSON Schemas of what is published, as files that other programs can use too."""

import json
from importlib.resources import files
from typing import Any, Final, cast

from beeagent.errors import InputError

_FILES: Final = {"detections": "detections-1.schema.json", "status": "status-1.schema.json"}


def load_schema(name: str) -> dict[str, Any]:
    """Give the JSON Schema (draft 2020-12) of a message: `detections` or `status`.

    Raises:
        InputError: there is no schema of that name.
    """
    if name not in _FILES:
        raise InputError(f"there is no schema {name!r}: give {' or '.join(sorted(_FILES))}")
    return cast("dict[str, Any]", json.loads(files(__name__).joinpath(_FILES[name]).read_text(encoding="utf-8")))
