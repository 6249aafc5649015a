"""Measures size, speed and accuracy of a model with the device's detector."""

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from beeagent.detection import Detections, Detector, DetectorOptions, ModelBundle
from beeagent.errors import InputError
from beeagent_models.datasets import Dataset, merge_datasets, parse_source, read_dataset
from beeagent_models.evaluation import Evaluation, evaluate, refuse_without_boxes
from numpy.typing import NDArray

from beeagent_export.heads import RawHeads
from beeagent_export.options import ExportOptions

THREADS = 2
"""CPU threads of the timed inferences: the agent's default."""

_TIMED_INFERENCES = 30
_MIN_CONFIDENCE = 0.001  # low, because average precision integrates over all thresholds


@dataclass(frozen=True, slots=True)
class Measured:
    """Measurements of a model.

    Attributes:
        size: size of the .tflite in bytes.
        milliseconds: median duration of 30 inferences on this machine with `THREADS` threads.
        detections: detections in each image of the report, down to a confidence of 0.001.
        evaluation: evaluation on the labelled images; None without.
    """

    size: int
    milliseconds: float
    detections: tuple[Detections, ...]
    evaluation: Evaluation | None

    def to_json(self) -> dict[str, Any]:
        """Return the figures as JSON values; None for metrics without an evaluation."""
        figures = {"size": self.size, "milliseconds": self.milliseconds}
        names = ("ap", "ap50", "threshold", "threshold_chosen_by", "precision", "recall")
        measured = self.evaluation.to_json() if self.evaluation is not None else {}
        return figures | {name: measured.get(name) for name in names}


def read_validation(sources: Sequence[str | Dataset], *, attribute: str | None = None) -> Dataset | None:
    """Read labelled images as one dataset; return None without sources.

    Args:
        sources: `PATH` or `PATH=label,label` as on the command line, or loaded datasets.
        attribute: label attribute to read from manifests that have several.

    Raises:
        InputError: a dataset cannot be read, or none has a box.
    """
    if not sources:
        return None
    datasets = []
    for source in sources:
        if isinstance(source, str):
            path, labels = parse_source(source)
            source = read_dataset(path, labels=labels, label_attribute=attribute)  # noqa: PLW2901
        datasets.append(source)
    dataset = merge_datasets(datasets)
    refuse_without_boxes(dataset)
    return dataset


def refuse_other_labels(dataset: Dataset, labels: Sequence[str]) -> None:
    """Refuse a dataset with labels that the model does not have.

    Raises:
        InputError: a box has a label that is not a class of the model.
    """
    used = np.unique(np.concatenate([image.class_ids for image in dataset.images]))
    unknown = [dataset.labels[index] for index in used if dataset.labels[index] not in labels]
    if unknown:
        raise InputError(
            f"{dataset.name} has boxes labelled {', '.join(unknown[:10])}, but the classes of the model are "
            f"{', '.join(labels[:20])}: give a dataset with these labels"
        )


def measure_model(  # noqa: PLR0913
    model: bytes,
    heads: RawHeads,
    options: ExportOptions,
    *,
    images: Sequence[NDArray[np.uint8]],
    validation: Dataset | None,
    step: Callable[[], object],
) -> Measured:
    """Measure a model with the device's detector.

    Args:
        model: .tflite file with the post-processing op.
        heads: raw heads of the source model.
        options: settings of the export.
        images: images of the report, uint8, BGR, of any size.
        validation: labelled images.
        step: called after each labelled image.

    Raises:
        InputError: the model or an image cannot be used.
    """
    detector = Detector(_in_memory(model, heads, options), DetectorOptions(threads=THREADS, threshold=_MIN_CONFIDENCE))
    evaluation = None
    if validation is not None:
        size = detector.input_size
        evaluation = evaluate(detector, validation, choice=options.choice, input_size=size, progress=step)
    return Measured(
        size=len(model),
        milliseconds=_inference_milliseconds(detector, images),
        detections=tuple(detector.detect(pixels) for pixels in images),
        evaluation=evaluation,
    )


def _inference_milliseconds(detector: Detector, images: Sequence[NDArray[np.uint8]]) -> float:
    images = images or [np.full((*detector.input_size[::-1], 3), 127, np.uint8)]
    prepared = [detector.prepare(pixels) for pixels in images]
    seconds = []
    for index in range(_TIMED_INFERENCES):
        start = time.perf_counter()
        detector.infer(prepared[index % len(prepared)])
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds)) * 1e3


def _in_memory(model: bytes, heads: RawHeads, options: ExportOptions) -> ModelBundle:
    return ModelBundle(
        path=options.out,
        name=options.name,
        sha256=hashlib.sha256(model).hexdigest(),
        model=model,
        labels=heads.labels,
        input=heads.input_spec,
        threshold=0.0,
        manifest=None,
    )
