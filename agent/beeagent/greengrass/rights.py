"""Topics that the nucleus does not permit."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from beeagent.backoff import Backoff

_MOST_REMEMBERED: Final = 64  # topics; more than any device publishes on


@dataclass(slots=True)
class _Refusal:
    since: float
    until: float
    words: str
    backoff: Backoff


class ForbiddenTopics:
    """What the nucleus refuses for want of a right in the component's configuration. Used by one thread.

    A deployment may give the right at any time, so it is asked again, less and less often. As long as nothing else gets
    through either, nothing is given up. But where other topics are taken, one that is still refused after a while is of
    an older configuration, and would only hold up the others.
    """

    def __init__(self, *, backoff: Callable[[], Backoff], patience_s: float) -> None:
        """Choose the pace.

        Args:
            backoff: makes the waits after which the nucleus is asked again.
            patience_s: seconds from which a topic is given up, where others are taken.
        """
        self._make_backoff = backoff
        self._patience = patience_s
        self._refusals: dict[str, _Refusal] = {}
        self._others_taken_at = -1.0

    def note_refused(self, topic: str, words: str) -> None:
        """Note that the nucleus has refused, and in what words."""
        now = time.monotonic()
        refusal = self._refusals.get(topic)
        if refusal is None:
            if len(self._refusals) >= _MOST_REMEMBERED:
                del self._refusals[next(iter(self._refusals))]
            refusal = self._refusals[topic] = _Refusal(now, now, words, self._make_backoff())
        refusal.until, refusal.words = now + refusal.backoff.next(), words

    def note_taken(self, topic: str) -> None:
        """Note that the nucleus has taken a result."""
        self._refusals.pop(topic, None)
        self._others_taken_at = time.monotonic()

    def why_not(self, topic: str) -> str | None:
        """Say why it is no use to ask for a topic now; None where it is."""
        refusal = self._refusals.get(topic)
        return None if refusal is None or time.monotonic() >= refusal.until else refusal.words

    def is_given_up(self, topic: str) -> bool:
        """Whether what is published on a topic will never be taken."""
        refusal = self._refusals.get(topic)
        if refusal is None:
            return False
        return self._others_taken_at > refusal.since and time.monotonic() - refusal.since >= self._patience
