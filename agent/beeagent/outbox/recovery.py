"""Recovery of a damaged outbox file: the file is renamed, and its readable content recovered."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

from beeagent.outbox.rows import Row, Totals

_KEPT: Final = 3  # number of damaged files to keep; each may be as large as the outbox

# One row at a time: Python's cursor reads a row ahead and, if that fails, loses the current one too.
_NEXT_ROW: Final = "SELECT id, topic, payload, taken_at FROM message WHERE id > ? ORDER BY id LIMIT 1"
_ROW_BEFORE: Final = "SELECT id, topic, payload, taken_at FROM message WHERE id < ? ORDER BY id DESC LIMIT 1"
_ABOVE_ALL_IDS: Final = 2**63 - 1


def is_damage(error: sqlite3.Error) -> bool:
    """Return True if an error means that the file itself is damaged, unlike a full disk or missing permissions.

    Python raises DatabaseError itself for SQLITE_CORRUPT and SQLITE_NOTADB, and subclasses of it for full disks, failed
    reads and missing permissions. A duplicate row id and text that cannot be decoded are caused by damage too.
    """
    return type(error) in {sqlite3.DatabaseError, sqlite3.IntegrityError} or "Could not decode" in str(error)


def set_aside(path: Path) -> Path:
    """Rename a file and its write-ahead log to `<name>.damaged-<n>`, and return the new path.

    The newest three files are kept, older ones deleted.

    Raises:
        OSError: the file cannot be renamed.
    """
    numbers = sorted(_number(file) for file in path.parent.glob(f"{path.name}.damaged-*") if _number(file))
    aside = path.with_name(f"{path.name}.damaged-{numbers[-1] + 1 if numbers else 1}")
    # The log first: SQLite deletes a log without its file, and must not apply the old log to a new file.
    with suppress(FileNotFoundError):
        _log_of(path).rename(_log_of(aside))
    path.rename(aside)
    for number in numbers[: max(0, len(numbers) + 1 - _KEPT)]:
        old = path.with_name(f"{path.name}.damaged-{number}")
        for file in (old, _log_of(old)):
            file.unlink(missing_ok=True)
    return aside


def read_totals(path: Path) -> Totals | None:
    """Read the totals of a damaged file; None if they cannot be read or are inconsistent."""
    try:
        with closing(_open(path)) as database:
            entries = database.execute("SELECT kind, name, value FROM state").fetchall()
    except (sqlite3.Error, UnicodeDecodeError):
        return None
    totals = Totals()
    for kind, name, value in entries:
        if not (isinstance(kind, bytes) and isinstance(name, bytes) and isinstance(value, int) and value >= 0):
            return None
        try:
            text = name.decode()
        except UnicodeDecodeError:
            return None
        if kind == b"seq":
            totals.sequences[text] = value
        elif kind == b"dropped":
            totals.ended[text] = value
        elif kind == b"delivered":
            totals.ended[None] = value
    return totals if totals.sequences and totals.waiting >= 0 else None


def readable_rows(path: Path) -> Iterator[Row]:
    """Read the readable rows of a damaged file: from the oldest up to the damage, then from the newest back."""
    up_to = 0
    for row_id, row in _walk(path, _NEXT_ROW, 0):
        if row_id <= up_to:  # the damaged pages form a cycle
            break
        up_to = row_id
        yield from row
    from_on = _ABOVE_ALL_IDS
    for row_id, row in _walk(path, _ROW_BEFORE, _ABOVE_ALL_IDS):
        if not up_to < row_id < from_on:
            break
        from_on = row_id
        yield from row


def readable_reserved(path: Path) -> list[tuple[str, bytes]]:
    """Read the reserved payloads of a damaged file; none if they cannot all be read."""
    reserved: list[tuple[str, bytes]] = []
    with suppress(sqlite3.Error, UnicodeDecodeError), closing(_open(path)) as database:
        for key, payload in database.execute("SELECT key, payload FROM held ORDER BY rowid").fetchall():
            if isinstance(key, bytes) and isinstance(payload, bytes):
                reserved.append((key.decode(), payload))
    return reserved


def _walk(path: Path, query: str, row_id: int) -> Iterator[tuple[int, list[Row]]]:
    """Read one row after the other until that fails; yield the id of each, and the row if it is valid."""
    with suppress(sqlite3.Error, UnicodeDecodeError), closing(_open(path)) as database:
        while (columns := database.execute(query, (row_id,)).fetchone()) is not None:
            row_id, topic, payload, taken_at = columns
            if not isinstance(row_id, int):
                return
            valid: list[Row] = []
            if isinstance(topic, bytes) and isinstance(payload, bytes) and isinstance(taken_at, int) and taken_at >= 0:
                with suppress(UnicodeDecodeError):
                    valid.append(Row(row_id, topic.decode(), payload, taken_at))
            yield row_id, valid


def _open(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=1.0, isolation_level=None)
    try:
        database.text_factory = bytes  # text may be damaged as well
        database.execute("PRAGMA locking_mode = EXCLUSIVE")  # needs no shared-memory file
    except sqlite3.Error:
        database.close()
        raise
    return database


def _log_of(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")


def _number(path: Path) -> int:
    """Return the number at the end of a file name; 0 if there is none, as for a log."""
    end = path.name.rpartition("-")[2]
    return int(end) if end.isascii() and end.isdigit() else 0
