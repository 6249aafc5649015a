"""What the settings choose of the second opinion: whom to ask, how often, and at what patience."""

import logging
from typing import Final

from beeagent.cloud import CallBudget, CallGuard, Collection, SecondOpinion
from beeagent.errors import InputError
from beeagent.messages import CollectionStatus, SecondOpinionStatus
from beeagent.settings import Settings

_LOG: Final = logging.getLogger(__name__)


def chosen_collection(settings: Settings) -> Collection | None:
    """Get ready to keep the frames that were asked about; None where the settings want none kept.

    Raises:
        InputError: the folder cannot be used, or nobody is asked.
    """
    if settings.collect.folder is None:
        return None
    if settings.rekognition.project_version_arn is None:
        raise InputError(
            f"collect is {str(settings.collect.folder)!r}, but nobody is asked for a second opinion: set "
            "rekognition_project_version_arn, or leave collect out"
        )
    collection = Collection(
        settings.collect.folder,
        megabytes=settings.collect.megabytes,
        longest_side=settings.rekognition.longest_side,
        quality=settings.rekognition.jpeg_quality,
        origin=f"{settings.agent.device}/{settings.camera.name}",
    )
    _LOG.warning(
        "collect: frames on which a second opinion was heard are kept on this device, in %s (its owner alone can read "
        "it), up to %g MB; they are deleted by deleting that folder",
        settings.collect.folder.absolute(),
        settings.collect.megabytes,
    )
    return collection


def second_opinion_status(
    opinion: SecondOpinion | None, collection: Collection | None, settings: Settings
) -> SecondOpinionStatus | None:
    """Tell what became of the frames that were asked about; None where nobody is asked."""
    if opinion is None:
        return None
    counts = opinion.counts()
    return SecondOpinionStatus(
        asked=counts.asked,
        cloud=counts.cloud,
        degraded={str(reason): count for reason, count in counts.degraded.items()},
        calls=counts.calls,
        saved=counts.saved,
        seen_running_s=counts.seen_running_s,
        estimated_cost_usd=counts.seen_running_s / 3600 * settings.rekognition.hourly_price,
        collected=None
        if collection is None
        else CollectionStatus(pictures=collection.counts.images, megabytes=collection.counts.megabytes),
    )


def chosen_second_opinion(settings: Settings, collection: Collection | None) -> SecondOpinion | None:
    """Get ready to ask the cloud model that the settings name; None where they name none.

    Args:
        settings: name the model and its limits.
        collection: keeps the frames that were asked about and answered; None to keep none.

    Raises:
        InputError: boto3 is not installed, the model's ARN is none, or the file of the budget cannot be used.
    """
    arn = settings.rekognition.project_version_arn
    if arn is None:
        return None
    try:
        from beeagent.cloud import RekognitionClient, RekognitionOptions  # noqa: PLC0415 - boto3 is an extra
    except ImportError as error:
        raise InputError(
            f"a second opinion needs {error.name}, which is not installed: pip install 'beeagent[rekognition]'"
        ) from error
    client = RekognitionClient(
        RekognitionOptions(
            project_version_arn=arn,
            min_confidence=settings.rekognition.min_confidence,
            longest_side=settings.rekognition.longest_side,
            quality=settings.rekognition.jpeg_quality,
            timeout=settings.rekognition.timeout,
            connections=settings.rekognition.workers,
            names=settings.rekognition.labels,
        )
    )
    budget = CallBudget(
        settings.state_file("budget.sqlite3"),
        per_minute=settings.rekognition.per_minute,
        per_day=settings.rekognition.per_day,
    )
    return SecondOpinion(
        client,
        CallGuard(budget),
        workers=settings.rekognition.workers,
        timeout=settings.rekognition.timeout,
        same_for=settings.rekognition.same_for,
        collect=None if collection is None else collection.add,
    )
