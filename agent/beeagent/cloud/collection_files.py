"""The files of a collection: private, written whole or not at all, and on the disk when a call returns."""

import errno
import fcntl
import os
from collections.abc import Iterable
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import Final

from beeagent.errors import InputError

MANIFEST: Final = "output.manifest"
IMAGES: Final = "images"
_LOCK: Final = ".collecting"
_OURS: Final = frozenset({MANIFEST, IMAGES, _LOCK})


def refuse_foreign(folder: Path) -> None:
    """Refuse a folder that is somebody else's, before anything in it is changed.

    Raises:
        InputError: it is a file, or holds other things and was never collected in.
        OSError: it cannot be looked into.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"collect {folder}: is no folder: name one, new or empty")
    if not folder.is_dir() or (folder / _LOCK).exists():
        return
    other = next((path.name for path in sorted(folder.iterdir()) if path.name not in _OURS), None)
    if other is not None:
        raise InputError(f"collect {folder}: holds {other}, which was not collected: give a folder of its own")


def make_private(folder: Path) -> None:
    """Make a folder, or of one that is there its owner's alone.

    Raises:
        InputError: its file system lets others read it all the same.
        OSError: it cannot be made or changed.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_mode & 0o077:
        with suppress(PermissionError):  # of file systems without rights; the next look tells
            folder.chmod(0o700)
        mode = folder.stat().st_mode & 0o777
        if mode & 0o077:
            raise InputError(
                f"collect {folder}: others can read it (mode {mode:04o}), and that cannot be changed: name a folder "
                "of your own, or mount its file system with umask=077"
            )


def locked(folder: Path) -> FileIO:
    """Keep others out of the folder for as long as the file is open.

    Raises:
        InputError: another one collects there.
        OSError: the folder cannot be written to.
    """
    file = FileIO(os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600), "rb+")
    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise InputError(f"collect {folder}: another beeagent collects there: give each a folder of its own") from None
    except OSError:
        file.close()
        raise
    return file


def write_whole(path: Path, content: bytes) -> None:
    """Write a file.

    Raises:
        OSError: it cannot be written; nothing of it is left.
    """
    _write(path, [content])


def rewrite_lines(path: Path, stays: Iterable[bool]) -> None:
    """Write a file anew with some of its lines.

    Args:
        path: of the file.
        stays: of each line, whether it stays.

    Raises:
        OSError: it cannot be written; the file is as before.
    """
    with path.open("rb") as old:
        _write(path, (line for line, kept in zip(old, stays, strict=False) if kept))


def append_line(path: Path, line: bytes) -> None:
    """Add a line at a stroke; the file is made if need be.

    Raises:
        OSError: it cannot be added; the file is as before.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        before = os.fstat(descriptor).st_size
        whole = False
        try:
            written = os.write(descriptor, line)
            os.fsync(descriptor)
            whole = written == len(line)
        finally:
            if not whole:
                os.ftruncate(descriptor, before)
    finally:
        os.close(descriptor)
    if not whole:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _write(path: Path, pieces: Iterable[bytes]) -> None:
    partial = path.with_name(f".{path.name}.partial")
    try:
        with FileIO(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            for piece in pieces:
                view = memoryview(piece)
                while view:
                    view = view[file.write(view) or 0 :]
            os.fsync(file.fileno())
        partial.replace(path)
        _sync(path.parent)
    except OSError:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


def _sync(folder: Path) -> None:
    """Bring the names in a folder to the disk, where its file system can."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
