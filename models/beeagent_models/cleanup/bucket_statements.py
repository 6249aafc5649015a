"""What `beeagent rekognition` wrote into the policy of somebody's bucket."""

import json
from functools import partial
from typing import Any

from beeagent_models.aws import AwsError, Service
from beeagent_models.cleanup.removal import Found, Removal
from beeagent_models.custom_labels.bucket_access import without_ours


def statements_removal(s3: Service, bucket: str, found: Found) -> None:
    """Find the statements in a bucket's policy that permit Rekognition to use it; the bucket itself stays.

    Args:
        s3: the service.
        bucket: where a training left its results.
        found: gets the removal, and that the bucket stays.

    Raises:
        AwsError: the policy cannot be read.
    """
    found.kept.append(f"bucket {bucket}, with what trainings left there: it is not of a stack")
    policy = _policy(s3, bucket)
    if policy is not None and without_ours(policy) != policy:
        what = f"take Rekognition's rights out of the policy of bucket {bucket}"
        found.removals.append(Removal(what, "", partial(_remove, s3, bucket)))


def _remove(s3: Service, bucket: str) -> None:
    policy = _policy(s3, bucket)
    if policy is None:
        return
    rest = without_ours(policy)
    if rest is None:
        s3("delete_bucket_policy", Bucket=bucket)
    elif rest != policy:
        s3("put_bucket_policy", Bucket=bucket, Policy=json.dumps(rest))


def _policy(s3: Service, bucket: str) -> dict[str, Any] | None:
    try:
        policy: dict[str, Any] = json.loads(s3("get_bucket_policy", Bucket=bucket)["Policy"])
    except AwsError as error:
        if error.code in ("NoSuchBucketPolicy", "NoSuchBucket"):
            return None
        raise
    return policy
