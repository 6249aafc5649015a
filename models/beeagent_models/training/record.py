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

from beeagent_models.datasets.atomic_write import atomic_write
from beeagent_models.training.optimizer import first_falling_step, least_steps
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

    Only its number of steps may change, until its learning rate falls.

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
        done = int(found.get("steps_done", 0))
        found = {part: found[part] for part in ("options", "data")}
        steps = found["options"].pop("steps")
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{path}: not the record of a training run; choose another folder") from None
    now = json.loads(json.dumps(wanted))
    wanted_steps = now["options"].pop("steps")
    for part in ("options", "data"):
        if found[part] != now[part]:
            raise InputError(
                f"{path.parent}: holds a run with other {part}; give the same ones to resume it, or another folder"
            )
    if wanted_steps == steps:
        return
    if done > first_falling_step(steps):
        raise InputError(
            f"{path.parent}: holds a run of {steps} steps whose learning rate falls already; give --steps {steps}"
        )
    if done > first_falling_step(wanted_steps):
        raise InputError(
            f"{path.parent}: holds a run that has done {done} steps; give at least {least_steps(done)}, because "
            "the learning rate falls over the last fifth"
        )


def write_record(path: Path, record: dict[str, Any]) -> None:
    """Write a record, whole or not at all."""
    with atomic_write(path) as file:
        file.write(json.dumps(record, indent=1) + "\n")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
