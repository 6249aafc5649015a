"""Simulates Lambda's event source: receives messages, calls the function, deletes successful messages."""

from dataclasses import dataclass, field
from typing import Any

import boto3
from bee_detection_inference.handler import handle


@dataclass
class TimeLeft:
    """Lambda's context, with these remaining times one after the other; the last one is repeated."""

    milliseconds: list[int] = field(default_factory=lambda: [90_000])

    def get_remaining_time_in_millis(self) -> int:
        return self.milliseconds.pop(0) if len(self.milliseconds) > 1 else self.milliseconds[0]


class EventSource:
    """Of one queue.

    Args:
        url: URL of the queue.

    """

    def __init__(self, url: str) -> None:
        self._sqs = boto3.client("sqs")
        self._url = url
        self._kept: list[dict[str, Any]] = []

    def waiting(self) -> int:
        """Count the messages that could be taken now."""
        return self._count("ApproximateNumberOfMessages")

    def hidden(self) -> int:
        """Count the messages that wait out their time."""
        return self._count("ApproximateNumberOfMessagesNotVisible")

    def take(self, most: int = 10) -> list[dict[str, Any]]:
        """Take a batch from the queue, as the function is given it."""
        received = self._sqs.receive_message(
            QueueUrl=self._url, MaxNumberOfMessages=most, WaitTimeSeconds=0, MessageSystemAttributeNames=["All"]
        )
        return [
            {
                "messageId": message["MessageId"],
                "receiptHandle": message["ReceiptHandle"],
                "body": message["Body"],
                "attributes": message["Attributes"],
                "eventSource": "aws:sqs",
            }
            for message in received.get("Messages", [])
        ]

    def deliver(self, batch: list[dict[str, Any]], context: TimeLeft | None = None) -> list[str]:
        """Call the function, and delete all that it does not name; the identifiers of those it does."""
        response = handle({"Records": batch}, context or TimeLeft())
        failed = [failure["itemIdentifier"] for failure in response["batchItemFailures"]]
        self._kept = [message for message in batch if message["messageId"] in failed]
        for message in batch:
            if message not in self._kept:
                self._sqs.delete_message(QueueUrl=self._url, ReceiptHandle=message["receiptHandle"])
        return failed

    def run(self, context: TimeLeft | None = None) -> list[str]:
        """Take a batch and deliver it."""
        return self.deliver(self.take(), context)

    def let_the_wait_pass(self) -> None:
        """Make the messages left by the last batch visible at once."""
        for message in self._kept:
            self._sqs.change_message_visibility(
                QueueUrl=self._url, ReceiptHandle=message["receiptHandle"], VisibilityTimeout=0
            )

    def _count(self, attribute: str) -> int:
        response = self._sqs.get_queue_attributes(QueueUrl=self._url, AttributeNames=[attribute])
        return int(response["Attributes"][attribute])
