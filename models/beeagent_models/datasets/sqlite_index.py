"""Temporary indexes on disk, for processing datasets of any length with constant memory."""

import contextlib
import hashlib
import sqlite3
from collections.abc import Iterator

# SQLite keeps a database without a name in its page cache, 2 MB by default, and spills to a temporary file
# (https://www.sqlite.org/inmemorydb.html, "Temporary Databases").
_TEMPORARY = ""


class FirstSeen:
    """Records the location of the first occurrence of each key."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        database.execute("CREATE TABLE seen (key BLOB PRIMARY KEY, at BLOB) WITHOUT ROWID")

    def at(self, key: str, where: str) -> str | None:
        """Record a key, and return the location of its first occurrence, or None if it is new.

        Args:
            key: the key.
            where: location of this occurrence.
        """
        digest = digest_of(key)
        added = self._database.execute("INSERT OR IGNORE INTO seen VALUES (?, ?)", (digest, _encoded(where))).rowcount
        if added:
            return None
        (first,) = self._database.execute("SELECT at FROM seen WHERE key = ?", (digest,)).fetchone()
        return bytes(first).decode("utf-8", "surrogatepass")


def digest_of(text: str) -> bytes:
    """Return a 16-byte hash of a text; lone surrogates, as in file names, are allowed."""
    return hashlib.blake2b(_encoded(text), digest_size=16).digest()


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


@contextlib.contextmanager
def first_seen() -> Iterator[FirstSeen]:
    """Open an empty index for the duration of the block."""
    with temporary_database() as database:
        yield FirstSeen(database)


@contextlib.contextmanager
def temporary_database() -> Iterator[sqlite3.Connection]:
    """Open an empty temporary database without journal and syncs; it is removed after the block."""
    with contextlib.closing(sqlite3.connect(_TEMPORARY)) as database:
        database.execute("PRAGMA journal_mode = OFF")
        database.execute("PRAGMA synchronous = OFF")
        yield database
