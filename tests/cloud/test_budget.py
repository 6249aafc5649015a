import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from beeagent.cloud import CallBudget
from beeagent.cloud.guard import RunningTime
from beeagent.errors import InputError

DAY = 86400.0
NOON = 1_777_896_000.0  # 2026-05-04, 12:00 UTC


class Clock:
    def __init__(self) -> None:
        self.wall = NOON
        self.monotonic = 50.0

    def sleep(self, seconds: float) -> None:
        self.wall += seconds
        self.monotonic += seconds

    def open(self, path: Path | None, *, per_minute: int = 100, per_day: int = 100) -> CallBudget:
        return CallBudget(
            path, per_minute=per_minute, per_day=per_day, wall=lambda: self.wall, clock=lambda: self.monotonic
        )

    def restart(self, budget: CallBudget, open_again: Callable[[], CallBudget]) -> CallBudget:
        budget.close()
        self.monotonic = 3.0
        return open_again()


def spend(budget: CallBudget, times: int) -> list[str | None]:
    return [budget.spend() for _ in range(times)]


def test_limit_per_minute() -> None:
    clock = Clock()
    budget = clock.open(None, per_minute=2)
    assert spend(budget, 3) == [None, None, "rate"]
    clock.sleep(59.9)
    assert budget.spend() == "rate"
    clock.sleep(0.2)
    assert spend(budget, 3) == [None, None, "rate"]


def test_limit_per_day_starts_again_on_a_new_date() -> None:
    clock = Clock()
    budget = clock.open(None, per_day=2)
    assert spend(budget, 3) == [None, None, "budget"]
    clock.sleep(DAY / 2 - 1)
    assert budget.spend() == "budget"
    clock.sleep(2)
    assert spend(budget, 3) == [None, None, "budget"]


def test_limit_of_zero_permits_no_call() -> None:
    assert Clock().open(None, per_day=0).spend() == "budget"
    assert Clock().open(None, per_minute=0).spend() == "rate"


def test_both_limits_survive_a_restart(tmp_path: Path) -> None:
    clock = Clock()

    def again() -> CallBudget:
        return clock.open(tmp_path / "new" / "budget.sqlite3", per_minute=2, per_day=3)

    budget = again()
    assert spend(budget, 2) == [None, None]
    clock.sleep(30)
    budget = clock.restart(budget, again)
    assert budget.spend() == "rate"
    clock.sleep(31)
    assert spend(budget, 2) == [None, "budget"]
    budget = clock.restart(budget, again)
    clock.sleep(61)
    assert budget.spend() == "budget"
    budget.close()


def test_clock_that_jumps_back_and_forth_finds_the_calls_already_made(tmp_path: Path) -> None:
    clock = Clock()

    def again() -> CallBudget:
        return clock.open(tmp_path / "budget.sqlite3", per_day=2)

    budget = again()
    assert spend(budget, 3) == [None, None, "budget"]
    for wrong in (0.0, NOON + 3650 * DAY):  # a device without a hardware clock, which starts in 1970, and a wrong clock
        clock.wall = wrong
        budget = clock.restart(budget, again)
        assert spend(budget, 3) == [None, None, "budget"]
        clock.wall = NOON
        assert budget.spend() == "budget"
        clock.wall = wrong
        assert budget.spend() == "budget"
    budget.close()


def test_clock_jump_does_not_end_the_minute(tmp_path: Path) -> None:
    clock = Clock()

    def again() -> CallBudget:
        return clock.open(tmp_path / "budget.sqlite3", per_minute=1)

    budget = again()
    assert budget.spend() is None
    clock.wall += 3600
    assert budget.spend() == "rate"
    clock.wall = NOON - 3600  # and restarted in the past: calls in the future count as just made
    budget = clock.restart(budget, again)
    assert budget.spend() == "rate"
    clock.sleep(61)
    assert budget.spend() is None
    budget.close()


def test_call_is_recorded_before_it_is_permitted(tmp_path: Path) -> None:
    path = tmp_path / "budget.sqlite3"
    script = (
        "import os, sys; from pathlib import Path; from beeagent.cloud import CallBudget\n"
        "b = CallBudget(Path(sys.argv[1]), per_minute=9, per_day=9)\n"
        "assert b.spend() is None and b.spend() is None\n"
        "os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", script, str(path)], check=False, timeout=60).returncode == -9
    budget = CallBudget(path, per_minute=2, per_day=9)
    assert budget.spend() == "rate"
    budget.close()


def test_call_that_cannot_be_recorded_is_not_permitted(caplog: pytest.LogCaptureFixture) -> None:
    budget = Clock().open(None)
    budget._database.execute("PRAGMA query_only = ON")  # like a read-only disk
    assert budget.spend() == "budget"
    assert "cannot be counted" in caplog.text
    budget._database.execute("PRAGMA query_only = OFF")
    assert budget.spend() is None


def test_file_does_not_grow(tmp_path: Path) -> None:
    path = tmp_path / "budget.sqlite3"
    clock = Clock()
    budget = clock.open(path, per_minute=5)
    for _ in range(100):
        assert budget.spend() is None
        clock.sleep(DAY)
    budget.close()
    with sqlite3.connect(path) as database:
        rows = [database.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("day", "recent")]  # noqa: S608
    assert rows == [64, 5]


def test_limit_holds_across_threads() -> None:
    budget = Clock().open(None, per_day=50)
    permitted: list[None] = []

    def work() -> None:
        while budget.spend() is None:
            permitted.append(None)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(permitted) == 50


def test_other_files_are_refused(tmp_path: Path) -> None:
    text, database = tmp_path / "text", tmp_path / "database"
    text.write_text("no database" * 1000)
    with sqlite3.connect(database) as other:
        other.execute("CREATE TABLE theirs (x)")
    other.close()
    before = database.read_bytes()
    with pytest.raises(InputError, match="damaged or not a budget file"):
        CallBudget(text, per_minute=1, per_day=1)
    with pytest.raises(InputError, match="of another program"):
        CallBudget(database, per_minute=1, per_day=1)
    assert database.read_bytes() == before
    with pytest.raises(InputError, match=r"budget .* cannot be opened"):
        CallBudget(text / "below", per_minute=1, per_day=1)


def test_running_time_counts_the_time_between_results_alone() -> None:
    now = 0.0
    running = RunningTime(lambda: now)
    seconds = []
    for moment, result in [(10, True), (70, True), (80, False), (90, True), (100, True), (4000, True), (4001, True)]:
        now = moment
        if result:
            running.note_result()
        else:
            running.note_not_running()
        seconds.append(running.seconds)
    assert seconds == [0, 60, 60, 60, 70, 70, 71]  # neither the time up to 80, nor that of more than an hour
