"""Parses S3 events in the messages of the queue.

Their format: https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html.
"""

import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_plus

IMAGE_SUFFIX = ".jpg"
RESULT_SUFFIX = ".json"


class NotAnEventError(ValueError):
    """A message is not an S3 event."""


@dataclass(frozen=True)
class Upload:
    """An uploaded object. Its present content counts, because events may be late and in any order.

    Attributes:
        bucket: name of the bucket.
        key: decoded key of the object.
    """

    bucket: str
    key: str


def uploads_of(body: str) -> tuple[Upload, ...]:
    """Return the uploads in a message; none for the test message of S3.

    Other events, such as deletions, are ignored.

    Args:
        body: body of the message.

    Raises:
        NotAnEventError: the message is not an S3 event.
    """
    try:
        event = json.loads(body)
        if event.get("Event") == "s3:TestEvent":
            return ()
        return tuple(
            _upload(record["s3"]) for record in event["Records"] if record["eventName"].startswith("ObjectCreated:")
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise NotAnEventError(f"the message is not an S3 event ({type(error).__name__})") from None


def _upload(record: dict[str, Any]) -> Upload:
    # Keys are form-encoded: a space is a plus sign.
    key = unquote_plus(record["object"]["key"], errors="strict")
    bucket = record["bucket"]["name"]
    for text in (key, bucket):
        text.encode()  # a lone surrogate cannot be in a request
    return Upload(bucket, key)


def is_image(key: str) -> bool:
    """Return whether an object is an image to process; results never are."""
    return key.lower().endswith(IMAGE_SUFFIX)


def result_key(key: str) -> str:
    """Return the key of the result of an image, beside it.

    >>> result_key("test_images/hive 7.jpg")
    'test_images/hive 7.json'
    """
    return key[: -len(IMAGE_SUFFIX)] + RESULT_SUFFIX
