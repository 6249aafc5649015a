"""Runs `beeagent` in this process, for tests of what a command prints: a new process takes a second or two to start."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from subprocess import CompletedProcess
from typing import NoReturn
from unittest import mock

import cv2
from beeagent.cli.app import main

from support.beeagent_process import environment


def run_command(*arguments: str | Path, folder: Path, **more: str) -> CompletedProcess[str]:
    """Run a command to its end, as `run_beeagent` does; `more` is in its environment.

    Not for the agent's `--stdout`, which writes to the file descriptor.
    """
    words = list(map(str, arguments))
    output, errors, code = StringIO(), StringIO(), 0
    with (
        _process_state_kept(),
        redirect_stdout(output),
        redirect_stderr(errors),
        mock.patch.dict(os.environ, environment(folder, **more), clear=True),
        mock.patch.object(sys, "argv", ["beeagent", *words]),
        mock.patch("beeagent.runtime.run.exit_at_once", _exit),
    ):
        try:
            main()
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return CompletedProcess(words, code, output.getvalue(), errors.getvalue())


def _exit(code: int) -> NoReturn:
    """Exit without ending this process."""
    sys.exit(code)


@contextmanager
def _process_state_kept() -> Iterator[None]:
    """Restore what a command sets for its process: the log, and OpenCV's threads."""
    root, own, threads = logging.getLogger(), logging.getLogger("beeagent"), cv2.getNumThreads()
    handlers, levels = list(root.handlers), (root.level, own.level)
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(levels[0])
        own.setLevel(levels[1])
        cv2.setNumThreads(threads)
