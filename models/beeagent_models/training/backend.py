"""Capabilities of the Keras backend."""

from collections.abc import Iterator
from contextlib import contextmanager

import keras


def has_gpu() -> bool:
    """Return True if the Keras backend uses a GPU."""
    backend = keras.backend.backend()
    if backend == "jax":
        import jax  # noqa: PLC0415 - only where it is the backend

        return bool(jax.default_backend() == "gpu")
    if backend == "torch":
        import torch  # noqa: PLC0415 - only where it is the backend

        return bool(torch.cuda.is_available())
    import tensorflow as tf  # noqa: PLC0415 - only where it is the backend

    return bool(tf.config.list_physical_devices("GPU"))


@contextmanager
def layer_precision(name: str) -> Iterator[None]:
    """Set the compute precision of layers inside the block; weights stay float32.

    Args:
        name: `float32`, `bfloat16`, or `auto` for bfloat16 on a GPU and float32 elsewhere.
    """
    before = keras.config.dtype_policy()
    half = name == "bfloat16" or (name == "auto" and has_gpu())
    keras.config.set_dtype_policy("mixed_bfloat16" if half else "float32")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
