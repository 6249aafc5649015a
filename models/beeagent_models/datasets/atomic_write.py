"""Writes files and folders atomically: complete or, after a failure, unchanged."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Literal

from beeagent.errors import InputError

_MODE = 0o644


@contextlib.contextmanager
def atomic_write(path: Path, mode: Literal["w", "wb"] = "w") -> Iterator[IO[Any]]:
    """Open a file that replaces `path` when the block succeeds, and is removed when it fails.

    Args:
        path: file in an existing folder.
        mode: "w" for UTF-8 text, "wb" for bytes.

    Raises:
        InputError: the file cannot be written.
    """
    temporary: Path | None = None
    try:
        text: dict[str, Any] = {"encoding": "utf-8", "newline": "\n"} if mode == "w" else {}
        with tempfile.NamedTemporaryFile(
            mode, dir=path.parent, prefix=f".{path.name[:100]}.", delete=False, **text
        ) as file:
            temporary = Path(file.name)
            yield file
        temporary.chmod(path.stat().st_mode if path.exists() else _MODE)
        temporary.replace(path)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}") from None
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Create a temporary folder that becomes `folder` when the block succeeds, and is removed when it fails.

    Args:
        folder: folder that does not exist or is empty.

    Raises:
        InputError: the folder is not empty, or cannot be written to.
    """
    folder = folder.absolute()
    temporary: Path | None = None
    try:
        if folder.exists() and next(folder.iterdir(), None) is not None:
            raise InputError(f"{folder} is not empty: give a new folder")
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name[:100]}."))
        temporary.chmod(0o755)
        yield temporary
        temporary.rename(folder)
    except OSError as error:
        raise InputError(f"{folder} cannot be written to: {error.strerror or error}") from None
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def make_folder(folder: Path) -> None:
    """Create a folder and its parents, unless it exists.

    Raises:
        InputError: the folder cannot be created.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"the folder {folder} cannot be created: {error.strerror or error}") from None


def check_output_file(path: Path, *, what: str, suffixes: Sequence[str] = ()) -> None:
    """Check in advance that a file can be written.

    Args:
        path: the file.
        what: name of the thing in the error.
        suffixes: allowed suffixes in lower case; empty for any.

    Raises:
        InputError: the suffix is not allowed, or the folder does not exist.
    """
    if suffixes and path.suffix.lower() not in suffixes:
        raise InputError(f"the {what} {path} must end in {', '.join(suffixes)}")
    if not path.absolute().parent.is_dir():
        raise InputError(f"the {what} {path} cannot be written: there is no folder {path.absolute().parent}")
