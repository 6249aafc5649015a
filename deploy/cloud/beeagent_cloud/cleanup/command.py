"""`beeagent cleanup`: find the resources that beeagent created, list them, and remove them after confirmation."""

from collections.abc import Callable
from typing import Final

from beeagent.errors import BeeagentError

from beeagent_cloud.aws import Service
from beeagent_cloud.cleanup.custom_labels import CustomLabelsCleanup
from beeagent_cloud.cleanup.resources import Found, TrainingJobCleanup
from beeagent_cloud.cleanup.stacks import StackCleanup

_WIDTH: Final = 70


def clean_up(  # noqa: PLR0913 - options of the command
    *,
    project: str | None,
    stack: str | None,
    region: str | None,
    dry_run: bool,
    report: Callable[[str], None],
    confirm: Callable[[str], bool],
    wait: Callable[[], object],
) -> None:
    """Remove the resources with the tag of beeagent in one region.

    Args:
        project: name of the project whose resources to remove; None for all projects.
        stack: name of the only stack to remove; None for all resources.
        region: AWS region; None for the region of the AWS configuration.
        dry_run: whether to list the resources only.
        report: receives progress messages.
        confirm: asks for confirmation; returns whether the user confirmed.
        wait: waits until the next poll of a long operation.

    Raises:
        BeeagentError: a resource could not be removed. The same command continues with the rest.
    """
    s3 = Service("s3", region=region)
    account = Service("sts", region=s3.region)("get_caller_identity")["Account"]
    found = _find(s3, project=project, stack=stack, report=report, wait=wait)
    report(f"account {account}, region {s3.region}" + ("" if project is None else f", project {project}"))
    for kept in found.kept:
        report(f"kept: {kept}")
    if not found.removals:
        report("There is nothing to remove.")
        return
    for number, removal in enumerate(found.removals, start=1):
        costs = f"  (costs {removal.costs})" if removal.costs else ""
        report(f"{number:>3}  {removal.what:<{_WIDTH}}{costs}".rstrip())
    if dry_run:
        report("Nothing was removed: --dry-run.")
        return
    if not confirm(f"Remove these {len(found.removals)} in account {account}? This cannot be undone."):
        raise BeeagentError("nothing was removed")
    for done, removal in enumerate(found.removals):
        try:
            removal.act()
        except BeeagentError as error:
            left = len(found.removals) - done
            raise BeeagentError(
                f"{removal.what}: {error}; {done} of {len(found.removals)} are done, {left} are left: run it again"
            ) from None
        report(f"done: {removal.what}")


def _find(
    s3: Service, *, project: str | None, stack: str | None, report: Callable[[str], None], wait: Callable[[], object]
) -> Found:
    cloudformation = Service("cloudformation", region=s3.region)
    stacks = StackCleanup(cloudformation=cloudformation, s3=s3, project=project, stack=stack, report=report, wait=wait)
    of_stacks = stacks.find()
    if stack is not None:
        return of_stacks
    rekognition, sagemaker = Service("rekognition", region=s3.region), Service("sagemaker", region=s3.region)
    parts = [
        # Resources that cost by the hour go first.
        CustomLabelsCleanup(
            rekognition=rekognition, s3=s3, project=project, emptied=stacks.buckets, report=report, wait=wait
        ).find(),
        TrainingJobCleanup(sagemaker=sagemaker, project=project, wait=wait).find(),
        of_stacks,
    ]
    return Found(
        [removal for part in parts for removal in part.removals], [kept for part in parts for kept in part.kept]
    )
