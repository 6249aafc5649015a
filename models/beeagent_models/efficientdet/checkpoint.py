"""Checkpoint files: weights, configuration and provenance of a network."""

import json
import os
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np
from beeagent.errors import InputError
from numpy.lib.npyio import NpzFile

from beeagent_models.efficientdet.config import EfficientDetConfig
from beeagent_models.efficientdet.model import build_model

_FORMAT = "beeagent.efficientdet/1"
_HEADER = "header.json"


def save_checkpoint(
    path: Path, model: keras.Model, config: EfficientDetConfig, provenance: dict[str, Any], *, half: bool = False
) -> None:
    """Write weights, configuration and provenance to a file atomically.

    The file is a NumPy `.npz` archive with one array per weight, named by its path in the model, and JSON text as
    `header.json`. Reading it needs no Keras, and it is the same for every Keras backend.

    Args:
        path: file to write or replace, conventionally `.npz`, in an existing folder.
        model: model from `build_model`.
        config: configuration of the model.
        provenance: JSON values that describe the training.
        half: store kernels as float16, for half the file size.
    """
    header = {"format": _FORMAT, "config": config.to_json(), "provenance": provenance}
    arrays = {weight.path: keras.ops.convert_to_numpy(weight) for weight in model.weights}
    write_archive(path, header, _half(arrays) if half else arrays)


def halve_checkpoint(source: Path, out: Path) -> None:
    """Write a copy of a checkpoint with float16 kernels; errors as in `load_checkpoint`."""
    header, arrays = _read_checkpoint(source)
    write_archive(out, header, _half(arrays))


def _half(arrays: dict[str, np.ndarray[Any, Any]]) -> dict[str, np.ndarray[Any, Any]]:
    """Convert kernels to float16; biases and statistics are small, and a variance may underflow."""
    return {name: array.astype(np.float16) if array.ndim > 1 else array for name, array in arrays.items()}


def load_checkpoint(
    path: Path, input_size: int | tuple[int, int] | None = None
) -> tuple[keras.Model, EfficientDetConfig, dict[str, Any]]:
    """Load a checkpoint with float32 or float16 kernels.

    Args:
        path: checkpoint file.
        input_size: input size as for `build_model`; None for variable height and width.

    Returns:
        The model with its weights, its configuration, and the provenance.

    Raises:
        InputError: the file is missing, truncated, or not a checkpoint of this version.
    """
    header, arrays = _read_checkpoint(path)
    config = EfficientDetConfig.from_json(header["config"])
    model = build_model(config, input_size)
    assign_weights(path, model, arrays)
    return model, config, header["provenance"]


def read_config(path: Path) -> EfficientDetConfig:
    """Return the configuration of a checkpoint; errors as in `load_checkpoint`."""
    return EfficientDetConfig.from_json(_read_checkpoint(path)[0]["config"])


def _read_checkpoint(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray[Any, Any]]]:
    header, arrays = read_archive(path)
    if header.get("format") != _FORMAT:
        raise InputError(f"checkpoint {path}: format {header.get('format')!r}, but this version reads {_FORMAT!r}")
    return header, arrays


def assign_weights(path: Path, model: keras.Model, arrays: dict[str, np.ndarray[Any, Any]]) -> None:
    """Assign arrays to the weights of the same paths.

    Raises:
        InputError: an array is missing or has another shape; the error names the file `path`.
    """
    for weight in model.weights:
        array = arrays.get(weight.path)
        if array is None or array.shape != tuple(weight.shape):
            actual = "missing" if array is None else f"of shape {array.shape}"
            raise InputError(f"checkpoint {path}: weight {weight.path} is {actual}, expected {tuple(weight.shape)}")
        weight.assign(array)


def write_archive(path: Path, header: dict[str, Any], arrays: dict[str, np.ndarray[Any, Any]]) -> None:
    """Write a header and arrays to a `.npz` archive atomically."""
    partial = path.with_name(f".{path.name}.partial")
    text = np.frombuffer(json.dumps(header).encode(), np.uint8)
    with partial.open("wb") as file:
        np.savez(file, allow_pickle=False, **{_HEADER: text}, **arrays)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def read_archive(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray[Any, Any]]]:
    """Read header and arrays of an archive of `write_archive`.

    Raises:
        InputError: the file is missing, truncated, or not such an archive.
    """
    with _open_archive(path) as archive:
        arrays = {key: archive[key] for key in archive.files}
        header = json.loads(arrays.pop(_HEADER).tobytes())
    return header, arrays


def read_header(path: Path) -> dict[str, Any]:
    """Read only the header of an archive; errors as for `read_archive`."""
    with _open_archive(path) as archive:
        return dict(json.loads(archive[_HEADER].tobytes()))


@contextmanager
def _open_archive(path: Path) -> Iterator[NpzFile]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            yield archive
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
        raise InputError(f"checkpoint {path}: truncated or not a checkpoint ({error})") from None
