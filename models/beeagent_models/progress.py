"""Progress of long work on standard error, so that standard output keeps to results."""

import contextlib
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn


@contextlib.contextmanager
def step_progress(what: str, total: int | None) -> Iterator[Callable[[], None]]:
    """Show a bar while the block runs; nothing where standard error is no terminal.

    Args:
        what: the work in a word.
        total: number of steps; None if unknown.

    Yields:
        A function to call after each step.
    """
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(what, total=total)
        yield lambda: progress.advance(task)


@contextlib.contextmanager
def byte_progress(what: str) -> Iterator[Callable[[int, int | None], None]]:
    """Show a bar of bytes while the block runs; nothing where standard error is no terminal.

    Args:
        what: the work in a word.

    Yields:
        A function to call with the bytes that are there, and with those of the whole or None.
    """
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(what, total=None)
        yield lambda here, total: progress.update(task, completed=here, total=total)
