"""How the agent is: what the stages report, gathered into the status message."""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone

from beeagent import __version__
from beeagent.messages import CameraCounts, CameraStatus, SecondOpinionStatus, State, status_message
from beeagent.outbox import OutboxCounts

_RATE_WINDOW = 64  # results over which frames/s is averaged
_STATUS_LIMIT = 7000  # bytes; what a Greengrass nucleus lite lets through


@dataclass(frozen=True, slots=True)
class Snapshot:
    """How the agent is at one moment.

    Attributes:
        device: name of the device.
        model: identity of the model.
        troubles: what is wrong, by part.
        uptime_s: seconds since the start.
        camera: how the camera is doing.
        outbox: what became of the results.
        last_delivery: when the broker last acknowledged a result; None if it has not since the start.
        second_opinion: what became of unsure frames; None where nobody is asked.
    """

    device: str
    model: str
    troubles: Mapping[str, str]
    uptime_s: float
    camera: CameraStatus
    outbox: OutboxCounts
    last_delivery: datetime | None
    second_opinion: SecondOpinionStatus | None = None

    @property
    def state(self) -> State:
        """`online`, or `degraded` when something is wrong."""
        return "degraded" if self.troubles else "online"

    @property
    def reasons(self) -> tuple[str, ...]:
        """What is wrong, a line each."""
        return tuple(f"{part}: {reason}" for part, reason in sorted(self.troubles.items()))


class Health:
    """Collects what is wrong and what was done, from any thread, and puts it into status messages.

    Args:
        device: name of the device.
        camera: name of the camera.
        model: gives the identity of the model.
        counts: returns what was counted of the camera.
        outbox: gives what became of the results.
        last_delivery: gives when the broker last acknowledged a result; None for never.
        second_opinion: gives what became of unsure frames; None where nobody is asked.
    """

    def __init__(  # noqa: PLR0913 - whom it asks
        self,
        *,
        device: str,
        camera: str,
        model: Callable[[], str],
        counts: Callable[[], CameraCounts],
        outbox: Callable[[], OutboxCounts],
        last_delivery: Callable[[], datetime | None],
        second_opinion: Callable[[], SecondOpinionStatus | None] = lambda: None,
    ) -> None:
        self._device = device
        self._camera = camera
        self._model = model
        self._counts = counts
        self._outbox = outbox
        self._last_delivery = last_delivery
        self._second_opinion = second_opinion
        self._lock = threading.Lock()
        self._troubles: dict[str, str] = {}
        self._looked_at = 0
        self._recent: deque[int] = deque(maxlen=_RATE_WINDOW)
        self._newest_ns: int | None = None
        self._began = time.monotonic()

    def set_trouble(self, part: str, reason: str | None) -> bool:
        """Note what is wrong with a part, or with None that nothing is; say whether that is news."""
        with self._lock:
            before = self._troubles.get(part)
            if reason is None:
                self._troubles.pop(part, None)
            else:
                self._troubles[part] = reason
            return before != reason

    def count_frame(self, *, captured_ns: int) -> None:
        """Note that a frame was looked at; `captured_ns` is its `Frame.captured_ns`."""
        with self._lock:
            self._looked_at += 1
            self._newest_ns = captured_ns
            self._recent.append(time.monotonic_ns())

    @property
    def frames(self) -> int:
        """How many frames were looked at."""
        with self._lock:
            return self._looked_at

    def snapshot(self) -> Snapshot:
        """Give how it is now."""
        with self._lock:
            now = time.monotonic_ns()
            counts = self._counts()
            camera = CameraStatus(
                name=self._camera,
                frames_read=self._looked_at,
                frames_skipped=counts.skipped,
                frames_replaced=counts.replaced,
                frames_rate_limited=counts.rate_limited,
                reconnects=counts.reconnects,
                frames_per_s=self._rate(now),
                frame_age_s=None if self._newest_ns is None else (now - self._newest_ns) / 1e9,
            )
            troubles = dict(self._troubles)
        return Snapshot(
            device=self._device,
            model=self._model(),
            troubles=troubles,
            uptime_s=time.monotonic() - self._began,
            camera=camera,
            outbox=self._outbox(),
            last_delivery=self._last_delivery(),
            second_opinion=self._second_opinion(),
        )

    def status(self) -> bytes:
        """Give the status message of now."""
        now = self.snapshot()
        return _message(now, now.state, now.reasons)

    def farewell(self, reason: str) -> bytes:
        """Give the status message of an agent that is gone."""
        return _message(self.snapshot(), "offline", (reason,))

    def _rate(self, now: int) -> float:
        if len(self._recent) < 2:
            return 0.0
        # Up to now, not up to the newest result: a camera that stands still must not look busy.
        return (len(self._recent) - 1) / max((now - self._recent[0]) / 1e9, 1e-9)


def _message(now: Snapshot, state: State, reasons: tuple[str, ...]) -> bytes:
    message = status_message(
        device=now.device,
        state=state,
        reasons=reasons,
        at=datetime.now(timezone.utc),
        agent_version=__version__,
        uptime_s=now.uptime_s,
        model=now.model,
        cameras=(now.camera,),
        outbox=now.outbox,
        last_delivery=now.last_delivery,
        second_opinion=now.second_opinion,
    )
    return message.encode(limit=_STATUS_LIMIT)
