"""Remove Custom Labels projects with their datasets and models; running models are stopped first."""

from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from beeagent.errors import BeeagentError

from beeagent_cloud.aws import AwsError, Service
from beeagent_cloud.cleanup.resources import Found, Removal, is_ours, refuse_unless_ours, statements_removal
from beeagent_cloud.custom_labels.training import Version, delete_dataset, versions

_COSTS: Final = frozenset({"STARTING", "RUNNING", "STOPPING"})
_RUNNING_PRICE: Final = "about $4.00 an hour and inference unit"  # https://aws.amazon.com/rekognition/pricing/


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomLabelsCleanup:
    """Finds projects by their tag.

    Attributes:
        rekognition: client of Rekognition.
        s3: client of S3, for the policies of buckets with training results.
        project: name of the only project to consider; None for all.
        emptied: buckets that are deleted with their stacks.
        report: receives progress messages.
        wait: waits until the next poll.
    """

    rekognition: Service
    s3: Service
    project: str | None
    emptied: AbstractSet[str]
    report: Callable[[str], None]
    wait: Callable[[], object]

    def find(self) -> Found:
        """Find projects, datasets and models.

        Raises:
            AwsError: a request failed.
        """
        found = Found()
        buckets: dict[str, None] = {}
        for description in list(self.rekognition.pages("describe_projects", "ProjectDescriptions")):
            if self._is_ours(description["ProjectArn"]):
                for bucket in self._find_project(description, found):
                    buckets[bucket] = None
        for bucket in buckets.keys() - self.emptied:
            statements_removal(self.s3, bucket, found)
        return found

    def _find_project(self, description: Mapping[str, Any], found: Found) -> Iterator[str]:
        arn = str(description["ProjectArn"])
        name = arn.split("/")[1]
        kept = len(found.kept)
        for model in versions(self.rekognition, arn):
            if model.status == "DELETING":
                continue
            if not self._is_ours(model.arn):
                found.kept.append(f"model {model.name} of project {name}, which beeagent did not create")
            elif model.status == "TRAINING_IN_PROGRESS":
                found.kept.append(
                    f"model {model.name} of project {name}, which is being trained, and cannot be stopped"
                )
            else:
                costs = _RUNNING_PRICE if model.status in _COSTS else ""
                if model.status in _COSTS:
                    found.removals.append(Removal(f"stop model {model.name}", costs, partial(self._stop, arn, model)))
                found.removals.append(
                    Removal(f"delete model {model.name}", "", partial(self._delete_model, arn, model))
                )
                if "S3Bucket" in (output := model.details.get("OutputConfig", {})):
                    yield output["S3Bucket"]
        for dataset in description.get("Datasets", []):
            words = f"{dataset['DatasetType']} dataset of project {name}"
            if self._is_ours(dataset["DatasetArn"]):
                act = partial(self._delete_dataset, words, dataset["DatasetArn"])
                found.removals.append(Removal(f"delete {words}", "", act))
            else:
                found.kept.append(f"{words}, which beeagent did not create")
        if len(found.kept) == kept:
            found.removals.append(Removal(f"delete project {name}", "", partial(self._delete_project, name, arn)))
        else:
            found.kept.append(f"project {name}, because it is not empty")

    def _is_ours(self, arn: str) -> bool:
        return is_ours(self.rekognition("list_tags_for_resource", ResourceArn=arn)["Tags"], self.project)

    def _status(self, project_arn: str, model: Version) -> str | None:
        there = {each.arn: each.status for each in versions(self.rekognition, project_arn)}
        return there.get(model.arn)

    def _stop(self, project_arn: str, model: Version) -> None:
        refuse_unless_ours(f"model {model.name}", ours=self._is_ours(model.arn))
        while (status := self._status(project_arn, model)) in _COSTS:
            if status == "RUNNING":
                self.rekognition("stop_project_version", ProjectVersionArn=model.arn)
            self.report(f"model {model.name} is {status}; this takes minutes")
            self.wait()

    def _delete_model(self, project_arn: str, model: Version) -> None:
        refuse_unless_ours(f"model {model.name}", ours=self._is_ours(model.arn))
        self.rekognition("delete_project_version", ProjectVersionArn=model.arn)
        while self._status(project_arn, model) is not None:
            self.wait()

    def _delete_dataset(self, words: str, arn: str) -> None:
        refuse_unless_ours(words, ours=self._is_ours(arn))
        delete_dataset(self.rekognition, arn, wait=self.wait)

    def _delete_project(self, name: str, arn: str) -> None:
        refuse_unless_ours(f"project {name}", ours=self._is_ours(arn))
        try:
            self.rekognition("delete_project", ProjectArn=arn)
        except AwsError as error:
            if error.code == "ResourceInUseException":
                raise BeeagentError(f"project {name} is no longer empty: run the cleanup again") from None
            raise
        while self.rekognition("describe_projects", ProjectNames=[name])["ProjectDescriptions"]:
            self.wait()
