"""A trained network in one file: weights, configuration and where it came from."""

import json
import os
import zipfile
import zlib
from pathlib import Path
from typing import Any

import keras
import numpy as np
from beeagent.errors import InputError

from beeagent_models.efficientdet.config import EfficientDetConfig
from beeagent_models.efficientdet.model import build_model

_FORMAT = "beeagent.efficientdet/1"
_HEADER = "header.json"


def save_checkpoint(
    path: Path, model: keras.Model, config: EfficientDetConfig, provenance: dict[str, Any], *, half: bool = False
) -> None:
    """Write weights, configuration and provenance to one file, whole or not at all.

    The file is a NumPy `.npz` archive: one array a weight, named by its path in the model, and a JSON text under
    `header.json`. It needs no Keras to be read and is the same for every Keras backend.

    Args:
        path: of the file; conventionally `.npz`. Its folder exists. What is there is replaced.
        model: what `build_model` made for this configuration.
        config: the configuration of the model.
        provenance: what `json.dumps` can write: how, when and from what the weights were made.
        half: store kernels as float16: half the size, for a release.
    """
    header = {"format": _FORMAT, "config": config.to_json(), "provenance": provenance}
    arrays = {weight.path: keras.ops.convert_to_numpy(weight) for weight in model.weights}
    write_archive(path, header, _half(arrays) if half else arrays)


def halve_checkpoint(source: Path, out: Path) -> None:
    """Write a checkpoint again with its kernels as float16; arguments and errors as for the other functions."""
    header, arrays = _read_checkpoint(source)
    write_archive(out, header, _half(arrays))


def _half(arrays: dict[str, np.ndarray[Any, Any]]) -> dict[str, np.ndarray[Any, Any]]:
    """Return kernels as float16. Biases and statistics take little room, and a variance may be too small for it."""
    return {name: array.astype(np.float16) if array.ndim > 1 else array for name, array in arrays.items()}


def load_checkpoint(
    path: Path, input_size: int | tuple[int, int] | None = None
) -> tuple[keras.Model, EfficientDetConfig, dict[str, Any]]:
    """Read back what `save_checkpoint` wrote, of either precision.

    Args:
        path: of the file.
        input_size: as `build_model` takes it; None leaves height and width open.

    Returns:
        The model with its weights, its configuration, and the provenance.

    Raises:
        InputError: the file is missing, cut short, or no checkpoint of this version.
    """
    header, arrays = _read_checkpoint(path)
    config = EfficientDetConfig.from_json(header["config"])
    model = build_model(config, input_size)
    assign_weights(path, model, arrays)
    return model, config, header["provenance"]


def read_config(path: Path) -> EfficientDetConfig:
    """Read the configuration in a checkpoint; errors as in `load_checkpoint`."""
    return EfficientDetConfig.from_json(_read_checkpoint(path)[0]["config"])


def _read_checkpoint(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray[Any, Any]]]:
    header, arrays = read_archive(path)
    if header.get("format") != _FORMAT:
        raise InputError(f"checkpoint {path}: format {header.get('format')!r}, but this version reads {_FORMAT!r}")
    return header, arrays


def assign_weights(path: Path, model: keras.Model, arrays: dict[str, np.ndarray[Any, Any]]) -> None:
    """Put arrays into the weights of the same paths.

    Raises:
        InputError: an array is missing or has another shape; `path` names the file they came from.
    """
    for weight in model.weights:
        array = arrays.get(weight.path)
        if array is None or array.shape != tuple(weight.shape):
            found = "missing" if array is None else f"of shape {array.shape}"
            raise InputError(f"checkpoint {path}: weight {weight.path} is {found}, expected {tuple(weight.shape)}")
        weight.assign(array)


def write_archive(path: Path, header: dict[str, Any], arrays: dict[str, np.ndarray[Any, Any]]) -> None:
    """Write a header and arrays to a `.npz` archive that is complete as soon as it exists under its name."""
    partial = path.with_name(f".{path.name}.partial")
    text = np.frombuffer(json.dumps(header).encode(), np.uint8)
    with partial.open("wb") as file:
        np.savez(file, allow_pickle=False, **{_HEADER: text}, **arrays)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def read_archive(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray[Any, Any]]]:
    """Read what `write_archive` wrote.

    Raises:
        InputError: the file is missing, cut short, or no such archive.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
        header = json.loads(arrays.pop(_HEADER).tobytes())
    except FileNotFoundError:
        raise InputError(f"checkpoint {path}: no such file") from None
    except (
        OSError,
        ValueError,
        EOFError,
        KeyError,
        TypeError,
        AttributeError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise InputError(f"checkpoint {path}: cut short or not a checkpoint ({error})") from None
    return header, arrays
