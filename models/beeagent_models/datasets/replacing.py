"""Writes files in one step: whoever reads sees the old one or the whole new one, and a failure leaves the old one."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from beeagent.errors import InputError

_MODE = 0o644


@contextlib.contextmanager
def replaced(path: Path) -> Iterator[IO[str]]:
    """Give a file to write text to; it takes its place when the block ends well, and is gone when it does not.

    Args:
        path: the file; its folder exists.

    Raises:
        InputError: it cannot be written.
    """
    temporary: Path | None = None
    try:
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", newline="\n", dir=path.parent, prefix=f".{path.name[:100]}.", delete=False
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
