"""The record of a run: what it takes to do it again, and what came of it."""

import datetime as dt
import json
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import keras
from beeagent import __version__
from beeagent.errors import InputError

from beeagent_models.training.options import TrainingOptions


def circumstances(options: TrainingOptions) -> dict[str, Any]:
    """Say by what command, code, libraries and machine a run is made."""
    backend = keras.backend.backend()
    return {
        "command": options.command,
        "revision": options.revision,
        "written_at": dt.datetime.now(dt.timezone.utc).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "backend": backend,
        "versions": {
            "beeagent": __version__,
            **{name: _version(name) for name in ("keras", "numpy", "opencv-python-headless", backend)},
        },
    }


def refuse_other_run(path: Path, wanted: dict[str, Any]) -> None:
    """Let a run go on only with the options and data it was started with.

    Args:
        path: of the record that an earlier start may have left.
        wanted: its `options` and `data`, as they are now.

    Raises:
        InputError: the folder holds another run.
    """
    if not path.exists():
        return
    try:
        found = json.loads(path.read_text())
        found = {part: found[part] for part in ("options", "data")}
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{path}: not the record of a training run; choose another folder") from None
    now = json.loads(json.dumps(wanted))
    for part in ("options", "data"):
        if found[part] != now[part]:
            raise InputError(
                f"{path.parent}: holds a run with other {part}; give the same ones to resume it, or another folder"
            )


def write_record(path: Path, record: dict[str, Any]) -> None:
    """Write a record, whole or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(json.dumps(record, indent=1) + "\n")
    partial.replace(path)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
