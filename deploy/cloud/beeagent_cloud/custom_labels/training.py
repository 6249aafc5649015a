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
    """A project as Rekognition knows it.

    Attributes:
        name: as people call it.
        arn: as AWS does.
        datasets: the ARN and status of each dataset, by `TRAIN` and `TEST`.
    """

    name: str
    arn: str
    datasets: dict[str, tuple[str, str]]


def known_project(rekognition: Service, name: str) -> Project:
    """Return the project of this name.

    Raises:
        InputError: it is not.
        AwsError: that cannot be found out.
    """
    found = rekognition("describe_projects", ProjectNames=[name])["ProjectDescriptions"]
    if not found:
        raise InputError(
            f"there is no project {name} in {rekognition.region}: `beeagent rekognition create {name}` makes it, or "
            "--region leads to another"
        )
    datasets = {each["DatasetType"]: (each["DatasetArn"], each["Status"]) for each in found[0].get("Datasets", [])}
    return Project(name, str(found[0]["ProjectArn"]), datasets)


def create_project(rekognition: Service, name: str) -> tuple[str, bool]:
    """Make a project unless there is one of that name; give its ARN, and whether it is new.

    Raises:
        AwsError: it cannot be made.
    """
    try:
        made: Any = rekognition("create_project", ProjectName=name, Tags={PROJECT_TAG: name})
    except AwsError as error:
        if error.code != "ResourceInUseException":
            raise
        return known_project(rekognition, name).arn, False
    return str(made["ProjectArn"]), True


PRICE_AN_HOUR: Final = 1.0
"""US dollars, https://aws.amazon.com/rekognition/pricing/; Rekognition may train on several machines at a time, and an
hour on the clock is then several on the bill."""

_TRAINING: Final = "TRAINING_IN_PROGRESS"
_FAILED: Final = "TRAINING_FAILED"


@dataclass(frozen=True, slots=True)
class Version:
    """A model of a project.

    Attributes:
        name: as people call it.
        arn: as AWS does.
        status: of the training, and of the model later.
        said: all that Rekognition says of it.
    """

    name: str
    arn: str
    status: str
    said: dict[str, Any]

    @property
    def trained(self) -> bool:
        """Whether it is a model, and not one in the making or one that failed."""
        return self.status not in (_TRAINING, _FAILED, "DELETING")


def versions(rekognition: Service, project_arn: str) -> list[Version]:
    """Return all models of a project, the newest first.

    Raises:
        AwsError: the request failed.
    """
    found = rekognition.pages("describe_project_versions", "ProjectVersionDescriptions", ProjectArn=project_arn)
    newest_first = sorted(found, key=lambda said: str(said.get("CreationTimestamp", "")), reverse=True)
    return [
        Version(said["ProjectVersionArn"].split("/")[3], said["ProjectVersionArn"], said["Status"], said)
        for said in newest_first
    ]


def named(rekognition: Service, project: Project, name: str) -> Version | None:
    """Return the model of a name; None if there is none.

    Raises:
        AwsError: the request failed.
    """
    return next((version for version in versions(rekognition, project.arn) if version.name == name), None)


def new_name(project: Project, now: datetime) -> str:
    """Name a model by the time at which its training begins, as the console does."""
    return f"{project.name}.{now.astimezone(timezone.utc):%Y-%m-%dT%H.%M.%S}"


def begin(rekognition: Service, project: Project, name: str, *, bucket: str, prefix: str) -> None:
    """Start a training, which is billed from now on.

    Args:
        rekognition: the service.
        project: with datasets to train on and to test with.
        name: of the model.
        bucket: where Rekognition is to leave what the training gives.
        prefix: what the keys there begin with.

    Raises:
        BeeagentError: it does not begin.
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
                f"{error}; the number of trainings of an account at a time is limited: wait for the others, "
                "or request a higher quota"
            ) from None
        raise


def follow(
    rekognition: Service, project: Project, name: str, *, report: Callable[[str], None], wait: Callable[[], bool]
) -> Version | None:
    """Follow a training to its end.

    Args:
        rekognition: the service.
        project: the model's.
        name: the model's.
        report: receives progress messages.
        wait: waits until the next poll; returns True to stop waiting.

    Returns:
        The trained model, or None where `wait` wanted to leave.

    Raises:
        BeeagentError: the training failed, or there is no such model.
    """
    began = time.monotonic()
    while True:
        version = named(rekognition, project, name)
        if version is None:
            raise BeeagentError(f"the project {project.name} has no model {name} any longer")
        if version.status == _FAILED:
            raise BeeagentError(
                f"the training of {name} failed: {version.said.get('StatusMessage', 'no reason is given')}"
            )
        if version.trained:
            return version
        report(f"{name} is {version.status}, for {(time.monotonic() - began) / 60:.0f} min by this command's clock")
        if wait():
            return None


def billed_hours(version: Version) -> float | None:
    """Return the billed hours of the training; None if Rekognition does not report them."""
    seconds = version.said.get("BillableTrainingTimeInSeconds")
    return None if seconds is None else float(seconds) / 3600


@dataclass(frozen=True, slots=True)
class Figures:
    """Of a label, or of all together.

    Attributes:
        label: which; None for all.
        precision: ratio of what was found that is right, 0 to 1.
        recall: ratio of what there is that was found.
        f1: the harmonic mean of both.
        threshold: confidence from which Rekognition counts, 0 to 1, chosen by itself; None of all together.
        images: that were tested with; None where it does not say.
    """

    label: str | None
    precision: float | None
    recall: float | None
    f1: float | None
    threshold: float | None
    images: int | None


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
    """Lay the figures out for a terminal."""
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
        rekognition: the service.
        arn: of the dataset.
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
