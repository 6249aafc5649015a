"""The second opinion: requests to a cloud model about unsure frames, their cost, and collecting those frames.

Nothing here knows messages, the outbox or brokers. What needs boto3, an extra, is imported on first use.
"""

from typing import TYPE_CHECKING

from beeagent import lazy_exports
from beeagent.cloud.collection import Collection, CollectionCounts
from beeagent.cloud.collection_store import CLOUD_ATTRIBUTE, EDGE_ATTRIBUTE, MANIFEST
from beeagent.cloud.guard import CallBudget, CallGuard, CloudDetectionError, FailureReason
from beeagent.cloud.second_opinion import CloudDetector, CloudResult, EdgeResult, SecondOpinion, SecondOpinionCounts

if TYPE_CHECKING:
    from beeagent.cloud.model_lifecycle import CloudModel, ModelLifecycle
    from beeagent.cloud.rekognition import RekognitionClient
else:  # a type checker would accept any name
    __getattr__ = lazy_exports(
        __name__, {"model_lifecycle": ("CloudModel", "ModelLifecycle"), "rekognition": ("RekognitionClient",)}
    )

__all__ = [
    "CLOUD_ATTRIBUTE", "EDGE_ATTRIBUTE", "MANIFEST", "CallBudget", "CallGuard", "CloudDetectionError", "CloudDetector",
    "CloudModel", "CloudResult", "Collection", "CollectionCounts", "EdgeResult", "FailureReason", "ModelLifecycle",
    "RekognitionClient", "SecondOpinion", "SecondOpinionCounts",
]  # fmt: skip
