"""Saves and loads the state of a run, so that a killed run can be resumed.

Seed and step determine the images, so there is no random state to save.
"""

from pathlib import Path
from typing import Any

import keras
from beeagent.errors import InputError

from beeagent_models.efficientdet.checkpoint import assign_weights, read_archive, read_header, write_archive

_OPTIMIZER = "optimizer:"


def save_state(
    path: Path, network: keras.Model, optimizer: keras.Optimizer, *, step: int, record: dict[str, Any]
) -> None:
    """Write weights, optimizer variables (momenta, averages, iteration) and the step atomically."""
    arrays = {weight.path: keras.ops.convert_to_numpy(weight) for weight in network.weights}
    for index, variable in enumerate(optimizer.variables):
        arrays[f"{_OPTIMIZER}{index}"] = keras.ops.convert_to_numpy(variable)
    write_archive(path, {"step": step, "record": record}, arrays)


def saved_step(path: Path) -> int:
    """Return the step of a saved state; 0 if there is none."""
    return int(read_header(path)["step"]) if path.exists() else 0


def load_state(path: Path, network: keras.Model, optimizer: keras.Optimizer) -> tuple[int, dict[str, Any]]:
    """Load a saved state into a network and its built optimizer.

    Returns:
        The number of steps done, and the record.

    Raises:
        InputError: the file is truncated, or of another model.
    """
    header, arrays = read_archive(path)
    assign_weights(path, network, arrays)
    for index, variable in enumerate(optimizer.variables):
        array = arrays.get(f"{_OPTIMIZER}{index}")
        if array is None or array.shape != tuple(variable.shape):
            raise InputError(f"training state {path}: does not fit this optimizer; start a new run in another folder")
        variable.assign(array)
    return int(header["step"]), dict(header["record"])
