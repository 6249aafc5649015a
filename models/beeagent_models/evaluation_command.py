"""`beeagent evaluate`: a model, data sets and options in; figures, curve and pictures out."""

import json
from collections.abc import Sequence
from pathlib import Path

from beeagent.choices import chosen_tiling
from beeagent.detection.bundle import ModelBundle, load_bundle
from beeagent.detection.detector import DetectorOptions
from beeagent.detection.tiled import TiledDetector
from beeagent.errors import InputError
from rich.console import Console

from beeagent_models.datasets.reading import merge_datasets, parse_source, read_dataset
from beeagent_models.drawing import draw_truth, write_picture
from beeagent_models.evaluation import Evaluation, evaluate, read_picture
from beeagent_models.evaluation_report import check_plot_path, evaluation_table, plot_curve
from beeagent_models.operating_point import ThresholdChoice
from beeagent_models.progress import counted
from beeagent_models.recording import record_evaluation

_WEAKEST = 0.001
"""Confidence; average precision sums over all thresholds, so next to nothing is held back from it."""


def run_evaluation(  # noqa: PLR0913 - each a choice of its own
    *,
    model: Path,
    labels: Path | None,
    data: Sequence[str],
    choice: ThresholdChoice | None,
    tiles: str | None,
    threads: int,
    as_json: bool,
    plot: Path | None,
    pictures: Path | None,
    record: str | None = None,
) -> None:
    """Measure a model and print what was found.

    Args:
        model: a bundle, the name of a bundled model, or a bare .tflite.
        labels: of a bare .tflite.
        data: as on the command line, `PATH` or `PATH=label,label`; measured as one data set.
        choice: of the threshold; None takes the bundle's own, or the best F1 for a bare model.
        tiles: into how many tiles to cut each picture, as the agent takes it; None as the bundle recommends.
        threads: CPU threads of an inference.
        as_json: print JSON in place of a table.
        plot: where to draw the precision-recall curve.
        pictures: folder for pictures with hits, misses and false alarms.
        record: what the data set is to the model; writes threshold and figures into the bundle's manifest.

    Raises:
        InputError: something given cannot be used.
    """
    if plot is not None:
        check_plot_path(plot)
    bundle = load_bundle(model, labels=labels)
    tiling = chosen_tiling(tiles, bundle)
    detector = TiledDetector(bundle, DetectorOptions(threads=threads, threshold=_WEAKEST), tiling)
    sources = [parse_source(source) for source in data]
    dataset = merge_datasets([read_dataset(path, labels=names) for path, names in sources])
    if pictures is not None:
        _make_folder(pictures)
    with counted("evaluating", len(dataset.images)) as step:
        evaluation = evaluate(
            detector,
            dataset,
            choice=choice or _own_choice(bundle),
            input_size=detector.input_size,
            progress=step,
        )
    if plot is not None:
        plot_curve(evaluation, plot)
    if pictures is not None:
        _draw_all(evaluation, pictures)
    if record is not None:
        record_evaluation(bundle, evaluation, split=record)
    if as_json:
        figures = {"model": bundle.identity, "tiles": str(tiling), "threads": threads, **evaluation.to_json()}
        print(json.dumps(figures, indent=2))  # noqa: T201 - the command's result
    else:
        console = Console()
        console.print(f"{bundle.identity}, tiles {tiling}, {threads} threads", highlight=False)
        console.print(evaluation_table(evaluation))


def _own_choice(bundle: ModelBundle) -> ThresholdChoice:
    if bundle.manifest is None:
        return ThresholdChoice()
    return ThresholdChoice(fixed=bundle.threshold, fixed_by="the bundle's")


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"the folder {folder} cannot be made: {error.strerror or error}") from None


def _draw_all(evaluation: Evaluation, folder: Path) -> None:
    images = evaluation.dataset.images
    digits = len(str(len(images)))
    with counted("drawing", len(images)) as step:
        for index, (image, detections, matches) in enumerate(
            zip(images, evaluation.found, evaluation.metrics.matches, strict=True)
        ):
            drawn = draw_truth(read_picture(image), image, detections, matches, threshold=evaluation.point.threshold)
            # The number keeps pictures of one name from different folders apart.
            write_picture(folder / f"{index:0{digits}}-{image.path.stem}.jpg", drawn)
            step()
