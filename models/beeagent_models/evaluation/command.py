"""`beeagent evaluate`: evaluates a model on datasets and writes metrics, curves and images."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from beeagent.detection import Detector, DetectorOptions, ModelBundle, resolve_tiling
from beeagent.errors import InputError
from rich.console import Console

from beeagent_models.datasets import Dataset, load_image, parse_source, read_dataset
from beeagent_models.datasets.atomic_write import make_folder
from beeagent_models.drawing import draw_truth, write_image
from beeagent_models.evaluation.coco_metrics import MAX_DETECTIONS
from beeagent_models.evaluation.false_alarms import write_false_alarms
from beeagent_models.evaluation.measurement import Evaluation, evaluate, refuse_without_boxes
from beeagent_models.evaluation.operating_point import ThresholdChoice
from beeagent_models.evaluation.recording import record_evaluations
from beeagent_models.evaluation.report import check_plot_path, evaluation_tables, plot_curves
from beeagent_models.evaluation.shared_threshold import choose_shared_threshold
from beeagent_models.progress import step_progress

_MIN_CONFIDENCE = 0.001
"""Low, because average precision integrates over all thresholds."""
_MAX_MIN_SIZE = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationOptions:
    """Options of an evaluation.

    Attributes:
        labels: labels file of a bare .tflite.
        choice: rule for the threshold; None for the bundle's threshold, or the best F1 for a bare model.
        max_false_alarms: maximum number of false alarms per image without a box; None for any.
        min_size: minimum size of objects at the model's input in pixels; smaller ones are ignored.
        tiles: tiles of each image, in the agent's notation; None for the bundle's recommendation.
        threads: number of CPU threads of an inference.
        plot: file for the precision-recall curves.
        images: folder for images with true positives, misses and false alarms.
        false_alarms: folder for the images without a box with the strongest false alarms; see `write_false_alarms`.
        record: role of the datasets, such as `validation`; records threshold and metrics in the bundle's manifest.
        attribute: label attribute to read from manifests that have several.

    Raises:
        InputError: a value is out of range.
    """

    labels: Path | None = None
    choice: ThresholdChoice | None = None
    max_false_alarms: float | None = None
    min_size: float = 0
    tiles: str | None = None
    threads: int = 2
    plot: Path | None = None
    images: Path | None = None
    false_alarms: Path | None = None
    record: str | None = None
    attribute: str | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.min_size <= _MAX_MIN_SIZE:
            raise InputError(f"--min-size is {self.min_size:g}: allowed are 0 to {_MAX_MIN_SIZE} pixels")
        if self.max_false_alarms is not None:
            if not 0 <= self.max_false_alarms <= MAX_DETECTIONS:
                raise InputError(
                    f"--max-false-alarms is {self.max_false_alarms:g}: allowed are 0 to {MAX_DETECTIONS} per image"
                )
            if self.choice is not None and (self.choice.fixed is not None or self.choice.recall_floor is not None):
                raise InputError("--max-false-alarms chooses the threshold: leave out --threshold and --recall-floor")
        if self.plot is not None:
            check_plot_path(self.plot)


def run_evaluation(*, model: Path, data: Sequence[str], options: EvaluationOptions, as_json: bool) -> None:
    """Evaluate a model on each dataset and print the metrics.

    All datasets have one threshold; see `choose_shared_threshold`.

    Args:
        model: bundle, name of a bundled model, or bare .tflite.
        data: datasets, `PATH` or `PATH=label,label`.
        options: options of the evaluation.
        as_json: print JSON instead of tables.

    Raises:
        InputError: an option, the model or a dataset cannot be used.
    """
    bundle = ModelBundle.load(model, labels=options.labels)
    tiling = resolve_tiling(options.tiles, bundle)
    detector = Detector(bundle, DetectorOptions(threads=options.threads, threshold=_MIN_CONFIDENCE, tiling=tiling))
    datasets = _read_datasets(data, attribute=options.attribute)
    choice = options.choice or _bundle_choice(bundle)
    if options.max_false_alarms is not None:
        choice = options.choice or ThresholdChoice()
        _refuse_without_empty_images(datasets, "--max-false-alarms")
    if options.false_alarms is not None:
        _refuse_without_empty_images(datasets, "--false-alarms")
        make_folder(options.false_alarms)
    if choice.fixed is None:
        refuse_without_boxes(datasets[0])
    if options.images is not None:
        make_folder(options.images)
    evaluations = _evaluate(detector, datasets, choice, options)
    if options.plot is not None:
        plot_curves(evaluations, options.plot)
    if options.images is not None:
        _draw(evaluations, options.images)
    if options.false_alarms is not None:
        write_false_alarms(evaluations, options.false_alarms)
    if options.record is not None:
        record_evaluations(bundle, evaluations, split=options.record)
    if as_json:
        figures = {
            "model": bundle.identity,
            "input": dict(zip(("width", "height"), detector.input_size, strict=True)),
            "tiles": str(tiling),
            "threads": options.threads,
            "datasets": [evaluation.to_json() for evaluation in evaluations],
        }
        print(json.dumps(figures, indent=2))  # noqa: T201 - the command's result
    else:
        console = Console()
        size = "x".join(map(str, detector.input_size))
        console.print(f"{bundle.identity}, {size}, tiles {tiling}, {options.threads} threads", highlight=False)
        console.print(evaluation_tables(evaluations))


def _read_datasets(data: Sequence[str], *, attribute: str | None) -> list[Dataset]:
    """Read the datasets and make their names unique."""
    sources = [parse_source(source) for source in data]
    datasets = [read_dataset(path, labels=labels, label_attribute=attribute) for path, labels in sources]
    counts = Counter(dataset.name for dataset in datasets)
    named = [
        replace(dataset, name=str(path)) if counts[dataset.name] > 1 else dataset
        for dataset, (path, _) in zip(datasets, sources, strict=True)
    ]
    for name, count in Counter(dataset.name for dataset in named).items():
        if count > 1:
            raise InputError(f"the dataset {name} is given {count} times: give each once")
    return named


def _bundle_choice(bundle: ModelBundle) -> ThresholdChoice:
    if bundle.manifest is None:
        return ThresholdChoice()
    return ThresholdChoice(fixed=bundle.threshold, fixed_by="the bundle's")


def _refuse_without_empty_images(datasets: Sequence[Dataset], option: str) -> None:
    if all(len(image.boxes) for dataset in datasets for image in dataset.images):
        raise InputError(f"{option} needs images without a box: give a dataset with such images")


def _evaluate(
    detector: Detector, datasets: Sequence[Dataset], choice: ThresholdChoice, options: EvaluationOptions
) -> list[Evaluation]:
    """Evaluate each dataset at the shared threshold."""
    size, min_size = detector.input_size, options.min_size
    with step_progress("evaluating", sum(len(dataset.images) for dataset in datasets)) as step:
        evaluations = [
            evaluate(detector, dataset, choice=choice, input_size=size, min_size=min_size, progress=step)
            for dataset in datasets
        ]
    shared = choose_shared_threshold(evaluations, choice, max_false_alarms=options.max_false_alarms)
    return [evaluation.at(shared) for evaluation in evaluations]


def _draw(evaluations: Sequence[Evaluation], folder: Path) -> None:
    """Draw all images, with a folder per dataset if there are several."""
    for evaluation in evaluations:
        name = evaluation.dataset.name.strip("./").replace("/", "_")
        _draw_all(evaluation, folder / name if len(evaluations) > 1 else folder)


def _draw_all(evaluation: Evaluation, folder: Path) -> None:
    make_folder(folder)
    images = evaluation.dataset.images
    digits = len(str(len(images)))
    with step_progress("drawing", len(images)) as step:
        for index, (image, detections, matches) in enumerate(
            zip(images, evaluation.detections, evaluation.metrics.matches, strict=True)
        ):
            drawn = draw_truth(load_image(image), image, detections, matches, threshold=evaluation.point.threshold)
            # The index makes names unique, because images of different folders may have the same name.
            write_image(folder / f"{index:0{digits}}-{image.path.stem}.jpg", drawn)
            step()
