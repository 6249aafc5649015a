"""The figures of a run for TensorBoard."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tensorboard.summary import Writer

from beeagent_models.training.run import TrainingProgress


class EventLog:
    """Writes each step's figures as TensorBoard scalars; `tensorboard --logdir FOLDER` draws them.

    A run that is resumed goes on in a file of its own: TensorBoard drops what the first file has of later steps.

    Args:
        folder: for the event files; made at the first figures, so that a run that is refused leaves nothing.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writer: Writer | None = None

    def __call__(self, news: TrainingProgress) -> None:
        """Take what the run reports."""
        if not news.figures:
            return
        if self._writer is None:
            self._writer = Writer(str(self._folder))
        for name, value in news.figures.items():
            self._writer.add_scalar(name, value, news.done)
        self._writer.flush()

    def close(self) -> None:
        """Write what is left."""
        if self._writer is not None:
            self._writer.close()


@contextmanager
def event_log(folder: Path) -> Iterator[EventLog]:
    """Open a log for the time of a run."""
    log = EventLog(folder)
    try:
        yield log
    finally:
        log.close()
