"""Resources to remove, and the simple ones: SageMaker training jobs and statements in bucket policies."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from beeagent.errors import BeeagentError

from beeagent_cloud.aws import PROJECT_TAG, Service
from beeagent_cloud.custom_labels.bucket_access import bucket_policy, without_ours


@dataclass(frozen=True, slots=True)
class Removal:
    """A step of the clean-up.

    Attributes:
        what: description of the step.
        costs: description of the running costs of the resource; empty if negligible.
        act: checks the tag again, removes the resource and waits until it is gone.
    """

    what: str
    costs: str
    act: Callable[[], None]


@dataclass(slots=True)
class Found:
    """The resources found.

    Attributes:
        removals: steps in the order in which they must be done.
        kept: descriptions of resources that are kept, with the reason.
    """

    removals: list[Removal] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)


def is_ours(tags: Mapping[str, str] | Sequence[Mapping[str, Any]], project: str | None) -> bool:
    """Return whether the tags are those of a resource that beeagent created.

    Args:
        tags: tags of the resource, as a mapping or as a list of `Key` and `Value`.
        project: name of the only project to consider; None for all.
    """
    by_key = dict(tags) if isinstance(tags, Mapping) else {tag["Key"]: tag["Value"] for tag in tags}
    return PROJECT_TAG in by_key and project in (None, by_key[PROJECT_TAG])


def refuse_unless_ours(what: str, *, ours: bool) -> None:
    """Refuse to remove a resource that no longer has the tag.

    Raises:
        BeeagentError: the resource is not ours.
    """
    if not ours:
        raise BeeagentError(f"{what} no longer has the tag {PROJECT_TAG}, and is kept")


_RUNS: Final = frozenset({"InProgress", "Stopping"})


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingJobCleanup:
    """Finds running training jobs by their tag.

    Attributes:
        sagemaker: client of SageMaker.
        project: name of the only project to consider; None for all.
        wait: waits until the next poll.
    """

    sagemaker: Service
    project: str | None
    wait: Callable[[], object]

    def find(self) -> Found:
        """Find running training jobs.

        Raises:
            AwsError: a request failed.
        """
        found = Found()
        for job in list(self.sagemaker.pages("list_training_jobs", "TrainingJobSummaries")):
            if job["TrainingJobStatus"] in _RUNS and self._is_ours(job["TrainingJobArn"]):
                name = str(job["TrainingJobName"])
                act = partial(self._stop, name, str(job["TrainingJobArn"]))
                found.removals.append(Removal(f"stop training job {name}", "its machine, by the second", act))
        return found

    def _is_ours(self, arn: str) -> bool:
        return is_ours(list(self.sagemaker.pages("list_tags", "Tags", ResourceArn=arn)), self.project)

    def _stop(self, name: str, arn: str) -> None:
        refuse_unless_ours(f"training job {name}", ours=self._is_ours(arn))
        while (status := self.sagemaker("describe_training_job", TrainingJobName=name)["TrainingJobStatus"]) in _RUNS:
            if status == "InProgress":
                self.sagemaker("stop_training_job", TrainingJobName=name)
            self.wait()


def statements_removal(s3: Service, bucket: str, found: Found) -> None:
    """Find the statements in a bucket's policy that permit Rekognition to use it; the bucket itself is kept.

    Args:
        s3: client of S3.
        bucket: bucket with the results of a training.
        found: receives the removal, and a note that the bucket is kept.

    Raises:
        AwsError: the policy cannot be read.
    """
    found.kept.append(f"bucket {bucket}, with the results of trainings: it is not part of a stack")
    policy = bucket_policy(s3, bucket)
    if policy is not None and without_ours(policy) != policy:
        what = f"remove Rekognition's access from the policy of bucket {bucket}"
        found.removals.append(Removal(what, "", partial(_remove, s3, bucket)))


def _remove(s3: Service, bucket: str) -> None:
    policy = bucket_policy(s3, bucket)
    rest = without_ours(policy or {})
    if policy is not None and rest is None:
        s3("delete_bucket_policy", Bucket=bucket)
    elif policy is not None and rest != policy:
        s3("put_bucket_policy", Bucket=bucket, Policy=json.dumps(rest))
