"""Creates the clients of the services, never at import."""

from dataclasses import dataclass
from typing import Any

import boto3
from botocore.config import Config

_CONNECT_TIMEOUT_S = 3
_READ_TIMEOUT_S = 10


@dataclass(frozen=True)
class Clients:
    """One client of each service; boto3 creates their classes at run time.

    Attributes:
        s3: client of S3, with two attempts per call.
        sqs: client of SQS, with two attempts per call.
        rekognition: client of Rekognition, with one attempt: the queue repeats throttled calls later, spread over time.
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
