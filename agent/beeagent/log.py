"""The log: to standard error, in UTC, as text or as one JSON object per line."""

import json
import logging
import sys
from datetime import datetime, timezone
from typing import Literal, TextIO


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
        form: `text` for people, `json` for machines.
        stream: where to write; None for standard error.
        level: minimum level.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(_JsonFormatter() if form == "json" else _TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)  # for libraries
    logging.getLogger("beeagent").setLevel(level)
    # It logs each failed connection as an error; the agent reports those itself.
    logging.getLogger("awsiot").setLevel(logging.CRITICAL)


def _time(record: logging.LogRecord) -> str:
    at = datetime.fromtimestamp(record.created, tz=timezone.utc)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
