"""Temporary indexes on disk, so that a dataset of any length can be processed in little memory."""

import contextlib
import hashlib
import sqlite3
from collections.abc import Iterator

# SQLite keeps a database without a name in its page cache and moves what does not fit to a temporary file
# (https://www.sqlite.org/inmemorydb.html, "Temporary Databases"). The cache is the memory this takes: 2 MB by default.
_TEMPORARY = ""


class FirstSeen:
    """Says where something was seen first."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        database.execute("CREATE TABLE seen (key BLOB PRIMARY KEY, at BLOB) WITHOUT ROWID")

    def at(self, key: str, where: str) -> str | None:
        """Remember a thing, and give the place where it was seen before; None the first time.

        Args:
            key: the thing.
            where: the place.
        """
        digest = digest_of(key)
        added = self._database.execute("INSERT OR IGNORE INTO seen VALUES (?, ?)", (digest, _encoded(where))).rowcount
        if added:
            return None
        (first,) = self._database.execute("SELECT at FROM seen WHERE key = ?", (digest,)).fetchone()
        return bytes(first).decode("utf-8", "surrogatepass")


def digest_of(text: str) -> bytes:
    """Return a 16-byte hash of a text, which may have lone surrogates, as file names can."""
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
    """Open an empty database on disk that is removed after the block. Nothing in it is ever committed or synced."""
    with contextlib.closing(sqlite3.connect(_TEMPORARY)) as database:
        database.execute("PRAGMA journal_mode = OFF")
        database.execute("PRAGMA synchronous = OFF")
        yield database
