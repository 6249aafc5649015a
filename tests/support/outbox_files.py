"""Outbox files, read as by another program."""

import shutil
import sqlite3
import tempfile
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Books:
    """The content of an outbox file."""

    produced: int
    delivered: int
    dropped: dict[str, int]
    rows: int

    @property
    def balanced(self) -> bool:
        return self.produced == self.delivered + sum(self.dropped.values()) + self.rows


def read_books(path: Path) -> Books:
    """Read a copy of a file that nobody has open, with its write-ahead log, just as a crash left it.

    A file that is not there yet, or has no tables yet, says nothing.
    """
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy"
        for end in ("", "-wal"):
            if (source := Path(f"{path}{end}")).exists():
                shutil.copy(source, f"{copy}{end}")
        with closing(sqlite3.connect(copy)) as database:
            if not database.execute("SELECT * FROM sqlite_master").fetchall():
                return Books(0, 0, {}, 0)
            state = database.execute("SELECT kind, name, value FROM state").fetchall()
            (rows,) = database.execute("SELECT count(*) FROM message").fetchone()
    return Books(
        produced=sum(value for kind, _, value in state if kind == "seq"),
        delivered=sum(value for kind, _, value in state if kind == "delivered"),
        dropped={name: value for kind, name, value in state if kind == "dropped"},
        rows=rows,
    )
