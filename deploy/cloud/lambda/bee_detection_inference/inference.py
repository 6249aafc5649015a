"""Shows one picture to the cloud model and puts the answer beside it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from botocore.exceptions import ClientError

from bee_detection_inference.clients import Clients
from bee_detection_inference.settings import Settings
from bee_detection_inference.uploads import Upload, is_picture, result_key

Outcome = Literal["answered", "refused", "already-answered", "gone", "not-a-picture"]

LARGEST_PICTURE = 15 * 1024 * 1024
"""Bytes of a picture that Rekognition reads from S3. https://docs.aws.amazon.com/rekognition/latest/customlabels-dg/limits.html."""

# What is wrong with the picture itself, and so will be at the next try.
_REFUSALS = frozenset({"ImageTooLargeException", "InvalidImageFormatException"})
_NOT_THERE = frozenset({"404", "NoSuchKey", "NoSuchVersion"})


class ReplacedError(Exception):
    """A picture was replaced or deleted while it was looked at."""


@dataclass(frozen=True)
class _Picture:
    etag: str
    version: str | None
    size: int


def answer(upload: Upload, settings: Settings, clients: Clients) -> Outcome:
    """Ask the model about a picture, and write its answer, unless that is there already.

    The result beside the picture is the service's answer, or `{"Error": …}` where it cannot read the picture. Its
    metadata tell of which picture, model and confidence it is, so that the same is not asked twice.

    Args:
        upload: the object, as it is now.
        settings: which model.
        clients: of S3 and Rekognition.

    Raises:
        ReplacedError: the picture was replaced meanwhile, and the result may be of the old one.
        ClientError: a service refused, and may not the next time: throttled, the model does not run, no access.
        BotoCoreError: a service could not be reached.
    """
    if not is_picture(upload.key):
        return "not-a-picture"
    picture = _current(upload, clients)
    if picture is None:
        return "gone"
    provenance = {
        "picture-etag": picture.etag,
        "picture-version": picture.version or "",
        "model": settings.project_version_arn,
        "min-confidence": f"{settings.min_confidence:g}",
    }
    if _metadata(upload.bucket, result_key(upload.key), clients) == provenance:
        return "already-answered"
    result = _result(upload, picture, settings, clients)
    clients.s3.put_object(
        Bucket=upload.bucket,
        Key=result_key(upload.key),
        Body=json.dumps(result).encode(),
        ContentType="application/json",
        Metadata=provenance,
        Tagging="beeagent-kind=result",  # by which the bucket's lifecycle knows results from pictures
    )
    # Another call may have answered the new picture before this one wrote its result over that.
    if _current(upload, clients) != picture:
        raise ReplacedError
    return "refused" if "Error" in result else "answered"


def _result(upload: Upload, picture: _Picture, settings: Settings, clients: Clients) -> dict[str, Any]:
    if picture.size > LARGEST_PICTURE:
        said = f"The picture has {picture.size} bytes; Rekognition reads at most {LARGEST_PICTURE} from S3"
        return _refusal("ImageTooLargeException", said)
    where = {"Bucket": upload.bucket, "Name": upload.key}
    if picture.version is not None:
        where["Version"] = picture.version
    try:
        said = clients.rekognition.detect_custom_labels(
            ProjectVersionArn=settings.project_version_arn,
            Image={"S3Object": where},
            MinConfidence=settings.min_confidence,
        )
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code not in _REFUSALS:
            raise
        return _refusal(code, error.response["Error"].get("Message", ""))
    return {"CustomLabels": said["CustomLabels"]}


def _refusal(code: str, message: str) -> dict[str, Any]:
    return {"Error": {"Code": code, "Message": message}}


def _current(upload: Upload, clients: Clients) -> _Picture | None:
    head = _head(upload.bucket, upload.key, clients)
    if head is None:
        return None
    return _Picture(head["ETag"].strip('"'), head.get("VersionId"), head["ContentLength"])


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
