"""Finds out before long work whether its result can be written."""

import os
from pathlib import Path

from beeagent.errors import InputError


def refuse_unwritable(path: Path, *, what: str) -> None:
    """Refuse a place below which nothing can be made.

    Args:
        path: of the file or folder to be made; folders above it may be missing.
        what: to call it in the error.

    Raises:
        InputError: the nearest folder above it that exists is no folder, or not ours to write to.
    """
    above = next(folder for folder in path.absolute().parents if folder.exists())
    if not above.is_dir():
        raise InputError(f"the {what} {path} cannot be written: {above} is not a folder")
    if not os.access(above, os.W_OK | os.X_OK):
        raise InputError(f"the {what} {path} cannot be written: no permission for {above}")
