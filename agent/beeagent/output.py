"""Output of the process: log, standard output that may fail or block, files, and sanitised text."""

import io
import json
import logging
import os
import re
import select
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, TextIO

from beeagent.errors import BeeagentError, InputError

if TYPE_CHECKING:
    import sqlite3

    from _typeshed import ReadableBuffer

_MAX_TEXT: Final = 80  # characters of a name or a label
_STOP_CHECK_S: Final = 0.1


def shown(text: str, *, most: int = _MAX_TEXT) -> str:
    """Sanitise external text for a terminal.

    Control, format and unassigned characters are replaced, and text beyond `most` characters is truncated.
    """
    cut = text if len(text) <= most else f"{text[: most - 1]}…"
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in cut)


def redacted(url: str) -> str:
    """Return an address without user, password, query and fragment, which may be secret.

    Everything before the last `@` counts as user and password, so that a password that contains `/`, `?` or `@` is
    removed completely.
    """
    # Without a scheme, `://` may be a part of the password.
    match = re.match("[A-Za-z][A-Za-z0-9+.-]*://", url)
    scheme, rest = (match[0], url[match.end() :]) if match else ("", url)
    if "@" in rest:
        rest = "***@" + rest.rpartition("@")[2]
    parts = re.split("[?#]", rest, maxsplit=1)
    return scheme + parts[0] + ("?***" if len(parts) > 1 else "")


def unwritable(error: OSError) -> BeeagentError:
    """Return the error of a command that cannot write to its standard output."""
    return BeeagentError(f"standard output cannot be written to: {error.strerror or error}")


class LineOutput:
    """Writes lines to standard output.

    It waits for a slow reader, but not once the agent is stopping: then the last line may be truncated. A reader that
    closes the pipe, such as `head`, stops the agent.

    Args:
        stopping: event that stops the agent, which this class may set too.
    """

    def __init__(self, stopping: threading.Event) -> None:
        self._stopping = stopping

    def write(self, line: bytes) -> None:
        """Write a line and a line break.

        Raises:
            BeeagentError: the line cannot be written, for example because the disk is full.
        """
        if sys.stdout is None:  # closed before the start
            self._stopping.set()
            return
        rest = memoryview(line + b"\n")
        try:
            output = sys.stdout.fileno()
            while rest:
                if select.select([], [output], [], _STOP_CHECK_S)[1]:  # takes PIPE_BUF bytes without blocking
                    rest = rest[os.write(output, rest[: select.PIPE_BUF]) :]
                elif self._stopping.is_set():
                    break
        except BrokenPipeError:
            self._stopping.set()
        except OSError as error:
            raise unwritable(error) from error


class _Descriptor(io.FileIO):
    def write(self, data: "ReadableBuffer") -> int:
        """Write; after a failure, discard the rest, since Python flushes its buffer again at exit."""
        try:
            return super().write(data)
        except OSError as error:
            with open(os.devnull, "wb") as devnull:  # noqa: PTH123 - a constant path
                os.dup2(devnull.fileno(), self.fileno())
            if isinstance(error, BrokenPipeError):  # closed by the reader, such as `| head`
                raise
            raise unwritable(error) from error


@contextmanager
def checked_output() -> Iterator[None]:
    """Make `sys.stdout` raise BeeagentError within the context if it cannot be written to, and flush it at the end.

    A replaced standard output, such as in a test, is left unchanged.
    """
    output = sys.stdout
    if output is None or output is not sys.__stdout__ or not isinstance(output, io.TextIOWrapper):
        yield
        return
    output.flush()
    checked = io.TextIOWrapper(
        io.BufferedWriter(_Descriptor(output.fileno(), "wb", closefd=False)),
        encoding=output.encoding,
        errors=output.errors,
        line_buffering=output.line_buffering,
        write_through=output.write_through,
    )
    sys.stdout = checked
    try:
        yield
    finally:
        sys.stdout = output
        try:
            checked.flush()
        except BrokenPipeError:
            checked.flush()  # discarded


class _TextFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        message = f"{_time(record)} {record.levelname.lower():<7} {record.getMessage()}"
        return f"{message}\n{self.formatException(record.exc_info)}" if record.exc_info else message


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "at": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False)


def configure_log(form: Literal["text", "json"], *, stream: TextIO | None = None, level: int = logging.INFO) -> None:
    """Write the log of this process to a stream.

    Args:
        form: format of the log, `text` or `json`.
        stream: stream to write to; None for standard error.
        level: minimum level.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(_JsonFormatter() if form == "json" else _TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)  # for libraries
    logging.getLogger("beeagent").setLevel(level)
    # It logs each failed connection as an error, which the agent reports itself.
    logging.getLogger("awsiot").setLevel(logging.CRITICAL)


def _time(record: logging.LogRecord) -> str:
    at = datetime.fromtimestamp(record.created, tz=timezone.utc)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def write_file(path: Path, chunks: Iterable[bytes], *, mode: int = 0o600) -> None:
    """Write a file atomically and sync it to disk.

    Args:
        path: the file; its folder exists.
        chunks: the content.
        mode: permissions, to which the umask applies; readable only by the owner by default.

    Raises:
        OSError: the file cannot be written; an existing file is unchanged.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
            file.writelines(chunks)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        _sync_folder(path.parent)
    except OSError:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


def _sync_folder(folder: Path) -> None:
    """Sync the entries of a folder to disk, if its file system supports it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def prepare_tables(  # noqa: PLR0913 - keywords
    database: "sqlite3.Connection",
    name: str,
    *,
    tables: str,
    version: int,
    pragmas: Iterable[str],
    application_id: int = 0,
    upgrades: Mapping[int, str] | None = None,
) -> None:
    """Create the tables of a new SQLite file, or check that the file is of this program and format.

    Args:
        database: the file, opened in autocommit mode.
        name: name of the file, for errors, such as `outbox /var/lib/beeagent/outbox.sqlite3`.
        tables: SQL that creates the tables.
        version: version of the format, 1 or more; stored in the file as `user_version`.
        pragmas: pragmas to set after the check that the file is not of another program, since some change the file.
        application_id: `application_id` of the file; 0 for none.
        upgrades: SQL that upgrades a file of an earlier version to this one.

    Raises:
        InputError: the file is of another program or format; it is left unchanged.
        sqlite3.Error: the file cannot be read or written.
    """
    application, file_version, entries = (
        int(database.execute(query).fetchone()[0])
        for query in ("PRAGMA application_id", "PRAGMA user_version", "SELECT count(*) FROM sqlite_master")
    )
    sql = (upgrades or {}).get(file_version)
    if application == file_version == entries == 0:
        sql = f"{tables}; PRAGMA application_id = {application_id}"
    elif application != application_id or file_version == 0:
        raise InputError(f"{name} is an SQLite file of another program: move it away, or give another --state-dir")
    elif file_version != version and sql is None:
        raise InputError(
            f"{name} has format {file_version}, and this version of beeagent uses format {version}: use the version "
            "that wrote it, or move it away"
        )
    for pragma in pragmas:
        database.execute(f"PRAGMA {pragma}")
    if sql is not None:
        database.executescript(f"BEGIN; {sql}; PRAGMA user_version = {version}; COMMIT;")
