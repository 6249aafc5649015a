"""Writes the metrics of a run for TensorBoard."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tensorboard.summary import Writer

from beeagent_models.training.run import TrainingProgress


class EventLog:
    """Writes metrics as TensorBoard scalars; `tensorboard --logdir FOLDER` shows them.

    A resumed run writes a new file; TensorBoard then ignores later steps in the first one.

    Args:
        folder: folder of the event files; created with the first metrics, so that a refused run leaves nothing.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writer: Writer | None = None

    def __call__(self, progress: TrainingProgress) -> None:
        """Write the metrics of a progress report."""
        if not progress.figures:
            return
        if self._writer is None:
            self._writer = Writer(str(self._folder))
        for name, value in progress.figures.items():
            self._writer.add_scalar(name, value, progress.done)
        self._writer.flush()

    def close(self) -> None:
        """Flush and close the file."""
        if self._writer is not None:
            self._writer.close()


@contextmanager
def event_log(folder: Path) -> Iterator[EventLog]:
    """Open an event log and close it at the end of the block."""
    log = EventLog(folder)
    try:
        yield log
    finally:
        log.close()
