"""The record of a run: options, data, environment and metrics."""

import datetime as dt
import json
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import keras
from beeagent import __version__
from beeagent.errors import InputError

from beeagent_models.datasets.atomic_write import atomic_write
from beeagent_models.training.optimizer import first_cooldown_step, min_steps
from beeagent_models.training.options import TrainingOptions


def environment(options: TrainingOptions, *, devices: int) -> dict[str, Any]:
    """Return command, code revision, library versions, machine and number of devices of a run."""
    backend = keras.backend.backend()
    return {
        "command": options.command,
        "revision": options.revision,
        "written_at": dt.datetime.now(dt.timezone.utc).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "backend": backend,
        "devices": devices,
        "versions": {
            "beeagent": __version__,
            **{name: _version(name) for name in ("keras", "numpy", "opencv-python-headless", backend)},
        },
    }


def refuse_other_run(path: Path, expected: dict[str, Any]) -> None:
    """Refuse to resume a run with other options or data than it was started with.

    The number of steps may change until the cooldown of the learning rate begins.

    Args:
        path: record of the run, if the run exists.
        expected: the current `options` and `data`.

    Raises:
        InputError: the folder contains another run.
    """
    if not path.exists():
        return
    try:
        record = json.loads(path.read_text())
        done = int(record.get("steps_done", 0))
        recorded = {part: record[part] for part in ("options", "data")}
        steps = recorded["options"].pop("steps")
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{path}: not the record of a training run; choose another folder") from None
    current = json.loads(json.dumps(expected))
    new_steps = current["options"].pop("steps")
    for part in ("options", "data"):
        if recorded[part] != current[part]:
            raise InputError(
                f"{path.parent}: contains a run with other {part}; give the same ones to resume it, or another folder"
            )
    if new_steps == steps:
        return
    if done > first_cooldown_step(steps):
        raise InputError(
            f"{path.parent}: contains a run of {steps} steps in its cooldown; give --steps {steps} to resume it"
        )
    if done > first_cooldown_step(new_steps):
        raise InputError(
            f"{path.parent}: contains a run that has done {done} steps; give at least {min_steps(done)}, because "
            "the last fifth is the cooldown of the learning rate"
        )


def write_record(path: Path, record: dict[str, Any]) -> None:
    """Write a record atomically."""
    with atomic_write(path) as file:
        file.write(json.dumps(record, indent=1) + "\n")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
