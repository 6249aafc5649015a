"""The places file, as edited by the page."""

import hashlib
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

from beeagent.errors import BeeagentError
from beeagent.output import write_file
from beeagent.tracking import Places, format_places, load_places

_HEAD: Final = "# Written by the page of beeagent; comments are lost when it is written again.\n\n"


class StaleError(BeeagentError):
    """The file has changed since it was read."""


class PlacesFile:
    """Reads and writes the places file. Thread-safe.

    Args:
        path: places file; may be missing.
        on_change: called after a write, so that the agent reads the file again.
    """

    def __init__(self, path: Path, on_change: Callable[[], None]) -> None:
        self._path = path
        self._on_change = on_change
        self._lock = threading.Lock()

    @property
    def problem(self) -> str | None:
        """The reason why the file cannot be written, for the user; None if it can."""
        # Writing replaces the file, so its folder must be writable. `access` also detects a read-only file system.
        folder = self._path.resolve().parent
        if os.access(folder, os.W_OK | os.X_OK) or not folder.exists():
            return None
        return (
            f"{self._path.name} is in a folder into which the agent may not write, so it cannot be changed here. A "
            "service may write into its state folder alone: move the file there."
        )

    def read(self) -> tuple[str, Places]:
        """Return the ETag of the file and its places.

        Raises:
            InputError: the file is not a places file.
        """
        with self._lock:
            etag = self._etag()
            return etag, load_places(self._path) if self._path.exists() else Places()

    def write(self, places: Places, *, etag: str) -> str:
        """Replace the file atomically; return its new ETag.

        Args:
            places: the new places.
            etag: ETag from the last `read`.

        Raises:
            StaleError: the file has changed since then.
            BeeagentError: the file cannot be written.
        """
        with self._lock:
            try:
                if etag != self._etag():
                    raise StaleError("the places were changed in the meantime: load them again")
                _replace(self._path.resolve(), _HEAD + format_places(places))
            except OSError as error:
                reason = error.strerror or str(error)
                raise BeeagentError(
                    f"{self._path.name} cannot be written ({reason}): the places are unchanged"
                ) from error
            new = self._etag()
        self._on_change()
        return new

    def _etag(self) -> str:
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            content = b""
        return f'"{hashlib.sha256(content).hexdigest()[:32]}"'


def _replace(path: Path, text: str) -> None:
    """Replace a file atomically, keeping its mode."""
    path.parent.mkdir(parents=True, exist_ok=True)
    mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else 0o644
    write_file(path, [text.encode()], mode=mode)
    path.chmod(mode)
