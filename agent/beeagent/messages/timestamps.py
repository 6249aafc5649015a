"""How a moment is written in messages."""

from datetime import datetime, timezone


def rfc3339(moment: datetime) -> str:
    """Write a moment in UTC with six decimals of a second, such as `2026-05-04T10:21:07.123456Z`.

    Raises:
        ValueError: the moment has no time zone.
    """
    if moment.tzinfo is None:
        raise ValueError(f"{moment.isoformat()} has no time zone")
    return moment.astimezone(timezone.utc).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
