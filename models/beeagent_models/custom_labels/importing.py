"""Gives a project its pictures: to train on, and to be judged by."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from beeagent.errors import BeeagentError

from beeagent_models.aws import PROJECT_TAG, AwsError, Service
from beeagent_models.custom_labels.project import Project

if TYPE_CHECKING:
    # Reading one needs more packages than a clean-up has, which uses this module too.
    from beeagent_models.custom_labels.stored_manifest import StoredManifest

_IN_PROGRESS: Final = frozenset({"CREATE_IN_PROGRESS", "UPDATE_IN_PROGRESS"})
_FAILED: Final = frozenset({"CREATE_FAILED", "UPDATE_FAILED"})


@dataclass(frozen=True, slots=True)
class Stored:
    """What Rekognition says of a data set.

    Attributes:
        arn: its own.
        entries: pictures.
        labelled: pictures with a label.
        wrong: pictures that Rekognition could not use.
    """

    arn: str
    entries: int
    labelled: int
    wrong: int

    def __str__(self) -> str:
        wrong = f", {self.wrong} of them of no use to Rekognition" if self.wrong else ""
        return f"{self.entries} pictures, {self.labelled} with labels{wrong}"


class Import:
    """Makes the data sets of a project, and waits until they are made.

    Args:
        rekognition: the service.
        project: the project.
        tell: told what goes on.
        wait: waits until it is worth another look.
    """

    def __init__(
        self, rekognition: Service, project: Project, *, tell: Callable[[str], None], wait: Callable[[], object]
    ) -> None:
        self._rekognition = rekognition
        self._project = project
        self._tell = tell
        self._wait = wait

    def existing(self, kind: str) -> Stored | None:
        """Give a data set that is there, once it is made; None if there is none, or only one that failed."""
        arn, status = self._project.datasets.get(kind, ("", ""))
        return None if not arn or status in _FAILED or status == "DELETE_IN_PROGRESS" else self._made(arn, kind)

    def create(self, kind: str, manifest: "StoredManifest | None") -> Stored:
        """Make a data set in place of the one there is, if any.

        Args:
            kind: `TRAIN` or `TEST`.
            manifest: what to make it of; None for an empty one.

        Raises:
            BeeagentError: that failed.
        """
        arn, _ = self._project.datasets.get(kind, ("", ""))
        if arn:
            delete_dataset(self._rekognition, arn, wait=self._wait)
        members: dict[str, Any] = {} if manifest is None else {"DatasetSource": _source(manifest)}
        made = self._rekognition(
            "create_dataset",
            ProjectArn=self._project.arn,
            DatasetType=kind,
            Tags={PROJECT_TAG: self._project.name},
            **members,
        )
        return self._made(str(made["DatasetArn"]), kind)

    def divide(self, train: Stored, test: Stored) -> tuple[Stored, Stored]:
        """Have Rekognition put a fifth of the pictures of `train`, drawn by itself, into the empty `test`.

        Raises:
            BeeagentError: that failed.
        """
        self._rekognition("distribute_dataset_entries", Datasets=[{"Arn": train.arn}, {"Arn": test.arn}])
        return self._made(train.arn, "TRAIN"), self._made(test.arn, "TEST")

    def _made(self, arn: str, kind: str) -> Stored:
        before = ""
        while True:
            said = self._rekognition("describe_dataset", DatasetArn=arn)["DatasetDescription"]
            status = str(said["Status"])
            if status in _FAILED:
                raise BeeagentError(f"the {kind} data set cannot be made: {said.get('StatusMessage', status)}")
            if status not in _IN_PROGRESS:
                stats = said.get("DatasetStats", {})
                numbers = (int(stats.get(name, 0)) for name in ("TotalEntries", "LabeledEntries", "ErrorEntries"))
                return Stored(arn, *numbers)
            if status != before:
                self._tell(f"the {kind} data set is {status}; this takes minutes")
            before = status
            self._wait()


def delete_dataset(rekognition: Service, arn: str, *, wait: Callable[[], object]) -> None:
    """Have a data set deleted, and wait until it is gone.

    Args:
        rekognition: the service.
        arn: of the data set.
        wait: waits until it is worth another look.

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


def _source(manifest: "StoredManifest") -> dict[str, Any]:
    return {"GroundTruthManifest": {"S3Object": {"Bucket": manifest.bucket, "Name": manifest.key}}}
