"""Creates the clients of the services: in one place, and never at import."""

from dataclasses import dataclass
from typing import Any

import boto3
from botocore.config import Config

_CONNECT_TIMEOUT_S = 3
_READ_TIMEOUT_S = 10


@dataclass(frozen=True)
class Clients:
    """One client of each service; boto3 makes their classes as it runs.

    Attributes:
        s3: with few attempts.
        sqs: likewise.
        rekognition: one attempt: the queue repeats a throttled call later, and not all at once.
    """

    s3: Any
    sqs: Any
    rekognition: Any


def make_clients() -> Clients:
    """Create the clients, with region, credentials and addresses from the environment."""
    patient = Config(
        connect_timeout=_CONNECT_TIMEOUT_S,
        read_timeout=_READ_TIMEOUT_S,
        retries={"total_max_attempts": 2, "mode": "standard"},
    )
    once = patient.merge(Config(retries={"total_max_attempts": 1, "mode": "standard"}))
    session = boto3.session.Session()
    return Clients(
        session.client("s3", config=patient),
        session.client("sqs", config=patient),
        session.client("rekognition", config=once),
    )
