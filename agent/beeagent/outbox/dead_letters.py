"""Where results are kept that the broker does not take."""

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
from beeagent.outbox.records import Row

_LOG: Final = logging.getLogger(__name__)

_TOLD_FOR: Final = 3600.0  # seconds for which a result that was set aside counts as trouble
_LOGGED_EVERY: Final = 60.0  # seconds between two lines of the log for the same reason


class Quarantine:
    """Keeps results that were given up in a file, one a line, for a person to look at or to publish by hand.

    A line is a JSON object with `at` (RFC 3339), `cause`, `reason`, `topic` and `payload` (the message as it would
    have been published). When the file has reached half of its limit it becomes FILE.1, whose place it takes, so
    that the oldest go. A crash of the process loses none that were kept; a crash between this and the removal from
    the outbox leaves a result in both.
    """

    def __init__(self, path: Path | None, *, max_megabytes: float = 20.0) -> None:
        """Choose the file; it is made with the first result, and its folder is there.

        Args:
            path: of the file; None to keep nothing.
            max_megabytes: of FILE and FILE.1 together, in 10^6 bytes.

        Raises:
            ValueError: the limit is not positive.
        """
        if max_megabytes <= 0:
            raise ValueError(f"max_megabytes {max_megabytes} is not positive")
        self._path = path
        self._max_bytes = int(max_megabytes * 1e6 / 2)
        self._lock = threading.Lock()
        self._trouble: str | None = None
        self._told_until = 0.0
        self._logged = ""
        self._log_again_at = 0.0

    @classmethod
    def beside(cls, outbox: Path | None) -> "Quarantine":
        """Make the one that belongs to an outbox: `hive-front.refused.jsonl` for `hive-front.outbox.sqlite3`."""
        return cls(outbox and outbox.with_name(f"{outbox.name.removesuffix('.outbox.sqlite3')}.refused.jsonl"))

    @property
    def trouble(self) -> str | None:
        """What was set aside within the last hour and why, in plain words; None if nothing was."""
        with self._lock:
            return self._trouble if time.monotonic() < self._told_until else None

    def keep(self, row: Row, receipt: Receipt) -> None:
        """Write down a result that is given up. If that fails it is told, and the result is lost."""
        try:
            self._write(row, receipt)
        except OSError as error:
            where = f"lost, for {self._path} cannot be written ({error.strerror})"
        else:
            where = "given up" if self._path is None else f"set aside in {self._path}"
        now = time.monotonic()
        trouble = f"results were {where}: {receipt.reason}"
        with self._lock:
            self._trouble, self._told_until = trouble, now + _TOLD_FOR
        if self._logged != trouble or now >= self._log_again_at:
            self._logged, self._log_again_at = trouble, now + _LOGGED_EVERY
            _LOG.error("%s", trouble)

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
        # A line that a full disk cut short must not take the next one with it.
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
