"""The settings of the function, from its environment."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """The model and the queue.

    Attributes:
        project_version_arn: ARN of the Custom Labels model.
        min_confidence: minimum confidence of a label, 0 to 100 as in Rekognition.
        queue_url: URL of the queue with the events.
    """

    project_version_arn: str
    min_confidence: float
    queue_url: str


def settings_of(environment: Mapping[str, str]) -> Settings:
    """Return the settings in the environment of the function.

    Args:
        environment: has `PROJECT_VERSION_ARN`, `MIN_CONFIDENCE` and `QUEUE_URL`.

    Raises:
        KeyError: one of them is missing.
        ValueError: the confidence is not a number from 0 to 100.
    """
    confidence = float(environment["MIN_CONFIDENCE"])
    if not 0 <= confidence <= 100:
        raise ValueError(f"MIN_CONFIDENCE is {confidence:g}: set 0 to 100")
    return Settings(environment["PROJECT_VERSION_ARN"], confidence, environment["QUEUE_URL"])
