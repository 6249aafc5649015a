"""Projects, datasets and models of an account, for the mock of Rekognition.

It does what the service documents: images are read from S3, where the bucket's policy has to permit that; what takes
long goes on by one step with each look at it; a model is deleted only when it does not run, a project when it is empty.
"""

import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import boto3
from botocore.exceptions import ClientError

from support.rekognition_server import Fault, RekognitionServer

ACCOUNT: Final = "123456789012"

_NEXT: Final = {
    "CREATE_IN_PROGRESS": "CREATE_COMPLETE",
    "UPDATE_IN_PROGRESS": "UPDATE_COMPLETE",
    "TRAINING_IN_PROGRESS": "TRAINING_COMPLETED",
    "STARTING": "RUNNING",
    "STOPPING": "STOPPED",
}
_AT_REST: Final = frozenset({"TRAINING_COMPLETED", "TRAINING_FAILED", "STOPPED", "FAILED"})


@dataclass
class Dataset:
    """A dataset: the lines of its manifest, and its status."""

    arn: str
    lines: list[bytes]
    tags: dict[str, str]
    status: str = "CREATE_IN_PROGRESS"
    gone_after: int | None = None  # looks until it is deleted


@dataclass
class Version:
    """A model."""

    arn: str
    tags: dict[str, str]
    output: Mapping[str, str]
    tested: int
    created: float
    status: str = "TRAINING_IN_PROGRESS"
    evaluated: bool = False  # whether its summary is in S3
    gone_after: int | None = None


@dataclass
class Project:
    """A project."""

    arn: str
    tags: dict[str, str]
    datasets: dict[str, Dataset] = field(default_factory=dict)
    versions: dict[str, Version] = field(default_factory=dict)
    gone_after: int | None = None


