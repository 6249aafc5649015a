"""Bucket policies that let Rekognition read images and manifests and write the results of a training."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from beeagent.errors import BeeagentError

from beeagent_cloud.aws import AwsError, Service

SIDS: Final = ("BeeagentRekognitionBucket", "BeeagentRekognitionRead", "BeeagentRekognitionWrite")
"""Sids of the statements that beeagent manages; all others are kept unchanged."""

_SERVICE: Final = {"Service": "rekognition.amazonaws.com"}


def permit(
    s3: Service, bucket: str, *, reads: Sequence[str] = (), writes: str | None = None, confirm: Callable[[str], bool]
) -> None:
    """Grant Rekognition access to a part of a bucket, unless it has access already.

    Args:
        s3: client of S3 in the bucket's region.
        bucket: name of the bucket.
        reads: key prefixes to read.
        writes: key prefix to write; None for none.
        confirm: asks for confirmation to change the bucket's policy.

    Raises:
        BeeagentError: the user did not confirm, or a request failed.
    """
    before = bucket_policy(s3, bucket)
    after = permitting(before, bucket, partition=s3.partition, reads=reads, writes=writes)
    if after == before:
        return
    parts = [f"read {bucket}/{prefix}*" for prefix in reads]
    if writes is not None:
        parts.append(f"write {bucket}/{writes}*")
    wants = " and ".join(parts)
    if not confirm(f"Let Rekognition {wants}, by the bucket's policy? Its other statements are kept."):
        raise BeeagentError(f"Rekognition may not {wants}: the bucket's policy has to permit it")
    s3("put_bucket_policy", Bucket=bucket, Policy=json.dumps(after))


def permitting(
    policy: Mapping[str, Any] | None, bucket: str, *, partition: str, reads: Sequence[str], writes: str | None
) -> dict[str, Any]:
    """Return the policy with statements that grant this access in addition to the existing one.

    The statements are those of https://docs.aws.amazon.com/rekognition/latest/customlabels-dg/su-console-policy.html,
    for a part of the bucket.

    Args:
        policy: policy of the bucket; None if it has none.
        bucket: name of the bucket.
        partition: AWS partition, such as `aws`.
        reads: key prefixes that Rekognition has to read.
        writes: key prefix that Rekognition has to write; None for none.
    """
    whole = f"arn:{partition}:s3:::{bucket}"
    bucket_sid, read_sid, write_sid = SIDS
    wanted: dict[str, dict[str, Any]] = {
        bucket_sid: {"Action": ["s3:GetBucketAcl", "s3:GetBucketLocation"], "Resource": [whole]}
    }
    if reads:
        actions = ["s3:GetObject", "s3:GetObjectAcl", "s3:GetObjectVersion", "s3:GetObjectTagging"]
        wanted[read_sid] = {"Action": actions, "Resource": [f"{whole}/{prefix}*" for prefix in reads]}
    if writes is not None:
        owned = {"StringEquals": {"s3:x-amz-acl": "bucket-owner-full-control"}}
        wanted[write_sid] = {"Action": ["s3:PutObject"], "Resource": [f"{whole}/{writes}*"], "Condition": owned}
    statements = list((policy or {}).get("Statement", []))
    for sid, part in wanted.items():
        old = next((statement for statement in statements if statement.get("Sid") == sid), None)
        resources = _listed(old["Resource"]) if old is not None else []
        resources += [resource for resource in part["Resource"] if not _covered(resource, resources)]
        new = {"Sid": sid, "Effect": "Allow", "Principal": _SERVICE, **part, "Resource": resources}
        if old is None:
            statements.append(new)
        else:
            statements[statements.index(old)] = new
    return {"Version": "2012-10-17", **(policy or {}), "Statement": statements}


def without_ours(policy: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the policy without the statements of this module; None if nothing is left."""
    statements = [statement for statement in policy.get("Statement", []) if statement.get("Sid") not in SIDS]
    return {**policy, "Statement": statements} if statements else None


def bucket_policy(s3: Service, bucket: str) -> dict[str, Any] | None:
    """Return the policy of a bucket; None if there is none.

    Raises:
        AwsError: it cannot be read.
    """
    try:
        policy: dict[str, Any] = json.loads(s3("get_bucket_policy", Bucket=bucket)["Policy"])
    except AwsError as error:
        if error.code in ("NoSuchBucketPolicy", "NoSuchBucket"):
            return None
        raise
    return policy


def _listed(resource: str | list[str]) -> list[str]:
    return [resource] if isinstance(resource, str) else list(resource)


def _covered(resource: str, by: list[str]) -> bool:
    return any(resource == other or (other.endswith("*") and resource.startswith(other[:-1])) for other in by)
