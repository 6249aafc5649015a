"""The file of places as the page edits it."""

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
    """The file was changed since it was read."""


class PlacesFile:
    """Reads and writes one file of places. Safe from any thread.

    Args:
        path: of the file; it need not exist.
        on_change: called after it was written, for the agent to read it again.
    """

    def __init__(self, path: Path, on_change: Callable[[], None]) -> None:
        self._path = path
        self._on_change = on_change
        self._lock = threading.Lock()

    @property
    def problem(self) -> str | None:
        """Why it cannot be written, in a sentence for its user; None if it can."""
        # A file is replaced, which its folder has to allow. A file system that is read-only says so here too.
        folder = self._path.resolve().parent
        if os.access(folder, os.W_OK | os.X_OK) or not folder.exists():
            return None
        return (
            f"{self._path.name} is in a folder into which the agent may not write, so it cannot be changed here. A "
            "service may write into its state folder alone: move the file there."
        )

    def read(self) -> tuple[str, Places]:
        """Return the ETag of the file, and the places in it.

        Raises:
            InputError: it is not a file of places.
        """
        with self._lock:
            etag = self._etag()
            return etag, load_places(self._path) if self._path.exists() else Places()

    def write(self, places: Places, *, etag: str) -> str:
        """Replace the file at once or not at all; return its new ETag.

        Args:
            places: the new ones.
            etag: of the file that was read before.

        Raises:
            StaleError: the file is another by now.
            BeeagentError: it cannot be written.
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
    """Replace a file such that after a crash there is the old one or the new one, with the mode of the old one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else 0o644
    write_file(path, [text.encode()], mode=mode)
    path.chmod(mode)
