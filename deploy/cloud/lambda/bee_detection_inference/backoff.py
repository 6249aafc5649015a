"""Computes the time for which a failed message stays invisible."""

import zlib

MAX_DELAY_S = 900
"""Maximum seconds between two attempts. A model starts within about half an hour, so more would only add delay."""

_THROTTLED_BASE_S = 10
_BASE_S = 60
_THROTTLED = frozenset({"LimitExceededException", "ProvisionedThroughputExceededException", "ThrottlingException"})


def wait_s(code: str, *, receives: int, message_id: str) -> int:
    """Return the seconds to wait, doubled after each attempt up to `MAX_DELAY_S`.

    Args:
        code: error code of the service; throttled messages wait less.
        receives: number of times the message was received, this time included.
        message_id: spreads messages that failed together: each waits for 75 % to 100 % of the time, by its hash.
    """
    base = _THROTTLED_BASE_S if code in _THROTTLED else _BASE_S
    # Limit the exponent, so that a wrong count does not produce a huge number.
    delay = min(base << min(max(receives, 1) - 1, 20), MAX_DELAY_S)
    share = zlib.crc32(message_id.encode()) / 2**32
    return round(delay * (0.75 + 0.25 * share))
