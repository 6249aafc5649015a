"""Returns how long a message that failed stays invisible before the next attempt."""

import zlib

LONGEST_S = 900
"""Between two attempts, in seconds. A model takes about half an hour to start, so more would only add delay."""

_THROTTLED_BASE_S = 10
_BASE_S = 60
_THROTTLED = frozenset({"LimitExceededException", "ProvisionedThroughputExceededException", "ThrottlingException"})


def wait_s(code: str, *, receives: int, message_id: str) -> int:
    """Return how long to wait, in seconds: twice as long after each attempt, up to `LONGEST_S`.

    Args:
        code: of the failure, as Rekognition and the other services name it. What is throttled waits less.
        receives: how often the message was received, this time included.
        message_id: spreads the attempts: of messages that failed together, each waits between three quarters of the
            time and all of it, the same message always the same share.
    """
    base = _THROTTLED_BASE_S if code in _THROTTLED else _BASE_S
    # The exponent is held down, so that an invented count does not make a number of a million digits.
    longest = min(base << min(max(receives, 1) - 1, 20), LONGEST_S)
    share = zlib.crc32(message_id.encode()) / 2**32
    return round(longest * (0.75 + 0.25 * share))
