"""Handles batches of messages from the queue, and returns the identifiers of those that failed."""

import functools
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from botocore.exceptions import BotoCoreError, ClientError

from bee_detection_inference.backoff import wait_s
from bee_detection_inference.clients import Clients, make_clients
from bee_detection_inference.inference import ReplacedError, answer
from bee_detection_inference.settings import Settings, settings_of
from bee_detection_inference.uploads import NotAnEventError, uploads_of

MIN_TIME_MS = 30_000
"""Time for one message with a slow service: with less time left, the message waits for the next batch.

If each of its calls timed out, it would take longer: then Lambda ends the batch, and all its messages are repeated.
"""

_log = logging.getLogger(__name__)


class Context(Protocol):
    """The part of Lambda's context that is used."""

    def get_remaining_time_in_millis(self) -> int:
        """Return the milliseconds until Lambda ends this call."""


def handle(event: Mapping[str, Any], context: Context) -> dict[str, list[dict[str, str]]]:
    """Process a batch of the queue, for an event source with `ReportBatchItemFailures`.

    Args:
        event: `Records` of messages, each an event of S3.
        context: has the remaining time.

    Returns:
        `batchItemFailures`: the messages that SQS keeps; all others are deleted.
    """
    settings, clients = _warm()
    return answer_batch(
        event["Records"], settings, clients, has_time=lambda: context.get_remaining_time_in_millis() >= MIN_TIME_MS
    )


@functools.cache
def _warm() -> tuple[Settings, Clients]:
    """Create settings and clients once for all calls, because a client takes some tenths of a second."""
    logging.getLogger().setLevel(logging.INFO)
    return settings_of(os.environ), make_clients()


def answer_batch(
    messages: Sequence[Mapping[str, Any]], settings: Settings, clients: Clients, *, has_time: Callable[[], bool]
) -> dict[str, list[dict[str, str]]]:
    """Process one message after the other; the failure of one does not affect the next.

    Args:
        messages: messages of the event.
        settings: model and queue.
        clients: clients of the services.
        has_time: returns whether there is enough time for another message.

    Returns:
        As `handle`.
    """
    failed = [message for message in messages if not _succeeds(message, settings, clients, has_time)]
    return {"batchItemFailures": [{"itemIdentifier": message["messageId"]} for message in failed]}


def _succeeds(message: Mapping[str, Any], settings: Settings, clients: Clients, has_time: Callable[[], bool]) -> bool:
    try:
        for upload in uploads_of(message["body"]):
            if not has_time():
                _log.warning("no time left for message %s", message["messageId"])
                return False
            outcome = answer(upload, settings, clients)
            _log.info("%s: %r", outcome, upload.key)  # a key may contain line breaks
    except NotAnEventError as error:
        code = str(error)
    except ClientError as error:
        code = error.response["Error"]["Code"]
    except (BotoCoreError, ReplacedError) as error:
        code = type(error).__name__
    except Exception as error:  # noqa: BLE001 - logged and reported
        # An unforeseen error must not send the other messages of the batch to the dead-letter queue.
        _log.exception("message %s", message["messageId"])
        code = type(error).__name__
    else:
        return True
    _retry_later(message, code, settings, clients)
    return False


def _retry_later(message: Mapping[str, Any], code: str, settings: Settings, clients: Clients) -> None:
    """Hide a message for a while. SQS counts the attempts, and moves it to the dead-letter queue after the last one."""
    wait = wait_s(code, receives=int(message["attributes"]["ApproximateReceiveCount"]), message_id=message["messageId"])
    _log.warning("message %s failed: %s; again in %d s", message["messageId"], code, wait)
    try:
        clients.sqs.change_message_visibility(
            QueueUrl=settings.queue_url, ReceiptHandle=message["receiptHandle"], VisibilityTimeout=wait
        )
    except (ClientError, BotoCoreError) as error:
        # Then the visibility timeout of the queue applies.
        _log.warning("message %s keeps the queue's time-out (%s)", message["messageId"], type(error).__name__)
