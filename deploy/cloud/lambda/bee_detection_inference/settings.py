"""The settings of the function, which the template puts into its environment."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """Which model to call, and which queue the events come from.

    Attributes:
        project_version_arn: of the Custom Labels model.
        min_confidence: of the labels that it returns, 0 to 100 as in Rekognition.
        queue_url: of the queue with the messages that are repeated later.
    """

    project_version_arn: str
    min_confidence: float
    queue_url: str


def settings_of(environment: Mapping[str, str]) -> Settings:
    """Read the environment of the function.

    Args:
        environment: has `PROJECT_VERSION_ARN`, `MIN_CONFIDENCE` and `QUEUE_URL`.

    Raises:
        KeyError: one of them is missing.
        ValueError: the confidence is no number from 0 to 100.
    """
    confidence = float(environment["MIN_CONFIDENCE"])
    if not 0 <= confidence <= 100:
        raise ValueError(f"MIN_CONFIDENCE is {confidence:g}: give 0 to 100")
    return Settings(environment["PROJECT_VERSION_ARN"], confidence, environment["QUEUE_URL"])
