"""The status message and its thread, with a real socket in place of systemd's."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

from beeagent.camera import CaptureCounts, Frame, Sleep, SleepPeriod
from beeagent.messages import load_schema
from beeagent.outbox import OutboxCounts
from beeagent.runtime.status import Health, Problems, StatusReporter
from beeagent.runtime.systemd import ServiceNotifier
from jsonschema import Draft202012Validator
from support.known_health import known_health
from support.notify_socket import NotifySocket, notify_socket

DEADLINE = 45.0
MOMENT = datetime(2026, 5, 4, 10, 21, 7, tzinfo=timezone.utc)


@dataclass
class Stages:
    """A status reporter with settable inputs, and its reports."""

    health: Health
    problems: Problems
    problem: str | None = None
    busy_s: float = 0.0
    checks: int = 0
    reports: list[dict[str, object]] = field(default_factory=list)
    stopping: threading.Event = field(default_factory=threading.Event)
    grew: threading.Condition = field(default_factory=threading.Condition)

    def check(self) -> str | None:
        with self.grew:
            self.checks += 1
            self.grew.notify_all()
        return self.problem

    def report(self, payload: bytes) -> None:
        with self.grew:
            self.reports.append(json.loads(payload))
            self.grew.notify_all()

    def wait_until(self, condition: Callable[[], bool]) -> None:
        with self.grew:
            assert self.grew.wait_for(condition, DEADLINE)

    def wait_for_checks(self, count: int) -> None:
        before = self.checks
        self.wait_until(lambda: self.checks >= before + count)


class Asleep:
    """The sleep schedule, as far as a status needs it."""

    period: SleepPeriod | None = None

    def closed_s(self) -> float:
        raise NotImplementedError

    def admits(self, frame: Frame) -> bool:
        raise NotImplementedError


@contextmanager
def reporting(systemd: NotifySocket, *, sleep: Sleep | None = None) -> Iterator[Stages]:
    problems = Problems()
    health = known_health(problems, sleep=sleep)
    stages = Stages(health, problems)
    reporter = StatusReporter(
        health=health,
        problems=problems,
        checks={"outbox": stages.check},
        busy_s=lambda: stages.busy_s,
        report=stages.report,
        notifier=ServiceNotifier(systemd.address, watchdog_s=0.08),
        stopping=stages.stopping,
    )
    reporter.start()
    try:
        yield stages
    finally:
        stages.stopping.set()
        assert reporter.join(DEADLINE)


def test_ready_after_first_frame() -> None:
    with notify_socket() as systemd, reporting(systemd) as stages:
        stages.wait_for_checks(4)
        assert "READY=1" not in systemd.all_so_far()
        stages.health.count_frame(captured_ns=time.monotonic_ns())
        systemd.wait_for("READY=1")


def test_ready_when_camera_is_known_to_be_away() -> None:
    with notify_socket() as systemd, reporting(systemd) as stages:
        stages.problems.set("camera", "no frame came")
        systemd.wait_for("READY=1")
        stages.wait_until(lambda: stages.reports[-1:] != [] and stages.reports[-1]["state"] == "degraded")


def test_ready_and_reported_when_the_camera_falls_asleep_and_wakes() -> None:
    sleep = Asleep()
    with notify_socket() as systemd, reporting(systemd, sleep=sleep) as stages:
        stages.wait_until(lambda: stages.reports[-1:] != [])
        assert "asleep" not in stages.reports[-1]
        assert "READY=1" not in systemd.all_so_far()
        sleep.period = SleepPeriod(MOMENT, MOMENT + timedelta(hours=9))
        systemd.wait_for("READY=1")
        systemd.wait_for("STATUS=online: asleep until 2026-05-04T19:21:07.000000Z")
        stages.wait_until(lambda: "asleep" in stages.reports[-1])
        assert stages.reports[-1]["asleep"] == {
            "since": "2026-05-04T10:21:07.000000Z",
            "until": "2026-05-04T19:21:07.000000Z",
        }
        sleep.period = SleepPeriod(MOMENT, None)
        systemd.wait_for("STATUS=online: asleep until it is bright")
        stages.problem = "the disk is full"
        systemd.wait_for("STATUS=degraded: outbox: the disk is full; asleep until it is bright")
        sleep.period = None
        stages.wait_until(lambda: "asleep" not in stages.reports[-1])


def test_watchdog_starves_while_a_frame_takes_too_long() -> None:
    with notify_socket() as systemd, reporting(systemd) as stages:
        systemd.wait_for("WATCHDOG=1")
        stages.busy_s = 0.04
        stages.wait_for_checks(2)  # the check under way may have come too early to see it
        systemd.all_so_far()
        before = len(systemd.received)
        stages.wait_for_checks(5)
        assert "WATCHDOG=1" not in systemd.all_so_far()[before:]
        stages.busy_s = 0.0
        systemd.wait_for("WATCHDOG=1")


def test_problem_of_a_check_is_reported_and_sent_to_systemd() -> None:
    with notify_socket() as systemd, reporting(systemd) as stages:
        systemd.wait_for("STATUS=online: 0.0 frames/s")
        stages.problem = "the disk is full"
        assert systemd.wait_for("STATUS=degraded") == "STATUS=degraded: outbox: the disk is full"
        assert stages.reports[-1]["reasons"] == ["outbox: the disk is full"]


def test_stopping_is_the_last_message_to_systemd() -> None:
    with notify_socket() as systemd:
        with reporting(systemd) as stages:
            stages.wait_for_checks(1)
        assert systemd.all_so_far()[-1] == "STOPPING=1"


def _health(problems: Problems | None = None) -> Health:
    return known_health(
        problems or Problems(),
        captured=CaptureCounts(bad=4, replaced=5, rate_limited=6, reconnects=7),
        outbox=OutboxCounts(produced=9, delivered=5, dropped={"full": 1}),
        last_delivery=datetime(2026, 5, 4, 10, 21, 7, tzinfo=timezone.utc),
    )


def _read(payload: bytes) -> dict[str, Any]:
    message: dict[str, Any] = json.loads(payload)
    Draft202012Validator(load_schema("status")).validate(message)
    return message


def test_online_without_problems() -> None:
    status = _read(_health().status())
    assert (status["state"], status["reasons"]) == ("online", [])
    assert status["outbox"] == {
        "produced": 9,
        "delivered": 5,
        "waiting": 3,
        "dropped": {"full": 1},
        "last_delivery_at": "2026-05-04T10:21:07.000000Z",
    }
    counts = ("frames_skipped", "frames_replaced", "frames_rate_limited", "reconnects")
    assert [status["cameras"][0][count] for count in counts] == [4, 5, 6, 7]


def test_problem_degrades_until_cleared() -> None:
    problems = Problems()
    health = _health(problems)
    assert problems.set("camera", "gone")
    assert not problems.set("camera", "gone")
    status = _read(health.status())
    assert (status["state"], status["reasons"]) == ("degraded", ["camera: gone"])
    assert problems.set("camera", None)
    assert _read(health.status())["state"] == "online"


def test_frames_are_counted_with_their_age() -> None:
    health = _health()
    for _ in range(3):
        health.count_frame(captured_ns=time.monotonic_ns() - 2_000_000_000)
    camera = _read(health.status())["cameras"][0]
    assert camera["frames_read"] == 3
    assert camera["frame_age_s"] >= 2
    assert camera["frames_per_s"] > 0


def test_offline_status_has_reason() -> None:
    assert _read(_health().offline_status("stopped"))["reasons"] == ["stopped"]
