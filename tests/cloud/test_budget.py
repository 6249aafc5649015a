import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from beeagent.cloud.budget import CallBudget
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


def test_grants_so_many_within_any_minute() -> None:
    clock = Clock()
    budget = clock.open(None, per_minute=2)
    assert spend(budget, 3) == [None, None, "rate"]
    clock.sleep(59.9)
    assert budget.spend() == "rate"
    clock.sleep(0.2)
    assert spend(budget, 3) == [None, None, "rate"]


def test_grants_so_many_a_day_and_a_new_date_begins_anew() -> None:
    clock = Clock()
    budget = clock.open(None, per_day=2)
    assert spend(budget, 3) == [None, None, "budget"]
    clock.sleep(DAY / 2 - 1)
    assert budget.spend() == "budget"
    clock.sleep(2)
    assert budget.spend() is None
    assert budget.spent_today == 1


def test_a_limit_of_zero_grants_nothing() -> None:
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
    assert budget.spent_today == 3
    budget.close()


def test_a_clock_that_jumps_there_and_back_finds_what_was_spent(tmp_path: Path) -> None:
    clock = Clock()

    def again() -> CallBudget:
        return clock.open(tmp_path / "budget.sqlite3", per_day=2)

    budget = again()
    assert spend(budget, 3) == [None, None, "budget"]
    for wrong in (0.0, NOON + 3650 * DAY):  # a device without a clock of its own that begins in 1970, and a garbled one
        clock.wall = wrong
        budget = clock.restart(budget, again)
        assert spend(budget, 3) == [None, None, "budget"]
        clock.wall = NOON
        assert budget.spend() == "budget"
        clock.wall = wrong
        assert budget.spend() == "budget"
    budget.close()


def test_a_jump_does_not_end_the_minute(tmp_path: Path) -> None:
    clock = Clock()

    def again() -> CallBudget:
        return clock.open(tmp_path / "budget.sqlite3", per_minute=1)

    budget = again()
    assert budget.spend() is None
    clock.wall += 3600
    assert budget.spend() == "rate"
    clock.wall = NOON - 3600  # and restarted in the past: what lies in the future counts as just now
    budget = clock.restart(budget, again)
    assert budget.spend() == "rate"
    clock.sleep(61)
    assert budget.spend() is None
    budget.close()


def test_what_was_granted_is_written_down_before(tmp_path: Path) -> None:
    path = tmp_path / "budget.sqlite3"
    script = (
        "import os, sys; from pathlib import Path; from beeagent.cloud.budget import CallBudget\n"
        "b = CallBudget(Path(sys.argv[1]), per_minute=9, per_day=9)\n"
        "assert b.spend() is None and b.spend() is None\n"
        "os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", script, str(path)], check=False, timeout=60).returncode == -9
    budget = CallBudget(path, per_minute=2, per_day=9)
    assert budget.spend() == "rate"
    budget.close()


def test_what_cannot_be_written_down_is_not_granted(caplog: pytest.LogCaptureFixture) -> None:
    budget = Clock().open(None)
    budget._database.execute("PRAGMA query_only = ON")  # as a disk that takes nothing
    assert budget.spend() == "budget"
    assert "cannot be counted" in caplog.text
    budget._database.execute("PRAGMA query_only = OFF")
    assert budget.spend() is None


def test_the_file_does_not_grow(tmp_path: Path) -> None:
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


def test_threads_together_get_no_more_than_the_limit() -> None:
    budget = Clock().open(None, per_day=50)
    granted: list[None] = []

    def work() -> None:
        while budget.spend() is None:
            granted.append(None)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(granted) == 50


def test_files_of_others_are_left_alone(tmp_path: Path) -> None:
    text, database = tmp_path / "text", tmp_path / "database"
    text.write_text("no database" * 1000)
    with sqlite3.connect(database) as other:
        other.execute("CREATE TABLE theirs (x)")
    other.close()
    with pytest.raises(InputError, match="damaged or no budget"):
        CallBudget(text, per_minute=1, per_day=1)
    with pytest.raises(InputError, match="of another program"):
        CallBudget(database, per_minute=1, per_day=1)
    with pytest.raises(InputError, match=r"budget .* cannot be opened"):
        CallBudget(text / "below", per_minute=1, per_day=1)
