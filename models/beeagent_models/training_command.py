"""`beeagent train`: options as words in, a training run with progress out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from beeagent.errors import InputError
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from beeagent_models.datasets.reading import parse_source, read_dataset
from beeagent_models.training.event_log import event_log
from beeagent_models.training.options import Phase, TrainingOptions
from beeagent_models.training.run import TrainingProgress, train

_DEFAULT_LABELS = ("bee",)
_EVENTS = "events"  # in the run's folder
_STAGES = {"pictures": "preparing pictures", "watched": "preparing held-back pictures", "steps": "training"}


def run_training(  # noqa: PLR0913 - each a choice of its own
    *,
    data: Sequence[str],
    labels: str | None,
    phases: Sequence[str],
    ignored_border: str | None,
    out: Path,
    seed: int,
    command: str,
    given: dict[str, Any],
) -> None:
    """Train, or go on with the run found in `out`, and print where the checkpoint is.

    The figures also go to `out`/events, for TensorBoard.

    Args:
        data: data sets as on the command line, `PATH` or `PATH=label,label`.
        labels: of the detector, with commas between; None takes those of the data.
        phases: `SIZE:BATCH:STEPS` each; none takes the defaults.
        ignored_border: `L,T,R,B` in ratios.
        out: folder of the run.
        seed: of the run.
        command: for the record.
        given: further fields of `TrainingOptions` that were given.

    Raises:
        InputError: something given cannot be used.
    """
    sources = [parse_source(source) for source in data]
    datasets = tuple(read_dataset(path, labels=names) for path, names in sources)
    if phases:
        given = {**given, "phases": tuple(_phase(text) for text in phases)}
    if ignored_border is not None:
        given = {**given, "ignored_border": _border(ignored_border)}
    found = tuple(dict.fromkeys(label for dataset in datasets for label in dataset.labels))
    options = TrainingOptions(
        datasets=datasets,
        labels=_labels(labels) if labels is not None else found or _DEFAULT_LABELS,
        out=out,
        seed=seed,
        command=command,
        **given,
    )
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

        checkpoint = train(options, report)
    print(checkpoint)  # noqa: T201 - the command's result


class _Display:
    """Shows each stage of a run as a bar, and the losses as they come."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, news: TrainingProgress) -> None:
        """Take what the run reports."""
        if news.stage not in self._tasks:
            name = _STAGES.get(news.stage, news.stage)
            self._tasks[news.stage] = self._progress.add_task(name, total=news.total, figures="")
        figures = "  ".join(f"{key.replace('_', ' ')} {value:.3g}" for key, value in news.figures.items())
        self._progress.update(self._tasks[news.stage], completed=news.done, total=news.total, figures=figures)
        if figures and not self._progress.console.is_terminal:
            # In a log file there is no bar to look at.
            self._progress.console.print(f"step {news.done}/{news.total}  {figures}", highlight=False, soft_wrap=True)


def _labels(text: str) -> tuple[str, ...]:
    labels = tuple(label.strip() for label in text.split(","))
    if not all(labels) or len(set(labels)) != len(labels):
        raise InputError(f"labels are '{text}': write names with commas between, each once")
    return labels


def _phase(text: str) -> Phase:
    parts = text.split(":")
    if len(parts) != 3 or not all(part.isascii() and part.isdigit() for part in parts):
        raise InputError(f"phase is '{text}': write SIZE:BATCH:STEPS, such as 192:8:2800")
    size, batch_size, steps = map(int, parts)
    return Phase(size=size, batch_size=batch_size, steps=steps)


def _border(text: str) -> tuple[float, float, float, float]:
    try:
        left, top, right, bottom = (float(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"ignored border is '{text}': write four ratios, such as 0,0.1,0,0.1") from None
    return left, top, right, bottom
