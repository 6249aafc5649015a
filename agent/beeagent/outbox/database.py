"""The outbox's SQLite file: tables, lock, and the checks when it is opened."""

import errno
import fcntl
import os
import sqlite3
from collections.abc import Callable
from io import FileIO
from pathlib import Path
from typing import Final, TypeAlias

from beeagent.errors import InputError
from beeagent.outbox.recovery import is_damage
from beeagent.outbox.rows import Totals
from beeagent.output import prepare_tables

_APPLICATION_ID: Final = 0x62656573  # "bees"; marks the file as an outbox
_FORMAT: Final = 3
_WITHOUT_HELD: Final = 2  # the previous format, without the table `held`
# A commit writes at least the page of the row and that of the totals: smaller pages mean fewer bytes (docs/outbox.md).
_PAGE_BYTES: Final = 1024
# The same number of bytes as SQLite's default, 1000 pages of 4096: each checkpoint waits for the disk twice.
_CHECKPOINT_PAGES: Final = 4000
_MAGIC: Final = b"SQLite format 3\0"
# Offsets of the write version and the read version in the file's header.
_VERSIONS_START: Final = 18
_VERSIONS_END: Final = 20
_WAL_VERSION: Final = 2

Connect: TypeAlias = Callable[..., sqlite3.Connection]
"""Opens an SQLite file: `sqlite3.connect` or a function with its parameters."""

_IN_USE: Final = "outbox {path} is in use by another beeagent: stop that one, or give --camera-name or --state-dir"

_MESSAGE: Final = (
    "CREATE TABLE message (id INTEGER PRIMARY KEY, taken_at INTEGER NOT NULL, topic TEXT NOT NULL, "
    "payload BLOB NOT NULL)"
)
# Kinds: seq, last number of stream `name`; delivered; dropped, for reason `name`; clock, time of the outbox's clock in
# seconds at the beginning of the device's boot `name`.
_STATE: Final = (
    "CREATE TABLE state (kind TEXT NOT NULL, name TEXT NOT NULL, value INTEGER NOT NULL, PRIMARY KEY (kind, name)) "
    "WITHOUT ROWID"
)
# Reserved payloads: see `Outbox.reserve`.
_HELD: Final = "CREATE TABLE held (key TEXT PRIMARY KEY, payload BLOB NOT NULL)"


