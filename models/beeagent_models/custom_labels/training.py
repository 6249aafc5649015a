"""Trains a model on a project's data sets, which costs by the hour, and follows it to its end."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, Final

from beeagent.errors import BeeagentError

from beeagent_models.aws import PROJECT_TAG, AwsError, Service
from beeagent_models.custom_labels.project import Project

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


def versions(rekognition: Service, project: Project) -> list[Version]:
    """Give all models of a project, the newest first.

    Raises:
        AwsError: they cannot be had.
    """
    found = rekognition.pages("describe_project_versions", "ProjectVersionDescriptions", ProjectArn=project.arn)
    newest_first = sorted(found, key=lambda said: str(said.get("CreationTimestamp", "")), reverse=True)
    return [
        Version(said["ProjectVersionArn"].split("/")[3], said["ProjectVersionArn"], said["Status"], said)
        for said in newest_first
    ]


def named(rekognition: Service, project: Project, name: str) -> Version | None:
    """Give the model of a name; None if there is none.

    Raises:
        AwsError: it cannot be had.
    """
    return next((version for version in versions(rekognition, project) if version.name == name), None)


def new_name(project: Project, now: datetime) -> str:
    """Name a model by the time at which its training begins, as the console does."""
    return f"{project.name}.{now.astimezone(timezone.utc):%Y-%m-%dT%H.%M.%S}"


def begin(rekognition: Service, project: Project, name: str, *, bucket: str, prefix: str) -> None:
    """Have a training begun, which costs from here on.

    Args:
        rekognition: the service.
        project: with data sets to train on and to test with.
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
                f"{error}; an account may train only so many models at a time: wait for the others, or have it raised"
            ) from None
        raise


def follow(
    rekognition: Service,
    project: Project,
    name: str,
    *,
    tell: Callable[[str], None],
    wait: Callable[[], bool],
) -> Version | None:
    """Follow a training to its end.

    Args:
        rekognition: the service.
        project: the model's.
        name: the model's.
        tell: told what goes on.
        wait: waits until it is worth another look; says whether whoever waits wants to leave.

    Returns:
        The trained model, or None where `wait` wanted to leave.

    Raises:
        BeeagentError: the training failed, or there is no such model.
    """
    began = time.monotonic()
    while True:
        version = named(rekognition, project, name)
        if version is None:
            raise BeeagentError(f"the project {project.name} has no model {name} any more")
        if version.status == _FAILED:
            raise BeeagentError(
                f"the training of {name} failed: {version.said.get('StatusMessage', 'no reason is given')}"
            )
        if version.trained:
            return version
        tell(f"{name} is {version.status}, for {(time.monotonic() - began) / 60:.0f} min by this command's clock")
        if wait():
            return None


def billed_hours(version: Version) -> float | None:
    """Give the hours that the training is billed for; None where Rekognition does not say."""
    seconds = version.said.get("BillableTrainingTimeInSeconds")
    return None if seconds is None else float(seconds) / 3600
