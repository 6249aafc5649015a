"""What an export shows on the terminal: progress, without the output of native libraries."""

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
    """Shows the stage of an export, and how far it is."""

    def __init__(self, bar: rich.progress.Progress) -> None:
        self._bar = bar

    def stage(self, what: str, total: int | None = None) -> Callable[[], None]:
        """Show the name of a stage; return a function that counts one of its steps."""
        for task in self._bar.task_ids:
            self._bar.remove_task(task)
        task = self._bar.add_task(what, total=total)
        return lambda: self._bar.advance(task)

    def track(self, items: Iterable[_Item], what: str, total: int) -> Iterator[_Item]:
        """Yield `total` items, counting them."""
        step = self.stage(what, total)
        for item in items:
            yield item
            step()


@contextmanager
def export_progress() -> Iterator[Progress]:
    """Show progress as a line on a terminal, which is gone when the block is done; elsewhere show nothing.

    It is written to what is standard error now, whatever becomes of the descriptor meanwhile.
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
    """Swallow what is written to file descriptor 2, such as the logs of TensorFlow's C++ code.

    `sys.stderr` is silenced with it: write through a duplicate of the descriptor, made before.
    """
    sys.stderr.flush()
    saved = os.dup(2)
    try:
        with tempfile.TemporaryFile() as swallowed:
            os.dup2(swallowed.fileno(), 2)
            yield
    finally:
        sys.stderr.flush()
        os.dup2(saved, 2)
        os.close(saved)
