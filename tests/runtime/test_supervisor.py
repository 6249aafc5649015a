"""Who is told what, and when, by a supervisor with a real socket in systemd's place."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from beeagent.messages import CameraCounts
from beeagent.outbox import OutboxCounts
from beeagent.runtime.health import Health
from beeagent.runtime.status_reporter import Supervisor
from beeagent.runtime.systemd import ServiceNotifier
from support.notify_socket import NotifySocket, notify_socket

DEADLINE = 60.0


@dataclass
class Stages:
    """What a supervisor looks at, and what it says, as a test wants it."""

    health: Health
    trouble: str | None = None
    at_one_frame_s: float = 0.0
    looks: int = 0
    reports: list[dict[str, object]] = field(default_factory=list)
    stopping: threading.Event = field(default_factory=threading.Event)
    stopped: threading.Event = field(default_factory=threading.Event)
    grew: threading.Condition = field(default_factory=threading.Condition)

    def check(self) -> str | None:
        with self.grew:
            self.looks += 1
            self.grew.notify_all()
        return self.trouble

    def report(self, payload: bytes) -> None:
        with self.grew:
            self.reports.append(json.loads(payload))
            self.grew.notify_all()

    def wait_until(self, condition: Callable[[], bool]) -> None:
        with self.grew:
            assert self.grew.wait_for(condition, DEADLINE)

    def wait_for_looks(self, count: int) -> None:
        seen = self.looks
        self.wait_until(lambda: self.looks >= seen + count)


@contextmanager
def supervised(systemd: NotifySocket) -> Iterator[Stages]:
    health = Health(
        device="hive-7", camera="front", model=lambda: "bees@12345678", counts=CameraCounts,
        outbox=lambda: OutboxCounts(produced=0, delivered=0, dropped={}), last_delivery=lambda: None,
    )  # fmt: skip
    stages = Stages(health)
    supervisor = Supervisor(
        health=health,
        checks={"outbox": stages.check},
        note=health.set_trouble,
        at_one_frame_s=lambda: stages.at_one_frame_s,
        report=stages.report,
        notifier=ServiceNotifier(systemd.address, watchdog_s=0.08),
        stopping=stages.stopping,
        on_stop=stages.stopped.set,
    )
    supervisor.start()
    try:
        yield stages
    finally:
        stages.stopping.set()
        assert supervisor.join(DEADLINE)
        assert stages.stopped.is_set()


def test_it_is_ready_when_a_frame_was_looked_at() -> None:
    with notify_socket() as systemd, supervised(systemd) as stages:
        stages.wait_for_looks(4)
        assert "READY=1" not in systemd.all_so_far()
        stages.health.count_frame(captured_ns=time.monotonic_ns())
        systemd.wait_for("READY=1")


def test_it_is_ready_when_the_camera_is_known_to_be_away() -> None:
    with notify_socket() as systemd, supervised(systemd) as stages:
        stages.health.set_trouble("camera", "no frame came")
        systemd.wait_for("READY=1")
        stages.wait_until(lambda: stages.reports[-1:] != [] and stages.reports[-1]["state"] == "degraded")


def test_the_watchdog_starves_while_a_frame_takes_too_long() -> None:
    with notify_socket() as systemd, supervised(systemd) as stages:
        systemd.wait_for("WATCHDOG=1")
        stages.at_one_frame_s = 0.04
        stages.wait_for_looks(2)  # the look under way may have come too early to see it
        systemd.all_so_far()
        told = len(systemd.told)
        stages.wait_for_looks(5)
        assert "WATCHDOG=1" not in systemd.all_so_far()[told:]
        stages.at_one_frame_s = 0.0
        systemd.wait_for("WATCHDOG=1")


def test_a_check_makes_the_state_and_systemd_hears_it() -> None:
    with notify_socket() as systemd, supervised(systemd) as stages:
        systemd.wait_for("STATUS=online: 0.0 frames/s")
        stages.trouble = "the disk is full"
        assert systemd.wait_for("STATUS=degraded") == "STATUS=degraded: outbox: the disk is full"
        assert stages.reports[-1]["reasons"] == ["outbox: the disk is full"]


def test_the_end_is_told_before_the_stages_end() -> None:
    with notify_socket() as systemd:
        with supervised(systemd) as stages:
            stages.wait_for_looks(1)
        assert systemd.all_so_far()[-1] == "STOPPING=1"
