"""Measures a model by the very detector that the device runs."""

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
"""CPU threads an inference is timed with: the agent's default."""

_TIMED = 30
_MIN_CONFIDENCE = 0.001  # a confidence; average precision sums over all thresholds, so nothing is held back from it


@dataclass(frozen=True, slots=True)
class Measured:
    """How a model did.

    Attributes:
        size: of the .tflite, in bytes.
        milliseconds: of an inference, the median of 30 on this machine with `THREADS` threads.
        found: what it found in each of the images that are shown, weak detections too.
        evaluation: on the labelled images; None without.
    """

    size: int
    milliseconds: float
    found: tuple[Detections, ...]
    evaluation: Evaluation | None

    def to_json(self) -> dict[str, Any]:
        """Return the figures as JSON values; those of the evaluation are None if there was none."""
        figures = {"size": self.size, "milliseconds": self.milliseconds}
        names = ("ap", "ap50", "threshold", "threshold_chosen_by", "precision", "recall")
        measured = self.evaluation.to_json() if self.evaluation is not None else {}
        return figures | {name: measured.get(name) for name in names}


def read_validation(sources: Sequence[str | Dataset], *, attribute: str | None = None) -> Dataset | None:
    """Read labelled images, as one dataset; None where none are given.

    Args:
        sources: as on the command line, `PATH` or `PATH=label,label`, or datasets that were read.
        attribute: the label attribute, of manifests that have several.

    Raises:
        InputError: a dataset cannot be read, or there is no box to measure by.
    """
    if not sources:
        return None
    datasets = []
    for source in sources:
        if isinstance(source, str):
            path, labels = parse_source(source)
            source = read_dataset(path, labels=labels, label_attribute=attribute)  # noqa: PLW2901 - read by now
        datasets.append(source)
    dataset = merge_datasets(datasets)
    refuse_without_boxes(dataset)
    return dataset


def refuse_other_labels(dataset: Dataset, labels: Sequence[str]) -> None:
    """Refuse labelled images of what the model was not trained to find.

    Raises:
        InputError: a box has a label that the model does not know.
    """
    used = np.unique(np.concatenate([image.class_ids for image in dataset.images]))
    unknown = [dataset.labels[index] for index in used if dataset.labels[index] not in labels]
    if unknown:
        raise InputError(
            f"{dataset.name} has boxes labelled {', '.join(unknown[:10])}, but the model knows "
            f"{', '.join(labels[:20])}: measure it on what it was trained to find"
        )


def measure_model(  # noqa: PLR0913 - a model and what to measure it on
    model: bytes,
    heads: RawHeads,
    options: ExportOptions,
    *,
    shown: Sequence[NDArray[np.uint8]],
    validation: Dataset | None,
    step: Callable[[], object],
) -> Measured:
    """Run a model as the device would.

    Args:
        model: a .tflite that ends in the post-processing op.
        heads: that it was made from.
        options: of the export.
        shown: images of the report, uint8, BGR, of any size.
        validation: labelled images.
        step: called after each of them.

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
        milliseconds=_milliseconds(detector, shown),
        found=tuple(detector.detect(pixels) for pixels in shown),
        evaluation=evaluation,
    )


def _milliseconds(detector: Detector, shown: Sequence[NDArray[np.uint8]]) -> float:
    images = shown or [np.full((*detector.input_size[::-1], 3), 127, np.uint8)]
    prepared = [detector.prepare(pixels) for pixels in images]
    seconds = []
    for index in range(_TIMED):
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
