"""Keeps what native libraries print on standard error out of the user's sight."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def hidden_native_output() -> Iterator[None]:
    """Swallow what is written to file descriptor 2, such as the logs of TensorFlow's C++ code.

    `sys.stderr` is silenced with it: write through a duplicate of the descriptor, made before.
    """
    sys.stderr.flush()
    saved = os.dup(2)
    try:
        with tempfile.TemporaryFile() as swallowed:
            os.dup2(swallowed.fileno(), 2)
            yield
    finally:
        sys.stderr.flush()
        os.dup2(saved, 2)
        os.close(saved)
