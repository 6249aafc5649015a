"""SageMaker training jobs: one that runs is stopped; their records cannot be deleted, and cost nothing."""

from collections.abc import Callable
from functools import partial
from typing import Final

from beeagent_models.aws import Service
from beeagent_models.cleanup.removal import Found, Removal, is_ours, refuse_unless_ours

_RUNS: Final = frozenset({"InProgress", "Stopping"})


class TrainingJobCleanup:
    """Finds running jobs by their tag.

    Args:
        sagemaker: the service.
        project: only of this project; None for all.
        wait: waits until it is worth another look.
    """

    def __init__(self, sagemaker: Service, *, project: str | None, wait: Callable[[], object]) -> None:
        self._sagemaker = sagemaker
        self._project = project
        self._wait = wait

    def find(self) -> Found:
        """Find what runs.

        Raises:
            AwsError: that cannot be found out.
        """
        found = Found()
        for job in list(self._sagemaker.pages("list_training_jobs", "TrainingJobSummaries")):
            if job["TrainingJobStatus"] in _RUNS and self._is_ours(job["TrainingJobArn"]):
                name = str(job["TrainingJobName"])
                act = partial(self._stop, name, str(job["TrainingJobArn"]))
                found.removals.append(Removal(f"stop training job {name}", "its machine, by the second", act))
        return found

    def _is_ours(self, arn: str) -> bool:
        return is_ours(list(self._sagemaker.pages("list_tags", "Tags", ResourceArn=arn)), self._project)

    def _stop(self, name: str, arn: str) -> None:
        refuse_unless_ours(f"training job {name}", ours=self._is_ours(arn))
        while (status := self._sagemaker("describe_training_job", TrainingJobName=name)["TrainingJobStatus"]) in _RUNS:
            if status == "InProgress":
                self._sagemaker("stop_training_job", TrainingJobName=name)
            self._wait()
