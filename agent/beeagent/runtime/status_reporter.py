"""Watches over the stages while they run, and tells everyone who should know how they are."""

import threading
import time
from collections.abc import Callable, Mapping
from typing import Final

from beeagent.runtime.health import Health
from beeagent.runtime.systemd import ServiceNotifier

_LOOK_EVERY_S: Final = 0.5
_STATUS_INTERVAL_S: Final = 30.0


class Supervisor:
    """A thread that looks at the stages twice a second.

    It collects their troubles, publishes the status when that changes and now and then, and tells systemd that
    the agent is ready, lives and stops. Ready is an agent that has looked at a frame, or that waits for a camera
    which is known to be away: until then the settings may still prove wrong. It counts as alive until one frame
    has taken half of the watchdog's time: a model that hangs once is got over before that, and one that hangs
    again and again, or a result that is never done with, lets the watchdog bite.

    Args:
        health: how the agent is; what the checks find is told it by `note`.
        checks: by the name of a part, what gives its trouble of now, None for none.
        note: takes a part and its trouble.
        at_one_frame_s: gives the seconds for which the stages have been at one and the same frame.
        report: takes each status message.
        notifier: tells systemd.
        stopping: set by whoever wants the agent to stop.
        on_stop: called once `stopping` was set, on this thread, which may take locks as a signal handler may not.
    """

    def __init__(  # noqa: PLR0913 - what it looks at and whom it tells
        self,
        *,
        health: Health,
        checks: Mapping[str, Callable[[], str | None]],
        note: Callable[[str, str | None], None],
        at_one_frame_s: Callable[[], float],
        report: Callable[[bytes], None],
        notifier: ServiceNotifier,
        stopping: threading.Event,
        on_stop: Callable[[], None],
    ) -> None:
        self._health = health
        self._checks = checks
        self._note = note
        self._at_one_frame_s = at_one_frame_s
        self._report = report
        self._notifier = notifier
        self._stopping = stopping
        self._on_stop = on_stop
        self._reported: tuple[str, ...] | None = None
        self._report_due = 0.0
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def join(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds for the end that follows `stopping`, and say whether it came."""
        if self._thread.ident is not None:
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        watchdog_s = self._notifier.watchdog_s
        pause = _LOOK_EVERY_S if watchdog_s is None else min(_LOOK_EVERY_S, watchdog_s / 4)
        while not self._stopping.wait(pause):
            self._look(watchdog_s)
        if self._health.frames:  # a file may end before the first look
            self._notifier.ready()
        self._notifier.stopping()
        self._on_stop()

    def _look(self, watchdog_s: float | None) -> None:
        for part, check in self._checks.items():
            self._note(part, check())
        if watchdog_s is not None and self._at_one_frame_s() < watchdog_s / 2:
            self._notifier.alive()
        now = self._health.snapshot()
        if now.camera.frames_read or "camera" in now.troubles:
            self._notifier.ready()
        if now.reasons != self._reported or time.monotonic() >= self._report_due:
            self._reported, self._report_due = now.reasons, time.monotonic() + _STATUS_INTERVAL_S
            self._report(self._health.status())
            self._notifier.status(f"{now.state}: {'; '.join(now.reasons) or f'{now.camera.frames_per_s:.1f} frames/s'}")
