"""Terminal output of an export: progress, and suppression of the output of native libraries."""

import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import rich.progress
from rich.console import Console

_Item = TypeVar("_Item")


class Progress:
    """Shows the current stage of an export and its progress."""

    def __init__(self, bar: rich.progress.Progress) -> None:
        self._bar = bar

    def stage(self, name: str, total: int | None = None) -> Callable[[], None]:
        """Show a new stage and return a function that advances it by one step."""
        for task in self._bar.task_ids:
            self._bar.remove_task(task)
        task = self._bar.add_task(name, total=total)
        return lambda: self._bar.advance(task)

    def track(self, items: Iterable[_Item], name: str, total: int) -> Iterator[_Item]:
        """Yield the items and show how many of `total` are done."""
        step = self.stage(name, total)
        for item in items:
            yield item
            step()


@contextmanager
def export_progress() -> Iterator[Progress]:
    """Show a transient progress line if standard error is a terminal.

    Standard error is duplicated first, so `hidden_native_output` does not hide the progress.
    """
    columns = (
        rich.progress.SpinnerColumn(),
        rich.progress.TextColumn("{task.description}"),
        rich.progress.BarColumn(),
        rich.progress.MofNCompleteColumn(),
        rich.progress.TimeElapsedColumn(),
    )
    with os.fdopen(os.dup(2), "w") as file:
        console = Console(file=file)
        with rich.progress.Progress(
            *columns,
            console=console,
            transient=True,
            redirect_stderr=False,
            redirect_stdout=False,
            disable=not console.is_terminal,
        ) as bar:
            yield Progress(bar)


@contextmanager
def hidden_native_output() -> Iterator[None]:
    """Discard everything written to file descriptor 2, such as the logs of TensorFlow's C++ code.

    This includes `sys.stderr`; to write meanwhile, duplicate the descriptor before.
    """
    sys.stderr.flush()
    saved = os.dup(2)
    try:
        with tempfile.TemporaryFile() as discarded:
            os.dup2(discarded.fileno(), 2)
            yield
    finally:
        sys.stderr.flush()
        os.dup2(saved, 2)
        os.close(saved)
