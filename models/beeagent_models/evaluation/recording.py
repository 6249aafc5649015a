"""Writing what was measured into a bundle's manifest."""

from collections.abc import Sequence
from dataclasses import replace

from beeagent.detection import MANIFEST_FILE, Metrics, ModelBundle, Threshold
from beeagent.errors import InputError

from beeagent_models.datasets.atomic_write import atomic_write
from beeagent_models.evaluation.measurement import Evaluation
from beeagent_models.evaluation.operating_point import OperatingPoint


def record_evaluations(bundle: ModelBundle, evaluations: Sequence[Evaluation], *, split: str) -> None:
    """Make the evaluations' threshold the bundle's, and add their figures to the manifest.

    A threshold that came from the bundle keeps the word on how it was chosen.
    Earlier figures of the same dataset and split are replaced. The manifest is replaced in one step.

    Args:
        bundle: the bundle that was evaluated.
        evaluations: what was measured, at least one, all at one threshold, whose `chosen_by` names the datasets that
            it was chosen on.
        split: what the datasets were to the model, such as `validation`.

    Raises:
        InputError: the model is bare, objects were left out, or the manifest cannot be written.
    """
    if bundle.manifest is None:
        raise InputError(f"--record needs a bundle, whose manifest takes the figures; {bundle.path} is a bare model")
    if any(evaluation.min_size for evaluation in evaluations):
        raise InputError("--record takes figures of all objects: leave out --min-size")
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
    """Return an evaluation's figures as a manifest takes them, with how often each confidence was right."""
    point, metrics, alarms = evaluation.point, evaluation.metrics, evaluation.false_alarms_per_image
    some = evaluation.curve.truths > 0
    return Metrics(
        dataset=evaluation.dataset.name,
        split=split,
        ap=round(metrics.ap, 4) if some else None,
        ap50=round(metrics.ap50, 4) if some else None,
        precision=round(point.precision, 4) if some else None,
        recall=round(point.recall, 4) if some else None,
        false_alarms_per_image=None if alarms is None else round(alarms, 4),
        threshold=round(point.threshold, 4),
        # Where nothing can be right, confidence says nothing about precision elsewhere.
        reliability=evaluation.reliability().for_manifest() if some else None,
    )


def threshold_of(evaluation: Evaluation, *, split: str) -> Threshold:
    """Return a threshold that was chosen on one dataset as a manifest takes it, with how it was chosen."""
    point = evaluation.point
    return _threshold(replace(point, chosen_by=f"{point.chosen_by}, on {evaluation.dataset.name}"), split)


def _threshold(point: OperatingPoint, split: str) -> Threshold:
    return Threshold(value=round(point.threshold, 4), chosen_by=f"{point.chosen_by} ({split})")
