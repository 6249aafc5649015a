"""Progress of long work on standard error, so that standard output keeps to results."""

import contextlib
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import Progress


@contextlib.contextmanager
def counted(what: str, total: int) -> Iterator[Callable[[], None]]:
    """Show a bar while the block runs; nothing where standard error is no terminal.

    Args:
        what: the work in a word.
        total: number of steps.

    Yields:
        A function to call after each step.
    """
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(what, total=total)
        yield lambda: progress.advance(task)
