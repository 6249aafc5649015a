"""Parses the events of S3 that arrive as messages of the queue.

Their form: https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html.
"""

import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_plus

IMAGE_SUFFIX = ".jpg"
RESULT_SUFFIX = ".json"


class NotAnEventError(ValueError):
    """A message is no event of S3."""


@dataclass(frozen=True)
class Upload:
    """An object that was put into the bucket. What lies there now is what counts: events come late, and in any order.

    Attributes:
        bucket: its name.
        key: of the object, as it is in the bucket.
    """

    bucket: str
    key: str


def uploads_of(body: str) -> tuple[Upload, ...]:
    """Return the uploads in a message; none for the message with which S3 tests a new queue.

    Events of other kinds, such as deletions, are left out.

    Args:
        body: of the message.

    Raises:
        NotAnEventError: it is no event of S3.
    """
    try:
        event = json.loads(body)
        if event.get("Event") == "s3:TestEvent":
            return ()
        return tuple(
            _upload(record["s3"]) for record in event["Records"] if record["eventName"].startswith("ObjectCreated:")
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise NotAnEventError(f"the message is no event of S3 ({type(error).__name__})") from None


def _upload(record: dict[str, Any]) -> Upload:
    # Keys come encoded as in a form: a blank is a plus sign.
    key = unquote_plus(record["object"]["key"], errors="strict")
    bucket = record["bucket"]["name"]
    for text in (key, bucket):
        text.encode()  # half a surrogate pair goes into no request
    return Upload(bucket, key)


def is_image(key: str) -> bool:
    """Return whether an object is an image to process. A result never is, whatever the bucket notifies of."""
    return key.lower().endswith(IMAGE_SUFFIX)


def result_key(key: str) -> str:
    """Return the key of the result of an image, beside it.

    >>> result_key("test_images/hive 7.jpg")
    'test_images/hive 7.json'
    """
    return key[: -len(IMAGE_SUFFIX)] + RESULT_SUFFIX
