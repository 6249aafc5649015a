"""How good a trained model is on the pictures of its project's test set, by Rekognition's own count."""

import json
from dataclasses import dataclass
from typing import Any

from beeagent.errors import BeeagentError

from beeagent_models.aws import Service
from beeagent_models.custom_labels.training import Version


@dataclass(frozen=True, slots=True)
class Figures:
    """Of a label, or of all together.

    Attributes:
        label: which; None for all.
        precision: ratio of what was found that is right, 0 to 1.
        recall: ratio of what there is that was found.
        f1: the harmonic mean of both.
        threshold: confidence from which Rekognition counts, 0 to 1, chosen by itself; None of all together.
        pictures: that were tested with; None where it does not say.
    """

    label: str | None
    precision: float | None
    recall: float | None
    f1: float | None
    threshold: float | None
    pictures: int | None


def read_summary(s3: Service, version: Version) -> list[Figures]:
    """Fetch the summary that the training has left, all labels together first.

    Its form is that of https://docs.aws.amazon.com/rekognition/latest/customlabels-dg/im-summary-file.html, in which
    the figures of all labels stand either by themselves or in a part of their own.

    Raises:
        BeeagentError: there is none, or it has another form.
        AwsError: it cannot be read.
    """
    try:
        where = version.said["EvaluationResult"]["Summary"]["S3Object"]
        bucket, key = where["Bucket"], where["Name"]
    except KeyError:
        raise BeeagentError(
            f"Rekognition tells of no evaluation of {version.name}, which is {version.status}"
        ) from None
    body = s3("get_object", Bucket=bucket, Key=key)["Body"].read()
    try:
        summary = json.loads(body)
        together = summary["AggregatedEvaluationResults"]
        pictures = summary.get("EvaluationDetails", {}).get("NumberOfTestingImages")
        return [
            _figures(None, together.get("Metrics", together), pictures),
            *(
                _figures(each["Label"], each["Metrics"], each.get("NumberOfTestingImages"))
                for each in summary.get("LabelEvaluationResults", [])
            ),
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BeeagentError(f"s3://{bucket}/{key} is no summary of a training ({type(error).__name__})") from None


def table(figures: list[Figures]) -> str:
    """Lay the figures out for a terminal."""
    lines = [f"{'label':<20} {'precision':>9} {'recall':>7} {'F1':>6} {'threshold':>9} {'pictures':>8}"]
    for each in figures:
        name = "all labels" if each.label is None else each.label
        pictures = "" if each.pictures is None else str(each.pictures)
        lines.append(
            f"{name:<20} {_number(each.precision):>9} {_number(each.recall):>7} {_number(each.f1):>6} "
            f"{_number(each.threshold):>9} {pictures:>8}".rstrip()
        )
    return "\n".join(lines)


def _figures(label: str | None, metrics: dict[str, Any], pictures: int | None) -> Figures:
    precision, recall, f1, threshold = (
        None if metrics.get(name) is None else float(metrics[name])
        for name in ("Precision", "Recall", "F1Score", "Threshold")
    )
    return Figures(label, precision, recall, f1, threshold, pictures)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
