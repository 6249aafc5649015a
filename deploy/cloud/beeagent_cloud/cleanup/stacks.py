"""Remove CloudFormation stacks; their buckets are emptied first, with all versions, or they could not be deleted."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from beeagent.errors import BeeagentError, InputError

from beeagent_cloud.aws import PROJECT_TAG, AwsError, Service
from beeagent_cloud.cleanup.resources import Found, Removal, is_ours, refuse_unless_ours

_BATCH: Final = 1000  # https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html
_MAX_ROUNDS: Final = 50
_COSTS: Final = "about $1 a month for its key, plus storage"  # https://aws.amazon.com/kms/pricing/


@dataclass(frozen=True, slots=True, kw_only=True)
class StackCleanup:
    """Finds stacks by their tag.

    Attributes:
        cloudformation: client of CloudFormation.
        s3: client of S3.
        project: name of the only project to consider; None for all.
        stack: name of the only stack to consider; None for all.
        report: receives progress messages.
        wait: waits until the next poll.
        buckets: buckets of the stacks that were found.
    """

    cloudformation: Service
    s3: Service
    project: str | None
    stack: str | None
    report: Callable[[str], None]
    wait: Callable[[], object]
    buckets: set[str] = field(default_factory=set)

    def find(self) -> Found:
        """Find the stacks and their buckets.

        Raises:
            InputError: the named stack does not exist, or was not created by beeagent.
            AwsError: a request failed.
        """
        found = Found()
        for stack in list(self._stacks()):
            if "RootId" in stack or "ParentId" in stack:
                continue  # deleted with its root stack
            name, number = str(stack["StackName"]), str(stack["StackId"])
            for bucket in self._buckets(number):
                self.buckets.add(bucket)
                what = f"empty bucket {bucket} of stack {name}, with all versions"
                found.removals.append(Removal(what, "", partial(self._empty, name, number, bucket)))
            found.removals.append(Removal(f"delete stack {name}", _COSTS, partial(self._delete, name, number)))
        return found

    def _stacks(self) -> list[Mapping[str, Any]]:
        if self.stack is None:
            stacks = self.cloudformation.pages("describe_stacks", "Stacks")
            return [stack for stack in stacks if is_ours(stack.get("Tags", []), self.project)]
        stack = self._described(self.stack)
        if stack is None:
            raise InputError(f"there is no stack {self.stack} in {self.cloudformation.region}")
        if not is_ours(stack.get("Tags", []), self.project):
            of = "" if self.project is None else f" of the value {self.project}"
            raise InputError(f"the stack {self.stack} has no tag {PROJECT_TAG}{of}: beeagent did not create it")
        return [stack]

    def _described(self, name: str) -> Mapping[str, Any] | None:
        try:
            stacks = self.cloudformation("describe_stacks", StackName=name)["Stacks"]
        except AwsError as error:
            if error.code == "ValidationError":  # also the code of a missing stack
                return None
            raise
        found: Mapping[str, Any] | None = next(iter(stacks), None)
        return found

    def _buckets(self, number: str) -> list[str]:
        return [
            each["PhysicalResourceId"]
            for each in self._resources(number)
            if each["ResourceType"] == "AWS::S3::Bucket" and each.get("ResourceStatus") != "DELETE_COMPLETE"
        ]

    def _resources(self, number: str) -> Iterator[Any]:
        return self.cloudformation.pages("list_stack_resources", "StackResourceSummaries", StackName=number)

    def _refuse_unless_ours(self, name: str, number: str) -> None:
        stack = self._described(number)
        tags = [] if stack is None else stack.get("Tags", [])
        refuse_unless_ours(f"stack {name}", ours=is_ours(tags, self.project))

    def _empty(self, name: str, number: str, bucket: str) -> None:
        self._refuse_unless_ours(name, number)
        refuse_unless_ours(f"bucket {bucket}", ours=bucket in self._buckets(number))
        for _ in range(_MAX_ROUNDS):
            removed = self._empty_once(bucket)
            if not removed:
                return
            self.report(f"bucket {bucket}: {removed} versions and uploads removed")
        raise BeeagentError(f"bucket {bucket} is filled as fast as it is emptied: stop the program that writes to it")

    def _empty_once(self, bucket: str) -> int:
        """Remove the present versions and uploads, and return their number."""
        removed = 0
        try:
            for member in ("Versions", "DeleteMarkers"):
                versions = list(self.s3.pages("list_object_versions", member, Bucket=bucket))
                for start in range(0, len(versions), _BATCH):
                    removed += self._delete_batch(bucket, versions[start : start + _BATCH])
            for upload in list(self.s3.pages("list_multipart_uploads", "Uploads", Bucket=bucket)):
                self.s3("abort_multipart_upload", Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])
                removed += 1
        except AwsError as error:
            if error.code == "NoSuchBucket":
                return 0
            raise
        return removed

    def _delete_batch(self, bucket: str, batch: Sequence[Mapping[str, Any]]) -> int:
        objects = [{"Key": each["Key"], "VersionId": each["VersionId"]} for each in batch]
        answer = self.s3("delete_objects", Bucket=bucket, Delete={"Objects": objects, "Quiet": True})
        for error in answer.get("Errors", []):
            raise BeeagentError(f"{error['Key']} in bucket {bucket} cannot be removed: {error['Code']}")
        return len(batch)

    def _delete(self, name: str, number: str) -> None:
        self._refuse_unless_ours(name, number)
        self.cloudformation("delete_stack", StackName=number)
        before = ""
        while (stack := self._described(number)) is not None and stack["StackStatus"] != "DELETE_COMPLETE":
            status = str(stack["StackStatus"])
            if status == "DELETE_FAILED":
                raise BeeagentError(f"stack {name} cannot be deleted: {'; '.join(self._reasons(number))}")
            if status != before:
                self.report(f"stack {name} is {status}; this takes minutes")
            before = status
            self.wait()

    def _reasons(self, number: str) -> list[str]:
        return [
            f"{each['LogicalResourceId']}: {each.get('ResourceStatusReason', 'no reason is given')}"
            for each in self._resources(number)
            if each.get("ResourceStatus") == "DELETE_FAILED"
        ] or ["AWS gives no reason"]
