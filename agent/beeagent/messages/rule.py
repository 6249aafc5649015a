"""Which frames make a message."""

from collections.abc import Mapping
from typing import Literal

from beeagent.detection import Detections


class PublishRule:
    """Decides which frames make a message.

    Args:
        mode: `detections`: frames in which something was found; `always`: every frame; `changes`: frames whose
            counts differ from those of the message before, the first frame among them.
    """

    def __init__(self, mode: Literal["detections", "always", "changes"]) -> None:
        self._mode = mode
        self._before: dict[str, int] | None = None

    def admits(self, detections: Detections) -> bool:
        """Say whether the frame makes a message. To be asked once for each frame, in order."""
        return self.admits_counts(detections.counts())

    def admits_counts(self, counts: Mapping[str, int]) -> bool:
        """Say the same of a frame of which only the counts are left."""
        if self._mode == "always":
            return True
        if self._mode == "detections":
            return sum(counts.values()) > 0
        changed = counts != self._before
        self._before = dict(counts)
        return changed
