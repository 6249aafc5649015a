"""A Custom Labels project: it holds data sets and the models trained on them."""

from dataclasses import dataclass
from typing import Any

from beeagent.errors import InputError

from beeagent_models.aws import PROJECT_TAG, AwsError, Service


@dataclass(frozen=True, slots=True)
class Project:
    """A project as Rekognition knows it.

    Attributes:
        name: as people call it.
        arn: as AWS does.
        datasets: the ARN and status of each data set, by `TRAIN` and `TEST`.
    """

    name: str
    arn: str
    datasets: dict[str, tuple[str, str]]


def find_project(rekognition: Service, name: str) -> Project | None:
    """Look a project up; None if there is none of that name.

    Raises:
        AwsError: that cannot be found out.
    """
    found = rekognition("describe_projects", ProjectNames=[name])["ProjectDescriptions"]
    if not found:
        return None
    datasets = {each["DatasetType"]: (each["DatasetArn"], each["Status"]) for each in found[0].get("Datasets", [])}
    return Project(name, str(found[0]["ProjectArn"]), datasets)


def known_project(rekognition: Service, name: str) -> Project:
    """Look a project up that has to be there.

    Raises:
        InputError: it is not.
        AwsError: that cannot be found out.
    """
    project = find_project(rekognition, name)
    if project is None:
        raise InputError(
            f"there is no project {name} in {rekognition.region}: `beeagent rekognition create {name}` makes it, or "
            "--region leads to another"
        )
    return project


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
