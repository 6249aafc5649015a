"""Who is asked for a second opinion, and what comes of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from beeagent.camera import Frame
from beeagent.cloud.reason import Reason
from beeagent.detection.detections import Detections


class Looker(Protocol):
    """Whoever is asked: `RekognitionClient`, or what stands in for it."""

    def look(self, frame: Frame, labels: tuple[str, ...]) -> Detections:
        """Give what is in the frame.

        Raises:
            NoOpinionError: there is no answer, and why.
        """


@dataclass(frozen=True, slots=True)
class Opinion:
    """What is to be told of a frame.

    Attributes:
        decided_by: `cloud`, or `edge-degraded` where no answer was to be had.
        detections: the cloud model's, or those that were asked about.
        reason: why there was no answer; None with `cloud`.
    """

    decided_by: Literal["cloud", "edge-degraded"]
    detections: Detections
    reason: Reason | None = None


@dataclass(frozen=True, slots=True)
class OpinionCounts:
    """What became of the frames that were asked about, since the start.

    Attributes:
        asked: all of them.
        cloud: those that got an answer.
        degraded: those that did not, by reason.
        calls: how often the cloud model was asked.
        saved: frames that went with the call of another one that shows the same.
        seen_running_s: seconds for which the cloud model was seen to run; see `RunningTime`.
    """

    asked: int
    cloud: int
    degraded: Mapping[Reason, int]
    calls: int
    saved: int
    seen_running_s: float = 0.0
