"""`beeagent compare`: a dataset and contenders in; a table, figures and a page out."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import typer
from beeagent.detection import MANIFEST_FILE, bundled_models, resolve_model
from beeagent.errors import InputError, requires_extra
from beeagent.output import shown
from rich.console import Console

from beeagent_models.comparison.comparison import DrawingThresholds, Price, compare
from beeagent_models.comparison.contenders import DeviceSource, Findings, Source, Spec, parse_specs
from beeagent_models.comparison.page import MAX_IMAGES, check_page_path, write_page
from beeagent_models.comparison.results_contender import ResultsSource
from beeagent_models.comparison.table import comparison_table
from beeagent_models.datasets import Dataset, parse_source, read_dataset
from beeagent_models.progress import step_progress

_NAMED: Final = 5
"""Images on which the contenders differ most that the terminal and the JSON name, unless more are shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonOptions:
    """What to compare, and what to write.

    Attributes:
        data: the dataset, `PATH` or `PATH=label,label`.
        models: the contenders as on the command line; see `parse_spec`.
        prices: what a cloud model costs.
        drawing: at which thresholds detections are drawn.
        allow_missing: whether an image without a result counts as one without a detection.
        keep: cache folder for the responses of cloud models.
        threads: CPU threads of an inference.
        as_json: print JSON instead of a table.
        page: HTML file to write.
        images: number of images on the page.
        attribute: the label attribute, of a manifest that has several.

    Raises:
        InputError: a value is out of range.
    """

    data: str
    models: tuple[str, ...]
    prices: Price
    drawing: DrawingThresholds
    allow_missing: bool = False
    keep: Path | None = None
    threads: int = 2
    as_json: bool = False
    page: Path | None = None
    images: int = 6
    attribute: str | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.images <= MAX_IMAGES:
            raise InputError(f"--pictures is {self.images}: allowed are 0 to {MAX_IMAGES}")
        if self.page is not None:
            check_page_path(self.page)


def run_comparison(options: ComparisonOptions, *, wait: Callable[[float], object] = time.sleep) -> None:
    """Compare detectors and print the figures.

    Args:
        options: what to compare, and what to write.
        wait: waits for a number of seconds when the service throttles.

    Raises:
        InputError: an option, a file or a model cannot be used.
        BeeagentError: a cloud model does not answer.
    """
    specs = parse_specs(options.models)
    path, labels = parse_source(options.data)
    dataset = read_dataset(path, labels=labels, label_attribute=options.attribute)
    sources = [_source(spec, dataset, options, wait) for spec in specs]
    with step_progress("comparing", len(dataset.images) * len(sources)) as step:
        findings = _found(specs, sources, dataset, step)
    comparison = compare(dataset, findings, prices=options.prices, drawing=options.drawing)
    if options.page is not None:
        write_page(comparison, options.page, limit=options.images)
    limit = max(_NAMED, options.images)
    if options.as_json:
        print(json.dumps(comparison.to_json(limit=limit), indent=2))  # noqa: T201 - the command's result
    else:
        Console().print(comparison_table(comparison, limit=limit))


def _source(spec: Spec, dataset: Dataset, options: ComparisonOptions, wait: Callable[[float], object]) -> Source:
    if spec.is_arn:
        return _cloud(spec, dataset, options, wait)
    path = resolve_model(Path(spec.what))
    if not path.exists():
        raise InputError(
            f"{spec.what}: there is no such bundle, .tflite or folder of results, and it is not an ARN; "
            f"the bundled models are {', '.join(bundled_models())}"
        )
    if path.is_dir() and not (path / MANIFEST_FILE).is_file():
        if spec.tiles is not None or spec.labels is not None:
            raise InputError(f"{spec.what}: is a folder of results: tiles and labels are for a model that runs locally")
        return ResultsSource(spec, dataset, allow_missing=options.allow_missing)
    try:
        return DeviceSource(spec, dataset, threads=options.threads)
    except InputError as error:
        raise InputError(f"{spec.name}: {error}") from None


def _cloud(spec: Spec, dataset: Dataset, options: ComparisonOptions, wait: Callable[[float], object]) -> Source:
    if spec.tiles is not None or spec.labels is not None:
        raise InputError(f"{spec.name}: is a cloud model: tiles and labels are for a model that runs locally")
    with requires_extra("rekognition"):
        from beeagent_models.comparison.cloud_contender import CloudSource  # noqa: PLC0415 - boto3 is an extra
    source = CloudSource(spec, dataset, keep=options.keep, wait=wait)
    kept = len(dataset.images) - source.calls
    typer.echo(
        f"{shown(spec.name)}: about to make {source.calls} call{'' if source.calls == 1 else 's'}"
        + (f" ({kept} responses were cached)" if kept else "")
        + f"; a call costs nothing by itself, the running model about ${options.prices.hourly:.2f} an hour",
        err=True,
    )
    return source


def _found(
    specs: Sequence[Spec], sources: Sequence[Source], dataset: Dataset, step: Callable[[], object]
) -> list[Findings]:
    """Ask the cloud first: whether it answers had better be known before the long work."""
    order = sorted(range(len(sources)), key=lambda index: not specs[index].is_arn)
    findings = {index: sources[index].find(dataset, step) for index in order}
    return [findings[index] for index in range(len(sources))]
