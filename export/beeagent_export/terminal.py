"""What an export shows on the terminal: progress, without the output of native libraries."""

import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar

import rich.progress
from rich.console import Console

_Item = TypeVar("_Item")


class Progress(Protocol):
    """Receives the progress of an export."""

    def stage(self, what: str) -> None:
        """Show the name of a stage without a count."""
        ...

    def track(self, items: Iterable[_Item], what: str, total: int) -> Iterator[_Item]:
        """Yield `total` items, counting them."""
        ...


@contextmanager
def console_progress(console: Console) -> Iterator[Progress]:
    """Show progress as a line on a terminal, which is gone when the block is done; elsewhere show nothing."""
    if not console.is_terminal:
        yield _NoProgress()
        return
    with rich.progress.Progress(
        rich.progress.SpinnerColumn(),
        rich.progress.TextColumn("{task.description}"),
        rich.progress.BarColumn(),
        rich.progress.MofNCompleteColumn(),
        rich.progress.TimeElapsedColumn(),
        console=console,
        transient=True,
        redirect_stderr=False,
        redirect_stdout=False,
    ) as bar:
        yield _ConsoleProgress(bar)


class _NoProgress:
    def stage(self, what: str) -> None:
        pass

    def track(self, items: Iterable[_Item], what: str, total: int) -> Iterator[_Item]:
        del what, total
        return iter(items)


class _ConsoleProgress:
    def __init__(self, bar: rich.progress.Progress) -> None:
        self._bar = bar

    def stage(self, what: str) -> None:
        self._begin(what, None)

    def track(self, items: Iterable[_Item], what: str, total: int) -> Iterator[_Item]:
        task = self._begin(what, total)
        for item in items:
            yield item
            self._bar.advance(task)

    def _begin(self, what: str, total: int | None) -> rich.progress.TaskID:
        for task in self._bar.task_ids:
            self._bar.remove_task(task)
        return self._bar.add_task(what, total=total)


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
