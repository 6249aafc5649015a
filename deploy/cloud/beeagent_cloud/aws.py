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
"""The tag of everything that beeagent makes in an account; its value is the project's name."""

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
# Where the right that an operation needs has another name than the operation.
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-with-s3-policy-actions.html
_RIGHTS: Final = {
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
    """AWS did not do what it was asked for.

    Attributes:
        code: the service's word for why, such as `ResourceNotFoundException`; empty if none came.
    """

    def __init__(self, message: str, *, code: str = "") -> None:
        super().__init__(message)
        self.code = code


class Service:
    """One service of AWS in one region.

    Args:
        name: as boto3 knows it, such as `rekognition`.
        region: None for the one that the AWS configuration names.

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
            raise InputError("no AWS region is set: give --region, or set AWS_DEFAULT_REGION") from None
        except ProfileNotFound as error:
            raise InputError(f"{error}: check AWS_PROFILE and ~/.aws/config") from None
        except (BotoCoreError, ValueError) as error:
            raise InputError(
                f"AWS cannot be asked ({type(error).__name__}): check --region and the AWS configuration files"
            ) from None

    def __call__(self, operation: str, **members: object) -> Any:  # noqa: ANN401 - of each operation its own
        """Ask for an operation.

        Args:
            operation: as boto3 names the method.
            members: of the request.

        Raises:
            InputError: there are no credentials, or AWS does not take them.
            AwsError: it did not do it. The message names the right that is missing, or what AWS said.
        """
        try:
            return getattr(self._client, operation)(**members)
        except (ClientError, BotoCoreError) as error:
            raise self._explained(error, operation) from None

    def pages(self, operation: str, member: str, **members: object) -> Iterator[Any]:
        """Yield all entries of a list, page by page.

        Args:
            operation: that returns the list.
            member: of the answer that has the entries.
            members: of the request.

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
            right = _RIGHTS.get(action, action)
            return AwsError(
                f"AWS does not permit {right} in {self.region}: the caller needs this permission", code=code
            )
        if code in _BAD_CREDENTIALS:
            # What the service says of them may quote what was signed, and with it a session token.
            return InputError(f"AWS does not take the credentials ({code}): get new ones, or check the machine's clock")
        if code in _ELSEWHERE:
            where = headers.get("x-amz-bucket-region")
            place = f"in {where}" if where else "in another region"
            return AwsError(f"the bucket is {place}, not in {self.region}: give --region, or another bucket", code=code)
        words = shown(str(error.response.get("Error", {}).get("Message", "")), most=300)
        return AwsError(f"{action} in {self.region}: {code}: {words}", code=code)


def split_s3_address(text: str) -> tuple[str, str]:
    """Read `s3://BUCKET/KEY` as bucket and key; the key may be empty.

    Raises:
        InputError: it is no such address.
    """
    found = re.fullmatch(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/(.*))?", text)
    if found is None:
        raise InputError(f"{shown(text)} is no address in S3: write s3://BUCKET/KEY")
    return found[1], found[2] or ""


def bucket_region(bucket: str, *, near: str) -> str:
    """Return the region of a bucket.

    Args:
        bucket: its name.
        near: a region to ask in.

    Raises:
        InputError: there is no such bucket.
        AwsError: AWS does not say.
    """
    try:
        answer = Service("s3", region=near)("get_bucket_location", Bucket=bucket)
    except AwsError as error:
        if error.code == "NoSuchBucket":
            raise InputError(f"there is no bucket {bucket}: check its name") from None
        raise
    # What is in us-east-1 has no location, and EU is an old name.
    # https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetBucketLocation.html
    return {None: "us-east-1", "": "us-east-1", "EU": "eu-west-1"}.get(
        answer.get("LocationConstraint"), str(answer.get("LocationConstraint"))
    )
