"""Custom Labels projects with their datasets and models; running models are stopped first."""

from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from beeagent.errors import BeeagentError

from beeagent_cloud.aws import AwsError, Service
from beeagent_cloud.cleanup.resources import Found, Removal, is_ours, refuse_unless_ours, statements_removal
from beeagent_cloud.custom_labels.training import delete_dataset

_COSTS: Final = frozenset({"STARTING", "RUNNING", "STOPPING"})
_RUNNING_PRICE: Final = "about $4.00 an hour and inference unit"  # https://aws.amazon.com/rekognition/pricing/


@dataclass(frozen=True, slots=True)
class _Model:
    name: str
    arn: str
    project_arn: str
    status: str
    bucket: str | None


class CustomLabelsCleanup:
    """Finds projects by their tag.

    Args:
        rekognition: the service.
        s3: the service, for the policies of buckets that trainings wrote to.
        project: only of this name; None for all.
        emptied: buckets that go by themselves.
        report: receives progress messages.
        wait: waits until the next poll.
    """

    def __init__(  # noqa: PLR0913 - whom it asks, and what counts
        self,
        rekognition: Service,
        s3: Service,
        *,
        project: str | None,
        emptied: AbstractSet[str],
        report: Callable[[str], None],
        wait: Callable[[], object],
    ) -> None:
        self._rekognition = rekognition
        self._s3 = s3
        self._project = project
        self._emptied = emptied
        self._report = report
        self._wait = wait

    def find(self) -> Found:
        """Find what there is.

        Raises:
            AwsError: that cannot be found out.
        """
        found = Found()
        buckets: dict[str, None] = {}
        for said in list(self._rekognition.pages("describe_projects", "ProjectDescriptions")):
            if self._is_ours(said["ProjectArn"]):
                for bucket in self._find_project(said, found):
                    buckets[bucket] = None
        for bucket in buckets.keys() - self._emptied:
            statements_removal(self._s3, bucket, found)
        return found

    def _find_project(self, said: Mapping[str, Any], found: Found) -> Iterator[str]:
        arn = str(said["ProjectArn"])
        name = arn.split("/")[1]
        kept = len(found.kept)
        for model in self._models(arn):
            if not self._is_ours(model.arn):
                found.kept.append(f"model {model.name} of project {name}, which beeagent did not make")
            elif model.status == "TRAINING_IN_PROGRESS":
                found.kept.append(
                    f"model {model.name} of project {name}, which is being trained, and cannot be stopped"
                )
            else:
                costs = _RUNNING_PRICE if model.status in _COSTS else ""
                if model.status in _COSTS:
                    found.removals.append(Removal(f"stop model {model.name}", costs, partial(self._stop, model)))
                found.removals.append(Removal(f"delete model {model.name}", "", partial(self._delete_model, model)))
                if model.bucket is not None:
                    yield model.bucket
        for dataset in said.get("Datasets", []):
            words = f"{dataset['DatasetType']} dataset of project {name}"
            if self._is_ours(dataset["DatasetArn"]):
                act = partial(self._delete_dataset, words, dataset["DatasetArn"])
                found.removals.append(Removal(f"delete {words}", "", act))
            else:
                found.kept.append(f"{words}, which beeagent did not make")
        if len(found.kept) == kept:
            found.removals.append(Removal(f"delete project {name}", "", partial(self._delete_project, name, arn)))
        else:
            found.kept.append(f"project {name}, because it is not empty")

    def _models(self, project_arn: str) -> list[_Model]:
        versions = self._rekognition.pages(
            "describe_project_versions", "ProjectVersionDescriptions", ProjectArn=project_arn
        )
        return [
            _Model(
                each["ProjectVersionArn"].split("/")[3],
                each["ProjectVersionArn"],
                project_arn,
                each["Status"],
                each.get("OutputConfig", {}).get("S3Bucket"),
            )
            for each in versions
            if each["Status"] != "DELETING"
        ]

    def _is_ours(self, arn: str) -> bool:
        return is_ours(self._rekognition("list_tags_for_resource", ResourceArn=arn)["Tags"], self._project)

    def _status(self, model: _Model) -> str | None:
        there = {each.arn: each.status for each in self._models(model.project_arn)}
        return there.get(model.arn)

    def _stop(self, model: _Model) -> None:
        refuse_unless_ours(f"model {model.name}", ours=self._is_ours(model.arn))
        while (status := self._status(model)) in _COSTS:
            if status == "RUNNING":
                self._rekognition("stop_project_version", ProjectVersionArn=model.arn)
            self._report(f"model {model.name} is {status}; this takes minutes")
            self._wait()

    def _delete_model(self, model: _Model) -> None:
        refuse_unless_ours(f"model {model.name}", ours=self._is_ours(model.arn))
        self._rekognition("delete_project_version", ProjectVersionArn=model.arn)
        while any(
            each["ProjectVersionArn"] == model.arn
            for each in self._rekognition.pages(
                "describe_project_versions", "ProjectVersionDescriptions", ProjectArn=model.project_arn
            )
        ):
            self._wait()

    def _delete_dataset(self, words: str, arn: str) -> None:
        refuse_unless_ours(words, ours=self._is_ours(arn))
        delete_dataset(self._rekognition, arn, wait=self._wait)

    def _delete_project(self, name: str, arn: str) -> None:
        refuse_unless_ours(f"project {name}", ours=self._is_ours(arn))
        try:
            self._rekognition("delete_project", ProjectArn=arn)
        except AwsError as error:
            if error.code == "ResourceInUseException":
                raise BeeagentError(f"project {name} is not empty any longer: run the cleanup again") from None
            raise
        while self._rekognition("describe_projects", ProjectNames=[name])["ProjectDescriptions"]:
            self._wait()
