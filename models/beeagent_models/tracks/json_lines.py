"""Reads JSON Lines with a header; errors name file, line, field, value and what is allowed."""

from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

from beeagent.errors import InputError
from pydantic import BaseModel, ConfigDict, Field, ValidationError

MAX_FRAMES = 10_000_000
MAX_TRACK = 2**53


class Row(BaseModel):
    """One line; unknown fields are ignored for forward compatibility."""

    model_config = ConfigDict(strict=True, frozen=True, allow_inf_nan=False)


class _AnyRow(Row):
    format: str = Field(default="", alias="schema")


R = TypeVar("R", bound=Row)


def lines_of(path: Path) -> Iterator[tuple[int, str]]:
    """Yield number and text of the lines that are not blank.

    Raises:
        InputError: the file cannot be read, or is not UTF-8.
    """
    number = 0
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
                if text:
                    yield number, text
    except UnicodeDecodeError:
        raise InputError(f"{path}, line {number}: not UTF-8 text: give a text file") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from None


def parse_row(model: type[R], text: str, *, path: Path, number: int) -> R:
    """Parse one line.

    Raises:
        InputError: the line is not JSON, a field is missing, or a value is not allowed.
    """
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        field = ".".join(map(str, first["loc"]))
        value = "" if first["type"] in {"missing", "json_invalid"} else f" is {_short(first['input'])}"
        subject = f"{field}{value}: " if field else ""
        raise InputError(f"{path}, line {number}: {subject}{first['msg']}") from None


def schema_of(text: str, *, path: Path, number: int) -> str:
    """Return the schema of a line, or an empty text.

    Raises:
        InputError: the line is not a JSON object.
    """
    return parse_row(_AnyRow, text, path=path, number=number).format


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
