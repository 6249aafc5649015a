"""Runs `beeagent` as a process."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support.bundle_folder import write_bundle
from support.tiny_models import square_finder

DEADLINE = 45.0  # less than the time-out of a test, whose message says less


def environment(folder: Path, **more: str) -> dict[str, str]:
    """Return an environment with only these settings, and with the state in `folder`."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("BEEAGENT_")}
    return {**kept, "XDG_STATE_HOME": str(folder / "state"), **more}


def run_beeagent(
    *arguments: str | Path, folder: Path, stdin: str | None = None, **more: str
) -> subprocess.CompletedProcess[str]:
    """Run the command to its end; `stdin` is what it reads from standard input."""
    return subprocess.run(
        [sys.executable, "-m", "beeagent", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
        input=stdin,
        env=environment(folder, **more),
    )


class RunningAgent:
    """A running `beeagent`, whose standard output is read line by line."""

    def __init__(
        self,
        arguments: Sequence[str | Path],
        folder: Path,
        program: Sequence[str],
        prefix: Sequence[str],
        **more: str,
    ) -> None:
        self.process = subprocess.Popen(
            [*prefix, sys.executable, *program, *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(folder, **more),
        )
        self.errors: list[str] = []
        self._reader = threading.Thread(target=self._read_errors, daemon=True)
        self._reader.start()

    def messages(self, count: int) -> list[dict[str, Any]]:
        """Read so many messages; fails at the end of the output, and a killer thread sees to the deadline."""
        assert self.process.stdout is not None
        watchdog = threading.Timer(DEADLINE, self.process.kill)
        watchdog.start()
        try:
            lines = [self.process.stdout.readline() for _ in range(count)]
        finally:
            watchdog.cancel()
        assert all(lines), self.errors
        return [json.loads(line) for line in lines]

    def end(self) -> int:
        """Wait for the exit code."""
        assert self.process.stdout is not None
        self.process.stdout.read()
        code = self.process.wait(DEADLINE)
        self._reader.join(DEADLINE)
        return code

    def _read_errors(self) -> None:
        assert self.process.stderr is not None
        self.errors.extend(line.rstrip() for line in self.process.stderr)


@contextmanager
def running_agent(
    *arguments: str | Path,
    folder: Path,
    program: Sequence[str] = ("-m", "beeagent"),
    prefix: Sequence[str] = (),
    **more: str,
) -> Iterator[RunningAgent]:
    """Run the command, or the script that stands in for it, for as long as the context lasts.

    `prefix` is what stands before Python on the command line, and `more` is in the environment.
    """
    agent = RunningAgent(arguments, folder, program, prefix, **more)
    try:
        yield agent
    finally:
        if agent.process.poll() is None:
            agent.process.kill()
        agent.process.communicate()


def tiny_model(folder: Path) -> list[str | Path]:
    """Write a bundle of a model that finds what is red, and return the option for it."""
    return ["--model", write_bundle(folder / "tiny", cells=(8, 8), labels=["red"], fit="stretch")]


def tiny_bare_model(folder: Path) -> list[str | Path]:
    """Write a bare model that finds what is red, and return the options for it.

    The agent takes longer to start than with a bundle: it tries a bare model in another process first.
    """
    model, labels = folder / "tiny.tflite", folder / "tiny.txt"
    model.write_bytes(square_finder())
    labels.write_text("red\n", encoding="utf-8")
    return ["--model", model, "--labels", labels]
