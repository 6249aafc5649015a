"""The report of an export as files: one for programs, one for people."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from beeagent.errors import InputError


@contextmanager
def written(files: dict[Path, str]) -> Iterator[None]:
    """Write text files, which take their places once the block has succeeded.

    Raises:
        InputError: one cannot be written.
    """
    partials = {path: path.with_name(f".{path.name}.partial") for path in files}
    try:
        for path, text in files.items():
            _write(partials[path], text, meant=path)
        yield
        for path, partial in partials.items():
            partial.replace(path)
    finally:
        for partial in partials.values():
            partial.unlink(missing_ok=True)


def _write(path: Path, text: str, *, meant: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"the report {meant} cannot be written: {error.strerror or error}") from error


def as_json(report: dict[str, object]) -> str:
    """Give a report as the text of a file."""
    return json.dumps(report, indent=2) + "\n"
