"""What the Keras backend of this machine offers."""

from collections.abc import Iterator
from contextlib import contextmanager

import keras


def has_gpu() -> bool:
    """Return whether the Keras backend computes on a GPU."""
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
    """Build and run layers at a precision; weights stay float32.

    Args:
        name: `float32`, `bfloat16`, or `auto`: bfloat16 on a GPU.
    """
    before = keras.config.dtype_policy()
    half = name == "bfloat16" or (name == "auto" and has_gpu())
    keras.config.set_dtype_policy("mixed_bfloat16" if half else "float32")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
