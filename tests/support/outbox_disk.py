"""A disk for an outbox that hangs or fails on request."""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class Disk:
    """Opens SQLite files; its `connect` is an argument of `Outbox`.

    Attributes:
        before: called with each statement before it is executed; what it raises is what the statement raises.
    """

    def __init__(self) -> None:
        self.before: Callable[[str], None] = lambda _: None
        self._lock = threading.RLock()
        self._database: sqlite3.Connection | None = None

    def connect(self, *args: Any, **options: Any) -> sqlite3.Connection:  # noqa: ANN401 - as `sqlite3.connect`
        disk = self

        class Connection(sqlite3.Connection):
            def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:  # noqa: ANN401 - as in the base
                with disk._lock:
                    disk.before(sql)
                    return super().execute(sql, *parameters)

        self._database = sqlite3.connect(*args, factory=Connection, **options)
        return self._database

    def execute(self, sql: str) -> Any:  # noqa: ANN401 - whatever it returns
        """Execute a statement on the newest connection, and return the first value."""
        assert self._database is not None
        with self._lock:
            row = self._database.execute(sql).fetchone()
        return None if row is None else row[0]

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """Let no other thread execute a statement."""
        with self._lock:
            yield
