"""Progress bars on standard error; standard output is for results."""

import contextlib
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn


@contextlib.contextmanager
def step_progress(name: str, total: int | None) -> Iterator[Callable[[], None]]:
    """Show a progress bar during the block, if standard error is a terminal.

    Args:
        name: name of the task.
        total: number of steps; None if unknown.

    Yields:
        A function to call after each step.
    """
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(name, total=total)
        yield lambda: progress.advance(task)


@contextlib.contextmanager
def byte_progress(name: str) -> Iterator[Callable[[int, int | None], None]]:
    """Show a progress bar of bytes during the block, if standard error is a terminal.

    Args:
        name: name of the task.

    Yields:
        A function to call with the number of bytes received and the total, or None if unknown.
    """
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(name, total=None)
        yield lambda received, total: progress.update(task, completed=received, total=total)
