"""The dead-letter file, which keeps results that the broker does not accept."""

import json
import logging
import os
import threading
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Final

from beeagent.messages import rfc3339
from beeagent.outbox.publisher import Receipt
from beeagent.outbox.rows import Row

_LOG: Final = logging.getLogger(__name__)

_REPORTED_FOR: Final = 3600.0  # seconds for which a dead letter is reported as a problem
_LOGGED_EVERY: Final = 60.0  # seconds between two log lines for the same reason


class DeadLetterFile:
    """Appends abandoned results to a file, one per line, for inspection or manual publishing.

    A line is a JSON object with `at` (RFC 3339), `cause`, `reason`, `topic` and `payload` (the unpublished message). At
    half of the size limit, the file is renamed to FILE.1, which replaces the previous FILE.1, so that the oldest
    results are deleted. A crash of the process loses no line; after a crash before the removal from the outbox, a
    result is in both.
    """

    def __init__(self, path: Path | None, *, max_megabytes: float = 20.0) -> None:
        """Set the path; the file is created with the first result, in an existing folder.

        Args:
            path: path of the file; None to keep no results.
            max_megabytes: maximum size of FILE and FILE.1 together, in 10^6 bytes.

        Raises:
            ValueError: the limit is not positive.
        """
        if max_megabytes <= 0:
            raise ValueError(f"max_megabytes {max_megabytes} is not positive")
        self._path = path
        self._max_bytes = int(max_megabytes * 1e6 / 2)
        self._lock = threading.Lock()
        self._problem: str | None = None
        self._reported_until = 0.0
        self._logged = ""
        self._log_again_at = 0.0

    @classmethod
    def beside(cls, outbox: Path | None) -> "DeadLetterFile":
        """Return the dead-letter file of an outbox: `hive-front.refused.jsonl` for `hive-front.outbox.sqlite3`."""
        return cls(outbox and outbox.with_name(f"{outbox.name.removesuffix('.outbox.sqlite3')}.refused.jsonl"))

    @property
    def problem(self) -> str | None:
        """The results abandoned within the last hour and the reason; None if there are none."""
        with self._lock:
            return self._problem if time.monotonic() < self._reported_until else None

    def append(self, row: Row, receipt: Receipt) -> None:
        """Write an abandoned result; if that fails, it is lost, which `problem` reports."""
        try:
            self._write(row, receipt)
        except OSError as error:
            where = f"lost, since {self._path} cannot be written ({error.strerror})"
        else:
            where = "given up" if self._path is None else f"moved to {self._path}"
        now = time.monotonic()
        problem = f"results were {where}: {receipt.reason}"
        with self._lock:
            self._problem, self._reported_until = problem, now + _REPORTED_FOR
        if self._logged != problem or now >= self._log_again_at:
            self._logged, self._log_again_at = problem, now + _LOGGED_EVERY
            _LOG.error("%s", problem)

    def _write(self, row: Row, receipt: Receipt) -> None:
        if self._path is None:
            return
        entry = {
            "at": rfc3339(datetime.now(timezone.utc)),
            "cause": receipt.cause,
            "reason": receipt.reason,
            "topic": row.topic,
            "payload": row.payload.decode("utf-8", "backslashreplace"),
        }
        line = json.dumps(entry, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"
        # A line that a full disk has truncated must not spoil the next one.
        with self._path.open("a+b") as file:
            size = file.seek(0, os.SEEK_END)
            if size + len(line) > self._max_bytes and size:
                self._path.replace(f"{self._path}.1")
            else:
                if size:
                    file.seek(-1, os.SEEK_END)
                    line = line if file.read(1) == b"\n" else b"\n" + line
                file.write(line)
                return
        self._path.write_bytes(line)
