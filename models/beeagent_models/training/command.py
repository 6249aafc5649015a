"""`beeagent train`: runs a training with a progress display."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from beeagent.errors import InputError
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from beeagent_models.augmentation.mixture import read_training_sets
from beeagent_models.datasets import parse_source, read_dataset
from beeagent_models.efficientdet.input_size import parse_input_size
from beeagent_models.training.event_log import event_log
from beeagent_models.training.options import TrainingOptions
from beeagent_models.training.run import TrainingProgress, train

_DEFAULT_LABELS = ("bee",)
_EVENTS = "events"  # in the run's folder
_STAGES = {"images": "preparing images", "steps": "training"}


def run_training(arguments: dict[str, Any], *, command: str) -> None:
    """Start a run, or resume the one in the folder `out`, and print the path of the checkpoint.

    Metrics are also written to `out`/events for TensorBoard.

    Args:
        arguments: options of `beeagent train` that are set on the command line, by name.
        command: command line, for the training record.

    Raises:
        InputError: an option cannot be used.
    """
    attribute, labels = arguments.pop("attribute", None), arguments.pop("labels", None)
    sets = tuple(part for text in arguments.pop("data", ()) for part in read_training_sets(text, attribute=attribute))
    validation = tuple(
        read_dataset(path, labels=names, label_attribute=attribute)
        for path, names in map(parse_source, arguments.pop("validate", ()))
    )
    dataset_labels = tuple(dict.fromkeys(label for part in sets for label in part.dataset.labels))
    for name in {"input_size", "image_size"} & arguments.keys():
        arguments[name] = parse_input_size(arguments[name], option=f"--{name.replace('_', '-')}")
    options = TrainingOptions(
        sets=sets,
        validation=validation,
        labels=_labels(labels) if labels is not None else dataset_labels or _DEFAULT_LABELS,
        command=command,
        **arguments,
    )
    with training_report(options.out) as report:
        checkpoint = train(options, report)
    print(checkpoint)  # noqa: T201 - the command's result


@contextlib.contextmanager
def training_report(out: Path) -> Iterator[Callable[[TrainingProgress], None]]:
    """Show the progress of a run on standard error and write its metrics for TensorBoard.

    Args:
        out: folder of the run.

    Yields:
        The progress callback of the run.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"))
    rest = (TimeElapsedColumn(), TimeRemainingColumn(), TextColumn("{task.fields[figures]}"))
    console = Console(stderr=True)
    with (
        Progress(*columns, *rest, console=console, disable=not console.is_terminal) as bars,
        event_log(out / _EVENTS) as log,
    ):
        display = _Display(bars)

        def report(progress: TrainingProgress) -> None:
            display(progress)
            log(progress)

        yield report


class _Display:
    """Shows a progress bar for each stage of a run, with its metrics."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, progress: TrainingProgress) -> None:
        """Show progress and metrics."""
        if progress.stage not in self._tasks:
            name = _STAGES.get(progress.stage, progress.stage)
            self._tasks[progress.stage] = self._bars.add_task(name, total=progress.total, figures="")
        figures = "  ".join(f"{key.replace('_', ' ')} {value:.3g}" for key, value in progress.figures.items())
        self._bars.update(self._tasks[progress.stage], completed=progress.done, total=progress.total, figures=figures)
        validated = any(key.endswith("_ap50") for key in progress.figures)
        if figures and (validated or not self._bars.console.is_terminal):
            # A log file has no bar, and the bar shows validation metrics only until the next report.
            self._bars.console.print(
                f"step {progress.done}/{progress.total}  {figures}", highlight=False, soft_wrap=True
            )


def _labels(text: str) -> tuple[str, ...]:
    labels = tuple(label.strip() for label in text.split(","))
    if not all(labels) or len(set(labels)) != len(labels):
        raise InputError(f"labels are '{text}': give names separated by commas, without duplicates")
    return labels
