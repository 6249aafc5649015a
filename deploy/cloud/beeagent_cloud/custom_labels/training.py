"""Custom Labels projects and the training of their models."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, Final

from beeagent.errors import BeeagentError, InputError

from beeagent_cloud.aws import PROJECT_TAG, AwsError, Service


@dataclass(frozen=True, slots=True)
class Project:
    """A Custom Labels project.

    Attributes:
        name: name of the project.
        arn: ARN of the project.
        datasets: ARN and status of each dataset, by `TRAIN` and `TEST`.
    """

    name: str
    arn: str
    datasets: dict[str, tuple[str, str]]


def known_project(rekognition: Service, name: str) -> Project:
    """Return the project of this name.

    Raises:
        InputError: there is no such project.
        AwsError: the request failed.
    """
    found = rekognition("describe_projects", ProjectNames=[name])["ProjectDescriptions"]
    if not found:
        raise InputError(
            f"there is no project {name} in {rekognition.region}: `beeagent rekognition create {name}` creates it, or "
            "use --region for another region"
        )
    datasets = {each["DatasetType"]: (each["DatasetArn"], each["Status"]) for each in found[0].get("Datasets", [])}
    return Project(name, str(found[0]["ProjectArn"]), datasets)


def create_project(rekognition: Service, name: str) -> tuple[str, bool]:
    """Create a project unless it exists; return its ARN, and whether it is new.

    Raises:
        AwsError: the request failed.
    """
    try:
        made: Any = rekognition("create_project", ProjectName=name, Tags={PROJECT_TAG: name})
    except AwsError as error:
        if error.code != "ResourceInUseException":
            raise
        return known_project(rekognition, name).arn, False
    return str(made["ProjectArn"]), True


HOURLY_PRICE: Final = 1.0
"""US dollars per hour and machine; Rekognition may use several at a time. https://aws.amazon.com/rekognition/pricing/"""

_TRAINING: Final = "TRAINING_IN_PROGRESS"
_FAILED: Final = "TRAINING_FAILED"


@dataclass(frozen=True, slots=True)
class Version:
    """A model of a project.

    Attributes:
        name: name of the model.
        arn: ARN of the model.
        status: status of the training, later of the model.
        details: the description by Rekognition.
    """

    name: str
    arn: str
    status: str
    details: dict[str, Any]

    @property
    def trained(self) -> bool:
        """Whether the training succeeded, and the model is not being deleted."""
        return self.status not in (_TRAINING, _FAILED, "DELETING")


def versions(rekognition: Service, project_arn: str) -> list[Version]:
    """Return all models of a project, the newest first.

    Raises:
        AwsError: the request failed.
    """
    found = rekognition.pages("describe_project_versions", "ProjectVersionDescriptions", ProjectArn=project_arn)
    newest_first = sorted(found, key=lambda details: str(details.get("CreationTimestamp", "")), reverse=True)
    return [
        Version(details["ProjectVersionArn"].split("/")[3], details["ProjectVersionArn"], details["Status"], details)
        for details in newest_first
    ]


def named(rekognition: Service, project: Project, name: str) -> Version | None:
    """Return the model of a name; None if there is none.

    Raises:
        AwsError: the request failed.
    """
    return next((version for version in versions(rekognition, project.arn) if version.name == name), None)


def new_name(project: Project, now: datetime) -> str:
    """Return a name with the time at which the training begins, as the console uses."""
    return f"{project.name}.{now.astimezone(timezone.utc):%Y-%m-%dT%H.%M.%S}"


def begin(rekognition: Service, project: Project, name: str, *, bucket: str, prefix: str) -> None:
    """Start a training, which is billed from now on.

    Args:
        rekognition: client of Rekognition.
        project: project with training and test datasets.
        name: name of the model.
        bucket: bucket for the training results.
        prefix: key prefix of the training results.

    Raises:
        BeeagentError: the training cannot be started.
    """
    try:
        rekognition(
            "create_project_version",
            ProjectArn=project.arn,
            VersionName=name,
            OutputConfig={"S3Bucket": bucket, "S3KeyPrefix": prefix},
            Tags={PROJECT_TAG: project.name},
        )
    except AwsError as error:
        if error.code == "LimitExceededException":
            raise BeeagentError(
                f"{error}; the number of parallel trainings of an account is limited: wait for the others, "
                "or request a higher quota"
            ) from None
        raise


