"""A run's state on disk: what it takes to go on after a kill as if nothing had happened.

Images are decided by the seed and the number of the step alone, so no random state has to be kept.
"""

from pathlib import Path
from typing import Any

import keras
from beeagent.errors import InputError

from beeagent_models.efficientdet.checkpoint import assign_weights, read_archive, write_archive

_OPTIMIZER = "optimizer:"


def save_state(
    path: Path, network: keras.Model, optimizer: keras.Optimizer, *, step: int, record: dict[str, Any]
) -> None:
    """Write weights, the optimizer's variables (momenta, averages, iteration) and the step, whole or not at all."""
    arrays = {weight.path: keras.ops.convert_to_numpy(weight) for weight in network.weights}
    for index, variable in enumerate(optimizer.variables):
        arrays[f"{_OPTIMIZER}{index}"] = keras.ops.convert_to_numpy(variable)
    write_archive(path, {"step": step, "record": record}, arrays)


def load_state(path: Path, network: keras.Model, optimizer: keras.Optimizer) -> tuple[int, dict[str, Any]]:
    """Put back what `save_state` wrote into a network and an optimizer that is built for it.

    Returns:
        The number of steps done, and the record.

    Raises:
        InputError: the file is cut short, or of another model.
    """
    header, arrays = read_archive(path)
    assign_weights(path, network, arrays)
    for index, variable in enumerate(optimizer.variables):
        array = arrays.get(f"{_OPTIMIZER}{index}")
        if array is None or array.shape != tuple(variable.shape):
            raise InputError(f"training state {path}: does not fit this optimizer; start anew in another folder")
        variable.assign(array)
    return int(header["step"]), dict(header["record"])
