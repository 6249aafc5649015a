"""Runs the cloud model on an image and writes the result beside it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from botocore.exceptions import ClientError

from bee_detection_inference.clients import Clients
from bee_detection_inference.settings import Settings
from bee_detection_inference.uploads import Upload, is_image, result_key

Outcome = Literal["answered", "refused", "already-answered", "gone", "not-an-image"]

MAX_IMAGE_BYTES = 15 * 1024 * 1024
"""Maximum size of an image in S3. https://docs.aws.amazon.com/rekognition/latest/customlabels-dg/limits.html."""

# Errors of the image: the next attempt would fail as well.
_REFUSALS = frozenset({"ImageTooLargeException", "InvalidImageFormatException"})
_NOT_THERE = frozenset({"404", "NoSuchKey", "NoSuchVersion"})


class ReplacedError(Exception):
    """An image was replaced or deleted while it was processed."""


@dataclass(frozen=True)
class _Image:
    etag: str
    version: str | None
    size: int


def answer(upload: Upload, settings: Settings, clients: Clients) -> Outcome:
    """Run the model on an image and write the result, unless it exists.

    The result is the service's response, or `{"Error": …}` if it cannot read the image. Its metadata identify the
    image, model and confidence, so that no call is repeated.

    Args:
        upload: the uploaded object.
        settings: model and minimum confidence.
        clients: clients of S3 and Rekognition.

    Raises:
        ReplacedError: the image was replaced meanwhile, and the result may belong to the old one.
        ClientError: a service refused, perhaps temporarily: throttled, the model does not run, no access.
        BotoCoreError: a service could not be reached.
    """
    if not is_image(upload.key):
        return "not-an-image"
    image = _current(upload, clients)
    if image is None:
        return "gone"
    provenance = {
        "picture-etag": image.etag,
        "picture-version": image.version or "",
        "model": settings.project_version_arn,
        "min-confidence": f"{settings.min_confidence:g}",
    }
    if _metadata(upload.bucket, result_key(upload.key), clients) == provenance:
        return "already-answered"
    result = _result(upload, image, settings, clients)
    clients.s3.put_object(
        Bucket=upload.bucket,
        Key=result_key(upload.key),
        Body=json.dumps(result).encode(),
        ContentType="application/json",
        Metadata=provenance,
        Tagging="beeagent-kind=result",  # for the lifecycle rule of the results
    )
    # Another call may have processed the new image before this one overwrote its result.
    if _current(upload, clients) != image:
        raise ReplacedError
    return "refused" if "Error" in result else "answered"


def _result(upload: Upload, image: _Image, settings: Settings, clients: Clients) -> dict[str, Any]:
    if image.size > MAX_IMAGE_BYTES:
        message = f"The image has {image.size} bytes; Rekognition reads at most {MAX_IMAGE_BYTES} from S3"
        return _refusal("ImageTooLargeException", message)
    where = {"Bucket": upload.bucket, "Name": upload.key}
    if image.version is not None:
        where["Version"] = image.version
    try:
        response = clients.rekognition.detect_custom_labels(
            ProjectVersionArn=settings.project_version_arn,
            Image={"S3Object": where},
            MinConfidence=settings.min_confidence,
        )
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code not in _REFUSALS:
            raise
        return _refusal(code, error.response["Error"].get("Message", ""))
    return {"CustomLabels": response["CustomLabels"]}


def _refusal(code: str, message: str) -> dict[str, Any]:
    return {"Error": {"Code": code, "Message": message}}


def _current(upload: Upload, clients: Clients) -> _Image | None:
    head = _head(upload.bucket, upload.key, clients)
    if head is None:
        return None
    return _Image(head["ETag"].strip('"'), head.get("VersionId"), head["ContentLength"])


def _metadata(bucket: str, key: str, clients: Clients) -> Mapping[str, str] | None:
    head = _head(bucket, key, clients)
    return None if head is None else head["Metadata"]


def _head(bucket: str, key: str, clients: Clients) -> dict[str, Any] | None:
    try:
        head: dict[str, Any] = clients.s3.head_object(Bucket=bucket, Key=key)
    except ClientError as error:
        if error.response["Error"]["Code"] in _NOT_THERE:
            return None
        raise
    return head
