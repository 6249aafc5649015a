"""The state of the agent: its problems and counts, the status message, and the thread that reports it."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Final

from beeagent import __version__
from beeagent.camera import Capture, Sleep
from beeagent.cloud import Collection, SecondOpinion
from beeagent.detection import Detections
from beeagent.messages import (
    Asleep,
    CameraStatus,
    CollectionStatus,
    SecondOpinionStatus,
    State,
    status_message,
)
from beeagent.outbox import Outbox, OutboxCounts
from beeagent.runtime.counting import Counting
from beeagent.runtime.pipeline import Pipeline
from beeagent.runtime.reload import Reload
from beeagent.runtime.systemd import ServiceNotifier
from beeagent.runtime.workers import WorkerChoice
from beeagent.settings import Settings

_LOG: Final = logging.getLogger(__name__)

_RATE_WINDOW: Final = 64  # results over which frames/s is averaged
_STATUS_LIMIT: Final = 7000  # bytes; the maximum of a Greengrass nucleus lite
_CHECK_EVERY_S: Final = 0.5
_STATUS_INTERVAL_S: Final = 30.0
_LOGGED_ELSEWHERE: Final = frozenset({"agent", "broker"})  # by the thread guard and the publisher


class Problems:
    """The current problems of the agent's components. Thread-safe; each change is logged."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._problems: dict[str, str] = {}

    def set(self, component: str, problem: str | None) -> bool:
        """Set the problem of a component, or clear it with None; return False if it is unchanged."""
        with self._lock:
            if self._problems.get(component) == problem:
                return False
            if problem is None:
                del self._problems[component]
            else:
                self._problems[component] = problem
        if component not in _LOGGED_ELSEWHERE:
            if problem is None:
                _LOG.info("%s: working again", component)
            else:
                _LOG.warning("%s: %s", component, problem)
        return True

    def of(self, component: str) -> Callable[[str | None], None]:
        """Return a function that sets the problem of one component."""

        def set_problem(problem: str | None) -> None:
            self.set(component, problem)

        return set_problem

    def current(self) -> dict[str, str]:
        """Return all problems, by component."""
        with self._lock:
            return dict(self._problems)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state of the agent at a point in time.

    Attributes:
        device: name of the device.
        model: identity of the model.
        problems: the current problems, by component.
        uptime_s: seconds since the start.
        camera: status of the camera.
        outbox: counts of results.
        last_delivery: time of the broker's last acknowledgement; None without one since the start.
        second_opinion: counts of unsure frames; None without a second opinion.
        choice: numbers of workers and threads, if they were measured.
        passages: number of passages over all restarts, by place, label and direction; None without places.
        asleep: current period of sleep; None while the camera is active.
    """

    device: str
    model: str
    problems: Mapping[str, str]
    uptime_s: float
    camera: CameraStatus
    outbox: OutboxCounts
    last_delivery: datetime | None
    second_opinion: SecondOpinionStatus | None = None
    choice: WorkerChoice | None = None
    passages: Mapping[tuple[str, str, str], int] | None = None
    asleep: Asleep | None = None

    @property
    def state(self) -> State:
        """`online`, or `degraded` if there is a problem; sleep does not count as one."""
        return "degraded" if self.problems else "online"

    @property
    def reasons(self) -> tuple[str, ...]:
        """The problems, one line each."""
        return tuple(f"{component}: {problem}" for component, problem in sorted(self.problems.items()))


class Health:
    """Collects the state of the agent, and builds status messages. Thread-safe.

    Args:
        settings: the names of device and camera, and the price of the cloud model.
        problems: current problems.
        capture: capture, for the counts of the camera.
        pipeline: pipeline, for the model and counts of frames.
        outbox: outbox, for the counts of results.
        opinion: second opinion; None for none.
        collection: collection of frames for training; None for none.
        choice: numbers of workers and threads, if they were measured.
        counting: tracking and counting; None without tracking.
        sleep: sleep of the camera; None if it never sleeps.
    """

    def __init__(  # noqa: PLR0913 - keywords
        self,
        settings: Settings,
        *,
        problems: Problems,
        capture: Capture,
        pipeline: Pipeline,
        outbox: Outbox,
        opinion: SecondOpinion | None = None,
        collection: Collection | None = None,
        choice: WorkerChoice | None = None,
        counting: Counting | None = None,
        sleep: Sleep | None = None,
    ) -> None:
        self._settings = settings
        self._problems = problems
        self._capture = capture
        self._pipeline = pipeline
        self._outbox = outbox
        self._opinion = opinion
        self._collection = collection
        self._choice = choice
        self._counting = counting
        self._sleep = sleep
        self._lock = threading.Lock()
        self._processed = 0
        self._recent: deque[int] = deque(maxlen=_RATE_WINDOW)
        self._newest_ns: int | None = None
        self._newest: Detections | None = None
        self._started = time.monotonic()

    def count_frame(self, *, captured_ns: int, detections: Detections | None = None) -> int:
        """Count a processed frame by its `Frame.captured_ns`; return the number of frames so far."""
        with self._lock:
            self._processed += 1
            self._newest_ns = captured_ns
            self._newest = detections
            self._recent.append(time.monotonic_ns())
            return self._processed

    @property
    def frames(self) -> int:
        """Number of frames processed."""
        with self._lock:
            return self._processed

    @property
    def newest(self) -> Detections | None:
        """The detections of the newest frame; None before the first."""
        with self._lock:
            return self._newest

    def snapshot(self) -> Snapshot:
        """Return the current state."""
        period = None if self._sleep is None else self._sleep.period
        captured, lost, replaced = self._capture.counts, self._pipeline.lost, self._pipeline.replaced
        with self._lock:
            now = time.monotonic_ns()
            if period is not None:
                self._recent.clear()  # exclude the sleep from the average rate
            camera = CameraStatus(
                name=self._settings.camera.name,
                frames_read=self._processed,
                frames_skipped=captured.bad + lost,
                frames_replaced=captured.replaced + replaced,
                frames_rate_limited=captured.rate_limited,
                reconnects=captured.reconnects,
                frames_per_s=self._rate(now),
                frame_age_s=None if self._newest_ns is None else (now - self._newest_ns) / 1e9,
            )
        return Snapshot(
            device=self._settings.agent.device,
            model=self._pipeline.model,
            problems=self._problems.current(),
            uptime_s=time.monotonic() - self._started,
            camera=camera,
            outbox=self._outbox.counts(),
            last_delivery=self._outbox.last_delivery,
            second_opinion=self._second_opinion(),
            choice=self._choice,
            passages=None if self._counting is None else self._counting.totals,
            asleep=None if period is None else Asleep.between(period.since, period.until),
        )

    def status(self) -> bytes:
        """Return the current status message."""
        now = self.snapshot()
        return _message(now, now.state, now.reasons)

    def offline_status(self, reason: str) -> bytes:
        """Return the status message of a stopped agent."""
        return _message(self.snapshot(), "offline", (reason,))

    def _rate(self, now: int) -> float:
        if len(self._recent) < 2:
            return 0.0
        # Up to now, not up to the newest result, so that the rate decreases without frames.
        return (len(self._recent) - 1) / max((now - self._recent[0]) / 1e9, 1e-9)

    def _second_opinion(self) -> SecondOpinionStatus | None:
        if self._opinion is None:
            return None
        counts, collected = self._opinion.counts(), None
        if self._collection is not None:
            kept = self._collection.counts
            collected = CollectionStatus(pictures=kept.images, megabytes=kept.megabytes)
        return SecondOpinionStatus(
            asked=counts.asked,
            cloud=counts.cloud,
            degraded={str(reason): count for reason, count in counts.degraded.items()},
            calls=counts.calls,
            saved=counts.saved,
            seen_running_s=counts.seen_running_s,
            estimated_cost_usd=counts.seen_running_s / 3600 * self._settings.rekognition.hourly_price,
            collected=collected,
        )


class StatusReporter:
    """A thread that checks the other parts of the agent twice a second, and reports the status.

    It polls the problems of parts that do not report them, notifies systemd, and starts a requested reload. It
    publishes the status when its reasons change, after the first frames, when the camera falls asleep or wakes, and
    every 30 seconds. After each check it calls `also`.

    The agent is ready when it has processed a frame, or its camera sleeps or is lost: until then the settings may be
    invalid. The watchdog is notified unless an inference or a frame has taken more than half of its time. A model that
    hangs once is replaced before that; if it hangs repeatedly, or a result cannot be handled, the watchdog restarts
    the agent.

    Args:
        health: state of the agent.
        problems: problems, updated by the checks.
        checks: functions that return the current problem of a component or None, by component.
        busy_s: returns the maximum time in seconds spent so far on an inference or a frame.
        report: publishes a status message.
        notifier: notifier for systemd.
        stopping: event that ends the thread.
        reload: reload of the model and the places; None for none.
        also: called after each check; must return soon.
    """

    def __init__(  # noqa: PLR0913 - keywords
        self,
        *,
        health: Health,
        problems: Problems,
        checks: Mapping[str, Callable[[], str | None]],
        busy_s: Callable[[], float],
        report: Callable[[bytes], None],
        notifier: ServiceNotifier,
        stopping: threading.Event,
        reload: Reload | None = None,
        also: Callable[[], None] = lambda: None,
    ) -> None:
        self._health = health
        self._problems = problems
        self._checks = checks
        self._busy_s = busy_s
        self._report = report
        self._notifier = notifier
        self._stopping = stopping
        self._reload = reload
        self._also = also
        self._reported: tuple[tuple[str, ...], Asleep | None, bool] | None = None
        self._report_due = 0.0
        self._thread = threading.Thread(target=self._run, name="status", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def join(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds for the thread after `stopping` was set; return False if it has not ended."""
        if self._thread.ident is not None:
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        watchdog_s = self._notifier.watchdog_s
        pause = _CHECK_EVERY_S if watchdog_s is None else min(_CHECK_EVERY_S, watchdog_s / 4)
        while not self._stopping.wait(pause):
            self._check(watchdog_s)
            self._also()
            if self._reload is not None:
                self._reload.start_if_requested()
        if self._health.frames:  # a file may end before the first check
            self._notifier.ready()
        self._notifier.stopping()

    def _check(self, watchdog_s: float | None) -> None:
        for component, check in self._checks.items():
            self._problems.set(component, check())
        if watchdog_s is not None and self._busy_s() < watchdog_s / 2:
            self._notifier.alive()
        now = self._health.snapshot()
        if now.camera.frames_read or "camera" in now.problems or now.asleep is not None:
            self._notifier.ready()
        current = now.reasons, now.asleep, now.camera.frames_read > 1  # from the second frame on, there is a rate
        if current != self._reported or time.monotonic() >= self._report_due:
            self._reported = current
            self._report_due = time.monotonic() + _STATUS_INTERVAL_S
            self._report(self._health.status())
            self._notifier.status(f"{now.state}: {'; '.join([*now.reasons, *_activity(now)])}")


def _activity(now: Snapshot) -> tuple[str, ...]:
    """Return the activity of the camera for the status line."""
    if now.asleep is not None:
        return (f"asleep until {now.asleep.until}" if now.asleep.until else "asleep until it is bright",)
    return () if now.reasons else (f"{now.camera.frames_per_s:.1f} frames/s",)


def _message(now: Snapshot, state: State, reasons: tuple[str, ...]) -> bytes:
    message = status_message(
        device=now.device,
        state=state,
        reasons=reasons,
        at=datetime.now(timezone.utc),
        agent_version=__version__,
        uptime_s=now.uptime_s,
        model=now.model,
        workers=None if now.choice is None else now.choice.workers,
        threads=None if now.choice is None else now.choice.threads,
        cameras=(now.camera,),
        asleep=now.asleep if state != "offline" else None,
        outbox=now.outbox,
        last_delivery=now.last_delivery,
        second_opinion=now.second_opinion,
    )
    return message.encode(limit=_STATUS_LIMIT)
