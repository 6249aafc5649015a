"""`beeagent compare`: compares detectors on a dataset and prints tables, or writes JSON and an HTML page."""

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

_LISTED_IMAGES: Final = 5
"""Minimum number of images with the most disagreement that terminal and JSON list."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonOptions:
    """Options of a comparison.

    Attributes:
        data: the dataset, `PATH` or `PATH=label,label`.
        models: the contenders; see `parse_spec`.
        prices: price of a cloud model.
        drawing: thresholds of the drawn detections.
        allow_missing: count images without a result as images without detections.
        keep: cache folder for the responses of cloud models.
        threads: number of CPU threads of an inference.
        as_json: print JSON instead of a table.
        page: HTML file to write.
        images: number of images on the page.
        attribute: label attribute to read from a manifest that has several.

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
    """Compare detectors and print the metrics.

    Args:
        options: options of the comparison.
        wait: waits for a number of seconds when the service throttles.

    Raises:
        InputError: an option, a file or a model cannot be used.
        BeeagentError: a cloud model does not respond.
    """
    specs = parse_specs(options.models)
    path, labels = parse_source(options.data)
    dataset = read_dataset(path, labels=labels, label_attribute=options.attribute)
    sources = [_source(spec, dataset, options, wait) for spec in specs]
    with step_progress("comparing", len(dataset.images) * len(sources)) as step:
        findings = _run(specs, sources, dataset, step)
    comparison = compare(dataset, findings, prices=options.prices, drawing=options.drawing)
    if options.page is not None:
        write_page(comparison, options.page, limit=options.images)
    limit = max(_LISTED_IMAGES, options.images)
    if options.as_json:
        print(json.dumps(comparison.to_json(limit=limit), indent=2))  # noqa: T201 - the command's result
    else:
        Console().print(comparison_table(comparison, limit=limit))


def _source(spec: Spec, dataset: Dataset, options: ComparisonOptions, wait: Callable[[float], object]) -> Source:
    if spec.is_arn:
        return _cloud_source(spec, dataset, options, wait)
    path = resolve_model(Path(spec.location))
    if not path.exists():
        raise InputError(
            f"{spec.location}: there is no such bundle, .tflite or folder of results, and it is not an ARN; "
            f"the bundled models are {', '.join(bundled_models())}"
        )
    if path.is_dir() and not (path / MANIFEST_FILE).is_file():
        if spec.tiles is not None or spec.labels is not None:
            raise InputError(f"{spec.location}: is a folder of results: leave out tiles and labels")
        return ResultsSource(spec, dataset, allow_missing=options.allow_missing)
    try:
        return DeviceSource(spec, dataset, threads=options.threads)
    except InputError as error:
        raise InputError(f"{spec.name}: {error}") from None


def _cloud_source(spec: Spec, dataset: Dataset, options: ComparisonOptions, wait: Callable[[float], object]) -> Source:
    if spec.tiles is not None or spec.labels is not None:
        raise InputError(f"{spec.name}: is a cloud model: leave out tiles and labels")
    with requires_extra("rekognition"):
        from beeagent_models.comparison.cloud_contender import CloudSource  # noqa: PLC0415 - boto3 is an extra
    source = CloudSource(spec, dataset, keep=options.keep, wait=wait)
    cached = len(dataset.images) - source.calls
    typer.echo(
        f"{shown(spec.name)}: making {source.calls} call{'' if source.calls == 1 else 's'}"
        + (f" ({cached} responses are cached)" if cached else "")
        + f"; calls are free, the running model costs about ${options.prices.hourly:.2f} per hour",
        err=True,
    )
    return source


def _run(
    specs: Sequence[Spec], sources: Sequence[Source], dataset: Dataset, step: Callable[[], object]
) -> list[Findings]:
    """Run all contenders, cloud models first, so that their errors come before the long work."""
    order = sorted(range(len(sources)), key=lambda index: not specs[index].is_arn)
    findings = {index: sources[index].find(dataset, step) for index in order}
    return [findings[index] for index in range(len(sources))]
