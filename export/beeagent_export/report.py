"""The parity report as a file."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from beeagent.detection.bundle import Manifest
from beeagent.errors import InputError

from beeagent_export.parity import ParityReport


def report_to_json(manifest: Manifest, parity: ParityReport) -> dict[str, Any]:
    """Give the report as JSON knows it: which model, by the hashes of its files, and how far it is from its source."""
    return {"model": manifest.name, "files": manifest.files, "parity": parity.to_json()}


@contextmanager
def written_report(path: Path, report: dict[str, Any]) -> Iterator[None]:
    """Write a report, which takes its place once the block has succeeded.

    Raises:
        InputError: it cannot be written.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(f"the report {path} cannot be written: {error.strerror or error}") from error
    try:
        yield
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