def follow(
    rekognition: Service, project: Project, name: str, *, report: Callable[[str], None], wait: Callable[[], bool]
) -> Version | None:
    """Follow a training to its end.

    Args:
        rekognition: client of Rekognition.
        project: project of the model.
        name: name of the model.
        report: receives progress messages.
        wait: waits until the next poll; returns True to stop waiting.

    Returns:
        The trained model, or None if `wait` returned True.

    Raises:
        BeeagentError: the training failed, or there is no such model.
    """
    began = time.monotonic()
    while True:
        version = named(rekognition, project, name)
        if version is None:
            raise BeeagentError(f"the project {project.name} no longer has a model {name}")
        if version.status == _FAILED:
            raise BeeagentError(
                f"the training of {name} failed: {version.details.get('StatusMessage', 'no reason is given')}"
            )
        if version.trained:
            return version
        report(f"{name} is {version.status}, for {(time.monotonic() - began) / 60:.0f} min by this command's clock")
        if wait():
            return None


def billed_hours(version: Version) -> float | None:
    """Return the billed hours of the training; None if Rekognition does not report them."""
    seconds = version.details.get("BillableTrainingTimeInSeconds")
    return None if seconds is None else float(seconds) / 3600


@dataclass(frozen=True, slots=True)
class Figures:
    """Metrics of a label, or of all labels.

    Attributes:
        label: name of the label; None for all labels.
        precision: precision, 0 to 1.
        recall: recall, 0 to 1.
        f1: harmonic mean of precision and recall.
        threshold: minimum confidence chosen by Rekognition, 0 to 1; None for all labels.
        images: number of test images; None if not reported.
    """

    label: str | None
    precision: float | None
    recall: float | None
    f1: float | None
    threshold: float | None
    images: int | None


def read_summary(s3: Service, version: Version) -> list[Figures]:
    """Fetch the summary of a training, and return the metrics of all labels, then those of each.

    The format is that of https://docs.aws.amazon.com/rekognition/latest/customlabels-dg/im-summary-file.html, where the
    metrics of all labels are either in `Metrics` or beside it.

    Raises:
        BeeagentError: there is no summary, or it has another format.
        AwsError: the summary cannot be read.
    """
    try:
        where = version.details["EvaluationResult"]["Summary"]["S3Object"]
        bucket, key = where["Bucket"], where["Name"]
    except KeyError:
        raise BeeagentError(f"Rekognition has no evaluation of {version.name}, which is {version.status}") from None
    body = s3("get_object", Bucket=bucket, Key=key)["Body"].read()
    try:
        summary = json.loads(body)
        together = summary["AggregatedEvaluationResults"]
        images = summary.get("EvaluationDetails", {}).get("NumberOfTestingImages")
        labels = summary.get("LabelEvaluationResults", [])
        rows = [(each["Label"], each["Metrics"], each.get("NumberOfTestingImages")) for each in labels]
        return [_figures(*row) for row in ((None, together.get("Metrics", together), images), *rows)]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BeeagentError(f"s3://{bucket}/{key} is not a training summary ({type(error).__name__})") from None


def table(figures: list[Figures]) -> str:
    """Return a text table of the metrics."""
    lines = [f"{'label':<20} {'precision':>9} {'recall':>7} {'F1':>6} {'threshold':>9} {'images':>8}"]
    for each in figures:
        name = "all labels" if each.label is None else each.label
        values = (each.precision, each.recall, each.f1, each.threshold)
        precision, recall, f1, threshold = ("" if value is None else f"{value:.3f}" for value in values)
        images = "" if each.images is None else each.images
        lines.append(f"{name:<20} {precision:>9} {recall:>7} {f1:>6} {threshold:>9} {images:>8}".rstrip())
    return "\n".join(lines)


def _figures(label: str | None, metrics: dict[str, Any], images: int | None) -> Figures:
    precision, recall, f1, threshold = (
        None if metrics.get(name) is None else float(metrics[name])
        for name in ("Precision", "Recall", "F1Score", "Threshold")
    )
    return Figures(label, precision, recall, f1, threshold, images)


def delete_dataset(rekognition: Service, arn: str, *, wait: Callable[[], object]) -> None:
    """Delete a dataset and wait until it is gone.

    Args:
        rekognition: client of Rekognition.
        arn: ARN of the dataset.
        wait: waits until the next poll.

    Raises:
        AwsError: it cannot be deleted.
    """
    rekognition("delete_dataset", DatasetArn=arn)
    while True:
        try:
            rekognition("describe_dataset", DatasetArn=arn)
        except AwsError as error:
            if error.code == "ResourceNotFoundException":
                return
            raise
        wait()
