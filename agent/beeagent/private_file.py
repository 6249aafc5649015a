"""Writes files atomically that only their owner can read."""

import os
from collections.abc import Iterable
from contextlib import suppress
from io import FileIO
from pathlib import Path


def write_private_file(path: Path, chunks: Iterable[bytes]) -> None:
    """Write a file atomically and sync it to disk; only its owner can read it.

    Raises:
        OSError: it cannot be written; what was there is unchanged.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        with FileIO(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            for chunk in chunks:
                view = memoryview(chunk)
                while view:
                    view = view[file.write(view) or 0 :]
            os.fsync(file.fileno())
        partial.replace(path)
        _sync_folder(path.parent)
    except OSError:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


def _sync_folder(folder: Path) -> None:
    """Sync the names in a folder to disk, where its file system can."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
