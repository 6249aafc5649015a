"""`beeagent compare`: a data set and contenders in; a table, figures and a page out."""

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import typer
from beeagent.detection import MANIFEST_FILE, bundled_models, resolve_model
from beeagent.errors import InputError
from beeagent.shown_text import shown
from rich.console import Console

from beeagent_models.comparison.comparison import Comparison, Price, Showing, compare
from beeagent_models.comparison.device_source import DeviceSource
from beeagent_models.comparison.findings import Findings, Source
from beeagent_models.comparison.page import check_page_path, write_page
from beeagent_models.comparison.page_pictures import MOST
from beeagent_models.comparison.results_source import ResultsSource
from beeagent_models.comparison.spec import Spec, parse_specs
from beeagent_models.comparison.table import comparison_table
from beeagent_models.datasets.dataset import Dataset
from beeagent_models.datasets.reading import parse_source, read_dataset
from beeagent_models.progress import counted

_NAMED: Final = 5
"""Pictures on which the contenders differ most that the terminal and the JSON name, unless more are shown."""


def run_comparison(  # noqa: PLR0913 - each a choice of its own
    *,
    data: str,
    models: Sequence[str],
    prices: Price,
    showing: Showing,
    allow_missing: bool,
    keep: Path | None,
    threads: int,
    as_json: bool,
    page: Path | None,
    pictures: int,
    attribute: str | None = None,
    wait: Callable[[float], object] = time.sleep,
) -> None:
    """Compare detectors and print what came out.

    Args:
        data: as on the command line, `PATH` or `PATH=label,label`.
        models: as on the command line; see `parse_spec`.
        prices: what a cloud model costs.
        showing: at which thresholds pictures are shown.
        allow_missing: whether a picture without a result counts as one without a detection.
        keep: folder in which to keep the answers of cloud models.
        threads: CPU threads of an inference.
        as_json: print JSON in place of a table.
        page: HTML file to write.
        pictures: how many pictures the page shows.
        attribute: the label attribute, of a manifest that has several.
        wait: waits so many seconds, when the service asks for fewer calls.

    Raises:
        InputError: something given cannot be used.
        BeeagentError: a cloud model does not answer.
    """
    if not 0 <= pictures <= MOST:
        raise InputError(f"--pictures is {pictures}: allowed are 0 to {MOST}")
    if page is not None:
        check_page_path(page)
    specs = parse_specs(models)
    path, labels = parse_source(data)
    dataset = read_dataset(path, labels=labels, label_attribute=attribute)
    sources = [
        _source(spec, dataset, allow_missing=allow_missing, keep=keep, threads=threads, prices=prices, wait=wait)
        for spec in specs
    ]
    with counted("comparing", len(dataset.images) * len(sources)) as step:
        findings = _found(specs, sources, dataset, step)
    comparison = compare(dataset, findings, prices=prices, showing=showing)
    if page is not None:
        write_page(comparison, page, most=pictures)
    _print(comparison, as_json=as_json, most=max(_NAMED, pictures))


def _source(  # noqa: PLR0913 - handed through
    spec: Spec,
    dataset: Dataset,
    *,
    allow_missing: bool,
    keep: Path | None,
    threads: int,
    prices: Price,
    wait: Callable[[float], object],
) -> Source:
    if spec.is_arn:
        return _cloud(spec, dataset, keep, prices, wait)
    path = resolve_model(Path(spec.what))
    if not path.exists():
        raise InputError(
            f"{spec.what}: there is no such bundle, .tflite or folder of results, and it is no ARN; "
            f"the bundled models are {', '.join(bundled_models())}"
        )
    if path.is_dir() and not (path / MANIFEST_FILE).is_file():
        if spec.tiles is not None or spec.labels is not None:
            raise InputError(f"{spec.what}: is a folder of results: tiles and labels are for a model that runs here")
        return ResultsSource(spec, dataset, allow_missing=allow_missing)
    try:
        return DeviceSource(spec, dataset, threads=threads)
    except InputError as error:
        raise InputError(f"{spec.name}: {error}") from None


def _cloud(spec: Spec, dataset: Dataset, keep: Path | None, prices: Price, wait: Callable[[float], object]) -> Source:
    if spec.tiles is not None or spec.labels is not None:
        raise InputError(f"{spec.name}: is a model in the cloud: tiles and labels are for a model that runs here")
    try:
        from beeagent_models.comparison.cloud_source import CloudSource  # noqa: PLC0415 - boto3 is an extra
    except ModuleNotFoundError as error:
        raise InputError(
            f"a model in the cloud needs {error.name}, which is not installed: pip install 'beeagent[rekognition]'"
        ) from None
    source = CloudSource(spec, dataset, keep=keep, wait=wait)
    kept = len(dataset.images) - source.calls
    typer.echo(
        f"{shown(spec.name)}: about to make {source.calls} call{'' if source.calls == 1 else 's'}"
        + (f" ({kept} answers were kept)" if kept else "")
        + f"; a call costs nothing by itself, the running model about ${prices.hourly:.2f} an hour",
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


def _print(comparison: Comparison, *, as_json: bool, most: int) -> None:
    if as_json:
        print(json.dumps(comparison.to_json(most=most), indent=2))  # noqa: T201 - the command's result
    else:
        Console().print(comparison_table(comparison, most=most))
