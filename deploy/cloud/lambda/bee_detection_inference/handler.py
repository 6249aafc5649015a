"""What Lambda calls: messages of the queue in, the identifiers of failed ones out."""

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

LEAST_TIME_MS = 30_000
"""What one message may take with a slow service: with less time left, it waits for the next batch.

Where each of its calls ran into its time-out, it would take longer: Lambda ends the batch, and all of it comes again.
"""

_log = logging.getLogger(__name__)


class Context(Protocol):
    """The part of Lambda's context that is used."""

    def get_remaining_time_in_millis(self) -> int:
        """Return the milliseconds until Lambda ends this call."""


def handle(event: Mapping[str, Any], context: Context) -> dict[str, list[dict[str, str]]]:
    """Process a batch of the queue, as the event source's `ReportBatchItemFailures` wants it.

    Args:
        event: `Records` of messages, each an event of S3.
        context: has the time that is left.

    Returns:
        `batchItemFailures`: the messages that SQS keeps; all others are deleted.
    """
    settings, clients = _warm()
    return answer_batch(
        event["Records"], settings, clients, has_time=lambda: context.get_remaining_time_in_millis() >= LEAST_TIME_MS
    )


@functools.cache
def _warm() -> tuple[Settings, Clients]:
    """Create what all calls share, at the first call: a client costs some tenths of a second."""
    logging.getLogger().setLevel(logging.INFO)
    return settings_of(os.environ), make_clients()


def answer_batch(
    messages: Sequence[Mapping[str, Any]], settings: Settings, clients: Clients, *, has_time: Callable[[], bool]
) -> dict[str, list[dict[str, str]]]:
    """Process one message after the other; the failure of one does not affect the next.

    Args:
        messages: as Lambda gives them.
        settings: which model, which queue.
        clients: of the services.
        has_time: whether there is enough left for one more message.

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
            _log.info("%s: %r", outcome, upload.key)  # a key may hold line breaks
    except NotAnEventError as error:
        code = str(error)
    except ClientError as error:
        code = error.response["Error"]["Code"]
    except (BotoCoreError, ReplacedError) as error:
        code = type(error).__name__
    except Exception as error:  # noqa: BLE001 - whatever it is, it is logged and reported
        # Unforeseen. One message must not take the others of its batch to the dead-letter queue.
        _log.exception("message %s", message["messageId"])
        code = type(error).__name__
    else:
        return True
    _retry_later(message, code, settings, clients)
    return False


def _retry_later(message: Mapping[str, Any], code: str, settings: Settings, clients: Clients) -> None:
    """Hide a message for a while. SQS counts the attempts, and moves it to the dead-letter queue after the last."""
    wait = wait_s(code, receives=int(message["attributes"]["ApproximateReceiveCount"]), message_id=message["messageId"])
    _log.warning("message %s failed: %s; again in %d s", message["messageId"], code, wait)
    try:
        clients.sqs.change_message_visibility(
            QueueUrl=settings.queue_url, ReceiptHandle=message["receiptHandle"], VisibilityTimeout=wait
        )
    except (ClientError, BotoCoreError) as error:
        # The queue's own time-out then says when.
        _log.warning("message %s keeps the queue's time-out (%s)", message["messageId"], type(error).__name__)
