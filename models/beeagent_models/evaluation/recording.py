"""Records thresholds and metrics in a bundle's manifest."""

from collections.abc import Sequence
from dataclasses import replace

from beeagent.detection import MANIFEST_FILE, Metrics, ModelBundle, Threshold
from beeagent.errors import InputError

from beeagent_models.datasets.atomic_write import atomic_write
from beeagent_models.evaluation.measurement import Evaluation
from beeagent_models.evaluation.operating_point import OperatingPoint


def record_evaluations(bundle: ModelBundle, evaluations: Sequence[Evaluation], *, split: str) -> None:
    """Write threshold and metrics of evaluations to the manifest of a bundle, atomically.

    If the threshold is that of the bundle, its description is kept. Earlier metrics of the same dataset and split are
    replaced.

    Args:
        bundle: the evaluated bundle.
        evaluations: one or more evaluations with the same threshold, whose `chosen_by` names its datasets.
        split: role of the datasets, such as `validation`.

    Raises:
        InputError: the model is bare, objects were ignored, or the manifest cannot be written.
    """
    if bundle.manifest is None:
        raise InputError(f"--record needs a bundle with a manifest, but {bundle.path} is a bare model: leave it out")
    if any(evaluation.min_size for evaluation in evaluations):
        raise InputError("--record needs metrics of all objects: leave out --min-size")
    figures = [figures_of(evaluation, split=split) for evaluation in evaluations]
    new = {(one.dataset, one.split) for one in figures}
    kept = evaluations[0].point.threshold == bundle.threshold
    others = [known for known in bundle.manifest.metrics if (known.dataset, known.split) not in new]
    manifest = bundle.manifest.model_copy(
        update={
            "threshold": bundle.manifest.threshold if kept else _threshold(evaluations[0].point, split),
            "metrics": [*others, *figures],
        }
    )
    with atomic_write(bundle.path / MANIFEST_FILE) as file:
        file.write(manifest.model_dump_json(by_alias=True, indent=2) + "\n")


def figures_of(evaluation: Evaluation, *, split: str) -> Metrics:
    """Return the metrics and the reliability curve of an evaluation as in a manifest."""
    point, metrics, alarms = evaluation.point, evaluation.metrics, evaluation.false_alarms_per_image
    has_boxes = evaluation.curve.truths > 0
    return Metrics(
        dataset=evaluation.dataset.name,
        split=split,
        ap=round(metrics.ap, 4) if has_boxes else None,
        ap50=round(metrics.ap50, 4) if has_boxes else None,
        precision=round(point.precision, 4) if has_boxes else None,
        recall=round(point.recall, 4) if has_boxes else None,
        false_alarms_per_image=None if alarms is None else round(alarms, 4),
        threshold=round(point.threshold, 4),
        # Background images alone say nothing about the relation of confidence and precision.
        reliability=evaluation.reliability().for_manifest() if has_boxes else None,
    )


def threshold_of(evaluation: Evaluation, *, split: str) -> Threshold:
    """Return the threshold of an evaluation as in a manifest, with the rule and the dataset."""
    point = evaluation.point
    return _threshold(replace(point, chosen_by=f"{point.chosen_by}, on {evaluation.dataset.name}"), split)


def _threshold(point: OperatingPoint, split: str) -> Threshold:
    return Threshold(value=round(point.threshold, 4), chosen_by=f"{point.chosen_by} ({split})")