def lock_outbox(outbox: Path) -> FileIO | None:
    """Acquire an flock on a file beside the outbox, `<name>.lock`, held until it is closed or the process ends.

    SQLite's own lock on the outbox is a POSIX lock, which the process releases as soon as it closes any other
    descriptor of that file. An flock belongs to one descriptor, also within one process. The lock file is not deleted
    with the lock, since another process may wait on it. The folder is created if necessary.

    Returns:
        The lock; None if the disk is full, which must not prevent the use of an existing outbox: SQLite's lock remains.

    Raises:
        InputError: another agent holds the lock, or the folder cannot be used.
    """
    try:
        outbox.parent.mkdir(parents=True, exist_ok=True)
        lock = FileIO(os.open(outbox.with_name(f"{outbox.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600), "r+")
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return None
        raise InputError(
            f"outbox {outbox} cannot be opened: {error.strerror}; check the folder and its permissions"
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        if isinstance(error, BlockingIOError):
            raise InputError(_IN_USE.format(path=outbox)) from None
        raise InputError(
            f"outbox {outbox} cannot be locked: {error.strerror}; give --state-dir a local folder"
        ) from error
    return lock


class DamagedError(Exception):
    """The file is damaged; the text is the problem that SQLite found."""


def open_database(path: Path | None, *, connect: Connect) -> sqlite3.Connection:
    """Open or create the file, and check it. The caller holds its lock.

    Args:
        path: path of the file; None for a database in memory.
        connect: opens the SQLite file.

    Raises:
        DamagedError: the file is damaged.
        InputError: the file is in use, of another program or of another release, or the folder cannot be used.
    """
    try:
        if path is not None:
            _check_header(path)
        database = _connect(path, connect)
    except (OSError, sqlite3.Error) as error:
        raise InputError(f"outbox {path} cannot be opened: {error}; check the folder and its permissions") from error
    try:
        _prepare(database, path)
    except UnicodeDecodeError as error:  # of SQLite's error text, which quotes from the file
        database.close()
        raise DamagedError("unreadable text in its schema") from error
    except sqlite3.DatabaseError as error:
        database.close()
        if is_damage(error):
            raise DamagedError(str(error)) from error
        if "locked" in str(error):
            raise InputError(_IN_USE.format(path=path)) from error
        raise InputError(f"outbox {path} cannot be used: {error}; check the folder and its permissions") from error
    except BaseException:
        database.close()
        raise
    return database


def create_database(path: Path, *, connect: Connect) -> sqlite3.Connection:
    """Create the file.

    Raises:
        sqlite3.Error: the file cannot be created.
    """
    database = _connect(path, connect)
    try:
        _prepare(database, path)
    except BaseException:
        database.close()
        raise
    return database


def stored_totals(database: sqlite3.Connection) -> Totals:
    """Read the last numbers of the streams and the counts.

    Raises:
        sqlite3.Error: they cannot be read, or are invalid.
    """
    totals = Totals()
    for kind, name, value in database.execute("SELECT kind, name, value FROM state WHERE kind <> 'clock'"):
        if kind not in {"seq", "delivered", "dropped"} or not isinstance(value, int) or value < 0:
            raise sqlite3.DatabaseError("its counts are invalid")
        if kind == "seq":
            totals.sequences[name] = value
        else:
            totals.ended[name if kind == "dropped" else None] = value
    return totals


def _connect(path: Path | None, connect: Connect) -> sqlite3.Connection:
    return connect(":memory:" if path is None else path, timeout=1.0, isolation_level=None, check_same_thread=False)


def _prepare(database: sqlite3.Connection, path: Path | None) -> None:
    database.execute(f"PRAGMA page_size = {_PAGE_BYTES}")  # of a new file
    # One process at a time, since two would assign the same numbers. It also avoids the shared-memory file of WAL.
    database.execute("PRAGMA locking_mode = EXCLUSIVE")
    prepare_tables(
        database,
        f"outbox {path}",
        tables=f"{_MESSAGE}; {_STATE}; {_HELD}",
        version=_FORMAT,
        # WAL with NORMAL: a commit survives a crash of the process without waiting for the disk. A power failure loses
        # only the newest commits, and the file stays intact. https://www.sqlite.org/wal.html
        pragmas=("journal_mode = WAL", "synchronous = NORMAL", f"wal_autocheckpoint = {_CHECKPOINT_PAGES}"),
        application_id=_APPLICATION_ID,
        upgrades={_WITHOUT_HELD: _HELD},
    )
    # Acquire the lock now, not at the first result.
    database.execute("BEGIN IMMEDIATE")
    database.execute("COMMIT")
    _check(database)


def _check_header(path: Path) -> None:
    """Check that SQLite may write to the file, which SQLite reports only at the first write.

    To be called before SQLite opens the file: closing any descriptor of it drops all POSIX locks of this process on it,
    including SQLite's. https://www.sqlite.org/howtocorrupt.html, 2.2

    Raises:
        DamagedError: SQLite may not write to it.
        OSError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            header = file.read(_VERSIONS_END)
    except FileNotFoundError:
        return  # it will be created
    # Write and read version: 1 for a rollback journal, 2 for WAL. https://www.sqlite.org/fileformat.html
    versions = header[_VERSIONS_START:]
    if header.startswith(_MAGIC) and any(version > _WAL_VERSION for version in versions):
        raise DamagedError(f"its header has the versions {', '.join(map(str, versions))}")


def _check(database: sqlite3.Connection) -> None:
    """Check the file with SQLite's check, and its rows against its counts.

    Raises:
        sqlite3.DatabaseError: the file is damaged.
    """
    result = str(database.execute("PRAGMA quick_check(1)").fetchone()[0])
    if result != "ok":
        raise sqlite3.DatabaseError(" ".join(result.split()))
    # All columns, since text that cannot be decoded is detected only by reading it.
    entries = database.execute("SELECT sql, type, name, tbl_name FROM sqlite_master").fetchall()
    tables = {sql for sql, *_ in entries if sql is not None}
    if tables != {_MESSAGE, _STATE, _HELD}:
        raise sqlite3.DatabaseError("its tables have been changed")
    totals = stored_totals(database)
    (rows,) = database.execute(
        "SELECT count(*) FROM message"
        " WHERE typeof(taken_at) = 'integer' AND typeof(topic) = 'text' AND typeof(payload) = 'blob'"
    ).fetchone()
    (clocks,) = database.execute(
        "SELECT count(*) FROM state WHERE kind = 'clock' AND typeof(value) <> 'integer'"
    ).fetchone()
    if totals.waiting != rows or clocks:
        raise sqlite3.DatabaseError(f"it has {rows} valid rows, but its counts are for {totals.waiting}")
