"""Measure what the outbox writes to disk: `python bench/outbox_wear.py --seconds 600 --folder /somewhere/on/the/disk`.

Each mode runs in its own process, all at the same time, at the rate of a live camera. The bytes are those that the
kernel has to write for the process (`write_bytes` in /proc/self/io: pages of its files that became dirty).
"""

import argparse
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

from beeagent.outbox import DiscardPublisher, Outbox, Sender, database

_MODES = {
    "connected, each at once": {"connected": True},
    "connected, outbox_commit_at_once = false": {"connected": True, "at_once": False},
    "connected, that and outbox_commit_interval_ms = 2000": {"connected": True, "at_once": False, "interval": 2.0},
    "outage, every 250 ms": {},
    "outage, outbox_commit_interval_ms = 2000": {"interval": 2.0},
    "connected, each at once, pages of 4096 bytes": {"connected": True, "page_bytes": 4096},
}


class _CountingConnection(sqlite3.Connection):
    """Counts commits."""

    commits = 0

    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:  # noqa: ANN401 - as in the base
        _CountingConnection.commits += sql == "COMMIT"
        return super().execute(sql, *parameters)


def main() -> None:
    """Run all modes and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--rate", type=float, default=5, help="messages per second")
    parser.add_argument("--bytes", type=int, default=600, help="size of a message")
    parser.add_argument("--folder", type=Path, help="folder on the disk to measure; a tmpfs writes nothing")
    parser.add_argument("--mode", choices=_MODES, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.mode is not None:
        _measure(args.mode, args)
        return
    running = [
        subprocess.Popen([sys.executable, __file__, *sys.argv[1:], "--mode", mode], stdout=subprocess.PIPE, text=True)  # noqa: S603
        for mode in _MODES
    ]
    print(f"{args.rate:g} messages/s of {args.bytes} bytes, {args.seconds:g} s")
    print("| mode | commits per hour | MB per hour | bytes per message |\n| --- | --- | --- | --- |")
    for mode, process in zip(_MODES, running, strict=True):
        figures = json.loads(process.communicate()[0])
        per_hour = 3600 / args.seconds
        print(
            f"| {mode} | {figures['commits'] * per_hour:,.0f} | {figures['bytes'] * per_hour / 1e6:,.1f} "
            f"| {figures['bytes'] / figures['messages']:,.0f} |"
        )


def _measure(mode: str, args: argparse.Namespace) -> None:
    settings = _MODES[mode]
    database._PAGE_BYTES = settings.get("page_bytes", database._PAGE_BYTES)  # noqa: SLF001
    payload = os.urandom(args.bytes // 2).hex().encode()
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        outbox = Outbox(
            Path(folder) / "outbox",
            commit_interval_s=settings.get("interval", 0.25),
            commit_at_once=settings.get("at_once", True),
            connect=partial(sqlite3.connect, factory=_CountingConnection),
        )
        publisher = DiscardPublisher()
        sender = Sender(outbox=outbox, publisher=publisher)
        if settings.get("connected"):
            publisher.start()
        sender.start()
        before, commits = _written(), _CountingConnection.commits
        began = time.monotonic()
        messages = 0
        while (due := began + messages / args.rate) < began + args.seconds:
            time.sleep(max(0.0, due - time.monotonic()))
            outbox.put(stream="s", topic="beeagent/hive/front/detections", payload=payload)
            messages += 1
        print(
            json.dumps(
                {"commits": _CountingConnection.commits - commits, "bytes": _written() - before, "messages": messages}
            )
        )
        sender.stop()
        outbox.close()


def _written() -> int:
    entries = dict(line.split(": ") for line in Path("/proc/self/io").read_text(encoding="ascii").splitlines())
    return int(entries["write_bytes"])


if __name__ == "__main__":
    main()
