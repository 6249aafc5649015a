"""Calls AWS and explains errors in one line. Needs the extra `rekognition`."""

import re
from collections.abc import Iterator
from typing import Any, Final

import boto3
from beeagent.errors import BeeagentError, InputError
from beeagent.output import shown
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, NoRegionError, ProfileNotFound

PROJECT_TAG: Final = "beeagent:project"
"""Tag of all resources that beeagent creates in an account; its value is the name of the project."""

_TIMEOUT_S: Final = 60.0
_DENIED: Final = frozenset(
    {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "AllAccessDisabled", "403"}
)
_ELSEWHERE: Final = frozenset(
    {"PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "301"}
)
_BAD_CREDENTIALS: Final = frozenset(
    {
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)
# Permissions whose name is not that of the operation.
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-with-s3-policy-actions.html
_PERMISSIONS: Final = {
    "greengrassv2:CancelDeployment": "greengrass:CancelDeployment",
    "greengrassv2:CreateDeployment": "greengrass:CreateDeployment",
    "greengrassv2:GetDeployment": "greengrass:GetDeployment",
    "greengrassv2:ListDeployments": "greengrass:ListDeployments",
    "s3:HeadBucket": "s3:ListBucket",
    "s3:HeadObject": "s3:GetObject",
    "s3:ListObjectsV2": "s3:ListBucket",
    "s3:ListObjectVersions": "s3:ListBucketVersions",
    "s3:ListMultipartUploads": "s3:ListBucketMultipartUploads",
    "s3:DeleteObjects": "s3:DeleteObjectVersion",
}
_NO_CREDENTIALS: Final = (
    "there are no AWS credentials: run `aws configure`, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
)


class AwsError(BeeagentError):
    """A request to AWS failed.

    Attributes:
        code: error code of the service, such as `ResourceNotFoundException`; empty without a response.
    """

    def __init__(self, message: str, *, code: str = "") -> None:
        super().__init__(message)
        self.code = code


class Service:
    """A client of an AWS service in one region.

    Args:
        name: name of the service in boto3, such as `rekognition`.
        region: AWS region; None for the region of the AWS configuration.

    Raises:
        InputError: there is no region, or the AWS configuration cannot be used.
    """

    def __init__(self, name: str, *, region: str | None = None) -> None:
        self._name = name
        try:
            session = boto3.session.Session(region_name=region)
            self._client: Any = session.client(
                name,
                config=Config(
                    connect_timeout=_TIMEOUT_S, read_timeout=_TIMEOUT_S, retries={"mode": "standard", "max_attempts": 5}
                ),
            )
            self.region = str(self._client.meta.region_name)
            self.partition = str(session.get_partition_for_region(self.region))
        except NoRegionError:
            raise InputError("no AWS region is set: use --region, or set AWS_DEFAULT_REGION") from None
        except ProfileNotFound as error:
            raise InputError(f"{error}: check AWS_PROFILE and ~/.aws/config") from None
        except (BotoCoreError, ValueError) as error:
            raise InputError(
                f"AWS cannot be called ({type(error).__name__}): check --region and the AWS configuration files"
            ) from None

    def __call__(self, operation: str, **members: object) -> Any:  # noqa: ANN401 - depends on the operation
        """Call an operation and return its response.

        Args:
            operation: name of the method in boto3.
            members: members of the request.

        Raises:
            InputError: there are no credentials, or AWS rejects them.
            AwsError: the request failed. The message has the missing permission, or the error of AWS.
        """
        try:
            return getattr(self._client, operation)(**members)
        except (ClientError, BotoCoreError) as error:
            raise self._explained(error, operation) from None

    def pages(self, operation: str, member: str, **members: object) -> Iterator[Any]:
        """Yield all entries of a list, page by page.

        Args:
            operation: operation that returns the list.
            member: member of the response with the entries.
            members: members of the request.

        Raises:
            AwsError: as for a call.
        """
        try:
            for page in self._client.get_paginator(operation).paginate(**members):
                yield from page.get(member, [])
        except (ClientError, BotoCoreError) as error:
            raise self._explained(error, operation) from None

    def _explained(self, error: ClientError | BotoCoreError, operation: str) -> BeeagentError:
        action = f"{self._name}:{self._client.meta.method_to_api_mapping.get(operation, operation)}"
        if isinstance(error, NoCredentialsError):
            return InputError(_NO_CREDENTIALS)
        if not isinstance(error, ClientError):
            return AwsError(f"{self._name} in {self.region} cannot be reached ({type(error).__name__}: {error})")
        code = str(error.response.get("Error", {}).get("Code", ""))[:100]
        headers = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
        if code in _DENIED:
            permission = _PERMISSIONS.get(action, action)
            return AwsError(
                f"AWS does not permit {permission} in {self.region}: the caller needs this permission", code=code
            )
        if code in _BAD_CREDENTIALS:
            # The message of the service may quote the signed request, and with it a session token.
            return InputError(f"AWS rejects the credentials ({code}): get new ones, or check the machine's clock")
        if code in _ELSEWHERE:
            where = headers.get("x-amz-bucket-region")
            place = f"in {where}" if where else "in another region"
            return AwsError(f"the bucket is {place}, not in {self.region}: use --region, or another bucket", code=code)
        words = shown(str(error.response.get("Error", {}).get("Message", "")), most=300)
        return AwsError(f"{action} in {self.region}: {code}: {words}", code=code)


def split_s3_address(text: str) -> tuple[str, str]:
    """Return bucket and key of `s3://BUCKET/KEY`; the key may be empty.

    Raises:
        InputError: `text` is no such address.
    """
    found = re.fullmatch(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/(.*))?", text)
    if found is None:
        raise InputError(f"{shown(text)} is no address in S3: write s3://BUCKET/KEY")
    return found[1], found[2] or ""


def bucket_region(bucket: str, *, near: str) -> str:
    """Return the region of a bucket.

    Args:
        bucket: name of the bucket.
        near: region of the request.

    Raises:
        InputError: there is no such bucket.
        AwsError: the request failed.
    """
    try:
        answer = Service("s3", region=near)("get_bucket_location", Bucket=bucket)
    except AwsError as error:
        if error.code == "NoSuchBucket":
            raise InputError(f"there is no bucket {bucket}: check its name") from None
        raise
    # Buckets in us-east-1 have no location, and EU is an old name.
    # https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetBucketLocation.html
    return {None: "us-east-1", "": "us-east-1", "EU": "eu-west-1"}.get(
        answer.get("LocationConstraint"), str(answer.get("LocationConstraint"))
    )
