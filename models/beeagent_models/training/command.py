"""`beeagent train`: options from the command line in, a training run with progress out."""

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


def run_training(given: dict[str, Any], *, command: str) -> None:
    """Train, or resume the run found in the folder `out`, and print the path of the checkpoint.

    The figures also go to `out`/events, for TensorBoard.

    Args:
        given: the options of `beeagent train` that were given, by name, as on the command line.
        command: for the record.

    Raises:
        InputError: an option cannot be used.
    """
    attribute, labels = given.pop("attribute", None), given.pop("labels", None)
    sets = tuple(part for text in given.pop("data", ()) for part in read_training_sets(text, attribute=attribute))
    validation = tuple(
        read_dataset(path, labels=names, label_attribute=attribute)
        for path, names in map(parse_source, given.pop("validate", ()))
    )
    found = tuple(dict.fromkeys(label for part in sets for label in part.dataset.labels))
    for name in {"input_size", "image_size"} & given.keys():
        given[name] = parse_input_size(given[name], option=f"--{name.replace('_', '-')}")
    options = TrainingOptions(
        sets=sets,
        validation=validation,
        labels=_labels(labels) if labels is not None else found or _DEFAULT_LABELS,
        command=command,
        **given,
    )
    with training_report(options.out) as report:
        checkpoint = train(options, report)
    print(checkpoint)  # noqa: T201 - the command's result


@contextlib.contextmanager
def training_report(out: Path) -> Iterator[Callable[[TrainingProgress], None]]:
    """Show a run's progress on standard error, and keep its figures for TensorBoard, while the block runs.

    Args:
        out: folder of the run.

    Yields:
        A function that takes what the run reports.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"))
    rest = (TimeElapsedColumn(), TimeRemainingColumn(), TextColumn("{task.fields[figures]}"))
    console = Console(stderr=True)
    with (
        Progress(*columns, *rest, console=console, disable=not console.is_terminal) as progress,
        event_log(out / _EVENTS) as log,
    ):
        display = _Display(progress)

        def report(news: TrainingProgress) -> None:
            display(news)
            log(news)

        yield report


class _Display:
    """Shows each stage of a run as a bar, and its figures as they come."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, news: TrainingProgress) -> None:
        """Show what the run reports."""
        if news.stage not in self._tasks:
            name = _STAGES.get(news.stage, news.stage)
            self._tasks[news.stage] = self._progress.add_task(name, total=news.total, figures="")
        figures = "  ".join(f"{key.replace('_', ' ')} {value:.3g}" for key, value in news.figures.items())
        self._progress.update(self._tasks[news.stage], completed=news.done, total=news.total, figures=figures)
        validated = any(key.endswith("_ap50") for key in news.figures)
        if figures and (validated or not self._progress.console.is_terminal):
            # A log file has no bar, and a bar shows what was measured until the next report only.
            self._progress.console.print(f"step {news.done}/{news.total}  {figures}", highlight=False, soft_wrap=True)


def _labels(text: str) -> tuple[str, ...]:
    labels = tuple(label.strip() for label in text.split(","))
    if not all(labels) or len(set(labels)) != len(labels):
        raise InputError(f"labels are '{text}': write names separated by commas, each once")
    return labels
