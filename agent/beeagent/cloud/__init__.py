"""The second opinion: calls of a cloud model for unsure frames, their cost, and the collection of those frames.

This package does not depend on the outbox or transports. Modules that need boto3, an extra, are imported on first use.
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
else:  # `__getattr__` would make a type checker accept any name
    __getattr__ = lazy_exports(
        __name__, {"model_lifecycle": ("CloudModel", "ModelLifecycle"), "rekognition": ("RekognitionClient",)}
    )

__all__ = [
    "CLOUD_ATTRIBUTE", "EDGE_ATTRIBUTE", "MANIFEST", "CallBudget", "CallGuard", "CloudDetectionError", "CloudDetector",
    "CloudModel", "CloudResult", "Collection", "CollectionCounts", "EdgeResult", "FailureReason", "ModelLifecycle",
    "RekognitionClient", "SecondOpinion", "SecondOpinionCounts",
]  # fmt: skip