class CustomLabelsAccount:
    """Simulates an account in a region; put a `Fault` into `faults` to make an operation fail.

    Args:
        server: the stand-in, which checks requests and answers by botocore's own model.
        region: region of the account's projects.

    Attributes:
        projects: projects by name.
        faults: errors to return instead of a result, by operation; each is used once.
        asked: the operations that were asked for, in order.
        trains_to: the state that a training comes to.
        stuck: states that do not go on.
        on_look: called at each poll.
    """

    def __init__(self, server: RekognitionServer, *, region: str) -> None:
        self._region = region
        self._s3 = boto3.client("s3", region_name=region)
        self._made = 0
        self.projects: dict[str, Project] = {}
        self.faults: dict[str, list[Fault]] = {}
        self.asked: list[str] = []
        self.trains_to = "TRAINING_COMPLETED"
        self.stuck: set[str] = set()
        self.on_look: Callable[[], None] = lambda: None
        for operation in (
            "CreateProject", "DescribeProjects", "DeleteProject", "CreateDataset", "DescribeDataset", "DeleteDataset",
            "DistributeDatasetEntries", "CreateProjectVersion", "DescribeProjectVersions", "DeleteProjectVersion",
            "StartProjectVersion", "StopProjectVersion", "ListTagsForResource",
        ):  # fmt: skip
            server.control[operation] = lambda members, operation=operation: self._answer(operation, members)

    def _answer(self, operation: str, members: Mapping[str, Any]) -> dict[str, Any] | Fault:
        self.asked.append(operation)
        if faults := self.faults.get(operation):
            return faults.pop(0)
        name = re.sub(r"(?<!^)(?=[A-Z])", "_", operation).lower()
        try:
            answer: dict[str, Any] = getattr(self, f"_{name}")(members)
        except _RefusedError as error:
            return error.fault
        return answer

    # Each operation, as `_` and its name.

    def _create_project(self, members: Mapping[str, Any]) -> dict[str, Any]:
        name = members["ProjectName"]
        if name in self.projects:
            raise _RefusedError("ResourceInUseException")
        arn = f"arn:aws:rekognition:{self._region}:{ACCOUNT}:project/{name}/{self._number()}"
        self.projects[name] = Project(arn, dict(members.get("Tags", {})))
        return {"ProjectArn": arn}

    def _describe_projects(self, members: Mapping[str, Any]) -> dict[str, Any]:
        names = members.get("ProjectNames", list(self.projects))
        found = []
        for name in [name for name in names if name in self.projects]:
            project = self.projects[name]
            if self._is_gone(project):
                del self.projects[name]
                continue
            datasets = [
                {"DatasetType": kind, "DatasetArn": each.arn, "Status": each.status}
                for kind, each in project.datasets.items()
            ]
            status = "CREATED" if project.gone_after is None else "DELETING"
            found.append({"ProjectArn": project.arn, "Status": status, "Datasets": datasets})
        return {"ProjectDescriptions": found}

    def _delete_project(self, members: Mapping[str, Any]) -> dict[str, Any]:
        project = self._project(members["ProjectArn"])
        if project.versions or project.datasets:
            raise _RefusedError("ResourceInUseException")
        project.gone_after = 1
        return {"Status": "DELETING"}

    def _create_dataset(self, members: Mapping[str, Any]) -> dict[str, Any]:
        project = self._project(members["ProjectArn"])
        kind = members["DatasetType"]
        if kind in project.datasets:
            raise _RefusedError("ResourceAlreadyExistsException")
        lines: list[bytes] = []
        if source := members.get("DatasetSource"):
            where = source["GroundTruthManifest"]["S3Object"]
            lines = self._read(where["Bucket"], where["Name"]).splitlines()
            for line in lines:
                bucket, key = json.loads(line)["source-ref"].removeprefix("s3://").split("/", 1)
                self._read(bucket, key)
        name = project.arn.split("/")[1]
        arn = f"arn:aws:rekognition:{self._region}:{ACCOUNT}:project/{name}/dataset/{kind.lower()}/{self._number()}"
        project.datasets[kind] = Dataset(arn, lines, dict(members.get("Tags", {})))
        return {"DatasetArn": arn}

    def _describe_dataset(self, members: Mapping[str, Any]) -> dict[str, Any]:
        project, kind = self._dataset(members["DatasetArn"])
        dataset = project.datasets[kind]
        if self._is_gone(dataset):
            del project.datasets[kind]
            raise _RefusedError("ResourceNotFoundException")
        status = dataset.status
        dataset.status = self._next(status)
        count = len(dataset.lines)
        stats = {"TotalEntries": count, "LabeledEntries": count, "TotalLabels": 1, "ErrorEntries": 0}
        return {"DatasetDescription": {"Status": status, "DatasetStats": stats, "StatusMessage": "said by the test"}}

    def _delete_dataset(self, members: Mapping[str, Any]) -> dict[str, Any]:
        project, kind = self._dataset(members["DatasetArn"])
        project.datasets[kind].gone_after = 1
        project.datasets[kind].status = "DELETE_IN_PROGRESS"
        return {}

    def _distribute_dataset_entries(self, members: Mapping[str, Any]) -> dict[str, Any]:
        found = [self._dataset(each["Arn"]) for each in members["Datasets"]]
        full, empty = (project.datasets[kind] for project, kind in found)
        if empty.lines or "CREATE_IN_PROGRESS" in (full.status, empty.status):
            raise _RefusedError("InvalidParameterException")
        share = round(len(full.lines) / 5)
        empty.lines, full.lines = full.lines[:share], full.lines[share:]
        empty.status = full.status = "UPDATE_IN_PROGRESS"
        return {}

    def _create_project_version(self, members: Mapping[str, Any]) -> dict[str, Any]:
        project = self._project(members["ProjectArn"])
        name, output = members["VersionName"], members["OutputConfig"]
        if name in project.versions:
            raise _RefusedError("ResourceInUseException")
        if not {"TRAIN", "TEST"} <= project.datasets.keys():
            raise _RefusedError("InvalidParameterException")
        self._check_policy(output["S3Bucket"], f"{output['S3KeyPrefix']}/summary", "s3:PutObject")
        arn = project.arn.rsplit("/", 1)[0] + f"/version/{name}/{self._number()}"
        tested = len(project.datasets["TEST"].lines)
        project.versions[name] = Version(arn, dict(members.get("Tags", {})), output, tested, time.time() + self._made)
        return {"ProjectVersionArn": arn}

    def _describe_project_versions(self, members: Mapping[str, Any]) -> dict[str, Any]:
        project = self._project(members["ProjectArn"])
        wanted = members.get("VersionNames", list(project.versions))
        found = []
        self.on_look()
        for name in [name for name in wanted if name in project.versions]:
            version = project.versions[name]
            if self._is_gone(version):
                del project.versions[name]
                continue
            found.append(self._described(version))
            version.status = self._next(version.status)
            if version.status == "TRAINING_COMPLETED":
                version.status = self.trains_to
        return {"ProjectVersionDescriptions": found}

    def _delete_project_version(self, members: Mapping[str, Any]) -> dict[str, Any]:
        version = self._version(members["ProjectVersionArn"])
        if version.status not in _AT_REST:
            raise _RefusedError("ResourceInUseException")
        version.status, version.gone_after = "DELETING", 1
        return {"Status": "DELETING"}

    def _start_project_version(self, members: Mapping[str, Any]) -> dict[str, Any]:
        version = self._version(members["ProjectVersionArn"])
        version.status = "STARTING"
        return {"Status": "STARTING"}

    def _stop_project_version(self, members: Mapping[str, Any]) -> dict[str, Any]:
        version = self._version(members["ProjectVersionArn"])
        if version.status != "RUNNING":
            raise _RefusedError("ResourceInUseException")
        version.status = "STOPPING"
        return {"Status": "STOPPING"}

    def _list_tags_for_resource(self, members: Mapping[str, Any]) -> dict[str, Any]:
        for project in self.projects.values():
            for each in (project, *project.datasets.values(), *project.versions.values()):
                if each.arn == members["ResourceArn"]:
                    return {"Tags": each.tags}
        raise _RefusedError("ResourceNotFoundException")

    # What they share.

    def _number(self) -> int:
        self._made += 1
        return 1_700_000_000_000 + self._made

    def _project(self, arn: str) -> Project:
        for project in self.projects.values():
            if project.arn == arn:
                return project
        raise _RefusedError("ResourceNotFoundException")

    def _dataset(self, arn: str) -> tuple[Project, str]:
        for project in self.projects.values():
            for kind, dataset in project.datasets.items():
                if dataset.arn == arn:
                    return project, kind
        raise _RefusedError("ResourceNotFoundException")

    def _version(self, arn: str) -> Version:
        for project in self.projects.values():
            for version in project.versions.values():
                if version.arn == arn:
                    return version
        raise _RefusedError("ResourceNotFoundException")

    def _described(self, version: Version) -> dict[str, Any]:
        said: dict[str, Any] = {
            "ProjectVersionArn": version.arn,
            "Status": version.status,
            "CreationTimestamp": version.created,
            "OutputConfig": dict(version.output),
        }
        if version.status == "TRAINING_FAILED":
            said["StatusMessage"] = "The manifest file contains too few labels."
        elif version.status not in {"TRAINING_IN_PROGRESS", "DELETING"}:
            bucket, key = version.output["S3Bucket"], f"{version.output['S3KeyPrefix']}/summary.json".lstrip("/")
            if not version.evaluated:
                summary = json.dumps(summary_of(version.arn, version.tested)).encode()
                self._s3.put_object(Bucket=bucket, Key=key, Body=summary)
                version.evaluated = True
            said["BillableTrainingTimeInSeconds"] = 5400
            said["EvaluationResult"] = {"F1Score": 0.94, "Summary": {"S3Object": {"Bucket": bucket, "Name": key}}}
        return said

    def _next(self, status: str) -> str:
        return status if status in self.stuck else _NEXT.get(status, status)

    @staticmethod
    def _is_gone(thing: Project | Dataset | Version) -> bool:
        if thing.gone_after is None:
            return False
        thing.gone_after -= 1
        return thing.gone_after < 0

    def _read(self, bucket: str, key: str) -> bytes:
        self._check_policy(bucket, key, "s3:GetObject")
        try:
            return bytes(self._s3.get_object(Bucket=bucket, Key=key)["Body"].read())
        except ClientError:
            raise _RefusedError("InvalidS3ObjectException") from None

    def _check_policy(self, bucket: str, key: str, action: str) -> None:
        try:
            policy = json.loads(self._s3.get_bucket_policy(Bucket=bucket)["Policy"])
        except ClientError:
            policy = {"Statement": []}
        for statement in policy["Statement"]:
            resources = statement["Resource"] if isinstance(statement["Resource"], list) else [statement["Resource"]]
            if (
                statement["Effect"] == "Allow"
                and statement["Principal"] == {"Service": "rekognition.amazonaws.com"}
                and action in statement["Action"]
                and any(_matches(resource, f"arn:aws:s3:::{bucket}/{key}") for resource in resources)
            ):
                return
        # Of those that CreateProjectVersion names, this one is the only one that fits.
        raise _RefusedError("InvalidS3ObjectException" if action == "s3:GetObject" else "InvalidParameterException")


def summary_of(arn: str, tested: int) -> dict[str, Any]:
    """Return the summary of a training, in the documented format."""
    return {
        "Version": 1,
        "EvaluationDetails": {
            "ProjectVersionArn": arn,
            "Labels": ["bee"],
            "NumberOfTrainingImages": 400,
            "NumberOfTestingImages": tested,
        },
        "AggregatedEvaluationResults": {"F1Score": 0.943, "Precision": 0.99, "Recall": 0.9},
        "LabelEvaluationResults": [
            {
                "Label": "bee",
                "NumberOfTestingImages": tested,
                "Metrics": {"F1Score": 0.943, "Precision": 0.99, "Recall": 0.9, "Threshold": 0.286},
            }
        ],
    }


class _RefusedError(Exception):
    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.fault = Fault(code)


def _matches(pattern: str, text: str) -> bool:
    return re.fullmatch(re.escape(pattern).replace(r"\*", ".*"), text) is not None
