"""The second opinion: requests to a cloud model about unsure frames, their cost, and collecting those frames.

Nothing here knows messages, the outbox or brokers. `rekognition` and `model_lifecycle` need boto3, an extra. The names
below are imported on first use, so that the rest works, and the command line starts, without it.
"""

from typing import TYPE_CHECKING

from beeagent import lazy_exports

if TYPE_CHECKING:
    from beeagent.cloud.collection import Collection, CollectionCounts
    from beeagent.cloud.collection_store import CLOUD_ATTRIBUTE, EDGE_ATTRIBUTE, MANIFEST
    from beeagent.cloud.guard import CallBudget, CallGuard, CloudDetectionError, FailureReason
    from beeagent.cloud.model_lifecycle import CloudModel, ModelLifecycle
    from beeagent.cloud.rekognition import RekognitionClient
    from beeagent.cloud.second_opinion import (
        CloudDetector,
        CloudResult,
        EdgeResult,
        SecondOpinion,
        SecondOpinionCounts,
    )
else:  # a type checker would accept any name
    __getattr__ = lazy_exports(
        __name__,
        {
            "collection": ("Collection", "CollectionCounts"),
            "collection_store": ("CLOUD_ATTRIBUTE", "EDGE_ATTRIBUTE", "MANIFEST"),
            "guard": ("CallBudget", "CallGuard", "CloudDetectionError", "FailureReason"),
            "model_lifecycle": ("CloudModel", "ModelLifecycle"),
            "rekognition": ("RekognitionClient",),
            "second_opinion": ("CloudDetector", "CloudResult", "EdgeResult", "SecondOpinion", "SecondOpinionCounts"),
        },
    )

__all__ = [
    "CLOUD_ATTRIBUTE", "EDGE_ATTRIBUTE", "MANIFEST", "CallBudget", "CallGuard", "CloudDetectionError", "CloudDetector",
    "CloudModel", "CloudResult", "Collection", "CollectionCounts", "EdgeResult", "FailureReason", "ModelLifecycle",
    "RekognitionClient", "SecondOpinion", "SecondOpinionCounts",
]  # fmt: skip
